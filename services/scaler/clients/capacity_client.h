#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "cloudscale/common/v1/types.pb.h"
#include "common/backoff/backoff.h"
#include "common/metrics/metric_sink.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/channel.h"
#include "services/scaler/capacity_report.h"

namespace cloudscale::scaler {

// Tells lbctl what the VMs of this host may use. Each report is whole, so only the newest matters:
// while lbctl is slow or away, older ones give way, and tries come with growing pauses. Never
// blocks who reports. Thread safety: thread-safe; `on_answer` runs on the client's thread.
class CapacityClient {
 public:
  static constexpr size_t kMaxWaiting = 16;

  struct Options {
    std::string host_id;
    std::string address;  // empty: off
    absl::Duration deadline = absl::Seconds(5);
    absl::Duration time_to_live = absl::Seconds(30);  // of a report
  };
  // The report's number, and the VMs whose load follows capacity.
  using OnAnswer = std::function<void(int64_t number, std::set<std::string> followed)>;

  // All outlive the client.
  CapacityClient(Clock& clock, MetricSink& metrics, Backoff backoff, Options options,
                 OnAnswer on_answer);
  ~CapacityClient() { Stop(); }

  void Start(std::shared_ptr<grpc::Channel> channel);
  void Stop();
  void Report(CapacityReport report);

  [[nodiscard]] cloudscale::common::v1::LinkState link() const;

 private:
  void Run(std::stop_token stop);
  // True when it was answered.
  bool Send(const CapacityReport& report, const std::stop_token& stop);

  Clock& clock_;
  MetricSink& metrics_;
  Backoff backoff_;  // the client's thread only
  const Options options_;
  const OnAnswer on_answer_;
  std::shared_ptr<grpc::Channel> channel_;
  BoundedQueue<CapacityReport> queue_{kMaxWaiting};
  mutable Mutex mutex_;
  std::string error_ ABSL_GUARDED_BY(mutex_) = "no report was answered yet";
  std::jthread thread_;
};

}  // namespace cloudscale::scaler
