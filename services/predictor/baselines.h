#pragma once

#include <vector>

#include "absl/types/span.h"

namespace cloudscale::predictor {

// The baselines that PRESS was compared with. Series must not be empty.

[[nodiscard]] double MeanOf(absl::Span<const double> series);
[[nodiscard]] double MaximumOf(absl::Span<const double> series);

// Middle of the most frequent of `bins` equal-width bins, the higher one of equals.
[[nodiscard]] double HistogramMode(absl::Span<const double> series, int bins);

// Lag (1 to half the series) at which the series correlates best with itself, when Pearson's
// coefficient is above `threshold`; else 0.
[[nodiscard]] int AutocorrelationLag(absl::Span<const double> series, double threshold);

// Coefficients of an autoregressive model of the given order around the mean, from the
// autocovariance by the Yule-Walker equations (Levinson's and Durbin's recursion). Empty when the
// series does not vary or is not longer than twice the order.
[[nodiscard]] std::vector<double> YuleWalker(absl::Span<const double> series, int order);

}  // namespace cloudscale::predictor
