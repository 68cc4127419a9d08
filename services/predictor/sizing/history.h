#pragma once

#include <vector>

#include "absl/types/span.h"
#include "common/timeseries/ring_buffer.h"
#include "services/predictor/fft.h"
#include "services/predictor/markov.h"
#include "services/predictor/model.h"
#include "services/predictor/padding.h"
#include "services/predictor/signature.h"

namespace cloudscale::predictor {

// Buffers of one thread that the methods compute in. They carry nothing from one call to the next
// but memory and the plans of transforms, so they need not exist once a series.
struct SizingWorkspace {
  SizingWorkspace();
  Workspace models;
  std::vector<double> history;
  std::vector<double> path;
  ModelOutput output;
};
[[nodiscard]] SizingWorkspace& ThreadSizingWorkspace();

// Parameters of the existing models here: the published ones, with the most probable state of the
// chain, and a window as long as the history that a method keeps.
[[nodiscard]] ModelParameters SizingModelParameters();

// `ring` in one piece, oldest first: its newest values, at most `limit`. Beyond 512 values a
// multiple of 64, so that few lengths of transforms occur. Valid until the next call.
[[nodiscard]] absl::Span<const double> Unrolled(const RingBuffer<double>& ring, size_t limit,
                                                SizingWorkspace& workspace);

}  // namespace cloudscale::predictor
