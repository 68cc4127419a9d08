#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The baselines that PRESS was compared with (Gong, Gu, Wilkes, CNSM 2010, section IV) and its
// state-driven predictor, from the models of services/predictor/model.h over a window of history:
//   mean, max          of the window
//   histogram          middle of the most frequent of 40 bins
//   autocorrelation    the window repeated at the lag of highest autocorrelation above 0.9, else
//                      the mean
//   autoregression     AR(8) around the mean by the Yule-Walker equations
//   markov             first-order chain over 40 bins, the most probable state of each step ahead
// size = factor * largest value of the forecast path; PRESS pads by 5 %.
//
// The windows are 200 steps, but three days (200 to 4320 steps) of the chain, as published. Gaps
// change nothing: the history goes on after them.
//
// State: the window.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeMeanMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeMaxMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeHistogramMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeAutocorrelationMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeAutoregressionMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeMarkovMethod();

}  // namespace cloudscale::predictor
