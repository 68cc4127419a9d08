#include "agents/guest/transport/report_client.h"

#include <utility>

#include "absl/status/statusor.h"
#include "common/logging/log.h"
#include "common/status/macros.h"

namespace cloudscale::guest {

ReportClient::ReportClient(Clock& clock, Rng rng, std::unique_ptr<ReportTransport> transport,
                           Config config)
    : clock_(clock),
      config_(std::move(config)),
      rng_(rng),
      backoff_(rng.Fork("backoff"), config_.backoff),
      transport_(std::move(transport)),
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
    if (is_open_) {
      transport_->Cancel();
    }
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

void ReportClient::Submit(Report report) {
  MutexLock lock(&mutex_);
  outbox_.Add(std::move(report));
  if (is_open_ && waiting_since_.has_value() &&
      clock_.MonoNow() - *waiting_since_ > config_.answer_timeout) {
    transport_->Cancel();
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
    transport_->Open();
    bool is_stopped = false;
    {
      MutexLock lock(&mutex_);
      is_stopped = is_stopped_;
      is_open_ = !is_stopped;
      stats_.streams += is_stopped ? 0 : 1;
    }
    const MonoTime begun = clock_.MonoNow();
    const absl::Status reason = is_stopped ? absl::CancelledError() : Converse(stop);
    EndStream(reason, begun);
    transport_->Close();
    if (!clock_.SleepUntil(clock_.MonoNow() + backoff_.NextDelay(), stop)) {
      return;
    }
  }
}

void ReportClient::EndStream(const absl::Status& reason, MonoTime begun) {
  bool is_news = false;
  {
    MutexLock lock(&mutex_);
    is_open_ = false;
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

absl::Status ReportClient::Converse(std::stop_token stop) {
  Backoff patience(rng_.Fork("patience"), config_.backoff);
  while (true) {
    CS_ASSIGN_OR_RETURN(const std::vector<Report> reports, WaitForReports(stop));
    if (reports.empty()) {
      return absl::CancelledError("stopped");
    }
    {
      MutexLock lock(&mutex_);
      waiting_since_ = clock_.MonoNow();
      ++stats_.sent_messages;
    }
    CS_ASSIGN_OR_RETURN(const ReportAnswer answer, transport_->Exchange(reports));
    if (Take(answer)) {
      patience.Reset();
    } else if (!clock_.SleepUntil(clock_.MonoNow() + patience.NextDelay(), stop)) {
      return absl::CancelledError("stopped");
    }
  }
}

absl::StatusOr<std::vector<Report>> ReportClient::WaitForReports(std::stop_token stop) {
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (outbox_.empty() && !changed_.WaitFor(&mutex_, kTendPeriod, stop)) {
        return std::vector<Report>();
      }
      if (stop.stop_requested()) {
        return std::vector<Report>();
      }
      if (!outbox_.empty()) {
        return outbox_.Oldest(kMaxReportsPerMessage);
      }
    }
    CS_RETURN_IF_ERROR(transport_->Tend());
  }
}

bool ReportClient::Take(const ReportAnswer& answer) {
  bool is_first = false;
  bool has_progress = false;
  {
    MutexLock lock(&mutex_);
    waiting_since_ = std::nullopt;
    const size_t count = outbox_.Acknowledge(answer.acknowledged_sequence);
    has_progress = count > 0;
    is_first = has_progress && (stats_.acknowledged_reports == 0 || !stats_.last_error.ok());
    stats_.acknowledged_reports += static_cast<int64_t>(count);
    stats_.last_error = absl::OkStatus();
    if (answer.period.has_value()) {
      wanted_period_ = answer.period;
    }
  }
  if (is_first) {
    LogLine(LogLevel::kInfo, "reports_taken").Field("vm", config_.vm_uuid);
  }
  if (answer.refused_count > 0) {
    LogLine(LogLevel::kDebug, "report_refused")
        .Field("count", answer.refused_count)
        .Field("reason", answer.refused_reason);
  }
  return has_progress;
}

}  // namespace cloudscale::guest
