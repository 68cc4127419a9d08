#include "sim/backtest/testing/fake_methods.h"

#include "absl/strings/str_cat.h"

namespace cloudscale::backtest::testing {
namespace {

class MaxState : public predictor::SizingState {
 public:
  MaxState(size_t window, double factor, double capacity, Journal* journal)
      : window_(window), factor_(factor), capacity_(capacity), journal_(journal) {}

  void Observe(const predictor::StepDemand& step) override {
    Note(absl::StrCat("observe ", step.demand, step.is_censored ? " censored" : ""));
    recent_.push_back(step.demand);
    if (recent_.size() > window_) {
      recent_.pop_front();
    }
  }
  void Skip(int64_t steps) override { Note(absl::StrCat("skip ", steps)); }
  double Size(int steps) override {
    Note(absl::StrCat("size ", steps));
    return recent_.empty() ? capacity_ : factor_ * Expected(steps);
  }
  double Expected(int /*steps*/) override {
    return recent_.empty() ? capacity_ : *std::max_element(recent_.begin(), recent_.end());
  }
  [[nodiscard]] size_t bytes() const override { return sizeof(*this); }

 private:
  void Note(std::string what) {
    if (journal_ != nullptr) {
      journal_->push_back(std::move(what));
    }
  }

  const size_t window_;
  const double factor_;
  const double capacity_;
  Journal* const journal_;
  std::deque<double> recent_;
};

class ConstantState : public predictor::SizingState {
 public:
  explicit ConstantState(double size) : size_(size) {}
  void Observe(const predictor::StepDemand& /*step*/) override {}
  void Skip(int64_t /*steps*/) override {}
  double Size(int /*steps*/) override { return size_; }
  double Expected(int /*steps*/) override { return size_; }
  [[nodiscard]] size_t bytes() const override { return sizeof(*this); }

 private:
  const double size_;
};

}  // namespace

std::unique_ptr<predictor::SizingState> FakeMaxMethod::Start(const predictor::SeriesTraits& traits,
                                                             double knob) const {
  return std::make_unique<MaxState>(window_, knob, traits.capacity, journal_);
}

std::unique_ptr<predictor::SizingState> FakeConstantMethod::Start(
    const predictor::SeriesTraits& traits, double knob) const {
  return std::make_unique<ConstantState>(knob * traits.capacity);
}

}  // namespace cloudscale::backtest::testing
