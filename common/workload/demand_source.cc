#include "common/workload/demand_source.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "common/check/check.h"

namespace cloudscale::workload {
namespace {

class ConstantDemand final : public DemandSource {
 public:
  explicit ConstantDemand(double fraction) : fraction_(fraction) {}
  double FractionAt(absl::Duration /*since_start*/) const override { return fraction_; }

 private:
  const double fraction_;
};

class TraceDemand final : public DemandSource {
 public:
  TraceDemand(trace::Trace trace, const PlaybackOptions& options)
      : trace_(std::move(trace)), options_(options) {}

  double FractionAt(absl::Duration since_start) const override {
    const absl::Duration position = std::max(since_start, absl::ZeroDuration()) + options_.offset;
    absl::Duration ignored;
    const int64_t step = absl::IDivDuration(position, trace_.period, &ignored);
    const auto size = static_cast<int64_t>(trace_.values.size());
    return trace_.values[static_cast<size_t>(step % size)] * options_.scale;
  }

 private:
  const trace::Trace trace_;
  const PlaybackOptions options_;
};

}  // namespace

std::shared_ptr<const DemandSource> MakeConstantDemand(double fraction) {
  CS_CHECK(std::isfinite(fraction) && fraction >= 0);
  return std::make_shared<ConstantDemand>(fraction);
}

std::shared_ptr<const DemandSource> MakeTraceDemand(trace::Trace trace,
                                                    const PlaybackOptions& options) {
  CS_CHECK(!trace.values.empty());
  CS_CHECK(trace.period > absl::ZeroDuration());
  CS_CHECK(options.offset >= absl::ZeroDuration());
  CS_CHECK(std::isfinite(options.scale) && options.scale >= 0);
  return std::make_shared<TraceDemand>(std::move(trace), options);
}

}  // namespace cloudscale::workload
