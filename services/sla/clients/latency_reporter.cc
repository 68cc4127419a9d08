#include "services/sla/clients/latency_reporter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/backoff/backoff.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "grpcpp/client_context.h"
#include "services/sla/latency_report.h"

namespace cloudscale::sla {
namespace {

constexpr size_t kMaxReportsPerMessage = 100;
constexpr absl::Duration kMaxPeriod = absl::Minutes(5);

// Deadlines are in real time, whatever the injected clock says.
gpr_timespec RealDeadline(absl::Duration in) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(absl::ToInt64Nanoseconds(in), GPR_TIMESPAN));
}

v1::LatencyHistogram ToWire(const LatencyHistogram& in, double sum_seconds) {
  v1::LatencyHistogram out;
  out.set_base(LatencyHistogram::kBase);
  out.set_offset(in.offset());
  out.mutable_counts()->Assign(in.counts().begin(), in.counts().end());
  out.set_zero_count(in.zero_count());
  out.set_total_count(in.count());
  out.set_sum_seconds(sum_seconds);
  if (in.max_seconds().has_value()) {
    out.set_max_seconds(*in.max_seconds());
  }
  return out;
}

void RequireLength(Violations& v, absl::string_view field, const std::string& value, size_t low,
                   size_t high) {
  if (value.size() < low || value.size() > high) {
    v.Add(field, value, absl::StrCat(low, " to ", high, " characters"));
  }
}

}  // namespace

absl::Status LatencyReporter::Check(const Config& config) {
  Violations v;
  RequireLength(v, "application", config.application, 1, 64);
  RequireLength(v, "source_id", config.source_id, 1, 128);
  RequireLength(v, "vm_uuid", config.vm_uuid, 0, 64);
  RequireInRange(v, "period", absl::ToDoubleSeconds(config.period), 0.1,
                 absl::ToDoubleSeconds(kMaxPeriod));
  RequirePositive(v, "deadline", absl::ToDoubleSeconds(config.deadline));
  RequireInRange(v, "backoff_max", absl::ToDoubleSeconds(config.backoff_max), 0.1, 3600);
  RequireInRange(v, "buffered_reports", static_cast<double>(config.buffered_reports), 1, 100000);
  return v.ToStatus();
}

LatencyReporter::LatencyReporter(Config config, Clock& clock,
                                 std::shared_ptr<grpc::Channel> channel, uint64_t seed)
    : config_(std::move(config)),
      clock_(clock),
      channel_(std::move(channel)),
      rng_(Rng(seed).Fork("latency-reporter")),
      // Greater than those of a process before with the same name.
      last_sequence_(absl::ToUnixMicros(clock.WallNow())),
      period_start_(clock.WallNow()) {}

void LatencyReporter::Start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void LatencyReporter::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

void LatencyReporter::Record(absl::Duration latency) {
  const double seconds =
      absl::ToDoubleSeconds(std::clamp(latency, absl::ZeroDuration(), absl::Hours(1)));
  MutexLock lock(&mutex_);
  histogram_.Add(seconds);
  sum_seconds_ += seconds;
  ++counts_.recorded_values;
}

void LatencyReporter::RecordError() {
  MutexLock lock(&mutex_);
  ++errors_;
}

LatencyReporter::Counts LatencyReporter::counts() const {
  MutexLock lock(&mutex_);
  return counts_;
}

void LatencyReporter::Drop(size_t count) {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(count));
  MutexLock lock(&mutex_);
  counts_.dropped_reports += static_cast<int64_t>(count);
}

void LatencyReporter::Cut() {
  LatencyHistogram histogram;
  double sum_seconds = 0.0;
  int64_t errors = 0;
  {
    MutexLock lock(&mutex_);
    std::swap(histogram, histogram_);
    std::swap(sum_seconds, sum_seconds_);
    std::swap(errors, errors_);
  }
  const absl::Time now = clock_.WallNow();
  // A wall clock that was set, or a long sleep of the machine, makes no impossible interval.
  const absl::Time start = std::clamp(period_start_, now - kMaxPeriod, now);
  period_start_ = now;
  if (histogram.count() == 0 && errors == 0) {
    return;
  }
  if (buffer_.size() >= config_.buffered_reports) {
    Drop(1);
  }
  v1::LatencyReport& report = buffer_.emplace_back();
  report.set_application(config_.application);
  report.set_source_id(config_.source_id);
  report.set_sequence(++last_sequence_);
  *report.mutable_start_time() = rpc::ToProto(start);
  *report.mutable_duration() = rpc::ToProto(now - start);
  *report.mutable_histogram() = ToWire(histogram, sum_seconds);
  report.set_error_count(errors);
  report.set_vm_uuid(config_.vm_uuid);
}

absl::Status LatencyReporter::Call(const std::deque<v1::LatencyReport>& reports,
                                   const std::stop_token& stop) {
  grpc::ClientContext context;
  context.set_deadline(RealDeadline(config_.deadline));
  // At a stop a call under way still has its deadline; only waiting for the service is cut short.
  context.set_wait_for_ready(!stop.stop_requested());
  v1::ReportLatenciesResponse response;
  const auto stub = v1::SlaService::NewStub(channel_);
  const auto writer = stub->ReportLatencies(&context, &response);
  v1::ReportLatenciesRequest request;
  request.mutable_reports()->Assign(reports.begin(), reports.end());
  writer->Write(request);
  writer->WritesDone();
  const absl::Status status = rpc::FromGrpcStatus(writer->Finish());
  MutexLock lock(&mutex_);
  if (!status.ok()) {
    ++counts_.failed_calls;
    counts_.last_error = status;
    return status;
  }
  counts_.accepted_reports += response.accepted_count() + response.duplicate_count();
  counts_.refused_reports += response.refused_count();
  counts_.last_error = response.violations_size() == 0
                           ? absl::OkStatus()
                           : absl::InvalidArgumentError(
                                 absl::StrCat(response.violations(0).description(),
                                              ", allowed: ", response.violations(0).allowed()));
  return status;
}

absl::Status LatencyReporter::SendBuffered(const std::stop_token& stop) {
  // What is too old would be refused.
  size_t old = 0;
  while (old < buffer_.size() &&
         rpc::FromProto(buffer_[old].start_time()) < clock_.WallNow() - kMaxReportAge) {
    ++old;
  }
  if (old > 0) {
    Drop(old);
  }
  while (!buffer_.empty()) {
    const auto end = buffer_.begin() +
                     static_cast<std::ptrdiff_t>(std::min(buffer_.size(), kMaxReportsPerMessage));
    const std::deque<v1::LatencyReport> reports(buffer_.begin(), end);
    if (absl::Status status = Call(reports, stop); !status.ok()) {
      return status;
    }
    buffer_.erase(buffer_.begin(), end);
  }
  return absl::OkStatus();
}

void LatencyReporter::Run(const std::stop_token& stop) {
  Backoff backoff(
      rng_, {.initial = std::min(config_.period, config_.backoff_max), .max = config_.backoff_max});
  MonoTime next_cut = clock_.MonoNow() + config_.period;
  MonoTime next_try = next_cut;
  while (!stop.stop_requested()) {
    clock_.SleepUntil(next_cut, stop);
    Cut();
    next_cut = std::max(next_cut + config_.period, clock_.MonoNow());
    if (stop.stop_requested() || clock_.MonoNow() < next_try) {
      continue;
    }
    if (SendBuffered(stop).ok()) {
      backoff.Reset();
    } else {
      next_try = clock_.MonoNow() + backoff.NextDelay();
    }
  }
  Cut();
  (void)SendBuffered(stop);  // what fails is counted as dropped
  Drop(buffer_.size());
}

}  // namespace cloudscale::sla
