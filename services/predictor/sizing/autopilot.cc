#include "services/predictor/sizing/autopilot.h"

#include <algorithm>
#include <array>
#include <vector>

#include "services/predictor/sizing/decayed_histogram.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr int kBuckets = 200;
constexpr double kMargin = 1.15;
constexpr size_t kParts = 12;

const std::vector<double>& Buckets() {
  static const auto& starts = *new std::vector<double>(EqualBuckets(kBuckets));
  return starts;
}

class AutopilotState final : public RatioState {
 public:
  AutopilotState(const SeriesTraits& traits, double factor)
      : RatioState(traits),
        percentile_(traits.resource == Resource::kCpu ? 0.95 : 0.98),
        factor_(factor),
        part_steps_((StepsIn(absl::Hours(1), traits) + int64_t{kParts} - 1) / int64_t{kParts}),
        used_parts_(
            static_cast<size_t>((StepsIn(absl::Hours(1), traits) + part_steps_ - 1) / part_steps_)),
        histogram_(Buckets(), DecayPerStep((traits.resource == Resource::kCpu ? 0.5 : 2.0) *
                                           static_cast<double>(StepsPerDay(traits)))) {}
  size_t bytes() const override { return sizeof(*this) + histogram_.heap_bytes(); }

 private:
  void Learn(const Sample& sample) override {
    histogram_.Add(sample.ratio);
    if (steps_of_part_ == part_steps_) {
      part_ = (part_ + 1) % used_parts_;
      maxima_[part_] = 0;
      steps_of_part_ = 0;
    }
    ++steps_of_part_;
    maxima_[part_] = std::max(maxima_[part_], histogram_.LoadPercentile(percentile_));
  }
  double SizeRatio(int steps) override { return factor_ * ExpectedRatio(steps); }
  double ExpectedRatio(int) override { return *std::max_element(maxima_.begin(), maxima_.end()); }

  const double percentile_;
  const double factor_;
  const int64_t part_steps_;
  const size_t used_parts_;
  DecayedHistogram histogram_;
  std::array<double, kParts> maxima_{};
  size_t part_ = 0;
  int64_t steps_of_part_ = 0;
};

}  // namespace

std::unique_ptr<SizingMethod> MakeAutopilotMethod() {
  return MakeMethod(
      {.name = "autopilot",
       .description = "Load-adjusted percentile of a decayed histogram, largest of the last hour, "
                      "times a factor.",
       .source = "Rzadca et al.: Autopilot, EuroSys 2020 (10.1145/3342195.3387524), section 3.2.2",
       .knob = FactorKnob(kMargin),
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<AutopilotState>(traits, knob);
       }});
}

}  // namespace cloudscale::predictor
