#include "services/scaler/policy.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace cloudscale::scaler {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;
constexpr size_t kMaxLabels = 32;
constexpr size_t kMaxReasonLength = 500;
constexpr size_t kMaxPlacementHosts = 1000;

Bounds BuiltIn(Resource resource) {
  Bounds b;
  b.quiet_steps = 3;
  b.cool_down_up = absl::ZeroDuration();
  b.cool_down_down = absl::Seconds(60);
  if (resource == Resource::kCpu) {
    b.min = 0.1;
    b.step_up_ratio = 4.0;
    b.step_down_ratio = 0.5;
    b.dead_band_ratio = 0.1;
  } else {
    b.min = 128 * kMiB;
    b.step_up_ratio = 0.5;
    // A balloon is slow and a guest that lost its page cache recovers slower still.
    b.step_down_ratio = 0.02;
    b.dead_band_ratio = 0.1;  // judged on the wish, before the step limit cuts it
  }
  return b;
}

void CheckBounds(absl::string_view prefix, const BoundsOverlay& b, Violations& v) {
  const auto field = [&](absl::string_view name) { return absl::StrCat(prefix, ".", name); };
  const auto check = [&](absl::string_view name, std::optional<double> value, bool ok_if,
                         absl::string_view allowed) {
    if (value.has_value() && !ok_if) {
      v.Add(field(name), absl::StrCat(*value), allowed);
    }
  };
  const auto positive = [](std::optional<double> x) { return x && std::isfinite(*x) && *x > 0; };
  check("min", b.min, positive(b.min), "above 0");
  check("max", b.max, positive(b.max), "above 0");
  if (positive(b.min) && positive(b.max) && *b.max < *b.min) {
    v.Add(field("max"), absl::StrCat(*b.max), absl::StrCat("at least min (", *b.min, ")"));
  }
  check("step_up_ratio", b.step_up_ratio, positive(b.step_up_ratio) && *b.step_up_ratio <= 1000,
        "0 < x <= 1000");
  check("step_down_ratio", b.step_down_ratio,
        positive(b.step_down_ratio) && *b.step_down_ratio <= 1, "0 < x <= 1");
  check("dead_band_ratio", b.dead_band_ratio,
        b.dead_band_ratio && *b.dead_band_ratio >= 0 && *b.dead_band_ratio <= 1, "0 <= x <= 1");
  check("guaranteed", b.guaranteed,
        b.guaranteed && std::isfinite(*b.guaranteed) && *b.guaranteed >= 0, "0 or more");
  if (b.guaranteed && positive(b.max) && *b.guaranteed > *b.max) {
    v.Add(field("guaranteed"), absl::StrCat(*b.guaranteed),
          absl::StrCat("at most max (", *b.max, ")"));
  }
  const auto cool_down = [&](absl::string_view name, std::optional<absl::Duration> d) {
    if (d && (*d < absl::ZeroDuration() || *d > absl::Hours(24))) {
      v.Add(field(name), absl::FormatDuration(*d), "0 s to 24 h");
    }
  };
  cool_down("cool_down_up", b.cool_down_up);
  cool_down("cool_down_down", b.cool_down_down);
  if (b.quiet_steps && (*b.quiet_steps < 0 || *b.quiet_steps > 100)) {
    v.Add(field("quiet_steps"), absl::StrCat(*b.quiet_steps), "0 to 100");
  }
}

class Merger {
 public:
  explicit Merger(const PolicyLayers& layers) {
    layers_ = {layers.defaults, layers.host, layers.vm};
  }

  // The value of the most special layer that has one, else `fallback`.
  template <typename T, typename Get>
  T Pick(absl::string_view field, T fallback, Get get) {
    PolicyLevel level = PolicyLevel::kDefault;
    T value = std::move(fallback);
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i] == nullptr) {
        continue;
      }
      if (const auto& own = get(*layers_[i]); own.has_value()) {
        value = *own;
        level = static_cast<PolicyLevel>(i);
      }
    }
    sources_.push_back({std::string(field), level});
    return value;
  }

  std::vector<ValueSource> TakeSources() {
    std::sort(sources_.begin(), sources_.end(),
              [](const auto& a, const auto& b) { return a.field < b.field; });
    return std::move(sources_);
  }

 private:
  std::array<const PolicyOverlay*, 3> layers_{};
  std::vector<ValueSource> sources_;
};

Bounds MergeBounds(Merger& merger, Resource resource) {
  const bool is_cpu = resource == Resource::kCpu;
  const auto of = [is_cpu](const PolicyOverlay& p) -> const BoundsOverlay& {
    return is_cpu ? p.cpu : p.memory;
  };
  const auto name = [&](absl::string_view field) {
    return absl::StrCat(ResourceName(resource), ".", field);
  };
  Bounds b = BuiltIn(resource);
  b.min = merger.Pick(name("min"), b.min, [&](const auto& p) { return of(p).min; });
  b.max =
      merger.Pick(name("max"), b.max, [&](const auto& p) -> std::optional<std::optional<double>> {
        return of(p).max ? std::make_optional(of(p).max) : std::nullopt;
      });
  b.step_up_ratio = merger.Pick(name("step_up_ratio"), b.step_up_ratio,
                                [&](const auto& p) { return of(p).step_up_ratio; });
  b.step_down_ratio = merger.Pick(name("step_down_ratio"), b.step_down_ratio,
                                  [&](const auto& p) { return of(p).step_down_ratio; });
  b.dead_band_ratio = merger.Pick(name("dead_band_ratio"), b.dead_band_ratio,
                                  [&](const auto& p) { return of(p).dead_band_ratio; });
  b.cool_down_up = merger.Pick(name("cool_down_up"), b.cool_down_up,
                               [&](const auto& p) { return of(p).cool_down_up; });
  b.cool_down_down = merger.Pick(name("cool_down_down"), b.cool_down_down,
                                 [&](const auto& p) { return of(p).cool_down_down; });
  b.quiet_steps = merger.Pick(name("quiet_steps"), b.quiet_steps,
                              [&](const auto& p) { return of(p).quiet_steps; });
  b.is_managed = merger.Pick(name("is_managed"), b.is_managed,
                             [&](const auto& p) { return of(p).is_managed; });
  if (b.max && *b.max < b.min) {
    b.min = *b.max;
  }
  b.guaranteed =
      merger.Pick(name("guaranteed"), b.min, [&](const auto& p) { return of(p).guaranteed; });
  if (b.max) {
    b.guaranteed = std::min(b.guaranteed, *b.max);
  }
  return b;
}

void MergePause(const PolicyOverlay* layer, absl::Time now, EffectivePolicy& out) {
  if (layer == nullptr || (layer->pause.until && *layer->pause.until <= now)) {
    return;
  }
  const PauseOverlay& p = layer->pause;
  const bool any = p.grow.value_or(false) || p.shrink.value_or(false) || p.migrate.value_or(false);
  out.pause_grow = out.pause_grow || p.grow.value_or(false);
  out.pause_shrink = out.pause_shrink || p.shrink.value_or(false);
  out.pause_migrate = out.pause_migrate || p.migrate.value_or(false);
  if (any) {
    if (p.reason && !p.reason->empty()) {
      out.pause_reason = *p.reason;
    }
    if (p.until) {
      out.paused_until = std::max(out.paused_until.value_or(absl::InfinitePast()), *p.until);
    }
  }
}

}  // namespace

absl::string_view ModeName(Mode mode) {
  switch (mode) {
    case Mode::kObserve:
      return "observe";
    case Mode::kRecommend:
      return "recommend";
    case Mode::kCanary:
      return "canary";
    case Mode::kAuto:
      return "auto";
  }
  return "unknown";
}

void Validate(const PolicyOverlay& overlay, Violations& violations) {
  CheckBounds("cpu", overlay.cpu, violations);
  CheckBounds("memory", overlay.memory, violations);
  if (overlay.weight) {
    RequireInRange(violations, "weight", *overlay.weight, 0.01, 100);
  }
  if (overlay.target_violation_ratio) {
    RequireInRange(violations, "target_violation_ratio", *overlay.target_violation_ratio, 0.0001,
                   0.5);
  }
  if (overlay.pause.reason && overlay.pause.reason->size() > kMaxReasonLength) {
    violations.Add("pause.reason", absl::StrCat(overlay.pause.reason->size(), " characters"),
                   "at most 500 characters");
  }
  if (overlay.labels.size() > kMaxLabels) {
    violations.Add("labels", absl::StrCat(overlay.labels.size(), " labels"), "at most 32");
  }
  if (overlay.placement) {
    const auto check = [&](absl::string_view field, const std::vector<std::string>& hosts) {
      if (hosts.size() > kMaxPlacementHosts) {
        violations.Add(field, absl::StrCat(hosts.size(), " hosts"), "at most 1000");
      }
    };
    check("placement.pinned_host_ids", overlay.placement->pinned_host_ids);
    check("placement.excluded_host_ids", overlay.placement->excluded_host_ids);
  }
}

EffectivePolicy Resolve(const PolicyLayers& layers, absl::Time now) {
  Merger merger(layers);
  EffectivePolicy out;
  for (const Resource r : kResources) {
    out.bounds[Index(r)] = MergeBounds(merger, r);
  }
  out.weight = merger.Pick("weight", 1.0, [](const auto& p) { return p.weight; });
  out.service_class = merger.Pick("service_class", ServiceClass::kStandard,
                                  [](const auto& p) { return p.service_class; });
  const Mode own = merger.Pick("mode", layers.host_mode, [](const auto& p) { return p.mode; });
  out.mode = std::min(own, layers.host_mode);
  out.target_violation_ratio = merger.Pick("target_violation_ratio", 0.02,
                                           [](const auto& p) { return p.target_violation_ratio; });
  for (const PolicyOverlay* layer : {layers.defaults, layers.host, layers.vm}) {
    if (layer == nullptr) {
      continue;
    }
    if (layer->placement) {
      out.placement = layer->placement;
    }
    for (const auto& [key, value] : layer->labels) {
      out.labels[key] = value;
    }
    MergePause(layer, now, out);
  }
  out.sources = merger.TakeSources();
  return out;
}

void ValidateMerged(const PolicyLayers& layers, Violations& violations) {
  for (const Resource r : kResources) {
    Merger merger(layers);
    const auto of = [r](const PolicyOverlay& p) -> const BoundsOverlay& {
      return r == Resource::kCpu ? p.cpu : p.memory;
    };
    const double min = merger.Pick("min", BuiltIn(r).min, [&](const auto& p) { return of(p).min; });
    const auto max = merger.Pick("max", std::optional<double>(),
                                 [&](const auto& p) -> std::optional<std::optional<double>> {
                                   return of(p).max ? std::make_optional(of(p).max) : std::nullopt;
                                 });
    if (max && *max < min) {
      violations.Add(absl::StrCat(ResourceName(r), ".max"), absl::StrCat(*max),
                     absl::StrCat("at least the min in force (", min, ")"));
    }
  }
}

}  // namespace cloudscale::scaler
