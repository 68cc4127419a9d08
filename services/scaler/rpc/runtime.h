#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "cloudscale/scaler/v1/scaler_service.pb.h"
#include "common/rpc/serving/watch_hub.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "services/scaler/rpc/scaler_core.h"

namespace cloudscale::scaler {

// The engine thread and the ways to it: a mailbox of commands, a short queue of samples, and what
// the thread leaves for readers (snapshot, streams). Commands are refused when the mailbox is full,
// never dropped; samples give way to newer ones, which the engine sees as a gap in the sequence.
// Thread safety: thread-safe after Start, except Start and Stop.
class Runtime {
 public:
  // On the engine thread; with null when the runtime stops before its turn.
  using Command = std::function<void(ScalerCore*)>;

  static constexpr size_t kMaxCommands = 1024;
  static constexpr size_t kMaxObservations = 16;

  struct Hubs {
    template <typename Response>
    using Hub = std::shared_ptr<rpc::WatchHub<Response>>;
    Hub<v1::WatchStatusResponse> status =
        rpc::WatchHub<v1::WatchStatusResponse>::Create({.kept = 4, .queue_length = 16});
    Hub<v1::WatchDecisionsResponse> decisions =
        rpc::WatchHub<v1::WatchDecisionsResponse>::Create({.kept = 1024, .queue_length = 1024});
    Hub<v1::WatchActionsResponse> actions =
        rpc::WatchHub<v1::WatchActionsResponse>::Create({.kept = 1024, .queue_length = 256});
    Hub<v1::WatchMigrationsResponse> migrations =
        rpc::WatchHub<v1::WatchMigrationsResponse>::Create({.kept = 16, .queue_length = 16});
  };

  explicit Runtime(Clock& clock) : clock_(clock) {}
  ~Runtime() { Stop(); }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Sinks that end in this runtime; the caller adds its own before making the core.
  [[nodiscard]] ScalerCore::Sinks MakeSinks();

  void Start(std::unique_ptr<ScalerCore> core);
  // Ends streams, answers waiting commands with null, joins. Idempotent.
  void Stop();

  // False when the mailbox is full or the runtime has stopped.
  [[nodiscard]] bool Post(Command command);
  void OnObservation(HostObservation observation);

  [[nodiscard]] std::shared_ptr<const Snapshot> snapshot() const;
  [[nodiscard]] Hubs& hubs() { return hubs_; }
  [[nodiscard]] Clock& clock() { return clock_; }
  // Time of the newest sample; nullopt before the first.
  [[nodiscard]] std::optional<MonoTime> last_observation() const;

 private:
  void Run(std::stop_token stop);
  // Real time until there is something to do without being called.
  [[nodiscard]] absl::Duration Patience() const;
  void Wake();

  Clock& clock_;
  Hubs hubs_;
  BoundedQueue<HostObservation> observations_{kMaxObservations};
  // An empty command only wakes the thread.
  BoundedQueue<Command> commands_{kMaxCommands};
  std::atomic<bool> is_wake_posted_ = false;
  mutable Mutex mutex_;
  std::shared_ptr<const Snapshot> snapshot_ ABSL_GUARDED_BY(mutex_);
  std::optional<MonoTime> last_observation_ ABSL_GUARDED_BY(mutex_);
  bool is_stopped_ ABSL_GUARDED_BY(mutex_) = true;
  std::unique_ptr<ScalerCore> core_;  // touched by the engine thread only while it runs
  std::jthread thread_;
};

}  // namespace cloudscale::scaler
