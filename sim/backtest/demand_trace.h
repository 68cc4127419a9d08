#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "services/predictor/types.h"

namespace cloudscale::backtest {

// One recorded demand series on a regular grid of steps.
struct DemandTrace {
  // Stands in `demand` for a step that the recording lacks.
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

  std::string name;
  std::string file = {};  // that it was read from, without directory and endings; may be empty
  predictor::Resource resource = predictor::Resource::kCpu;
  double start_seconds = 0;    // time of `demand[0]`, as recorded
  double step_seconds = 1;     // > 0
  double capacity = 1;         // most that the VM can consume, in the unit of `demand`; > 0
  std::vector<double> demand;  // finite and >= 0, or kUnknown
};

// What the unit of a set of traces says about the VMs' sizes: 1 for all when no value is above 1
// (fractions of the VM), else each trace's own largest value (1 where that is 0).
void SetDefaultCapacities(std::vector<DemandTrace>& traces);

}  // namespace cloudscale::backtest
