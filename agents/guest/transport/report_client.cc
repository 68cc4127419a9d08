#include "agents/guest/transport/report_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "agents/guest/transport/report_wire.h"
#include "common/logging/log.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::guest {

using guest::v1::StreamReportsRequest;
using guest::v1::StreamReportsResponse;

ReportClient::ReportClient(Clock& clock, Rng rng, std::shared_ptr<grpc::Channel> channel,
                           Config config)
    : clock_(clock),
      config_(std::move(config)),
      rng_(rng),
      backoff_(rng.Fork("backoff"), config_.backoff),
      stub_(guest::v1::GuestReportService::NewStub(std::move(channel))),
      outbox_(static_cast<size_t>(config_.buffer_reports)) {}

ReportClient::~ReportClient() { Stop(); }

void ReportClient::Start() {
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

void ReportClient::Stop() {
  thread_.request_stop();
  {
    MutexLock lock(&mutex_);
    is_stopped_ = true;
    if (context_ != nullptr) {
      context_->TryCancel();
    }
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

void ReportClient::Submit(Report report) {
  MutexLock lock(&mutex_);
  outbox_.Add(std::move(report));
  if (context_ != nullptr && waiting_since_.has_value() &&
      clock_.MonoNow() - *waiting_since_ > config_.answer_timeout) {
    context_->TryCancel();
  }
  changed_.NotifyAll();
}

std::optional<absl::Duration> ReportClient::wanted_period() const {
  MutexLock lock(&mutex_);
  return wanted_period_;
}

ReportClient::Stats ReportClient::stats() const {
  MutexLock lock(&mutex_);
  Stats result = stats_;
  result.dropped_reports = outbox_.dropped_count();
  result.waiting_reports = static_cast<int64_t>(outbox_.size());
  return result;
}

void ReportClient::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    grpc::ClientContext context;
    {
      MutexLock lock(&mutex_);
      if (is_stopped_) {
        return;
      }
      context_ = &context;
      ++stats_.streams;
    }
    const MonoTime begun = clock_.MonoNow();
    const std::unique_ptr<Stream> stream = stub_->StreamReports(&context);
    Converse(*stream, stop);
    if (stop.stop_requested()) {
      context.TryCancel();
    }
    const grpc::Status status = stream->Finish();
    EndStream(status, begun);
    if (!clock_.SleepUntil(clock_.MonoNow() + backoff_.NextDelay(), stop)) {
      return;
    }
  }
}

void ReportClient::EndStream(const grpc::Status& status, MonoTime begun) {
  absl::Status reason = rpc::FromGrpcStatus(status);
  if (reason.ok()) {
    reason = absl::UnavailableError("the monitor ended the stream");
  }
  bool is_news = false;
  {
    MutexLock lock(&mutex_);
    context_ = nullptr;
    waiting_since_ = std::nullopt;
    is_news = !is_stopped_ && stats_.last_error.code() != reason.code();
    stats_.last_error = reason;
  }
  if (clock_.MonoNow() - begun > config_.backoff.max) {
    // It worked for a while. A stream that ends soon, as when two agents claim to be one VM, must
    // not be tried again at full speed.
    backoff_.Reset();
  }
  if (is_news) {
    LogLine(LogLevel::kWarning, "report_stream_ended").Field("reason", reason);
  }
}

void ReportClient::Converse(Stream& stream, std::stop_token stop) {
  Backoff patience(rng_.Fork("patience"), config_.backoff);
  while (true) {
    const std::vector<Report> reports = WaitForReports(stop);
    if (reports.empty()) {
      return;
    }
    StreamReportsRequest request;
    for (const Report& report : reports) {
      *request.add_reports() = ToWire(config_.vm_uuid, report);
    }
    {
      MutexLock lock(&mutex_);
      waiting_since_ = clock_.MonoNow();
      ++stats_.sent_messages;
    }
    StreamReportsResponse response;
    if (!stream.Write(request) || !stream.Read(&response)) {
      return;
    }
    if (Take(response)) {
      patience.Reset();
    } else if (!clock_.SleepUntil(clock_.MonoNow() + patience.NextDelay(), stop)) {
      return;
    }
  }
}

std::vector<Report> ReportClient::WaitForReports(std::stop_token stop) {
  MutexLock lock(&mutex_);
  while (outbox_.empty()) {
    if (!changed_.Wait(&mutex_, stop)) {
      return {};
    }
  }
  if (stop.stop_requested()) {
    return {};
  }
  return outbox_.Oldest(kMaxReportsPerMessage);
}

bool ReportClient::Take(const StreamReportsResponse& response) {
  bool is_first = false;
  bool has_progress = false;
  {
    MutexLock lock(&mutex_);
    waiting_since_ = std::nullopt;
    const size_t count = outbox_.Acknowledge(response.acknowledged_sequence());
    has_progress = count > 0;
    is_first = has_progress && (stats_.acknowledged_reports == 0 || !stats_.last_error.ok());
    stats_.acknowledged_reports += static_cast<int64_t>(count);
    stats_.last_error = absl::OkStatus();
    if (response.has_period()) {
      wanted_period_ = rpc::FromProto(response.period());
    }
  }
  if (is_first) {
    LogLine(LogLevel::kInfo, "reports_taken").Field("vm", config_.vm_uuid);
  }
  if (response.refused_count() > 0) {
    LogLine(LogLevel::kDebug, "report_refused")
        .Field("count", response.refused_count())
        .Field("reason", response.refused_reason());
  }
  return has_progress;
}

}  // namespace cloudscale::guest
