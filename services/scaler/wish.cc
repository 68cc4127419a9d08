#include <algorithm>
#include <cmath>

#include "services/scaler/decide.h"

namespace cloudscale::scaler {
namespace {

// A little more than the threshold asks for, so that rounding cannot tip the balance.
constexpr double kPressureSlack = 1.02;

constexpr double kTargetTolerance = 1e-3;

bool IsUsable(std::optional<double> x) { return x.has_value() && std::isfinite(*x) && *x >= 0; }

std::optional<double> Larger(std::optional<double> a, std::optional<double> b) {
  if (!IsUsable(a)) {
    return IsUsable(b) ? b : std::nullopt;
  }
  return IsUsable(b) ? std::make_optional(std::max(*a, *b)) : a;
}

// Linear between the points, the outermost values beyond them.
double QuantileAt(const HorizonForecast& horizon, double ratio) {
  const auto& q = horizon.quantiles;
  if (q.empty()) {
    return horizon.expected;
  }
  if (ratio <= q.front().ratio) {
    return q.front().value;
  }
  for (size_t i = 1; i < q.size(); ++i) {
    if (ratio <= q[i].ratio) {
      const double span = q[i].ratio - q[i - 1].ratio;
      const double part = span > 0 ? (ratio - q[i - 1].ratio) / span : 1;
      return q[i - 1].value + part * (q[i].value - q[i - 1].value);
    }
  }
  return q.back().value;
}

bool IsSane(const Forecast& f) {
  if (f.horizons.empty() || !std::isfinite(f.padding.total) || f.padding.total < 0) {
    return false;
  }
  const HorizonForecast& h = f.horizons.front();
  if (!std::isfinite(h.expected) || h.expected < 0) {
    return false;
  }
  return std::all_of(h.quantiles.begin(), h.quantiles.end(),
                     [](const Quantile& q) { return std::isfinite(q.value) && q.value >= 0; });
}

void AddPart(Padding& padding, PaddingKind kind, double value) {
  if (value <= 0) {
    return;
  }
  for (PaddingPart& part : padding.parts) {
    if (part.kind == kind) {
      part.value += value;
      return;
    }
  }
  padding.parts.push_back({kind, value});
}

Wish FromForecast(const DecisionInputs& in, const Forecast& forecast) {
  const ScalerConfig& config = *in.config;
  const HorizonForecast& h = forecast.horizons.front();
  const bool is_memory = in.resource == Resource::kMemory;
  Wish wish;
  wish.is_known = true;
  wish.quantile_ratio = config.forecast_quantile_ratio;
  const double base = QuantileAt(h, wish.quantile_ratio);
  wish.forecast = base;
  const double threshold =
      (is_memory ? config.memory_correction : config.cpu_correction).threshold_ratio;
  // The published rule is forecast + padding; what the target violation rate asks for beyond it is
  // margin.
  const double target = TargetViolationRatio(*in.policy, in.resource, config);
  double least = forecast.advised_allocation.value_or(0);
  // A size for more violations than the policy wants is not enough: nobody has told the predictor.
  if (!IsUsable(forecast.advised_allocation) ||
      forecast.target_violation_ratio.value_or(target) > target * (1 + kTargetTolerance)) {
    least = std::max(least, QuantileAt(h, 1 - target));
  }
  if (is_memory) {
    least = std::max(least, QuantileAt(h, config.memory.quantile_ratio));
  }
  double value = std::max(base + forecast.padding.total, least);
  value = std::max(value, base / threshold * kPressureSlack);
  wish.padding = forecast.padding;
  wish.padding.total = value - base;
  // What burst and remedial padding do not explain is margin.
  double explained = 0;
  for (const PaddingPart& part : wish.padding.parts) {
    if (part.kind == PaddingKind::kBurst || part.kind == PaddingKind::kRemedial) {
      explained = std::max(explained, part.value);
    }
  }
  for (const PaddingPart& part : wish.padding.parts) {
    if (part.kind != PaddingKind::kBurst && part.kind != PaddingKind::kRemedial) {
      explained += part.value;
    }
  }
  AddPart(wish.padding, PaddingKind::kMargin, wish.padding.total - explained);
  wish.value = value;
  return wish;
}

Wish FromRecentDemand(const DecisionInputs& in) {
  Wish wish;
  wish.is_reactive = true;
  const std::optional<double> peak = Larger(in.recent_peak, DemandOf(in.vm(), in.resource));
  if (!peak) {
    return wish;
  }
  wish.is_known = true;
  wish.forecast = std::nullopt;
  wish.padding.total = *peak * in.config->reactive_margin_ratio;
  AddPart(wish.padding, PaddingKind::kMargin, wish.padding.total);
  wish.value = *peak + wish.padding.total;
  return wish;
}

}  // namespace

double TargetViolationRatio(const EffectivePolicy& policy, Resource resource,
                            const ScalerConfig& config) {
  return resource == Resource::kCpu
             ? policy.target_violation_ratio
             : std::min(policy.target_violation_ratio, 1 - config.memory.quantile_ratio);
}

std::optional<double> PresentAllocation(const VmObservation& vm, Resource resource) {
  const bool is_cpu = resource == Resource::kCpu;
  const std::optional<double>& limit = is_cpu ? vm.cpu_cap : vm.memory_target;
  if (IsUsable(limit)) {
    return limit;
  }
  const SampleQuality quality = is_cpu ? vm.cpu_quality : vm.memory_quality;
  if (quality == SampleQuality::kMissing || quality == SampleQuality::kStale ||
      quality == SampleQuality::kRepeated) {
    return std::nullopt;  // nobody looked, so the missing limit does not mean that there is none
  }
  if (is_cpu) {
    return VmMaximum(vm, resource);
  }
  return IsUsable(vm.memory_maximum) ? vm.memory_maximum : std::nullopt;
}

std::optional<double> VmMaximum(const VmObservation& vm, Resource resource) {
  if (resource == Resource::kCpu) {
    return vm.vcpu_count > 0 ? std::make_optional(static_cast<double>(vm.vcpu_count))
                             : std::nullopt;
  }
  return IsUsable(vm.memory_maximum) ? vm.memory_maximum : std::nullopt;
}

std::optional<double> UsageOf(const VmObservation& vm, Resource resource) {
  if (resource == Resource::kCpu) {
    return IsUsable(vm.cpu_usage) ? vm.cpu_usage : std::nullopt;
  }
  std::optional<double> guest;
  if (vm.has_guest_report && IsUsable(vm.guest_total) && IsUsable(vm.guest_available)) {
    guest = std::max(0.0, *vm.guest_total - *vm.guest_available);
  }
  return Larger(vm.memory_used, guest);
}

std::optional<double> DemandOf(const VmObservation& vm, Resource resource) {
  const std::optional<double> usage = UsageOf(vm, resource);
  return Larger(resource == Resource::kCpu ? vm.cpu_demand : vm.memory_demand, usage);
}

const Forecast* UsableForecast(const VmObservation& vm, Resource resource,
                               const ScalerConfig& config) {
  const std::optional<Forecast>& f =
      resource == Resource::kCpu ? vm.cpu_forecast : vm.memory_forecast;
  if (!f || !f->is_warm || f->age > config.max_forecast_age || !IsSane(*f)) {
    return nullptr;
  }
  return &*f;
}

Wish MakeWish(const DecisionInputs& in) {
  const Forecast* forecast = UsableForecast(in.vm(), in.resource, *in.config);
  Wish wish = forecast != nullptr ? FromForecast(in, *forecast) : FromRecentDemand(in);
  if (!wish.is_known) {
    return wish;
  }
  if (in.boost_factor > 1) {
    const double extra = wish.value * (in.boost_factor - 1);
    AddPart(wish.padding, PaddingKind::kSlo, extra);
    wish.padding.total += extra;
    wish.value += extra;
  }
  return wish;
}

std::optional<double> MemoryFloor(const VmObservation& vm, const MemoryConfig& config) {
  const std::optional<double> need = UsageOf(vm, Resource::kMemory);
  if (!need) {
    return std::nullopt;
  }
  const double present = PresentAllocation(vm, Resource::kMemory).value_or(*need);
  return *need + std::max(config.guest_reserve_ratio * present, config.guest_reserve_bytes);
}

}  // namespace cloudscale::scaler
