#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agents/guest/outbox.h"
#include "agents/guest/report.h"
#include "cloudscale/guest/v1/guest_report_service.grpc.pb.h"
#include "common/backoff/backoff.h"
#include "common/random/rng.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace cloudscale::guest {

// Delivers reports to the monitor over one stream, at least once and in order.
//
// One message is under way at a time: the oldest reports that are not acknowledged, at most 60; the
// next follows the answer. What is not acknowledged is sent again: on the next stream when one
// breaks, after a wait when the monitor takes the message but does not acknowledge (it does not
// know the VM yet). A stream whose answer takes too long is given up. Waits between attempts grow
// with jitter (`Backoff`) and start over once a stream has lasted. While the monitor is away the
// newest reports are kept, up to the bound of the buffer.
//
// Thread safety: thread-safe, except that Start and Stop belong to one thread.
class ReportClient {
 public:
  struct Config {
    std::string vm_uuid;
    int64_t buffer_reports = 60;  // 1..3600
    Backoff::Config backoff;
    absl::Duration answer_timeout = absl::Seconds(10);  // checked whenever a report is handed in
  };
  struct Stats {
    int64_t sent_messages = 0;
    int64_t acknowledged_reports = 0;
    int64_t dropped_reports = 0;  // the buffer was full
    int64_t waiting_reports = 0;
    int64_t streams = 0;      // begun so far
    absl::Status last_error;  // why the last stream ended; OK while one works
  };

  // `clock` (real time) is not owned.
  ReportClient(Clock& clock, Rng rng, std::shared_ptr<grpc::Channel> channel, Config config);
  ~ReportClient();

  void Start();
  // Ends the stream; reports that wait are lost. Idempotent.
  void Stop();

  // Never blocks for the network.
  void Submit(Report report);

  // The period that the monitor asked for last; nullopt when it asked for none. Untrusted.
  [[nodiscard]] std::optional<absl::Duration> wanted_period() const;
  [[nodiscard]] Stats stats() const;

 private:
  static constexpr size_t kMaxReportsPerMessage = 60;

  using Stream =
      grpc::ClientReaderWriter<guest::v1::StreamReportsRequest, guest::v1::StreamReportsResponse>;

  void Run(std::stop_token stop);
  // Until the stream breaks or `stop`.
  void Converse(Stream& stream, std::stop_token stop);
  [[nodiscard]] std::vector<Report> WaitForReports(std::stop_token stop);
  // Takes an answer; returns whether anything was acknowledged.
  bool Take(const guest::v1::StreamReportsResponse& response);
  void EndStream(const grpc::Status& status, MonoTime begun);

  Clock& clock_;
  const Config config_;
  const Rng rng_;
  Backoff backoff_;  // touched by the sending thread only
  const std::unique_ptr<guest::v1::GuestReportService::Stub> stub_;
  mutable Mutex mutex_;
  CondVar changed_;
  Outbox outbox_ ABSL_GUARDED_BY(mutex_);
  Stats stats_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Duration> wanted_period_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;  // of the stream that is open
  std::optional<MonoTime> waiting_since_ ABSL_GUARDED_BY(mutex_);   // for an answer
  bool is_stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace cloudscale::guest
