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
  double Step(double used, double limit) override {
    idle_steps_ = used < kIdle * limit ? idle_steps_ + 1 : 0;
    double next = limit;
    if (used > kBusy * limit) {
      next = std::max(limit, used / kAimed);
    } else if (idle_steps_ >= kIdleSteps) {
      next = limit * kShrink;
      idle_steps_ = 0;
    }
    return std::clamp(next, bounds_.floor, bounds_.ceiling);
  }

 private:
  const Bounds bounds_;
  int idle_steps_ = 0;
};

class Published final : public TierPolicy {
 public:
  Published(std::unique_ptr<predictor::SizingState> state, Bounds bounds)
      : bounds_(bounds), state_(std::move(state)) {}
  double Step(double used, double limit) override {
    state_->Observe({.demand = used, .is_censored = used >= kFull * limit, .allocation = limit});
    return std::clamp(state_->Size(1), bounds_.floor, bounds_.ceiling);
  }

 private:
  const Bounds bounds_;
  const std::unique_ptr<predictor::SizingState> state_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TierPolicy>> MakeTierPolicy(const std::string& name,
                                                           predictor::Resource resource,
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
      method->Start({.resource = resource, .step = step, .capacity = bounds.ceiling},
                    method->knob().published),
      bounds);
}

}  // namespace cloudscale::bench
