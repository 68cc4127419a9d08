#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/scaler/decision.h"
#include "services/scaler/observation.h"
#include "services/scaler/policy_set.h"
#include "services/scaler/rate_limiter.h"
#include "services/scaler/scaler_config.h"
#include "services/scaler/series_state.h"

namespace cloudscale::scaler {

// How an action ended, told back to the engine.
struct ActionFeedback {
  enum class Result { kDone, kFailed, kForeign };
  std::string vm_uuid;
  Resource resource = Resource::kCpu;
  Result result = Result::kDone;
  std::optional<double> before;
  std::optional<double> value;  // what holds now
  MonoTime at;
};

// The decision loop of one host:
//   allocation = forecast quantile + padding, corrected upwards within one sample when usage comes
//   near it, and limited by trust in the data, policy, host capacity and speed (see `Decide`).
//
// `Step` takes every sample. Once per `step` (by the samples' own monotonic time) every VM gets a
// decision; between, only under-estimates do. Stability: dead band and quiet steps against noise,
// a longer cool-down for shrinking than for growing, shrinks never below recent peaks, shrinks on
// probation, sliding-window rate limits. Without a predictor it reacts to recent peaks. It does no
// I/O and reads no clock; the same calls give the same results. It is a value: copies are
// independent. State is bounded by `HostObservation::kMaxVms` VMs.
// Thread safety: thread-compatible; confined to the engine thread in the service.
class PlanningEngine {
 public:
  explicit PlanningEngine(ScalerConfig config);

  // Policies of the next steps. Not null.
  void SetPolicies(std::shared_ptr<const PolicySet> policies);

  // Room promised to incoming VMs; never given to others.
  void SetReserved(double cpu_cores, double memory_bytes);

  // `observation` not null, VMs sorted by uuid. A repeated or older sequence of the same boot is
  // ignored (empty result); a new boot id forgets everything and warms up again.
  StepResult Step(StepTime now, std::shared_ptr<const HostObservation> observation);

  void OnActionEnded(const ActionFeedback& feedback);
  void RestoreLastSet(const std::string& vm_uuid, Resource resource, std::optional<double> value);
  void RestoreActionAges(const std::vector<std::pair<std::string, absl::Duration>>& ages,
                         MonoTime now) {
    limiter_.Restore(ages, now);
  }

  // False when the VM is not known.
  bool SetBoost(const std::string& vm_uuid, Resource resource, BoostState boost);

  struct VmEntry {
    std::array<SeriesState, 2> series;  // by `Index(Resource)`
    std::shared_ptr<const EffectivePolicy> policy;
    MonoTime last_seen;
    std::array<std::optional<MonoTime>, 2> target_asked_at;
    [[nodiscard]] const SeriesState& of(Resource r) const { return series[Index(r)]; }
  };
  [[nodiscard]] const std::map<std::string, VmEntry>& vms() const { return vms_; }

  struct Counters {
    int64_t decisions = 0;
    int64_t retrains = 0;
    int64_t ignored_samples = 0;  // repeated or out of order
    int64_t lost_samples = 0;     // gaps in the sequence
    int64_t foreign_changes = 0;
    int64_t refused_vms = 0;  // above the bound
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] const ScalerConfig& config() const { return *config_; }

  // True once every managed VM of the last sample has its fresh samples.
  [[nodiscard]] bool is_warm() const { return is_warm_; }

 private:
  // One series within one step.
  struct Work {
    DecisionInputs inputs;
    Decision decision;
  };

  bool Accept(StepTime now, const HostObservation& o);
  VmEntry* EntryOf(const VmObservation& vm, StepTime now);
  void ForgetVanished(MonoTime now);
  void CompareTarget(const VmObservation& vm, Resource resource, MonoTime now, VmEntry& entry,
                     StepResult& result) const;
  int64_t FreshStreakNeeded(const Bounds& bounds) const;
  void DecideAll(StepTime now, std::vector<Work>& work);
  void ShareHost(Resource resource, const HostObservation& o, std::vector<Work>& work);
  void LimitCorrections(Resource resource, const HostObservation& o, std::vector<Work>& work);
  void LimitRates(StepTime now, std::vector<Work>& work);
  void Finish(std::vector<Work>& work, StepResult& result);
  double Capacity(Resource resource, const HostObservation& o) const;

  std::shared_ptr<const ScalerConfig> config_;
  std::shared_ptr<const PolicySet> policies_;
  RateLimiter limiter_;
  std::map<std::string, VmEntry> vms_;
  std::map<std::pair<std::string, size_t>, std::optional<double>> restored_;  // before first sight
  std::array<double, 2> reserved_{};
  std::string boot_id_;
  int64_t last_sequence_ = 0;
  absl::Duration last_time_;
  absl::Duration sample_period_ = absl::Seconds(1);
  std::optional<absl::Duration> last_step_;       // monotonic time of the samples
  std::optional<absl::Duration> least_delivery_;  // smallest (arrival - sample) seen, any offset
  bool is_late_ = false;
  bool has_gap_ = false;
  absl::Duration elapsed_;
  bool is_warm_ = false;
  Counters counters_;
};

}  // namespace cloudscale::scaler
