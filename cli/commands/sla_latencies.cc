#include "cli/commands/sla_latencies.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/args/values.h"
#include "cli/render/format.h"
#include "cli/rpc/session.h"
#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

constexpr int kMaxValues = 10000;  // of a report
constexpr double kMaxSeconds = 3600;
constexpr char kMethod[] = "sla ReportLatencies";

class Reporter {
 public:
  Reporter(Session& session, const LatencyInput& input)
      : session_(session),
        input_(input),
        // Greater than those of a run before under the same name.
        sequence_(absl::ToUnixMicros(session.clock().WallNow())) {
    report_.set_application(input.application);
    report_.set_source_id(input.source_id.empty() ? absl::StrCat("cloudscalectl-", sequence_)
                                                  : input.source_id);
    report_.set_vm_uuid(input.vm_uuid);
    report_.mutable_values();
  }

  // `seconds` absent: a failed request.
  absl::Status Add(std::optional<double> seconds) {
    const absl::Time now = session_.clock().WallNow();
    if (first_.has_value() &&
        (now - *first_ >= input_.period || report_.values().latency_seconds_size() >= kMaxValues)) {
      CS_RETURN_IF_ERROR(Send());
    }
    first_ = first_.value_or(now);
    last_ = now;
    if (seconds.has_value()) {
      report_.mutable_values()->add_latency_seconds(*seconds);
    } else {
      report_.set_error_count(report_.error_count() + 1);
    }
    return absl::OkStatus();
  }

  // Reports what was added since the last time, as of the time in which it was read.
  absl::Status Send() {
    if (!first_.has_value()) {
      return absl::OkStatus();
    }
    report_.set_sequence(++sequence_);
    *report_.mutable_start_time() = rpc::ToProto(*first_);
    *report_.mutable_duration() = rpc::ToProto(std::max(last_ - *first_, absl::ZeroDuration()));
    sla::v1::ReportLatenciesRequest request;
    *request.add_reports() = report_;
    value_count_ += report_.values().latency_seconds_size();
    error_count_ += report_.error_count();
    report_.mutable_values()->clear_latency_seconds();
    report_.set_error_count(0);
    first_.reset();

    const std::string& address = session_.options().AddressOf(Peer::kSla);
    CS_ASSIGN_OR_RETURN(const auto channel, session_.ChannelTo(address));
    const auto stub = sla::v1::SlaService::NewStub(channel);
    grpc::ClientContext context;
    session_.Prepare(context);
    sla::v1::ReportLatenciesResponse response;
    const auto writer = stub->ReportLatencies(&context, &response);
    writer->Write(request);
    writer->WritesDone();
    CS_RETURN_IF_ERROR(Session::Finish(writer->Finish(), address, kMethod));
    total_.set_accepted_count(total_.accepted_count() + response.accepted_count());
    total_.set_duplicate_count(total_.duplicate_count() + response.duplicate_count());
    total_.set_late_count(total_.late_count() + response.late_count());
    total_.set_refused_count(total_.refused_count() + response.refused_count());
    for (const auto& violation : response.violations()) {
      if (total_.violations_size() < kMaxFaults) {
        *total_.add_violations() = violation;
      }
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    CS_RETURN_IF_ERROR(Send());
    if (session_.options().is_json) {
      session_.PrintJson(total_);
    } else if (total_.refused_count() == 0) {
      session_.io().out << FormatCount(value_count_, "response time", "response times") << " and "
                        << FormatCount(error_count_, "failed request", "failed requests") << " in "
                        << FormatCount(total_.accepted_count(), "report", "reports") << "\n";
    }
    if (total_.refused_count() == 0) {
      return absl::OkStatus();
    }
    std::string why =
        absl::StrCat(total_.refused_count(), " of ",
                     total_.refused_count() + total_.accepted_count(), " reports were refused");
    for (const auto& violation : total_.violations()) {
      absl::StrAppend(&why, "; ", violation.field(), " is '", violation.value(),
                      "', allowed: ", violation.allowed());
    }
    return Session::Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, why),
                           session_.options().AddressOf(Peer::kSla), kMethod);
  }

 private:
  static constexpr int kMaxFaults = 20;

  Session& session_;
  const LatencyInput& input_;
  int64_t sequence_;
  sla::v1::LatencyReport report_;
  std::optional<absl::Time> first_;  // of what is in the report
  absl::Time last_;
  int64_t value_count_ = 0;
  int64_t error_count_ = 0;
  sla::v1::ReportLatenciesResponse total_;
};

// Absent for a failed request.
absl::StatusOr<std::optional<double>> ParseLine(absl::string_view text, double unit_seconds) {
  if (text == "error") {
    return std::optional<double>();
  }
  const auto value = ParseNumber(text);
  if (!value.ok() || *value < 0 || *value * unit_seconds > kMaxSeconds) {
    return absl::InvalidArgumentError(absl::StrCat("'", text.substr(0, 64),
                                                   "' is not allowed; allowed: 0 to ",
                                                   kMaxSeconds / unit_seconds, ", or 'error'"));
  }
  return std::optional<double>(*value * unit_seconds);
}

}  // namespace

absl::Status ReportLatencies(Session& session, const LatencyInput& input) {
  if (input.period > absl::Minutes(5)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--period is ", absl::FormatDuration(input.period), ", allowed: at most 5m"));
  }
  Reporter reporter(session, input);
  const double unit_seconds = input.unit == "ms" ? 1e-3 : 1.0;
  std::string line;
  for (int64_t number = 1; std::getline(session.io().in, line); ++number) {
    const absl::string_view text = absl::StripAsciiWhitespace(line);
    if (text.empty()) {
      continue;
    }
    const auto seconds = ParseLine(text, unit_seconds);
    if (!seconds.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, ": ", seconds.status().message()));
    }
    CS_RETURN_IF_ERROR(reporter.Add(*seconds));
  }
  return reporter.Finish();
}

}  // namespace cloudscale::cli
