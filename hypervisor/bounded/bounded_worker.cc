#include "hypervisor/bounded/bounded_worker.h"

#include <stop_token>
#include <utility>

#include "common/check/check.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"

namespace cloudscale::hypervisor {

struct BoundedWorker::Shared {
  Mutex mutex;
  CondVar changed;
  std::function<void()> job ABSL_GUARDED_BY(mutex);  // waits for the thread
  bool is_busy ABSL_GUARDED_BY(mutex) = false;       // from handing it in until it is done
  bool is_ended ABSL_GUARDED_BY(mutex) = false;
  bool is_given_up ABSL_GUARDED_BY(mutex) = false;
};

BoundedWorker::BoundedWorker()
    : shared_(std::make_shared<Shared>()), thread_([shared = shared_] { Work(shared); }) {}

BoundedWorker::~BoundedWorker() {
  bool is_given_up = false;
  {
    MutexLock lock(&shared_->mutex);
    shared_->is_ended = true;
    is_given_up = shared_->is_given_up;
    shared_->changed.NotifyAll();
  }
  if (is_given_up) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

bool BoundedWorker::is_stuck() const {
  MutexLock lock(&shared_->mutex);
  return shared_->is_given_up && shared_->is_busy;
}

bool BoundedWorker::Run(std::function<void()> job, absl::Duration limit) {
  const std::unique_ptr<Clock> clock = MakeRealClock();
  const MonoTime deadline = clock->MonoNow() + limit;
  MutexLock lock(&shared_->mutex);
  CS_CHECK(!shared_->is_given_up);
  shared_->job = std::move(job);
  shared_->is_busy = true;
  shared_->changed.NotifyAll();
  while (shared_->is_busy) {
    const absl::Duration left = deadline - clock->MonoNow();
    if (left <= absl::ZeroDuration()) {
      shared_->is_given_up = true;
      return false;
    }
    shared_->changed.WaitFor(&shared_->mutex, left, std::stop_token());
  }
  return true;
}

void BoundedWorker::Work(const std::shared_ptr<Shared>& shared) {
  while (true) {
    std::function<void()> job;
    {
      MutexLock lock(&shared->mutex);
      while (shared->job == nullptr) {
        if (shared->is_ended) {
          return;
        }
        shared->changed.Wait(&shared->mutex, std::stop_token());
      }
      job = std::exchange(shared->job, nullptr);
    }
    job();
    job = nullptr;  // outside the lock: what it holds may hang in its destructor
    MutexLock lock(&shared->mutex);
    shared->is_busy = false;
    shared->changed.NotifyAll();
    if (shared->is_ended) {
      return;
    }
  }
}

}  // namespace cloudscale::hypervisor
