#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The DSP predictor of Crane (github.com/gocrane/crane, pkg/prediction/dsp): a period of a day,
// else of a week, when the history shows one (crane_estimate.h); the estimator that would have
// forecast the last period best, by Crane's asymmetric error, forecasts the next one; values beyond
// the 0.1 % and 99.9 % quantiles are cut. Without a period Crane's percentile recommender speaks:
// P99 of a histogram with a half-life of a day. size = factor * largest forecast of the horizon.
//
// Changed: slots of at least five minutes (their largest value), 14 days of them (Crane: 15 days of
// minutes); models are made anew every 12 hours. Crane cuts its history at gaps above an hour; here
// a gap repeats the day before.
//
// State: one float for each of at most 288 slots of 14 days, and the forecast of a week at most.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeCraneMethod();

}  // namespace cloudscale::predictor
