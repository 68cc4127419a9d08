#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/monitor/v1/monitor_service.pb.h"
#include "common/backoff/backoff.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/channel.h"
#include "services/scaler/observation.h"

namespace cloudscale::scaler {

// Checks and converts one batch of the monitor: INVALID_ARGUMENT when it has no header, more than
// `HostObservation::kMaxVms` VMs, or VMs out of order. Values that are no numbers, negative, or
// without their meaning become absent: the engine then does as with missing data.
[[nodiscard]] absl::StatusOr<HostObservation> FromProto(
    const cloudscale::monitor::v1::ObservationBatch& batch);

// Keeps one WatchObservations stream to the monitor of this host open, with backoff and jitter
// between tries; what was learnt stays while it is away. `on_observation` runs on the client's
// thread. Thread safety: thread-safe.
class ObservationClient {
 public:
  using Sink = std::function<void(HostObservation)>;
  ObservationClient(Clock& clock, Backoff backoff, std::string address, Sink on_observation);
  ~ObservationClient() { Stop(); }

  void Start(std::shared_ptr<grpc::Channel> channel);
  void Stop();

  [[nodiscard]] cloudscale::common::v1::LinkState link() const;
  [[nodiscard]] int64_t refused_count() const;

 private:
  void Run(std::stop_token stop);
  absl::Status ReadStream(const std::stop_token& stop);
  void Note(cloudscale::common::v1::LinkHealth health, const std::string& detail);

  Clock& clock_;
  Backoff backoff_;  // the client's thread only
  const std::string address_;
  const Sink on_observation_;
  std::shared_ptr<grpc::Channel> channel_;
  mutable Mutex mutex_;
  cloudscale::common::v1::LinkState link_ ABSL_GUARDED_BY(mutex_);
  std::optional<MonoTime> last_answer_ ABSL_GUARDED_BY(mutex_);
  int64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  std::jthread thread_;
};

}  // namespace cloudscale::scaler
