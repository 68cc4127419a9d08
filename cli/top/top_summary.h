#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/render/text.h"
#include "cli/top/live_sample.h"

namespace cloudscale::cli {

// What happened to one VM, or to all, while `top` looked. Cores throughout. Counts and
// core-seconds are what was added between the first and the last look; a counter that fell,
// because the scaler started again, counts from zero.
struct SummaryPart {
  std::string vm_uuid;  // empty in the totals
  std::string name;
  int64_t sample_count = 0;
  double mean_demand_cores = 0.0;
  double mean_cap_cores = 0.0;  // over the samples with a cap
  int64_t capped_sample_count = 0;
  double static_peak_cores = 0.0;
  double saved_core_seconds = 0.0;
  std::optional<double> saved_ratio;  // of static peak; absent without a step
  int64_t violation_count = 0;
  std::optional<double> violation_ratio;  // violations over steps judged; absent without a step
  int64_t under_estimate_count = 0;
  std::optional<double> under_estimate_ratio;  // over steps judged; absent without a step
  int64_t step_count = 0;
};

struct ActionCounts {
  int64_t count = 0;
  int64_t failed_count = 0;  // failed or infeasible
};

struct TopSummary {
  std::string host_id;
  absl::Duration real_duration;    // for how long `top` looked
  absl::Duration scaler_duration;  // how far the scaler's own clock got; longer in fast replays
  int64_t failed_look_count = 0;   // looks that got no answer
  SummaryPart totals;
  double capacity_cores = 0.0;
  double granted_core_seconds = 0.0;
  std::vector<SummaryPart> vms;                 // in order of UUID
  std::map<std::string, ActionCounts> actions;  // by kind, for example SET_CPU_CAP
  bool are_actions_complete = true;             // false: more than were read
};

// Adds up what `top` sees. Bounded: `kMaxVms` VMs, later ones only show in the totals.
// Thread safety: thread-compatible.
class SummaryBuilder {
 public:
  static constexpr size_t kMaxVms = 4096;

  // Looks at the same sequence again are not counted twice.
  void Add(const LiveSample& sample);
  void CountFailedLook() { ++failed_looks_; }

  [[nodiscard]] bool empty() const { return !has_sample_; }
  // Time of the first step seen; nullopt before.
  [[nodiscard]] std::optional<absl::Time> first_step_time() const { return first_step_time_; }

  // Actions are the caller's to fill in.
  [[nodiscard]] TopSummary Build(absl::Duration real_duration) const;

 private:
  // Sums of a counter that may start again.
  template <typename T>
  struct Counter {
    T last{};
    T added{};
    bool is_seen = false;
    void See(T value, bool is_restarted);
  };
  struct Part {
    std::string name;
    int64_t samples = 0;
    int64_t capped_samples = 0;
    double demand_sum = 0.0;
    double cap_sum = 0.0;
    double static_peak = 0.0;
    Counter<double> granted;
    Counter<int64_t> violations;
    Counter<int64_t> under_estimates;
    Counter<int64_t> steps;
    void See(const LiveVm& vm);
    void See(const LiveTotals& totals);
    void StartAtZero();
  };
  static SummaryPart ToSummary(const std::string& uuid, const Part& part);

  bool has_sample_ = false;
  int64_t last_sequence_ = 0;
  int64_t failed_looks_ = 0;
  std::string host_id_;
  double capacity_cores_ = 0.0;
  std::optional<absl::Time> first_step_time_;
  std::optional<absl::Time> last_step_time_;
  Part totals_;
  std::map<std::string, Part> vms_;
};

// For people.
[[nodiscard]] std::string RenderSummary(const TopSummary& summary, int width, const Style& style);

// One JSON object; the keys are documented in cli/README.md and only ever added to.
[[nodiscard]] std::string SummaryToJson(const TopSummary& summary);

}  // namespace cloudscale::cli
