#include "services/predictor/sizing/analog_memory.h"

#include <algorithm>
#include <cmath>

namespace cloudscale::predictor {
namespace {

constexpr float kLowestLogBandwidth = -7;
// With fewer the bandwidth stays as it is.
constexpr int32_t kFewMoments = 9;
// Beyond it a moment counts less than a hundred-thousandth.
constexpr float kFarthest = 12;
constexpr size_t kTable = 768;
// Steps of the future that are looked at for long holds.
constexpr int kMaxSampledSteps = 6;

// exp(-q) for q in [0, kFarthest], to within 0.8 %; the loop over moments spends its time here.
const std::array<float, kTable + 1>& ExpTable() {
  static const std::array<float, kTable + 1> table = [] {
    std::array<float, kTable + 1> t{};
    for (size_t i = 0; i <= kTable; ++i) {
      t[i] = std::exp(-(static_cast<float>(i) + 0.5F) * kFarthest / kTable);
    }
    return t;
  }();
  return table;
}

}  // namespace

void AnalogMemory::Observe(float value) {
  newest_ = static_cast<int32_t>((static_cast<size_t>(newest_) + kMoments - 1) % kMoments);
  const auto held = static_cast<uint16_t>(std::lround(std::clamp(value, 0.0F, 1.0F) / kUnit));
  const auto present = static_cast<float>(held);
  const ValueGrid& grid = ValueGrid::Get();
  uint16_t& place = values_[static_cast<size_t>(newest_)];
  if (count_ == static_cast<int32_t>(kMoments)) {
    --counts_[grid.CellOf(ValueOf(place))];
  }
  place = held;
  ++counts_[grid.CellOf(ValueOf(held))];
  count_ = std::min<int32_t>(count_ + 1, kMoments);
  if (count_ > 2) {
    // An age that enters has no past to compare; it starts as far off as its neighbour.
    const auto oldest = static_cast<size_t>(count_) - 1;
    distances_[oldest] = oldest + 1 < kMoments ? distances_[oldest - 1] : distances_[oldest];
  }
  // The ring in order of age is two runs, so that both loops are plain.
  const auto count = static_cast<size_t>(count_);
  const auto start = static_cast<size_t>(newest_);
  const size_t first = std::min(count, kMoments - start);
  for (size_t age = 1; age < first; ++age) {
    const float difference = kUnit * (static_cast<float>(values_[start + age]) - present);
    distances_[age] = kFading * distances_[age] + difference * difference;
  }
  for (size_t age = std::max<size_t>(first, 1); age < count; ++age) {
    const float difference = kUnit * (static_cast<float>(values_[age - first]) - present);
    distances_[age] = kFading * distances_[age] + difference * difference;
  }
}

float AnalogMemory::Forecast(int steps, const GridDistribution& fallback, GridDistribution& levels,
                             GridDistribution& changes) const {
  const ValueGrid& grid = ValueGrid::Get();
  const auto& exp_table = ExpTable();
  std::array<float, ValueGrid::kSize + 1> level_weights{};
  std::array<float, ValueGrid::kSize + 1> change_weights{};
  const int sampled = std::min(steps, kMaxSampledSteps);
  const float inverse = 0.5F * (1 - kFading) * std::exp(-2 * log_bandwidth_);
  const auto count = static_cast<size_t>(count_);
  const float present = at_age(0);
  float total = 0;
  // A moment needs `steps` values after it.
  for (size_t age = static_cast<size_t>(steps); age < count; ++age) {
    const float q = distances_[age] * inverse + static_cast<float>(age) * kRecency;
    if (!(q < kFarthest)) {
      continue;
    }
    const float weight = exp_table[static_cast<size_t>(q * (kTable / kFarthest))];
    const float then = at_age(age);
    for (int k = 1; k <= sampled; ++k) {
      const auto ahead = static_cast<size_t>(k * steps / sampled);
      const float value = at_age(age - ahead);
      level_weights[grid.CellOf(value)] += weight;
      change_weights[grid.CellOf(value - then + present)] += weight;
    }
    total += weight;
  }
  const auto parts = static_cast<float>(sampled);
  const float scale = 1 / (total * parts + parts);
  float level = 0;
  float change = 0;
  for (size_t i = 0; i < ValueGrid::kSize; ++i) {
    level += level_weights[i];
    change += change_weights[i];
    levels[i] = (level + parts * fallback[i]) * scale;
    changes[i] = (change + parts * fallback[i]) * scale;
  }
  return total;
}

void AnalogMemory::Count() {
  const ValueGrid& grid = ValueGrid::Get();
  counts_ = {};
  // A reader calls it for what may not be valid.
  for (size_t age = 0; age < std::min(kMoments, static_cast<size_t>(std::max(0, count_))); ++age) {
    ++counts_[grid.CellOf(at_age(age))];
  }
}

void AnalogMemory::Marginal(const GridDistribution& fallback, GridDistribution& levels) const {
  const float scale = 1 / static_cast<float>(count_ + 1);
  int sum = 0;
  for (size_t i = 0; i < ValueGrid::kSize; ++i) {
    sum += counts_[i];
    levels[i] = (static_cast<float>(sum) + fallback[i]) * scale;
  }
}

void AnalogMemory::Adapt(float neighbours) {
  if (count_ > kFewMoments) {
    const bool is_far_off = neighbours < kNeighbours / 4 || neighbours > kNeighbours * 4;
    const float step = is_far_off ? 0.15F : 0.05F;
    log_bandwidth_ = std::clamp(log_bandwidth_ + (neighbours < kNeighbours ? step : -step),
                                kLowestLogBandwidth, 0.0F);
  }
}

void AnalogMemory::Rescale(float factor) {
  for (uint16_t& value : values_) {
    value = static_cast<uint16_t>(std::lround(static_cast<float>(value) * factor));
  }
  Count();
  for (float& distance : distances_) {
    distance *= factor * factor;
  }
  log_bandwidth_ = std::clamp(log_bandwidth_ + std::log(factor), kLowestLogBandwidth, 0.0F);
}

bool AnalogMemory::is_valid() const {
  const auto is_distance = [](float x) { return x >= 0 && x <= 1e3F; };
  return newest_ >= 0 && newest_ < static_cast<int32_t>(kMoments) && count_ >= 0 &&
         count_ <= static_cast<int32_t>(kMoments) && log_bandwidth_ <= 0 &&
         log_bandwidth_ >= kLowestLogBandwidth &&
         std::all_of(distances_.begin(), distances_.end(), is_distance);
}

}  // namespace cloudscale::predictor
