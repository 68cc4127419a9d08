#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/time/clock.h"
#include "services/scaler/decision.h"

namespace cloudscale::scaler {

// Puts the actions of a step in order with the load balancer: growth first and its weights after
// it, but load leaves a VM before its capacity does. A CPU shrink of a VM whose load follows
// capacity is held, announced, and released when the announcement is answered or has waited long
// enough; everything else passes at once, so that a balancer that is gone blocks no growth and
// delays a shrink by `wait` at most.
//
// A held shrink holds only while it is still wanted: the next full step must want it again (it is
// then held no longer than from the first time on, with the larger target of the two, which was
// announced at least), and any other action on its VM withdraws it.
//
// It does no I/O and reads no clock; the same calls give the same results. It holds at most one
// shrink a VM. Thread safety: thread-compatible.
class ShrinkGate {
 public:
  // `wait` >= 0; 0 holds nothing.
  explicit ShrinkGate(absl::Duration wait) : wait_(wait) {}

  // VMs whose load follows capacity, known until `until`.
  void SetFollowed(std::set<std::string> vm_uuids, MonoTime until);

  struct Admission {
    std::vector<PlannedAction> pass;  // in the order of the step
    std::vector<PlannedAction> held;
  };
  // Of the actions of one step, in their order.
  Admission Admit(std::vector<PlannedAction> actions, bool is_full_step, MonoTime now);

  // What the report that goes out now announces, by VM.
  [[nodiscard]] const std::map<std::string, double>& announced() const { return announced_; }
  // `number` of that report; numbers grow.
  void OnReported(int64_t number);
  void OnAnswered(int64_t number);

  // Shrinks that were answered or waited long enough; they are held no more.
  std::vector<PlannedAction> TakeDue(MonoTime now);
  // When the next one has waited long enough; absent when none is held.
  [[nodiscard]] std::optional<MonoTime> next_deadline() const;

  // Gives the VM's shrink up, if there is one: something else happens to it.
  void Withdraw(const std::string& vm_uuid);
  void WithdrawAll();

  struct Counters {
    int64_t answered = 0;
    int64_t timed_out = 0;
    int64_t withdrawn = 0;
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] size_t held_count() const { return held_.size(); }

 private:
  struct Held {
    PlannedAction action;
    MonoTime deadline;
    std::optional<int64_t> reported_as;
    bool is_answered = false;
  };
  [[nodiscard]] bool IsFollowed(const std::string& vm_uuid, MonoTime now) const;
  void Hold(PlannedAction action, MonoTime now);
  void Drop(const std::string& vm_uuid);

  const absl::Duration wait_;
  std::set<std::string> followed_;
  MonoTime followed_until_;
  std::map<std::string, Held> held_;
  std::map<std::string, double> announced_;  // of `held_`
  Counters counters_;
};

}  // namespace cloudscale::scaler
