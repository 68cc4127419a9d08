#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cloudscale::bench {

// How an operator would size one tier otherwise. Cores in, cores out; no clock, no I/O. The same
// bounds hold for all.
class TierPolicy {
 public:
  struct Bounds {
    double floor_cores = 0.1;
    double ceiling_cores = 1;
  };

  virtual ~TierPolicy() = default;
  // What the tier used in the last step (>= 0) under `cap_cores`; returns the cap of the next step.
  virtual double Step(double used_cores, double cap_cores) = 0;
};

// `reactive`: above 80 % of its cap a tier gets what makes it 60 % busy, below 40 % for five steps
// it loses a tenth: the usual threshold rule of autoscalers.
// `vpa`, `cloudscale`, and every other name of the sizing registry: that published method with its
// published setting; at full use a step is censored, as the method's source has it.
// INVALID_ARGUMENT for any other name.
[[nodiscard]] absl::StatusOr<std::unique_ptr<TierPolicy>> MakeTierPolicy(const std::string& name,
                                                                         absl::Duration step,
                                                                         TierPolicy::Bounds bounds);

}  // namespace cloudscale::bench
