#include "services/lbctl/rpc/desired_store.h"

#include <variant>

#include "common/rpc/serving/request_log.h"
#include "common/status/macros.h"

namespace cloudscale::lbctl {
namespace {

using sqlite::IntOf;
using sqlite::Row;
using sqlite::TextOf;
using sqlite::Value;

// What is not wanted is NULL.
constexpr char kSchema[] =
    "CREATE TABLE desired(backend BLOB, server BLOB, weight INTEGER, weight_epoch BLOB, "
    "state INTEGER, state_epoch BLOB, address BLOB, port INTEGER, address_epoch BLOB, "
    "added_address BLOB, added_port INTEGER, added_weight INTEGER, added_checked INTEGER, "
    "added_epoch BLOB, reason BLOB, set_at INTEGER, vm BLOB, PRIMARY KEY(backend, server));";

// Since version 3.
constexpr char kAddFollowsCapacity[] =
    "ALTER TABLE desired ADD COLUMN follows_capacity INTEGER NOT NULL DEFAULT 0;";

bool IsSet(const Value& value) { return !std::holds_alternative<std::monostate>(value); }

Row RowOf(const ServerKey& key, const DesiredServer& d) {
  const Value none;
  const auto epoch = [&](const auto& wanted) {
    return wanted.has_value() ? Value(wanted->confirmed_epoch) : none;
  };
  return {key.backend,
          key.server,
          d.weight ? Value(int64_t{d.weight->value}) : none,
          epoch(d.weight),
          d.state ? Value(static_cast<int64_t>(d.state->value)) : none,
          epoch(d.state),
          d.endpoint ? Value(d.endpoint->value.address) : none,
          d.endpoint ? Value(int64_t{d.endpoint->value.port}) : none,
          epoch(d.endpoint),
          d.presence ? Value(d.presence->value.endpoint.address) : none,
          d.presence ? Value(int64_t{d.presence->value.endpoint.port}) : none,
          d.presence ? Value(int64_t{d.presence->value.weight}) : none,
          d.presence ? Value(int64_t{d.presence->value.is_checked ? 1 : 0}) : none,
          epoch(d.presence),
          d.reason,
          absl::ToUnixNanos(d.set_at),
          d.vm_uuid,
          int64_t{d.follows_capacity ? 1 : 0}};
}

DesiredServer FromRow(const ServerKey& key, const Row& row) {
  DesiredServer d;
  if (IsSet(row[2])) {
    d.weight = {.value = static_cast<int>(IntOf(row[2])), .confirmed_epoch = TextOf(row[3])};
  }
  if (IsSet(row[4])) {
    d.state = {.value = static_cast<ServerState>(IntOf(row[4])), .confirmed_epoch = TextOf(row[5])};
  }
  if (IsSet(row[6])) {
    d.endpoint = {.value = {.address = TextOf(row[6]), .port = static_cast<int>(IntOf(row[7]))},
                  .confirmed_epoch = TextOf(row[8])};
  }
  if (IsSet(row[9])) {
    d.presence = {
        .value = {.key = key,
                  .endpoint = {.address = TextOf(row[9]), .port = static_cast<int>(IntOf(row[10]))},
                  .weight = static_cast<int>(IntOf(row[11])),
                  .is_checked = IntOf(row[12]) != 0},
        .confirmed_epoch = TextOf(row[13])};
  }
  d.reason = TextOf(row[14]);
  d.set_at = absl::FromUnixNanos(IntOf(row[15]));
  d.vm_uuid = TextOf(row[16]);
  d.follows_capacity = IntOf(row[17]) != 0;
  return d;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DesiredStore>> DesiredStore::Open(const std::string& path) {
  CS_ASSIGN_OR_RETURN(
      auto database,
      sqlite::Database::Open(path, {kSchema, rpc::RequestLog::kSchema, kAddFollowsCapacity}));
  return std::unique_ptr<DesiredStore>(new DesiredStore(std::move(database)));
}

absl::StatusOr<DesiredState> DesiredStore::Load() {
  CS_ASSIGN_OR_RETURN(const auto rows, database_->Query("SELECT * FROM desired"));
  DesiredState out;
  for (const Row& row : rows) {
    const ServerKey key{TextOf(row[0]), TextOf(row[1])};
    out[key] = FromRow(key, row);
  }
  return out;
}

absl::Status DesiredStore::Save(const std::map<ServerKey, DesiredServer>& changed) {
  if (changed.empty()) {
    return absl::OkStatus();
  }
  return database_->Transaction([&]() -> absl::Status {
    for (const auto& [key, wanted] : changed) {
      if (wanted.is_empty()) {
        CS_RETURN_IF_ERROR(database_->Execute("DELETE FROM desired WHERE backend=? AND server=?",
                                              {key.backend, key.server}));
      } else {
        CS_RETURN_IF_ERROR(database_->Execute(
            "INSERT OR REPLACE INTO desired VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            RowOf(key, wanted)));
      }
    }
    return absl::OkStatus();
  });
}

}  // namespace cloudscale::lbctl
