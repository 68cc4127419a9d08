#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {

// Where a step stands in its day, counted from the first step of the series. A day of many short
// steps is cut into `max_slots` slots at most, each of several steps, so that what is kept per slot
// is bounded.
class DaySlots {
 public:
  DaySlots(const SeriesTraits& traits, int64_t max_slots)
      : steps_per_day_(StepsPerDay(traits)), count_(std::min(steps_per_day_, max_slots)) {}

  [[nodiscard]] size_t count() const { return static_cast<size_t>(count_); }
  [[nodiscard]] int64_t steps_per_day() const { return steps_per_day_; }
  // Slot of the step `ahead` steps after the next one to come; ahead >= 0.
  [[nodiscard]] size_t Slot(int64_t ahead) const {
    return static_cast<size_t>((step_of_day_ + ahead) % steps_per_day_ * count_ / steps_per_day_);
  }
  void Advance(int64_t steps) {
    step_of_day_ = (step_of_day_ + steps % steps_per_day_) % steps_per_day_;
  }

  // Calls visit(slot) for each slot that the next `steps` steps touch, once each, in order.
  template <typename Visit>
  void ForEachAhead(int64_t steps, Visit visit) const {
    const size_t first = Slot(0);
    const int64_t slot_steps = (steps_per_day_ + count_ - 1) / count_;
    // Nearly a whole day may come back to the slot in which it began.
    const size_t slots = steps + slot_steps > steps_per_day_
                             ? count()
                             : (Slot(steps - 1) + count() - first) % count() + 1;
    for (size_t i = 0; i < slots; ++i) {
      visit((first + i) % count());
    }
  }

 private:
  int64_t steps_per_day_;
  int64_t count_;
  int64_t step_of_day_ = 0;
};

}  // namespace cloudscale::predictor
