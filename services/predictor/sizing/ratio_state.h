#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// What all methods of this folder have in common. They compute in parts of the capacity, so
// multiplying demand and capacity multiplies the size, and they share what to do when the demand is
// not fully known:
//
// * Demand above the capacity counts as the capacity; parts below 1e-12 count as zero.
// * Of a censored step the method learns the largest of 1.2 * what the allocation let through, the
//   demand as estimated, and what it expected. A lower bound is no reason to expect less, and a
//   method that took it for the demand itself would never see that its size was too small: it would
//   follow its own size down. The fifth is what the Kubernetes VPA adds to the usage of a container
//   that ran out of memory.
// * After a gap, and as long as steps are censored or incomplete, the size and the expectation are
// at
//   least what they were before, for as long a horizon as was asked for last. The first step that
//   is wholly known ends this.
class RatioState : public SizingState {
 public:
  explicit RatioState(const SeriesTraits& traits) : capacity_(traits.capacity) {}

  void Observe(const StepDemand& step) final;
  void Skip(int64_t steps) final;
  double Size(int steps) final;
  double Expected(int steps) final;

 protected:
  struct Sample {
    double ratio = 0;  // to learn, in [0, 1]
    double seen = 0;   // as observed, in [0, ratio]
    double held = 0;   // what an allocation let through, in [0, seen]
    bool is_censored = false;
    double allocation = -1;  // in force, as part of the capacity; negative: what `Size` said last
    bool is_complete = true;
    bool is_judged = true;
  };
  virtual void Learn(const Sample& sample) = 0;
  // A gap; only what counts time needs it.
  virtual void Pass(int64_t) {}
  // Only called after `Learn`. Values outside [0, 1] are cut off.
  virtual double SizeRatio(int steps) = 0;
  virtual double ExpectedRatio(int steps) = 0;

  [[nodiscard]] double capacity() const { return capacity_; }
  // What `Size` said last, taken to be the allocation in force; 0 before.
  [[nodiscard]] double applied_ratio() const { return applied_ratio_; }

  // For methods that can: the capacity is this from now on. Returns by what the parts of it that
  // are held are to be multiplied.
  double SetCapacity(double capacity);

  template <typename Self, typename Archive>
  static void VisitBase(Self& self, Archive& archive) {
    archive(self.capacity_, self.has_observed_, self.asked_steps_, self.applied_ratio_,
            self.size_floor_, self.expected_floor_);
    archive.Require(self.capacity_ > 0 && self.asked_steps_ >= 1 && self.applied_ratio_ >= 0 &&
                    self.applied_ratio_ <= 1 && self.asked_steps_ <= 10000 &&
                    self.size_floor_ >= 0 && self.size_floor_ <= 1 && self.expected_floor_ >= 0 &&
                    self.expected_floor_ <= 1);
  }

 private:
  void HoldFloor();

  double capacity_;
  bool has_observed_ = false;
  int asked_steps_ = 1;
  double applied_ratio_ = 0;
  double size_floor_ = 0;
  double expected_floor_ = 0;
};

// Steps in 24 hours, at least 1.
[[nodiscard]] int64_t StepsPerDay(const SeriesTraits& traits);
// Steps in `time`, rounded, at least 1.
[[nodiscard]] int64_t StepsIn(absl::Duration time, const SeriesTraits& traits);

// Weight of a step relative to the next one, when weights halve within `steps`; in (0, 1).
[[nodiscard]] double DecayPerStep(double steps);

template <typename T>
[[nodiscard]] size_t HeapBytes(const std::vector<T>& values) {
  return values.capacity() * sizeof(T);
}

struct MethodSpec {
  std::string name;
  std::string description;
  std::string source;
  SizingKnob knob;
  std::unique_ptr<SizingState> (*start)(const SeriesTraits& traits, double knob);
};
[[nodiscard]] std::unique_ptr<SizingMethod> MakeMethod(MethodSpec spec);

// Knobs that several methods have.
[[nodiscard]] SizingKnob FactorKnob(double published);
[[nodiscard]] SizingKnob DeviationKnob(double published);

}  // namespace cloudscale::predictor
