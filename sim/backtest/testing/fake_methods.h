#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::backtest::testing {

// What a state was told, in order: "observe 0.5", "observe 0.5 censored", "skip 2", "size 6".
using Journal = std::vector<std::string>;

// Answers knob × the largest of the last `window` demands; the full capacity before the first.
class FakeMaxMethod : public predictor::SizingMethod {
 public:
  FakeMaxMethod(std::string name, size_t window, std::vector<double> sweep,
                absl::string_view meaning = "factor on the maximum", Journal* journal = nullptr)
      : name_(std::move(name)), window_(window), journal_(journal) {
    knob_ = {.meaning = meaning, .published = 1, .sweep = std::move(sweep)};
  }

  [[nodiscard]] absl::string_view name() const override { return name_; }
  [[nodiscard]] absl::string_view description() const override { return "a maximum"; }
  [[nodiscard]] absl::string_view source() const override { return "none"; }
  [[nodiscard]] const predictor::SizingKnob& knob() const override { return knob_; }
  [[nodiscard]] std::unique_ptr<predictor::SizingState> Start(const predictor::SeriesTraits& traits,
                                                              double knob) const override;

 private:
  std::string name_;
  size_t window_;
  Journal* journal_;  // for one run at a time only
  predictor::SizingKnob knob_;
};

// Answers the same number always, whatever it is.
class FakeConstantMethod : public predictor::SizingMethod {
 public:
  explicit FakeConstantMethod(std::string name, std::vector<double> sweep,
                              absl::string_view meaning = "fraction of the capacity")
      : name_(std::move(name)) {
    knob_ = {.meaning = meaning, .published = sweep.front(), .sweep = std::move(sweep)};
  }

  [[nodiscard]] absl::string_view name() const override { return name_; }
  [[nodiscard]] absl::string_view description() const override { return "a constant"; }
  [[nodiscard]] absl::string_view source() const override { return "none"; }
  [[nodiscard]] const predictor::SizingKnob& knob() const override { return knob_; }
  [[nodiscard]] std::unique_ptr<predictor::SizingState> Start(const predictor::SeriesTraits& traits,
                                                              double knob) const override;

 private:
  std::string name_;
  predictor::SizingKnob knob_;
};

}  // namespace cloudscale::backtest::testing
