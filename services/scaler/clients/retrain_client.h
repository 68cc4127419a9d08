#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "cloudscale/common/v1/types.pb.h"
#include "common/random/rng.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "grpcpp/channel.h"
#include "services/scaler/decision.h"

namespace cloudscale::scaler {

// Passes retrain requests on to the predictor: best effort, in order, each with a deadline, at most
// `kMaxWaiting` waiting (the oldest give way). A request that fails is counted and forgotten; the
// next under-estimates ask again. Thread safety: thread-safe.
class RetrainClient {
 public:
  static constexpr size_t kMaxWaiting = 256;

  RetrainClient(Rng rng, std::string address, absl::Duration deadline)
      : rng_(rng), address_(std::move(address)), deadline_(deadline) {}
  ~RetrainClient() { Stop(); }

  void Start(std::shared_ptr<grpc::Channel> channel);
  void Stop();
  void Ask(const RetrainRequest& request);

  [[nodiscard]] cloudscale::common::v1::LinkState link() const;
  [[nodiscard]] int64_t sent_count() const { return sent_; }
  [[nodiscard]] int64_t failed_count() const { return failed_; }

 private:
  void Run(std::stop_token stop);

  Rng rng_;  // the client's thread only
  const std::string address_;
  const absl::Duration deadline_;
  std::shared_ptr<grpc::Channel> channel_;
  BoundedQueue<RetrainRequest> queue_{kMaxWaiting};
  std::atomic<int64_t> sent_ = 0;
  std::atomic<int64_t> failed_ = 0;
  mutable Mutex mutex_;
  std::string error_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace cloudscale::scaler
