#include "services/sla/rpc/state_store.h"

#include <utility>
#include <vector>

#include "cloudscale/sla/v1/sla.pb.h"
#include "common/logging/log.h"
#include "common/rpc/serving/request_log.h"
#include "common/status/macros.h"
#include "services/sla/rpc/convert.h"

namespace cloudscale::sla {
namespace {

using sqlite::IntOf;
using sqlite::Row;
using sqlite::TextOf;
using sqlite::Value;

constexpr char kSchema[] =
    "CREATE TABLE objective(id BLOB PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE violation(number INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE bucket(objective BLOB, tier INTEGER, start INTEGER, windows INTEGER, "
    "good INTEGER, requests INTEGER, errors INTEGER, latencies BLOB, "
    "PRIMARY KEY(objective, tier, start));"
    "CREATE TABLE source(application BLOB, id BLOB, last INTEGER, seen INTEGER, newest INTEGER, "
    "PRIMARY KEY(application, id));"
    "CREATE TABLE retrain(vm BLOB PRIMARY KEY, at INTEGER NOT NULL);"
    "CREATE TABLE declared(origin BLOB, id BLOB, body BLOB, PRIMARY KEY(origin, id));";
constexpr char kPriceSchema[] =
    "CREATE TABLE price(vm BLOB PRIMARY KEY, factor REAL NOT NULL, until INTEGER NOT NULL);";

// Our own histogram in the wire's form.
std::string Encode(const LatencyHistogram& histogram) {
  v1::LatencyHistogram out;
  out.set_base(LatencyHistogram::kBase);
  out.set_offset(histogram.offset());
  out.mutable_counts()->Assign(histogram.counts().begin(), histogram.counts().end());
  out.set_zero_count(histogram.zero_count());
  if (histogram.max_seconds().has_value()) {
    out.set_max_seconds(*histogram.max_seconds());
  }
  return out.SerializeAsString();
}

LatencyHistogram Decode(const std::string& bytes) {
  LatencyHistogram out;
  v1::LatencyHistogram in;
  if (!in.ParseFromString(bytes)) {
    return out;
  }
  for (int i = 0; i < in.counts_size(); ++i) {
    out.AddToBucket(in.offset() + i, in.counts(i));
  }
  out.AddZeros(in.zero_count());
  if (in.has_max_seconds()) {
    out.NoteMax(in.max_seconds());
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::Open(const std::string& path) {
  CS_ASSIGN_OR_RETURN(auto database, sqlite::Database::Open(
                                         path, {kSchema, rpc::RequestLog::kSchema, kPriceSchema}));
  return std::unique_ptr<StateStore>(new StateStore(std::move(database)));
}

absl::Status StateStore::Restore(SlaEngine& engine) {
  CS_ASSIGN_OR_RETURN(auto rows, database_->Query("SELECT body FROM objective ORDER BY id"));
  for (const Row& row : rows) {
    v1::Objective body;
    const absl::Status status = body.ParseFromString(TextOf(row[0]))
                                    ? engine.RestoreObjective(FromWire(body))
                                    : absl::DataLossError("unreadable");
    if (!status.ok()) {
      LogLine(LogLevel::kError, "objective_not_restored")
          .Field("objective", body.objective_id())
          .Field("status", status);
    }
  }
  CS_ASSIGN_OR_RETURN(rows, database_->Query("SELECT number,body FROM violation ORDER BY number"));
  for (const Row& row : rows) {
    v1::Violation body;
    if (body.ParseFromString(TextOf(row[1]))) {
      engine.RestoreViolation(FromWire(body, IntOf(row[0])));
    }
  }
  CS_ASSIGN_OR_RETURN(rows, database_->Query("SELECT objective,tier,start,windows,good,requests,"
                                             "errors,latencies FROM bucket ORDER BY start"));
  for (const Row& row : rows) {
    engine.RestoreBucket(TextOf(row[0]),
                         {IntOf(row[1]) == 0 ? ComplianceTier::kMinute : ComplianceTier::kHour,
                          absl::FromUnixSeconds(IntOf(row[2]))},
                         {.window_count = IntOf(row[3]),
                          .good_window_count = IntOf(row[4]),
                          .request_count = IntOf(row[5]),
                          .error_count = IntOf(row[6]),
                          .latencies = Decode(TextOf(row[7]))});
  }
  CS_ASSIGN_OR_RETURN(rows, database_->Query("SELECT application,id,last,seen,newest FROM source"));
  for (const Row& row : rows) {
    engine.RestoreSource({.application = TextOf(row[0]),
                          .source_id = TextOf(row[1]),
                          .last_sequence = IntOf(row[2]),
                          .seen_before = static_cast<uint64_t>(IntOf(row[3])),
                          .newest_end = absl::FromUnixNanos(IntOf(row[4]))});
  }
  CS_ASSIGN_OR_RETURN(rows, database_->Query("SELECT vm,at FROM retrain"));
  for (const Row& row : rows) {
    engine.RestoreRetrain(TextOf(row[0]), absl::FromUnixNanos(IntOf(row[1])));
  }
  CS_ASSIGN_OR_RETURN(rows, database_->Query("SELECT vm,factor,until FROM price"));
  for (const Row& row : rows) {
    engine.RestorePrice(TextOf(row[0]), {.factor = sqlite::DoubleOf(row[1]),
                                         .until = absl::FromUnixNanos(IntOf(row[2]))});
  }
  return absl::OkStatus();
}

absl::Status StateStore::SaveObjective(const Objective& objective) {
  return database_->Execute("INSERT OR REPLACE INTO objective VALUES(?,?)",
                            {objective.id, ToWire(objective).SerializeAsString()});
}

absl::Status StateStore::DeleteObjective(const std::string& id) {
  return database_->Transaction([&] {
    CS_RETURN_IF_ERROR(database_->Execute("DELETE FROM bucket WHERE objective=?", {id}));
    return database_->Execute("DELETE FROM objective WHERE id=?", {id});
  });
}

absl::Status StateStore::SaveBuckets(const EngineChanges& changes) {
  for (const EngineChanges::Bucket& bucket : changes.buckets) {
    const int64_t start = absl::ToUnixSeconds(bucket.key.second);
    const int64_t tier = bucket.key.first == ComplianceTier::kMinute ? 0 : 1;
    CS_RETURN_IF_ERROR(
        database_->Execute("INSERT OR REPLACE INTO bucket VALUES(?,?,?,?,?,?,?,?)",
                           {bucket.objective_id, tier, start, bucket.content.window_count,
                            bucket.content.good_window_count, bucket.content.request_count,
                            bucket.content.error_count, Encode(bucket.content.latencies)}));
    if (tier == 0) {
      // Minutes are read for two hours only; hours go with the objective's longest period.
      CS_RETURN_IF_ERROR(database_->Execute(
          "DELETE FROM bucket WHERE objective=? AND ((tier=0 AND start<?) OR start<?)",
          {bucket.objective_id, start - int64_t{3} * 3600, start - int64_t{91} * 24 * 3600}));
    }
  }
  return absl::OkStatus();
}

absl::Status StateStore::Save(const EngineChanges& changes) {
  return database_->Transaction([&]() -> absl::Status {
    CS_RETURN_IF_ERROR(SaveBuckets(changes));
    for (const Violation& violation : changes.violations) {
      CS_RETURN_IF_ERROR(
          database_->Execute("INSERT OR REPLACE INTO violation VALUES(?,?)",
                             {violation.number, ToWire(violation).SerializeAsString()}));
    }
    for (const int64_t number : changes.forgotten_violations) {
      CS_RETURN_IF_ERROR(database_->Execute("DELETE FROM violation WHERE number=?", {number}));
    }
    for (const SourceState& source : changes.sources) {
      CS_RETURN_IF_ERROR(database_->Execute(
          "INSERT OR REPLACE INTO source VALUES(?,?,?,?,?)",
          {source.application, source.source_id, source.last_sequence,
           static_cast<int64_t>(source.seen_before), absl::ToUnixNanos(source.newest_end)}));
    }
    for (const auto& [vm, at] : changes.retrained_at) {
      CS_RETURN_IF_ERROR(database_->Execute("INSERT OR REPLACE INTO retrain VALUES(?,?)",
                                            {vm, absl::ToUnixNanos(at)}));
    }
    for (const auto& [vm, price] : changes.prices) {
      CS_RETURN_IF_ERROR(database_->Execute("INSERT OR REPLACE INTO price VALUES(?,?,?)",
                                            {vm, price.factor, absl::ToUnixNanos(price.until)}));
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<std::map<std::string, std::string>> StateStore::LoadDeclared(
    const std::string& origin) {
  CS_ASSIGN_OR_RETURN(const auto rows,
                      database_->Query("SELECT id,body FROM declared WHERE origin=?", {origin}));
  std::map<std::string, std::string> out;
  for (const Row& row : rows) {
    out[TextOf(row[0])] = TextOf(row[1]);
  }
  return out;
}

absl::Status StateStore::SaveDeclared(const std::string& origin,
                                      const std::map<std::string, std::string>& declared) {
  return database_->Transaction([&]() -> absl::Status {
    CS_RETURN_IF_ERROR(database_->Execute("DELETE FROM declared WHERE origin=?", {origin}));
    for (const auto& [id, body] : declared) {
      CS_RETURN_IF_ERROR(
          database_->Execute("INSERT INTO declared VALUES(?,?,?)", {origin, id, body}));
    }
    return absl::OkStatus();
  });
}

}  // namespace cloudscale::sla
