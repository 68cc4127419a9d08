#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::fake {

// Progress of one live migration by iterative pre-copy: each round sends what was written during
// the round before, until the rest fits the accepted pause; then the VM stands still for the last
// one (Clark et al., Live Migration of Virtual Machines, NSDI 2005). Thread safety:
// thread-compatible.
class PreCopy {
 public:
  struct Options {
    double memory_bytes = 0;      // > 0
    double bytes_per_second = 0;  // > 0
    absl::Duration downtime_limit;
    int64_t max_rounds = 30;
    absl::Duration switch_over = absl::Milliseconds(20);  // fixed part of the pause
  };
  explicit PreCopy(const Options& options);

  // Goes on for `dt` while the guest writes at `dirty_bytes_per_second`.
  void Step(absl::Duration dt, double dirty_bytes_per_second);

  // False when it is too late: the VM already stands still or it is over.
  bool Cancel();
  void Fail(const std::string& error);

  [[nodiscard]] MigrationStage stage() const { return progress_.stage; }
  [[nodiscard]] bool is_over() const {
    return stage() != MigrationStage::kPreCopy && stage() != MigrationStage::kStopAndCopy;
  }
  [[nodiscard]] const MigrationProgress& progress() const { return progress_; }

 private:
  void EndRound(double dirty_bytes_per_second);

  Options options_;
  MigrationProgress progress_;
  double remaining_bytes_;
  double transferred_bytes_ = 0;
  double round_seconds_ = 0;
  int64_t rounds_ = 0;
};

}  // namespace cloudscale::hypervisor::fake
