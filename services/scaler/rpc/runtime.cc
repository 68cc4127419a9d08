#include "services/scaler/rpc/runtime.h"

#include <algorithm>
#include <utility>

namespace cloudscale::scaler {
namespace {

// Real time between two looks at the heartbeats.
constexpr absl::Duration kBeat = absl::Milliseconds(500);
// Commands between two samples, so that neither waits for the other's end.
constexpr int kCommandsPerRound = 16;

}  // namespace

ScalerCore::Sinks Runtime::MakeSinks() {
  ScalerCore::Sinks sinks;
  sinks.decision = [this](const v1::Decision& decision) {
    v1::WatchDecisionsResponse message;
    *message.mutable_decision() = decision;
    hubs_.decisions->Publish(std::move(message), clock_.MonoNow());
  };
  sinks.action = [this](const v1::Action& action) {
    v1::WatchActionsResponse message;
    *message.mutable_action() = action;
    hubs_.actions->Publish(std::move(message), clock_.MonoNow());
  };
  sinks.snapshot = [this](std::shared_ptr<const Snapshot> snapshot) {
    hubs_.status->Publish(snapshot->view, clock_.MonoNow());
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
  hubs_.status->Close();
  hubs_.decisions->Close();
  hubs_.actions->Close();
  hubs_.migrations->Close();
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
  Wake();
}

// At most one wake-up call waits, else samples would fill the mailbox. A full mailbox is awake.
void Runtime::Wake() {
  if (!is_wake_posted_.exchange(true) && !Post(Command())) {
    is_wake_posted_ = false;
  }
}

std::shared_ptr<const Snapshot> Runtime::snapshot() const {
  MutexLock lock(&mutex_);
  return snapshot_;
}

std::optional<MonoTime> Runtime::last_observation() const {
  MutexLock lock(&mutex_);
  return last_observation_;
}

absl::Duration Runtime::Patience() const {
  const std::optional<MonoTime> due = core_->next_tick();
  if (!due) {
    return kBeat;
  }
  return std::clamp((*due - clock_.MonoNow()) / clock_.speed(), absl::ZeroDuration(), kBeat);
}

void Runtime::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::optional<Command> command = commands_.PopFor(Patience(), stop);
    // One sample a round, however many wait: P17 holds for commands under any load.
    for (int i = 1; command; ++i) {
      if (*command) {
        (*command)(core_.get());
      } else {
        is_wake_posted_ = false;
      }
      const bool is_over = i == kCommandsPerRound || stop.stop_requested();
      command = is_over ? std::nullopt : commands_.TryPop();
    }
    if (std::optional<HostObservation> observation = observations_.TryPop()) {
      core_->OnObservation(*std::move(observation));
    }
    if (observations_.size() > 0) {
      Wake();
    }
    const MonoTime now = clock_.MonoNow();
    if (const auto due = core_->next_tick(); due && now >= *due) {
      core_->Tick();
    }
    hubs_.status->Beat(now);
    hubs_.decisions->Beat(now);
    hubs_.actions->Beat(now);
    hubs_.migrations->Beat(now);
  }
}

}  // namespace cloudscale::scaler
