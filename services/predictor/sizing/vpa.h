#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The recommender of the Kubernetes Vertical Pod Autoscaler (autoscaler repository,
// vertical-pod-autoscaler/pkg/recommender): target = 1.15 * P90 of a decayed histogram of usage,
// weight 2^(-age / 24 h), buckets that grow by 5 %, the percentile being the *end* of its bucket.
// CPU: every sample counts. Memory: the peak of each day counts once, the day that runs included.
//
// Changed: the first bucket is 1 % (CPU) or 0.25 % (memory) of the capacity, which are the
// published 0.01 cores and 10 MB on a VM of one core and 4 GB; the published least recommendations
// (25 mCPU, 250 MB) are left out. Both depend on the unit otherwise.
//
// `vpa`: the knob is the factor. `vpa_percentile`: the knob is the percentile, the factor 1.15, and
// memory counts every sample as CPU does: a kinder form of the same.
//
// Expected: the percentile without the factor, whatever the horizon. State: one double for each of
// 37 (CPU) or 63 (memory) buckets. Gaps: a day has as many known steps as a day has steps, and
// nothing loses weight meanwhile.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeVpaMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeVpaPercentileMethod();

}  // namespace cloudscale::predictor
