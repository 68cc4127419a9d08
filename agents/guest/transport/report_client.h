#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agents/guest/outbox.h"
#include "agents/guest/report.h"
#include "agents/guest/transport/report_transport.h"
#include "common/backoff/backoff.h"
#include "common/random/rng.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"

namespace cloudscale::guest {

// Delivers reports to the monitor over one stream at a time, at least once and in order, whatever
// the transport.
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
    std::string vm_uuid;          // for the log
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
  ReportClient(Clock& clock, Rng rng, std::unique_ptr<ReportTransport> transport, Config config);
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
  // While there is nothing to send, the connection is looked after this often: well within what
  // gRPC servers wait for the answer to a ping.
  static constexpr absl::Duration kTendPeriod = absl::Seconds(5);

  void Run(std::stop_token stop);
  // Until the stream breaks, which the result tells why, or `stop`.
  absl::Status Converse(std::stop_token stop);
  // Empty when stopped.
  absl::StatusOr<std::vector<Report>> WaitForReports(std::stop_token stop);
  // Takes an answer; returns whether anything was acknowledged.
  bool Take(const ReportAnswer& answer);
  void EndStream(const absl::Status& reason, MonoTime begun);

  Clock& clock_;
  const Config config_;
  const Rng rng_;
  Backoff backoff_;  // touched by the sending thread only
  const std::unique_ptr<ReportTransport> transport_;
  mutable Mutex mutex_;
  CondVar changed_;
  Outbox outbox_ ABSL_GUARDED_BY(mutex_);
  Stats stats_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Duration> wanted_period_ ABSL_GUARDED_BY(mutex_);
  bool is_open_ ABSL_GUARDED_BY(mutex_) = false;                   // the transport has a stream
  std::optional<MonoTime> waiting_since_ ABSL_GUARDED_BY(mutex_);  // for an answer
  bool is_stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace cloudscale::guest
