#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/time/clock.h"

// What the scaler sees of its host. Values of one resource are `double` in the resource's unit:
// cores for CPU, bytes for memory (exact up to 2^53).
namespace cloudscale::scaler {

enum class Resource { kCpu = 0, kMemory = 1 };
inline constexpr Resource kResources[] = {Resource::kCpu, Resource::kMemory};
[[nodiscard]] constexpr size_t Index(Resource r) { return static_cast<size_t>(r); }
[[nodiscard]] absl::string_view ResourceName(Resource resource);

// How far the values of a sample can be trusted; only `kFresh` may take part in a shrink.
enum class SampleQuality {
  kUnknown,
  kFresh,
  kLate,
  kMissing,
  kStale,
  kRepeated,
  kStuck,
  kImpossible,
  kReset,
  kSkewed,
  kWarming,
};
[[nodiscard]] absl::string_view QualityName(SampleQuality quality);

enum class PaddingKind { kBurst, kRemedial, kMargin, kSlo, kMemoryFloor };

struct PaddingPart {
  PaddingKind kind = PaddingKind::kMargin;
  double value = 0;
  friend bool operator==(const PaddingPart&, const PaddingPart&) = default;
};

// `total` is what is really added; by the published rule the larger of burst and remedial plus the
// others, so not always the sum.
struct Padding {
  std::vector<PaddingPart> parts;
  double total = 0;
  friend bool operator==(const Padding&, const Padding&) = default;
};

struct Quantile {
  double ratio = 0;  // probability that demand stays at or below `value`
  double value = 0;
  friend bool operator==(const Quantile&, const Quantile&) = default;
};

struct HorizonForecast {
  absl::Duration horizon;
  std::vector<Quantile> quantiles;  // growing in ratio
  double expected = 0;
  friend bool operator==(const HorizonForecast&, const HorizonForecast&) = default;
};

// The newest forecast of one resource of one VM, with its age when the sample was sent.
struct Forecast {
  std::string model;
  std::string reason;
  absl::Time made_at;
  int64_t based_on_sequence = 0;
  absl::Duration age;
  bool is_warm = false;
  std::vector<HorizonForecast> horizons;  // growing; the first is the shortest
  Padding padding;
  std::optional<double> advised_allocation;
  std::optional<double> target_violation_ratio;  // of the advised allocation
  friend bool operator==(const Forecast&, const Forecast&) = default;
};

enum class VmRunState { kRunning, kNotRunning, kMigrating };

// One VM in one sample. Absent = not known, which is never the same as zero.
struct VmObservation {
  std::string uuid;
  std::string name;
  VmRunState state = VmRunState::kRunning;
  int64_t vcpu_count = 0;

  std::optional<double> cpu_usage;   // cores consumed over the period
  std::optional<double> cpu_demand;  // cores it would have consumed uncapped
  std::optional<double> cpu_cap;     // cores; absent = uncapped
  std::optional<double> cpu_throttled_ratio;
  std::optional<double> cpu_weight;  // relative to 1.0
  SampleQuality cpu_quality = SampleQuality::kUnknown;

  std::optional<double> memory_used;       // working set as the hypervisor tells
  std::optional<double> memory_demand;     // used plus pressure
  std::optional<double> memory_target;     // what it was last set to
  std::optional<double> memory_allocated;  // what it holds now
  std::optional<double> memory_maximum;    // largest legal target
  std::optional<double> guest_total;       // as the guest sees it
  std::optional<double> guest_available;
  // True when the guest's own numbers come from a report that is still valid (or from the host
  // kernel, for process groups): the second source that a memory shrink needs.
  bool has_guest_report = false;
  std::optional<double> memory_pressure_some_ratio;
  std::optional<int64_t> oom_kill_count;
  std::optional<int64_t> swap_in_bytes;  // since the guest's boot
  SampleQuality memory_quality = SampleQuality::kUnknown;

  std::optional<Forecast> cpu_forecast;
  std::optional<Forecast> memory_forecast;

  friend bool operator==(const VmObservation&, const VmObservation&) = default;
};

struct ObservationHeader {
  std::string host_id;
  std::string boot_id;
  int64_t sequence = 0;  // up by one per sampling period; a gap means lost samples
  absl::Time sample_time;
  absl::Duration monotonic_time;  // since `boot_id` began
  friend bool operator==(const ObservationHeader&, const ObservationHeader&) = default;
};

enum class PredictorLink {
  kOff,   // none is configured: reacting is the plan, not an emergency
  kUp,    // answers
  kDown,  // configured and silent: forecasts age and nothing shrinks on their absence
};

// All VMs of the host at one instant; sorted by uuid, at most `kMaxVms`.
struct HostObservation {
  static constexpr size_t kMaxVms = 4096;
  ObservationHeader header;
  double cpu_capacity_cores = 0;
  double memory_capacity_bytes = 0;
  std::optional<double> memory_free_bytes;
  PredictorLink predictor_link = PredictorLink::kOff;
  std::vector<VmObservation> vms;
  friend bool operator==(const HostObservation&, const HostObservation&) = default;
};

// Both times of one instant: `mono` decides, `wall` is only written down.
struct StepTime {
  MonoTime mono;
  absl::Time wall;
};

}  // namespace cloudscale::scaler
