#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "cloudscale/common/v1/types.pb.h"
#include "common/random/rng.h"
#include "common/rpc/component.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "grpcpp/client_context.h"
#include "services/sla/sla_engine.h"

namespace cloudscale::sla {

// Sends boosts to the scalers, retrains and raised prices to the predictor, best effort: a bounded
// queue whose oldest entry makes room, each entry tried with growing pauses until it is too old to
// help, every call with a deadline. A scaler that does not know the VM answers that nothing was
// granted, so a boost goes to all of them. Counted: cloudscale_sla_corrections_total{kind,outcome}.
// Thread safety: thread-safe; Start and Stop from one thread.
class CorrectionSender {
 public:
  struct Config {
    std::vector<std::string> scaler_addresses;  // empty: no boosts
    std::string predictor_address;              // empty: no retrains, no prices
    absl::Duration deadline = absl::Seconds(5);
    absl::Duration backoff_min = absl::Milliseconds(200);
    absl::Duration backoff_max = absl::Seconds(10);
    absl::Duration give_up_after = absl::Minutes(1);  // of real time
    size_t queue_length = 256;
  };

  // `environment` outlives this.
  CorrectionSender(Config config, const rpc::Environment& environment);
  ~CorrectionSender();

  void Start();
  // Cancels the call under way and ends; what is queued is dropped. Idempotent.
  void Stop();

  // What is not configured is dropped and counted as `off`.
  void Send(const StepResult& step);

  // Scalers first, then the predictor.
  [[nodiscard]] std::vector<common::v1::LinkState> links() const;

 private:
  struct Boosts {
    std::string address;
    std::vector<BoostDecision> boosts;
  };
  struct Retrains {
    std::vector<RetrainDecision> retrains;
  };
  struct Prices {
    std::vector<PriceDecision> prices;
  };
  using Task = std::variant<Boosts, Retrains, Prices>;
  struct Link {
    common::v1::LinkState state;
    absl::Time last_answer = absl::InfinitePast();
  };

  void Run(std::stop_token stop);
  void Deliver(const Task& task, std::stop_token stop);
  // One call, made in `context`.
  grpc::Status Request(const Boosts& boosts, const std::string& request_id,
                       grpc::ClientContext& context);
  grpc::Status Request(const Retrains& retrains, const std::string& request_id,
                       grpc::ClientContext& context);
  grpc::Status Request(const Prices& prices, const std::string& request_id,
                       grpc::ClientContext& context);
  absl::Status Call(const Task& task, const std::string& request_id, std::stop_token stop);
  void Enqueue(Task task, const char* kind);
  void Count(const char* kind, const char* outcome, size_t count);
  void NoteAnswer(const std::string& key, const absl::Status& status);
  [[nodiscard]] std::string NewRequestId();

  const Config config_;
  const rpc::Environment& environment_;
  BoundedQueue<Task> queue_;
  mutable Mutex mutex_;
  std::map<std::string, Link> links_ ABSL_GUARDED_BY(mutex_);
  grpc::ClientContext* running_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Rng rng_;  // of the thread
  std::jthread thread_;
};

}  // namespace cloudscale::sla
