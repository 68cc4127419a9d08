#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "hypervisor/fake/cpu_sharing.h"
#include "hypervisor/fake/fake_types.h"
#include "hypervisor/types.h"

namespace cloudscale::hypervisor::fake {

// One absolute change of what a VM may consume.
struct VmChange {
  enum class Kind { kCpuCap, kCpuWeight, kMemoryTarget, kVcpuCount };
  Kind kind = Kind::kCpuCap;
  std::optional<double> cores;    // kCpuCap
  std::optional<int64_t> number;  // all others

  [[nodiscard]] std::string ToString() const;
};

// Model of one VM; the host steps it and guards it. Thread safety: thread-compatible.
class FakeVm {
 public:
  FakeVm(FakeVmSpec spec, MonoTime now);

  // One step of the model: what it claims, then what it got.
  CpuClaim BeginStep(MonoTime begin, absl::Duration dt);
  void EndStep(double granted_cores);

  // Applies the change as the hypervisor would, through the current fault if there is one. The
  // value must have been checked.
  absl::Status Change(const VmChange& change, MonoTime now, double cap_granularity_cores);
  // OK when the change is legal for this VM.
  [[nodiscard]] absl::Status Check(const VmChange& change, const Capabilities& capabilities) const;
  void ChangeForeign(const Allocation& allocation);

  // Counters, memory and allocation begin anew under another incarnation.
  void Restart(MonoTime now);
  void SetState(VmState state) { state_ = state; }
  void set_vanished(bool vanished) { is_vanished_ = vanished; }
  // After a migration: runs on from `now` under another incarnation, keeping its sizes.
  void Arrive(MonoTime now);

  void set_actuation_fault(const ActuationFault& fault) { actuation_fault_ = fault; }
  void set_read_fault(const ReadFault& fault);

  [[nodiscard]] VmReading Read(const Capabilities& capabilities) const;
  [[nodiscard]] Allocation ReadAllocation(const Capabilities& capabilities) const;
  [[nodiscard]] const FakeVmSpec& spec() const { return spec_; }
  [[nodiscard]] const std::string& incarnation() const { return incarnation_; }
  [[nodiscard]] const ReadFault& read_fault() const { return read_fault_; }
  [[nodiscard]] VmState state() const { return state_; }
  [[nodiscard]] bool is_vanished() const { return is_vanished_; }
  [[nodiscard]] const Allocation& true_allocation() const { return allocation_; }
  [[nodiscard]] const GroundTruth& truth() const { return truth_; }
  [[nodiscard]] int64_t memory_current_bytes() const {
    return static_cast<int64_t>(memory_current_);
  }

 private:
  struct Counters {
    double cpu = 0;  // core seconds
    double throttled = 0;
    double wait = 0;
    double work = 0;  // core seconds, the base of the traffic counters
  };
  struct Pending {
    MonoTime due;
    VmChange change;
  };

  void Apply(const VmChange& change);
  [[nodiscard]] VmChange Half(const VmChange& change, double fraction) const;
  [[nodiscard]] double MemoryNeedAt(absl::Duration since_start) const;
  void StepMemory(absl::Duration dt);
  void BeginIncarnation();
  [[nodiscard]] bool consumes() const {
    return !is_vanished_ && (state_ == VmState::kRunning || state_ == VmState::kMigrating);
  }

  FakeVmSpec spec_;
  MonoTime work_start_;  // time zero of the demand
  int64_t incarnation_number_ = 0;
  std::string incarnation_;
  VmState state_ = VmState::kRunning;
  MonoTime runs_from_;  // while booting or arriving
  bool is_vanished_ = false;

  Allocation allocation_;
  std::optional<Allocation> claimed_allocation_;  // what a lying read-back tells
  int64_t vcpu_count_;
  std::vector<Pending> pending_;  // bounded: one per kind

  Counters counters_;
  double memory_current_;
  double memory_need_ = 0;
  double pressure_ = 0;
  GroundTruth truth_;

  // Between BeginStep and EndStep.
  absl::Duration dt_;
  double demand_ = 0;  // new work, cores
  double want_ = 0;    // with backlog, within the vCPUs
  double limit_ = 0;   // within the cap too

  ActuationFault actuation_fault_;
  ReadFault read_fault_;
  Counters stuck_;
};

}  // namespace cloudscale::hypervisor::fake
