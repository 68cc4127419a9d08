#include "services/predictor/sizing/vpa.h"

#include <algorithm>
#include <vector>

#include "services/predictor/sizing/decayed_histogram.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr double kPercentile = 0.9;
constexpr double kMargin = 1.15;
constexpr double kBucketRatio = 1.05;
constexpr double kFirstCpuBucket = 0.01;
constexpr double kFirstMemoryBucket = 0.0025;
constexpr absl::string_view kSource =
    "Kubernetes Vertical Pod Autoscaler, recommender (github.com/kubernetes/autoscaler)";

// Never destroyed, so that states may outlive everything else.
const std::vector<double>& Buckets(Resource resource) {
  static const auto& cpu = *new std::vector<double>(GrowingBuckets(kFirstCpuBucket, kBucketRatio));
  static const auto& memory =
      *new std::vector<double>(GrowingBuckets(kFirstMemoryBucket, kBucketRatio));
  return resource == Resource::kCpu ? cpu : memory;
}

class VpaState final : public RatioState {
 public:
  VpaState(const SeriesTraits& traits, double percentile, double factor, bool is_daily)
      : RatioState(traits),
        percentile_(percentile),
        factor_(factor),
        steps_per_day_(StepsPerDay(traits)),
        is_daily_(is_daily),
        histogram_(Buckets(traits.resource),
                   is_daily ? 0.5 : DecayPerStep(static_cast<double>(steps_per_day_))) {}
  size_t bytes() const override { return sizeof(*this) + histogram_.heap_bytes(); }

 private:
  void Learn(const Sample& sample) override {
    if (!is_daily_) {
      histogram_.Add(sample.ratio);
      return;
    }
    peak_ = std::max(peak_, sample.ratio);
    if (++steps_of_day_ == steps_per_day_) {
      histogram_.Add(peak_);
      peak_ = -1;
      steps_of_day_ = 0;
    }
  }
  double SizeRatio(int steps) override { return factor_ * ExpectedRatio(steps); }
  double ExpectedRatio(int) override { return histogram_.Percentile(percentile_, peak_); }

  const double percentile_;
  const double factor_;
  const int64_t steps_per_day_;
  const bool is_daily_;
  DecayedHistogram histogram_;
  double peak_ = -1;  // of the day that runs; -1 when there is none
  int64_t steps_of_day_ = 0;
};

}  // namespace

std::unique_ptr<SizingMethod> MakeVpaMethod() {
  return MakeMethod(
      {.name = "vpa",
       .description = "90th percentile of a histogram with a half-life of a day, times a factor; "
                      "of memory the daily peaks count.",
       .source = std::string(kSource),
       .knob = FactorKnob(kMargin),
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<VpaState>(traits, kPercentile, knob,
                                           traits.resource == Resource::kMemory);
       }});
}

std::unique_ptr<SizingMethod> MakeVpaPercentileMethod() {
  return MakeMethod(
      {.name = "vpa_percentile",
       .description = "Any percentile of a histogram with a half-life of a day, times 1.15.",
       .source = std::string(kSource),
       .knob = {.meaning = "percentile of the histogram",
                .published = kPercentile,
                .sweep = {0.5,    0.6,   0.7,    0.75,  0.8,    0.85,  0.88,  0.9,
                          0.92,   0.94,  0.95,   0.96,  0.97,   0.98,  0.985, 0.99,
                          0.9925, 0.995, 0.9975, 0.999, 0.9995, 0.9999}},
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<VpaState>(traits, knob, kMargin, false);
       }});
}

}  // namespace cloudscale::predictor
