#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/predictor/types.h"

namespace cloudscale::bench {

// How an operator would size one tier otherwise. Cores or MiB in, the same out; no clock, no I/O.
// The same bounds hold for all.
class TierPolicy {
 public:
  struct Bounds {
    double floor = 0.1;
    double ceiling = 1;
  };

  virtual ~TierPolicy() = default;
  // What the tier used in the last step (>= 0) under `limit`; returns the limit of the next step.
  virtual double Step(double used, double limit) = 0;
};

// `reactive`: above 80 % of its limit a tier gets what makes it 60 % busy, below 40 % for five
// steps it loses a tenth: the usual threshold rule of autoscalers. `vpa`, `cloudscale`, and every
// other name of the sizing registry: that published method with its published setting; at full use
// a step is censored, as the method's source has it. INVALID_ARGUMENT for any other name.
[[nodiscard]] absl::StatusOr<std::unique_ptr<TierPolicy>> MakeTierPolicy(
    const std::string& name, predictor::Resource resource, absl::Duration step,
    TierPolicy::Bounds bounds);

}  // namespace cloudscale::bench
