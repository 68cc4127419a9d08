#include "tools/worker/arrivals.h"

#include <utility>

#include "common/check/check.h"

namespace cloudscale::worker {

Arrivals::Arrivals(std::shared_ptr<const workload::DemandSource> demand, Config config)
    : demand_(std::move(demand)), config_(config) {
  CS_CHECK(config.peak_cores > 0 && config.speed > 0 && config.unit_cpu > absl::ZeroDuration());
  next_unit_ = absl::ToDoubleSeconds(config.unit_cpu);
}

std::vector<absl::Duration> Arrivals::Until(absl::Duration elapsed) {
  const double unit = absl::ToDoubleSeconds(config_.unit_cpu);
  std::vector<absl::Duration> result;
  // Whole steps only: the same arrivals however the calls fall.
  while (kStep * (step_ + 1) <= elapsed) {
    const absl::Duration start = kStep * step_++;
    const double cores = demand_->FractionAt(start * config_.speed) * config_.peak_cores;
    const double before = demanded_cpu_seconds_;
    demanded_cpu_seconds_ += cores * absl::ToDoubleSeconds(kStep);
    while (next_unit_ <= demanded_cpu_seconds_) {
      const double part = (next_unit_ - before) / (demanded_cpu_seconds_ - before);
      result.push_back(start + kStep * part);
      next_unit_ += unit;
    }
  }
  return result;
}

}  // namespace cloudscale::worker
