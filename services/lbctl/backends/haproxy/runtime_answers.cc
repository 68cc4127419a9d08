#include "services/lbctl/backends/haproxy/runtime_answers.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"

namespace cloudscale::lbctl {
namespace {

// Bits of srv_admin_state.
constexpr int64_t kForcedMaint = 0x01;
constexpr int64_t kInheritedMaint = 0x02;
constexpr int64_t kConfiguredMaint = 0x04;
constexpr int64_t kForcedDrain = 0x08;
constexpr int64_t kInheritedDrain = 0x10;

using Record = std::map<std::string, std::string>;

std::string TextOf(const Record& record, const std::string& column) {
  const auto it = record.find(column);
  return it == record.end() ? std::string() : it->second;
}

int64_t IntOf(const Record& record, const std::string& column) {
  int64_t value = 0;
  return absl::SimpleAtoi(TextOf(record, column), &value) ? value : 0;
}

// Lines with the columns that the line starting with `#` names.
absl::StatusOr<std::vector<Record>> ParseTable(const std::string& text, char separator,
                                               const std::vector<std::string>& needed) {
  std::vector<std::string> names;
  std::vector<Record> records;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    if (absl::ConsumePrefix(&line, "# ")) {
      names = absl::StrSplit(line, separator);
      continue;
    }
    const std::vector<std::string> values = absl::StrSplit(line, separator);
    if (names.empty() || values.size() < 4) {
      continue;  // the version line
    }
    Record record;
    for (size_t i = 0; i < std::min(names.size(), values.size()); ++i) {
      record[names[i]] = values[i];
    }
    records.push_back(std::move(record));
  }
  for (const std::string& name : needed) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return absl::InternalError(absl::StrCat("haproxy's answer has no column '", name, "'"));
    }
  }
  return records;
}

ServerState StateOf(int64_t bits) {
  if ((bits & (kForcedMaint | kInheritedMaint | kConfiguredMaint)) != 0) {
    return ServerState::kMaint;
  }
  return (bits & (kForcedDrain | kInheritedDrain)) != 0 ? ServerState::kDrain : ServerState::kReady;
}

ServerStats StatsOf(const Record& stat) {
  ServerStats out;
  out.current_sessions = IntOf(stat, "scur");
  out.queued_requests = IntOf(stat, "qcur");
  out.total_sessions = IntOf(stat, "stot");
  out.error_count = IntOf(stat, "econ") + IntOf(stat, "hrsp_5xx");
  out.received_bytes = IntOf(stat, "bin");
  out.transmitted_bytes = IntOf(stat, "bout");
  out.queue_time = absl::Milliseconds(IntOf(stat, "qtime"));
  out.connect_time = absl::Milliseconds(IntOf(stat, "ctime"));
  out.response_time = absl::Milliseconds(IntOf(stat, "rtime"));
  out.total_time = absl::Milliseconds(IntOf(stat, "ttime"));
  out.request_rate = static_cast<double>(IntOf(stat, "rate"));
  return out;
}

// Static algorithms take 0 % and 100 % only.
bool TakesWeights(const std::string& algorithm) {
  return algorithm != "static-rr" && algorithm != "first" && algorithm != "source" &&
         algorithm != "uri" && algorithm != "url_param" && algorithm != "hdr" &&
         algorithm != "rdp-cookie" && algorithm != "none";
}

}  // namespace

absl::StatusOr<BalancerInfo> ParseInfo(const std::string& text) {
  Record fields;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    fields[std::string(pair.first)] = std::string(absl::StripAsciiWhitespace(pair.second));
  }
  if (TextOf(fields, "Name") != "HAProxy" || TextOf(fields, "Pid").empty()) {
    return absl::InternalError("the socket does not answer as HAProxy does");
  }
  BalancerInfo info;
  info.version = TextOf(fields, "Version");
  info.epoch = absl::StrCat(TextOf(fields, "Pid"), "-", TextOf(fields, "Start_time_sec"));
  if (IntOf(fields, "Start_time_sec") > 0) {
    info.started_at = absl::FromUnixSeconds(IntOf(fields, "Start_time_sec"));
  }
  info.capabilities = {"dynamic_servers", "end_sessions"};
  return info;
}

absl::StatusOr<std::vector<BackendInfo>> ParseBackends(const std::string& servers_state,
                                                       const std::string& stat) {
  CS_ASSIGN_OR_RETURN(const auto states,
                      ParseTable(servers_state, ' ',
                                 {"be_name", "srv_name", "srv_addr", "srv_admin_state",
                                  "srv_uweight", "srv_iweight", "srv_port", "srv_op_state"}));
  CS_ASSIGN_OR_RETURN(const auto stats,
                      ParseTable(stat, ',', {"pxname", "svname", "status", "scur", "algo"}));
  std::map<std::string, BackendInfo> backends;
  std::map<ServerKey, ServerStats> by_server;
  for (const Record& row : stats) {
    const std::string name = TextOf(row, "svname");
    if (name == "BACKEND") {
      BackendInfo& backend = backends[TextOf(row, "pxname")];
      backend.name = TextOf(row, "pxname");
      backend.algorithm = TextOf(row, "algo");
      backend.has_dynamic_weights = TakesWeights(backend.algorithm);
      backend.status = TextOf(row, "status");
    } else {
      by_server[{TextOf(row, "pxname"), name}] = StatsOf(row);
    }
  }
  for (const Record& row : states) {
    const auto backend = backends.find(TextOf(row, "be_name"));
    if (backend == backends.end()) {
      continue;
    }
    ServerInfo server;
    server.name = TextOf(row, "srv_name");
    server.endpoint = {.address = TextOf(row, "srv_addr"),
                       .port = static_cast<int>(IntOf(row, "srv_port"))};
    server.state = StateOf(IntOf(row, "srv_admin_state"));
    server.weight = static_cast<int>(IntOf(row, "srv_uweight"));
    server.initial_weight = static_cast<int>(IntOf(row, "srv_iweight"));
    server.is_up = IntOf(row, "srv_op_state") != 0;
    server.stats = by_server[{backend->first, server.name}];
    backend->second.servers.push_back(std::move(server));
  }
  std::vector<BackendInfo> out;
  for (auto& [name, backend] : backends) {
    std::sort(backend.servers.begin(), backend.servers.end(),
              [](const ServerInfo& a, const ServerInfo& b) { return a.name < b.name; });
    out.push_back(std::move(backend));
  }
  return out;
}

absl::Status ParseOutcome(const std::string& command, const std::string& answer) {
  const std::string text(absl::StripAsciiWhitespace(answer));
  const std::string said = absl::StrCat("haproxy to '", command, "': ", text);
  if (text.empty() || absl::StrContains(text, "New server registered") ||
      absl::StrContains(text, "Server deleted") || absl::StrContains(text, "changed from") ||
      absl::StrContains(text, "no need to change")) {
    return absl::OkStatus();
  }
  if (absl::StrContains(text, "No such")) {
    return absl::NotFoundError(said);
  }
  if (absl::StrContains(text, "Already exists")) {
    return absl::AlreadyExistsError(said);
  }
  if (absl::StrContains(text, "static LB algorithm") ||
      absl::StrContains(text, "maintenance mode") || absl::StrContains(text, "connection")) {
    return absl::FailedPreconditionError(said);
  }
  if (absl::StrContains(text, "Permission denied")) {
    return absl::PermissionDeniedError(said);
  }
  if (absl::StrContains(text, "Unknown command")) {
    return absl::UnimplementedError(said);
  }
  return absl::InvalidArgumentError(said);
}

}  // namespace cloudscale::lbctl
