#include "bench/macro/webapp/tier_policy.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::bench {
namespace {

constexpr double kBusy = 0.8;
constexpr double kAimed = 0.6;
constexpr double kIdle = 0.4;
constexpr int kIdleSteps = 5;
constexpr double kShrink = 0.9;
constexpr double kFull = 0.95;  // of a cap: a quota is rarely used to its last microsecond

class Reactive final : public TierPolicy {
 public:
  explicit Reactive(Bounds bounds) : bounds_(bounds) {}
  double Step(double used_cores, double cap_cores) override {
    idle_steps_ = used_cores < kIdle * cap_cores ? idle_steps_ + 1 : 0;
    double next = cap_cores;
    if (used_cores > kBusy * cap_cores) {
      next = std::max(cap_cores, used_cores / kAimed);
    } else if (idle_steps_ >= kIdleSteps) {
      next = cap_cores * kShrink;
      idle_steps_ = 0;
    }
    return std::clamp(next, bounds_.floor_cores, bounds_.ceiling_cores);
  }

 private:
  const Bounds bounds_;
  int idle_steps_ = 0;
};

class Published final : public TierPolicy {
 public:
  Published(std::unique_ptr<predictor::SizingState> state, Bounds bounds)
      : bounds_(bounds), state_(std::move(state)) {}
  double Step(double used_cores, double cap_cores) override {
    state_->Observe({.demand = used_cores,
                     .is_censored = used_cores >= kFull * cap_cores,
                     .allocation = cap_cores});
    return std::clamp(state_->Size(1), bounds_.floor_cores, bounds_.ceiling_cores);
  }

 private:
  const Bounds bounds_;
  const std::unique_ptr<predictor::SizingState> state_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TierPolicy>> MakeTierPolicy(const std::string& name,
                                                           absl::Duration step,
                                                           TierPolicy::Bounds bounds) {
  if (name == "reactive") {
    return std::make_unique<Reactive>(bounds);
  }
  const predictor::SizingRegistry registry;
  const predictor::SizingMethod* method = registry.Find(name);
  if (method == nullptr) {
    std::string known = "reactive";
    for (const auto& other : registry.methods()) {
      absl::StrAppend(&known, ", ", other->name());
    }
    return absl::InvalidArgumentError(absl::StrCat("policy '", name, "'; one of: ", known));
  }
  return std::make_unique<Published>(
      method->Start(
          {.resource = predictor::Resource::kCpu, .step = step, .capacity = bounds.ceiling_cores},
          method->knob().published),
      bounds);
}

}  // namespace cloudscale::bench
