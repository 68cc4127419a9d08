#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/random/rng.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "grpcpp/channel.h"
#include "services/scaler/decision.h"

namespace cloudscale::scaler {

// Asks the predictor for retrains and tells it what forecasts should aim at: best effort, in order,
// each with a deadline, at most `kMaxWaiting` requests waiting (the oldest give way). A request
// that fails is counted and forgotten; it is asked again while there is reason to. Thread safety:
// thread-safe.
class PredictorClient {
 public:
  static constexpr size_t kMaxWaiting = 256;

  PredictorClient(Rng rng, std::string address, absl::Duration deadline)
      : rng_(rng), address_(std::move(address)), deadline_(deadline) {}
  ~PredictorClient() { Stop(); }

  void Start(std::shared_ptr<grpc::Channel> channel);
  void Stop();
  void Ask(const RetrainRequest& request);
  void Aim(std::vector<TargetRequest> targets);

  [[nodiscard]] cloudscale::common::v1::LinkState link() const;
  [[nodiscard]] int64_t sent_count() const { return sent_; }
  [[nodiscard]] int64_t failed_count() const { return failed_; }

 private:
  using Request = std::variant<RetrainRequest, std::vector<TargetRequest>>;
  using Stub = cloudscale::predictor::v1::PredictorService::Stub;

  void Run(std::stop_token stop);
  grpc::Status Send(Stub& stub, grpc::ClientContext& context, const RetrainRequest& request);
  grpc::Status Send(Stub& stub, grpc::ClientContext& context,
                    const std::vector<TargetRequest>& targets);

  Rng rng_;  // the client's thread only
  const std::string address_;
  const absl::Duration deadline_;
  std::shared_ptr<grpc::Channel> channel_;
  BoundedQueue<Request> queue_{kMaxWaiting};
  std::atomic<int64_t> sent_ = 0;
  std::atomic<int64_t> failed_ = 0;
  mutable Mutex mutex_;
  std::string error_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace cloudscale::scaler
