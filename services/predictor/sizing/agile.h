#pragma once

#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// One level of the Haar transform in averages: approximation a[i] = (x[2i] + x[2i+1]) / 2 and
// detail d[i] = (x[2i] - x[2i+1]) / 2, so that x[2i] = a[i] + d[i] and x[2i+1] = a[i] - d[i]. An
// even count.
void HaarSplit(absl::Span<const double> series, std::vector<double>& approximation,
               std::vector<double>& detail);
void HaarJoin(absl::Span<const double> approximation, absl::Span<const double> detail,
              std::vector<double>& series);

// AGILE (Nguyen, Shen, Gu, Subbiah, Wilkes, ICAC 2013, section 3.1): the history is split by
// wavelets into one approximation and details of U scales, U = ceil(log2(steps)), so that a single
// value of the approximation covers the horizon; each is forecast by the Markov chain of PRESS (40
// bins, most probable state), 2^(U - i) values at scale i, and they are joined again.
//   size = factor * largest of the path; AGILE keeps usage / allocation at or below 78 %.
//
// Changed: only the Haar wavelet (AGILE picks the wavelet nearest to the signal), at least one
// scale and at most nine (longer horizons repeat), a history of 512 steps (AGILE: 3000).
//
// State: the history. Gaps: it goes on after them.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeAgileMethod();

}  // namespace cloudscale::predictor
