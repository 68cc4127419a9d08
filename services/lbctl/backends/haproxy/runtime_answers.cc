#include "services/lbctl/backends/haproxy/runtime_answers.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
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

// Of an answer in an error.
constexpr size_t kMaxQuoted = 500;

using Record = std::map<std::string, std::string>;

std::string TextOf(const Record& record, const std::string& column) {
  const auto it = record.find(column);
  return it == record.end() ? std::string() : it->second;
}

// For what may be missing: statistics of a server that never had any are empty.
int64_t IntOf(const Record& record, const std::string& column) {
  int64_t value = 0;
  return absl::SimpleAtoi(TextOf(record, column), &value) ? value : 0;
}

// For what is acted on: nonsense must not pass for 0.
absl::StatusOr<int64_t> NeededInt(const Record& record, const std::string& column, int64_t low,
                                  int64_t high) {
  int64_t value = 0;
  const std::string text = TextOf(record, column);
  if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
    return absl::InternalError(absl::StrCat("haproxy's answer has '", absl::CEscape(text), "' as ",
                                            column, ", which is not within ", low, " and ", high));
  }
  return value;
}

// Takes one line of fields off `text`. With `separator` ',' a field in double quotes may hold
// commas and line breaks, and quotes in pairs.
std::vector<std::string> TakeLine(absl::string_view& text, char separator) {
  std::vector<std::string> fields(1);
  bool is_quoted = false;
  size_t i = 0;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (is_quoted) {
      if (c != '"') {
        fields.back().push_back(c);
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        fields.back().push_back(text[++i]);
      } else {
        is_quoted = false;
      }
    } else if (c == '\n') {
      ++i;
      break;
    } else if (c == '"' && separator == ',' && fields.back().empty()) {
      is_quoted = true;
    } else if (c == separator) {
      fields.emplace_back();
    } else if (c != '\r') {
      fields.back().push_back(c);
    }
  }
  text.remove_prefix(i);
  return fields;
}

// Lines with the columns that the line starting with `#` names. A line that is cut is an error; the
// version line before the header is not looked at.
absl::StatusOr<std::vector<Record>> ParseTable(absl::string_view text, char separator,
                                               const std::vector<std::string>& needed) {
  std::vector<std::string> names;
  std::vector<Record> records;
  while (!text.empty()) {
    if (absl::ConsumePrefix(&text, "# ")) {
      names = TakeLine(text, separator);
      continue;
    }
    std::vector<std::string> values = TakeLine(text, separator);
    if (names.empty() || (values.size() == 1 && values[0].empty())) {
      continue;
    }
    if (values.size() < names.size()) {
      return absl::InternalError(absl::StrCat("haproxy's answer has a line of ", values.size(),
                                              " fields under ", names.size(), " columns"));
    }
    Record record;
    for (size_t i = 0; i < names.size(); ++i) {
      record[names[i]] = std::move(values[i]);
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

// `static-rr` refuses all but 0 % and 100 %; `first` takes weights and pays no attention to them.
// `source`, `uri`, `hdr`, … take weights with `hash-type consistent` and refuse them without, and
// no answer tells which: they count as dynamic until one is refused (HaproxyBalancer remembers).
bool TakesWeights(const std::string& algorithm) {
  return algorithm != "static-rr" && algorithm != "first" && algorithm != "none";
}

absl::StatusOr<ServerInfo> ServerOf(const Record& row) {
  ServerInfo server;
  server.name = TextOf(row, "srv_name");
  CS_ASSIGN_OR_RETURN(const int64_t port, NeededInt(row, "srv_port", 0, 65535));
  server.endpoint = {.address = TextOf(row, "srv_addr"), .port = static_cast<int>(port)};
  CS_ASSIGN_OR_RETURN(const int64_t admin, NeededInt(row, "srv_admin_state", 0, 0xffff));
  server.state = StateOf(admin);
  CS_ASSIGN_OR_RETURN(const int64_t weight, NeededInt(row, "srv_uweight", 0, kMaxWeight));
  server.weight = static_cast<int>(weight);
  CS_ASSIGN_OR_RETURN(const int64_t initial, NeededInt(row, "srv_iweight", 0, kMaxWeight));
  server.initial_weight = static_cast<int>(initial);
  CS_ASSIGN_OR_RETURN(const int64_t op_state, NeededInt(row, "srv_op_state", 0, 0xff));
  server.is_up = op_state != 0;
  return server;
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
  if (IntOf(fields, "Stopping") != 0) {
    return absl::UnavailableError("haproxy is being reloaded: an old process answered");
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
    CS_ASSIGN_OR_RETURN(ServerInfo server, ServerOf(row));
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

absl::StatusOr<BalancerState> ParseState(const std::string& answer) {
  // Each answer ends with an empty line, also the last one.
  const size_t states = answer.find("\n\n");
  const size_t stat = states == std::string::npos ? states : answer.find("\n\n", states + 2);
  if (stat == std::string::npos || stat + 2 >= answer.size() || !answer.ends_with("\n\n")) {
    return absl::UnavailableError(
        absl::StrCat("haproxy's answer of ", answer.size(), " bytes is cut"));
  }
  BalancerState state;
  CS_ASSIGN_OR_RETURN(state.info, ParseInfo(answer.substr(0, states)));
  CS_ASSIGN_OR_RETURN(state.backends, ParseBackends(answer.substr(states + 2, stat - states),
                                                    answer.substr(stat + 2)));
  return state;
}

bool SaysStaticAlgorithm(const absl::Status& outcome) {
  return absl::StrContains(outcome.message(), "static LB algorithm");
}

absl::Status ParseOutcome(const std::string& command, const std::string& answer) {
  const std::string text(absl::StripAsciiWhitespace(answer));
  const std::string said =
      absl::StrCat("haproxy to '", command, "': ", absl::CEscape(text.substr(0, kMaxQuoted)));
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
