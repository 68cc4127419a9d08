#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status/violations.h"
#include "services/scaler/observation.h"

// Policies: what the scaler may do with a VM. Three layers (VM, host, default) lie over each other;
// an absent value shows the layer below.
namespace cloudscale::scaler {

// In rising order of trust, so that the lower of two is `std::min`.
enum class Mode { kObserve = 1, kRecommend = 2, kCanary = 3, kAuto = 4 };
[[nodiscard]] absl::string_view ModeName(Mode mode);

// Order of service when the host is short: `kGuaranteed` first, `kBestEffort` last.
enum class ServiceClass { kGuaranteed = 1, kStandard = 2, kBestEffort = 3 };

// Limits of one resource as written in one layer. Ranges are checked by `Validate`.
struct BoundsOverlay {
  std::optional<double> min;                     // > 0; the allocation never goes below
  std::optional<double> max;                     // >= min; never above
  std::optional<double> step_up_ratio;           // > 0; largest growth per step
  std::optional<double> step_down_ratio;         // (0, 1]; largest shrink per step
  std::optional<double> dead_band_ratio;         // [0, 1]; smaller changes are not made
  std::optional<absl::Duration> cool_down_up;    // >= 0; under-estimates ignore it
  std::optional<absl::Duration> cool_down_down;  // >= 0
  std::optional<int64_t> quiet_steps;            // 0..100 steps that must want a shrink
  std::optional<double> guaranteed;              // >= 0; kept also in a conflict
  std::optional<bool> is_managed;
  friend bool operator==(const BoundsOverlay&, const BoundsOverlay&) = default;
};

struct PauseOverlay {
  std::optional<bool> grow;
  std::optional<bool> shrink;
  std::optional<bool> migrate;
  std::optional<absl::Time> until;  // absent = until taken back
  std::optional<std::string> reason;
  friend bool operator==(const PauseOverlay&, const PauseOverlay&) = default;
};

struct Placement {
  std::vector<std::string> pinned_host_ids;
  std::vector<std::string> excluded_host_ids;
  std::string affinity_group;
  std::string anti_affinity_group;
  friend bool operator==(const Placement&, const Placement&) = default;
};

// One layer.
struct PolicyOverlay {
  BoundsOverlay cpu;
  BoundsOverlay memory;
  std::optional<double> weight;  // 0.01..100
  std::optional<ServiceClass> service_class;
  std::optional<Mode> mode;
  std::optional<double> target_violation_ratio;  // 0.0001..0.5
  PauseOverlay pause;
  std::optional<Placement> placement;
  std::map<std::string, std::string> labels;  // at most 32
  friend bool operator==(const PolicyOverlay&, const PolicyOverlay&) = default;
};

// Adds every fault of `overlay`, field paths relative to it ("cpu.max").
void Validate(const PolicyOverlay& overlay, Violations& violations);

enum class PolicyLevel { kDefault, kHost, kVm };

struct Bounds {
  double min = 0;
  std::optional<double> max;  // absent = what the VM has
  double step_up_ratio = 0;
  double step_down_ratio = 0;
  double dead_band_ratio = 0;
  absl::Duration cool_down_up;
  absl::Duration cool_down_down;
  int64_t quiet_steps = 0;
  double guaranteed = 0;
  bool is_managed = true;
  friend bool operator==(const Bounds&, const Bounds&) = default;
};

struct ValueSource {
  std::string field;
  PolicyLevel level = PolicyLevel::kDefault;
  friend bool operator==(const ValueSource&, const ValueSource&) = default;
};

// All layers merged.
struct EffectivePolicy {
  std::array<Bounds, 2> bounds;  // by `Index(Resource)`
  double weight = 1.0;
  ServiceClass service_class = ServiceClass::kStandard;
  Mode mode = Mode::kRecommend;  // already limited by the host's mode
  double target_violation_ratio = 0.02;
  // Host and VM pauses that are in force at the time of `Resolve`.
  bool pause_grow = false;
  bool pause_shrink = false;
  bool pause_migrate = false;
  std::optional<absl::Time> paused_until;
  std::string pause_reason;
  std::optional<Placement> placement;
  std::map<std::string, std::string> labels;
  std::vector<ValueSource> sources;  // in order of field

  [[nodiscard]] const Bounds& of(Resource r) const { return bounds[Index(r)]; }
  friend bool operator==(const EffectivePolicy&, const EffectivePolicy&) = default;
};

// The layers under one VM.
struct PolicyLayers {
  const PolicyOverlay* defaults = nullptr;  // from the configuration; may be null
  const PolicyOverlay* host = nullptr;      // may be null
  const PolicyOverlay* vm = nullptr;        // may be null
  Mode host_mode = Mode::kRecommend;        // upper limit, and the mode where no layer names one
};

// Merges. A pause holds when host or VM pauses the direction and its own end is after `now`; a
// `guaranteed` that no layer sets is `min`. Faults between layers (a VM's `min` above the host's
// `max`) are settled for the more special layer: the other bound follows it.
[[nodiscard]] EffectivePolicy Resolve(const PolicyLayers& layers, absl::Time now);

// Adds a fault when the merged bounds contradict each other ("cpu.min" above "cpu.max").
void ValidateMerged(const PolicyLayers& layers, Violations& violations);

}  // namespace cloudscale::scaler
