#include "services/predictor/sizing/residual_expert.h"

#include <algorithm>
#include <cmath>

namespace cloudscale::predictor {
namespace {

// Half of the scale's memory is the newest 12 steps.
constexpr float kScaleGain = 0.0561257F;
constexpr float kLeastScale = 1e-3F;  // of the capacity
constexpr size_t kEdges = ResidualExpert::kBins - 1;

// Upper edges of all bins but the last, which is open.
const std::array<float, kEdges>& Edges() {
  static const std::array<float, kEdges> edges = [] {
    std::array<float, kEdges> e{};
    size_t i = 0;
    for (int k = 0; k <= 12; ++k) {
      e[i++] = -6 + 0.5F * static_cast<float>(k);
    }
    for (int k = 1; k <= 24; ++k) {
      e[i++] = 0.25F * static_cast<float>(k);
    }
    for (float z = 6; i < kEdges;) {
      z *= 1.22F;
      e[i++] = z;
    }
    return e;
  }();
  return edges;
}

}  // namespace

float ResidualExpert::scale() const {
  return scale_weight_ > 0 ? std::max(kLeastScale, scale_sum_ / scale_weight_) : kLeastScale;
}

void ResidualExpert::Observe(float demand, float fading) {
  const auto& edges = Edges();
  if (scale_weight_ > 0) {  // else there is nothing yet to measure the residual by
    const float z = (demand - point_) / scale();
    const auto bin =
        static_cast<size_t>(std::lower_bound(edges.begin(), edges.end(), z) - edges.begin());
    for (float& weight : histogram_) {
      weight *= fading;
    }
    histogram_[bin] += 1;
  }
  scale_sum_ += kScaleGain * (std::abs(demand - point_) - scale_sum_);
  scale_weight_ += kScaleGain * (1 - scale_weight_);
}

float ResidualExpert::Quantile(float ratio) const {
  const auto& edges = Edges();
  float total = 0;
  for (const float weight : histogram_) {
    total += weight;
  }
  const float wanted = ratio * total;
  float sum = 0;
  for (size_t bin = 0; bin < kEdges; ++bin) {
    sum += histogram_[bin];
    if (sum >= wanted) {
      // Within the bin, as `Distribution` has it.
      const float low = bin > 0 ? edges[bin - 1] : edges[0] - 3;
      const float part = histogram_[bin] > 0 ? 1 - (sum - wanted) / histogram_[bin] : 1;
      return point_ + scale() * (low + part * (edges[bin] - low));
    }
  }
  return point_ + scale() * edges[kEdges - 1] * 1.3F;
}

void ResidualExpert::Distribution(GridDistribution& below) const {
  const ValueGrid& grid = ValueGrid::Get();
  const auto& edges = Edges();
  float total = 0;
  for (const float weight : histogram_) {
    total += weight;
  }
  const float inverse_total = 1 / total;
  const float width = scale();
  size_t k = 0;
  float sum = 0;
  float low = point_ + width * (edges[0] - 3);
  for (size_t bin = 0; bin < kBins; ++bin) {
    const float high = point_ + width * (bin < kEdges ? edges[bin] : edges[kEdges - 1] * 1.3F);
    const float weight = histogram_[bin] * inverse_total;
    const float slope = weight / (high - low);
    for (; k < ValueGrid::kSize && grid[k] <= high; ++k) {
      below[k] = std::max(sum, sum + (grid[k] - low) * slope);
    }
    sum += weight;
    low = high;
  }
  for (; k < ValueGrid::kSize; ++k) {
    below[k] = 1;
  }
}

void ResidualExpert::Rescale(float factor) {
  point_ *= factor;
  scale_sum_ *= factor;
}

std::array<float, ResidualExpert::kBins> ResidualExpert::Shape() const {
  float total = 0;
  for (const float weight : histogram_) {
    total += weight;
  }
  std::array<float, kBins> shape = histogram_;
  for (float& weight : shape) {
    weight /= total;
  }
  return shape;
}

void ResidualExpert::StartWith(const float* shape, float steps) {
  for (size_t bin = 0; bin < kBins; ++bin) {
    histogram_[bin] += steps * shape[bin];
  }
}

void ResidualExpert::KeepSteps(float count) {
  float total = 0;
  for (const float weight : histogram_) {
    total += weight;
  }
  if (total > count) {
    for (float& weight : histogram_) {
      weight *= count / total;
    }
  }
}

bool ResidualExpert::is_valid() const {
  const auto is_weight = [](float x) { return x >= 0 && x <= 1e9F; };
  return std::all_of(histogram_.begin(), histogram_.end(), is_weight) &&
         *std::max_element(histogram_.begin(), histogram_.end()) > 0 && point_ >= 0 &&
         point_ <= 2 && scale_sum_ >= 0 && scale_sum_ <= 2.001F * scale_weight_ &&
         scale_weight_ <= 1.001F;
}

}  // namespace cloudscale::predictor
