#pragma once

#include "services/predictor/sizing/value_grid.h"

namespace cloudscale::predictor {

// What can be said about the largest of the next `steps` values from the values seen alone: `below`
// becomes its distribution. Of n values, in any order alike, the next h exceed
// * all with probability h / (n + h), and that by a tail of the power one: beyond r times the
//   largest only 1 / (1 + kTail · (r - 1)) of it, as measured on recorded series of one to 200
//   steps, up to 16 times the largest;
// * the k-th largest with 1 - (n / (n + h))^(1 + k / 4), as if exceedances came in runs of four.
void LargestBySeen(int steps, const ValueCounts& seen, GridDistribution& below);

}  // namespace cloudscale::predictor
