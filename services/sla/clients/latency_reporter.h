#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cloudscale/sla/v1/sla.pb.h"
#include "common/random/rng.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/channel.h"
#include "services/sla/latency_histogram.h"

namespace cloudscale::sla {

// For applications that measure their own response times: sums them up and reports them to the SLA
// service (SlaService.ReportLatencies) once a period.
//
//   LatencyReporter reporter({.application = "shop", .source_id = "shop-frontend-3"}, clock,
//                            grpc::CreateChannel(address, credentials), seed);
//   reporter.Start();
//   …
//   reporter.Record(response_time);   // from any thread, for each answered request
//   reporter.RecordError();           // for each failed one
//   …
//   reporter.Stop();                  // sends what is left, or gives it up
//
// Times go into a histogram whose quantiles are right to within 5 %; two of them add up without
// further loss. `Record` adds to a counter under a lock that nothing slow is done under: it never
// waits for the network, whether the service is there or not, and takes no memory that grows.
// While the service is away up to `buffered_reports` periods are kept, later the oldest are dropped
// and counted. A report that was sent and not answered is sent again under its own sequence, which
// the service counts once. Periods without requests are not reported.
// Thread safety: thread-safe; Start and Stop from one thread, each once.
class LatencyReporter {
 public:
  struct Config {
    // 1 to 64 characters; one that an objective names, else the service refuses the reports.
    std::string application;
    // 1 to 128 characters; who measures. Different for each process that reports.
    std::string source_id;
    // The VM that serves, when it is known which; at most 64 characters. Boosts then go to it
    // alone.
    std::string vm_uuid = {};
    absl::Duration period = absl::Seconds(1);        // 0.1 s to 5 min
    absl::Duration deadline = absl::Seconds(5);      // above 0; of one call
    absl::Duration backoff_max = absl::Seconds(10);  // between tries; 0.1 s or more
    size_t buffered_reports = 300;                   // 1 to 100000
  };
  // Since the start.
  struct Counts {
    int64_t recorded_values = 0;
    int64_t accepted_reports = 0;  // duplicates included: the service has them
    int64_t refused_reports = 0;   // by the service, for good
    int64_t dropped_reports = 0;   // for want of room, older than an hour, or left at Stop
    int64_t failed_calls = 0;
    absl::Status last_error;  // OK when the last call was answered and nothing refused
  };

  // INVALID_ARGUMENT with all faults of `config`.
  static absl::Status Check(const Config& config);

  // `config` must pass `Check`. `clock` outlives this. `seed`: of the pauses between tries.
  LatencyReporter(Config config, Clock& clock, std::shared_ptr<grpc::Channel> channel,
                  uint64_t seed);
  ~LatencyReporter() { Stop(); }
  LatencyReporter(const LatencyReporter&) = delete;
  LatencyReporter& operator=(const LatencyReporter&) = delete;

  void Start();
  // Idempotent; takes at most about twice `deadline`: of a call under way, and of the last one.
  void Stop();

  // The time that an answered request took; below zero counts as zero, above an hour as an hour.
  void Record(absl::Duration latency);
  // A request that failed; its time must not be recorded.
  void RecordError();

  [[nodiscard]] Counts counts() const;

 private:
  void Run(const std::stop_token& stop);
  // Moves what was recorded since the last time into the buffer.
  void Cut();
  // Sends from the front of the buffer; what is answered leaves it.
  absl::Status SendBuffered(const std::stop_token& stop);
  absl::Status Call(const std::deque<v1::LatencyReport>& reports, const std::stop_token& stop);
  void Drop(size_t count);

  const Config config_;
  Clock& clock_;
  const std::shared_ptr<grpc::Channel> channel_;

  mutable Mutex mutex_;
  LatencyHistogram histogram_ ABSL_GUARDED_BY(mutex_);
  double sum_seconds_ ABSL_GUARDED_BY(mutex_) = 0.0;
  int64_t errors_ ABSL_GUARDED_BY(mutex_) = 0;
  Counts counts_ ABSL_GUARDED_BY(mutex_);

  // Of the thread.
  Rng rng_;
  std::deque<v1::LatencyReport> buffer_;
  int64_t last_sequence_;
  absl::Time period_start_;
  std::jthread thread_;
};

}  // namespace cloudscale::sla
