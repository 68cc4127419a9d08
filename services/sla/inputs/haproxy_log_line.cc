#include "services/sla/inputs/haproxy_log_line.h"

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"

namespace cloudscale::sla {
namespace {

constexpr absl::string_view kDateShape = "[00/AAA/0000:00:00:00.000] ";
constexpr absl::string_view kNoServer = "<NOSRV>";
constexpr int64_t kMaxMilliseconds = int64_t{1} << 40;  // 34 years
constexpr double kMaxWaitSeconds = 3600;

bool HasDateShape(absl::string_view text) {
  if (text.size() < kDateShape.size()) {
    return false;
  }
  for (size_t i = 0; i < kDateShape.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool matches = kDateShape[i] == '0'   ? absl::ascii_isdigit(c)
                         : kDateShape[i] == 'A' ? absl::ascii_isalpha(c)
                                                : text[i] == kDateShape[i];
    if (!matches) {
      return false;
    }
  }
  return true;
}

// What follows the date of acceptance, which no header looks like; nullopt when there is none.
// Everything that a client can choose comes later in the line.
std::optional<absl::string_view> AfterDate(absl::string_view line) {
  for (size_t at = line.find('['); at != absl::string_view::npos; at = line.find('[', at + 1)) {
    if ((at == 0 || line[at - 1] == ' ') && HasDateShape(line.substr(at))) {
      return line.substr(at + kDateShape.size());
    }
  }
  return std::nullopt;
}

absl::Status Broken(absl::string_view field, absl::string_view value, absl::string_view allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is '", value.substr(0, 64), "', allowed: ", allowed));
}

absl::Status ReadServer(absl::string_view field, HaproxyRequest& out) {
  const size_t slash = field.find('/');
  if (slash == absl::string_view::npos || slash == 0 || slash + 1 == field.size() ||
      slash > HaproxyRequest::kMaxNameLength ||
      field.size() - slash - 1 > HaproxyRequest::kMaxNameLength) {
    return Broken("backend/server", field, "two names with a slash between");
  }
  out.backend = std::string(field.substr(0, slash));
  const absl::string_view server = field.substr(slash + 1);
  out.server = server == kNoServer ? std::string() : std::string(server);
  return absl::OkStatus();
}

// Milliseconds, or -1 for a time that never came.
absl::Status ReadTime(absl::string_view name, absl::string_view text,
                      std::optional<absl::Duration>& out) {
  int64_t milliseconds = 0;
  if (!absl::SimpleAtoi(text, &milliseconds) || milliseconds < -1 ||
      milliseconds > kMaxMilliseconds) {
    return Broken(name, text, "-1 or milliseconds");
  }
  if (milliseconds >= 0) {
    out = absl::Milliseconds(milliseconds);
  }
  return absl::OkStatus();
}

absl::Status ReadTimes(absl::string_view field, HaproxyRequest& out) {
  const std::vector<absl::string_view> parts = absl::StrSplit(field, absl::MaxSplits('/', 5));
  if (parts.size() != 5) {
    return Broken("TR/Tw/Tc/Tr/Ta", field, "five times, as `option httplog` writes them");
  }
  CS_RETURN_IF_ERROR(ReadTime("TR", parts[0], out.receiving));
  CS_RETURN_IF_ERROR(ReadTime("Tw", parts[1], out.queueing));
  CS_RETURN_IF_ERROR(ReadTime("Tc", parts[2], out.connecting));
  CS_RETURN_IF_ERROR(ReadTime("Tr", parts[3], out.responding));
  absl::string_view total = parts[4];
  out.is_total_partial = absl::ConsumePrefix(&total, "+");
  return ReadTime("Ta", total, out.total);
}

absl::Status ReadStatus(absl::string_view field, HaproxyRequest& out) {
  int32_t status = 0;
  if (!absl::SimpleAtoi(field, &status) || !(status == -1 || (status >= 100 && status <= 999))) {
    return Broken("status", field, "-1 or 100 to 999");
  }
  if (status != -1) {
    out.status = status;
  }
  return absl::OkStatus();
}

absl::Status ReadTerminationState(absl::string_view field, HaproxyRequest& out) {
  constexpr absl::string_view kCauses = "CSPLRIDUKcs-";
  if (field.size() != 4 || !absl::StrContains(kCauses, field[0])) {
    return Broken("termination state", field, absl::StrCat("four characters from ", kCauses));
  }
  out.termination_state = std::string(field);
  return absl::OkStatus();
}

absl::Duration OrZero(const std::optional<absl::Duration>& time) {
  return time.value_or(absl::ZeroDuration());
}

}  // namespace

absl::StatusOr<HaproxyRequest> ParseHaproxyLogLine(absl::string_view line) {
  const std::optional<absl::string_view> rest = AfterDate(line);
  if (!rest.has_value()) {
    return absl::NotFoundError("no line of a request");
  }
  // frontend backend/server times status bytes request-cookie response-cookie state …
  std::array<absl::string_view, 8> fields;
  absl::string_view left = absl::StripTrailingAsciiWhitespace(*rest);
  for (size_t i = 0; i < fields.size(); ++i) {
    const size_t space = left.find(' ');
    fields[i] = left.substr(0, space);
    if (fields[i].empty()) {
      return Broken("line", *rest, "the fields of `option httplog`");
    }
    left = space == absl::string_view::npos ? absl::string_view() : left.substr(space + 1);
  }
  HaproxyRequest out;
  CS_RETURN_IF_ERROR(ReadServer(fields[1], out));
  CS_RETURN_IF_ERROR(ReadTimes(fields[2], out));
  CS_RETURN_IF_ERROR(ReadStatus(fields[3], out));
  CS_RETURN_IF_ERROR(ReadTerminationState(fields[7], out));
  return out;
}

RequestOutcome OutcomeOf(const HaproxyRequest& request) {
  const char cause = request.termination_state.empty() ? '-' : request.termination_state[0];
  const bool was_answered = request.responding.has_value();
  if ((cause == 'C' || cause == 'c') && !was_answered) {
    // Without a whole request there was nothing to wait for.
    return request.receiving.has_value() && request.total.has_value() ? RequestOutcome::kClientAbort
                                                                      : RequestOutcome::kIgnored;
  }
  if (request.status.value_or(0) >= 500) {
    return RequestOutcome::kFailed;
  }
  if (absl::StrContains("SsRIDUK", cause)) {
    return RequestOutcome::kFailed;
  }
  return was_answered ? RequestOutcome::kServed : RequestOutcome::kIgnored;
}

std::optional<double> WaitSeconds(const HaproxyRequest& request, bool includes_transfer) {
  const RequestOutcome outcome = OutcomeOf(request);
  if (outcome == RequestOutcome::kFailed || outcome == RequestOutcome::kIgnored) {
    return std::nullopt;
  }
  const absl::Duration answered =
      OrZero(request.queueing) + OrZero(request.connecting) + OrZero(request.responding);
  const absl::Duration ended =
      std::max(OrZero(request.total) - OrZero(request.receiving), absl::ZeroDuration());
  const bool is_until_end =
      outcome == RequestOutcome::kClientAbort || (includes_transfer && !request.is_total_partial);
  return std::min(absl::ToDoubleSeconds(is_until_end ? std::max(ended, answered) : answered),
                  kMaxWaitSeconds);
}

}  // namespace cloudscale::sla
