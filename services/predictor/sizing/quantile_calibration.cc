#include "services/predictor/sizing/quantile_calibration.h"

namespace cloudscale::predictor {
namespace {

constexpr float kDoubt = 60;
// Whatever was counted, it does not ask for more or less than this part of the exceedances.
constexpr float kMostLowered = 3;
constexpr float kMostRaised = 0.5F;
constexpr float kTie = 1e-6F;
// Probabilities of being exceeded.
constexpr std::array<float, QuantileCalibration::kLevels> kExceeded = {
    0.8F,  0.65F, 0.5F,  0.35F,  0.2F,  0.14F,  0.1F,  0.07F,
    0.05F, 0.03F, 0.02F, 0.014F, 0.01F, 0.004F, 0.001F};

}  // namespace

QuantileCalibration::Ladder QuantileCalibration::LadderOf(const GridDistribution& below) {
  Ladder ladder{};
  size_t k = 0;
  for (size_t level = 0; level < kLevels; ++level) {
    while (k + 1 < ValueGrid::kSize && below[k] < 1 - kExceeded[level]) {
      ++k;
    }
    ladder[level] = static_cast<uint8_t>(k);
  }
  return ladder;
}

void QuantileCalibration::Rescale(float factor, Ladder& ladder) {
  const ValueGrid& grid = ValueGrid::Get();
  for (uint8_t& place : ladder) {
    place = static_cast<uint8_t>(grid.CellOf(std::min(1.0F, grid[place] * factor)));
  }
}

bool QuantileCalibration::IsValid(const Ladder& ladder) {
  return ladder.back() < ValueGrid::kSize && std::is_sorted(ladder.begin(), ladder.end());
}

void QuantileCalibration::Observe(float value, const Ladder& ladder, float weight, float fading) {
  const ValueGrid& grid = ValueGrid::Get();
  for (float& count : counts_) {
    count *= fading;
  }
  size_t exceeded = 0;
  while (exceeded < kLevels && value > grid[ladder[exceeded]] + kTie) {
    ++exceeded;
  }
  counts_[exceeded] += weight;
}

void QuantileCalibration::RatiosFor(absl::Span<const double> ratios,
                                    absl::Span<double> asked) const {
  float above = 0;
  for (const float count : counts_) {
    above += count;
  }
  const float scale = 1 / (above + kDoubt);
  // The levels around what is looked for: one exceeded more often, the next not.
  float level = 1;
  float got = 1;
  size_t next = 0;
  above -= counts_[0];
  float next_got = (std::max(0.0F, above) + kDoubt * kExceeded[0]) * scale;
  for (size_t r = 0; r < ratios.size(); ++r) {
    const float wanted = 1 - static_cast<float>(ratios[r]);
    while (next < kLevels && next_got > wanted) {
      level = kExceeded[next];
      got = next_got;
      if (++next < kLevels) {
        above -= counts_[next];
        next_got = (std::max(0.0F, above) + kDoubt * kExceeded[next]) * scale;
      }
    }
    const float at = next < kLevels ? kExceeded[next] + (level - kExceeded[next]) *
                                                            (wanted - next_got) / (got - next_got)
                                    : level * wanted / got;
    asked[r] = 1 - static_cast<double>(
                       std::clamp(at, kMostRaised * wanted, std::min(1.0F, kMostLowered * wanted)));
  }
}

}  // namespace cloudscale::predictor
