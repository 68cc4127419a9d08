#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "absl/time/time.h"

namespace cloudscale::hypervisor {

// A thread that runs one job at a time for a caller who waits a bounded time. Thread safety:
// confined to one thread.
class BoundedWorker {
 public:
  BoundedWorker();
  // Waits for the thread, unless a job was given up.
  ~BoundedWorker();
  BoundedWorker(const BoundedWorker&) = delete;
  BoundedWorker& operator=(const BoundedWorker&) = delete;

  // False: not done within `limit` of real time. The job then goes on and the worker is of no
  // further use. Only while not given up.
  [[nodiscard]] bool Run(std::function<void()> job, absl::Duration limit);
  // A job that was given up still runs.
  [[nodiscard]] bool is_stuck() const;

 private:
  struct Shared;
  static void Work(const std::shared_ptr<Shared>& shared);

  const std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace cloudscale::hypervisor
