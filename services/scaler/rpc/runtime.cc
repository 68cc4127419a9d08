#include "services/scaler/rpc/runtime.h"

#include <utility>

namespace cloudscale::scaler {
namespace {

// Real time between two looks at the heartbeats.
constexpr absl::Duration kBeat = absl::Milliseconds(500);

}  // namespace

ScalerCore::Sinks Runtime::MakeSinks() {
  ScalerCore::Sinks sinks;
  sinks.decision = [this](const v1::Decision& decision) {
    v1::WatchDecisionsResponse message;
    *message.mutable_decision() = decision;
    hubs_.decisions.Publish(std::move(message), clock_.MonoNow());
  };
  sinks.action = [this](const v1::Action& action) {
    v1::WatchActionsResponse message;
    *message.mutable_action() = action;
    hubs_.actions.Publish(std::move(message), clock_.MonoNow());
  };
  sinks.snapshot = [this](std::shared_ptr<const Snapshot> snapshot) {
    hubs_.status.Publish(snapshot->view, clock_.MonoNow());
    MutexLock lock(&mutex_);
    snapshot_ = std::move(snapshot);
  };
  return sinks;
}

void Runtime::Start(std::unique_ptr<ScalerCore> core) {
  core_ = std::move(core);
  {
    MutexLock lock(&mutex_);
    is_stopped_ = false;
  }
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

void Runtime::Stop() {
  {
    MutexLock lock(&mutex_);
    if (std::exchange(is_stopped_, true)) {
      return;
    }
  }
  thread_.request_stop();
  thread_.join();
  hubs_.status.Close();
  hubs_.decisions.Close();
  hubs_.actions.Close();
  hubs_.migrations.Close();
  while (std::optional<Command> waiting = commands_.TryPop()) {
    if (*waiting) {
      (*waiting)(nullptr);
    }
  }
}

bool Runtime::Post(Command command) {
  // Under the lock, so that none can slip in after `Stop` emptied the mailbox.
  MutexLock lock(&mutex_);
  return !is_stopped_ && commands_.TryPush(std::move(command));
}

void Runtime::OnObservation(HostObservation observation) {
  {
    MutexLock lock(&mutex_);
    last_observation_ = clock_.MonoNow();
  }
  observations_.PushDroppingOldest(std::move(observation));
  (void)Post(Command());  // a full mailbox is awake already
}

std::shared_ptr<const Snapshot> Runtime::snapshot() const {
  MutexLock lock(&mutex_);
  return snapshot_;
}

std::optional<MonoTime> Runtime::last_observation() const {
  MutexLock lock(&mutex_);
  return last_observation_;
}

void Runtime::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::optional<Command> command = commands_.PopFor(kBeat, stop);
    while (std::optional<HostObservation> observation = observations_.TryPop()) {
      core_->OnObservation(*std::move(observation));
    }
    if (command && *command) {
      (*command)(core_.get());
    }
    const MonoTime now = clock_.MonoNow();
    hubs_.status.Beat(now);
    hubs_.decisions.Beat(now);
    hubs_.actions.Beat(now);
    hubs_.migrations.Beat(now);
  }
}

}  // namespace cloudscale::scaler
