#include "services/predictor/sizing/history.h"

#include <algorithm>

namespace cloudscale::predictor {
namespace {

constexpr size_t kFreeLength = 512;
constexpr size_t kLengthStep = 64;
constexpr int kLongestWindow = 1 << 20;

}  // namespace

SizingWorkspace::SizingWorkspace() : models(SizingModelParameters()) {}

SizingWorkspace& ThreadSizingWorkspace() {
  thread_local SizingWorkspace workspace;
  return workspace;
}

ModelParameters SizingModelParameters() {
  ModelParameters parameters;
  parameters.signature_window = kLongestWindow;
  parameters.markov_most_probable = true;
  return parameters;
}

absl::Span<const double> Unrolled(const RingBuffer<double>& ring, size_t limit,
                                  SizingWorkspace& workspace) {
  size_t count = std::min(ring.size(), limit);
  if (count > kFreeLength) {
    count -= count % kLengthStep;
  }
  workspace.history.resize(count);
  for (size_t i = 0; i < count; ++i) {
    workspace.history[i] = ring[ring.size() - count + i];
  }
  return workspace.history;
}

}  // namespace cloudscale::predictor
