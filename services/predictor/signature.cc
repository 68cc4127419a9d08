#include "services/predictor/signature.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/check/check.h"

namespace cloudscale::predictor {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Periods shorter than this are noise between neighbours, as in the published systems.
constexpr int kMinPeriod = 3;

double Mean(absl::Span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

size_t Index(int i) { return static_cast<size_t>(i); }

}  // namespace

double Pearson(absl::Span<const double> a, absl::Span<const double> b) {
  CS_CHECK(a.size() == b.size());
  if (a.empty()) {
    return 0;
  }
  const double mean_a = Mean(a);
  const double mean_b = Mean(b);
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return aa > 0 && bb > 0 ? std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0) : 0;
}

double DtwDistance(absl::Span<const double> a, absl::Span<const double> b, int band) {
  CS_CHECK(!a.empty() && !b.empty());
  const int n = static_cast<int>(a.size());
  const int m = static_cast<int>(b.size());
  const int width = std::max(band, std::abs(n - m));
  std::vector<double> previous(b.size(), kInfinity);
  std::vector<double> current(b.size());
  for (int i = 0; i < n; ++i) {
    std::fill(current.begin(), current.end(), kInfinity);
    for (int j = std::max(0, i - width); j <= std::min(m - 1, i + width); ++j) {
      double before = i == 0 && j == 0 ? 0 : kInfinity;
      if (i > 0) {
        before = std::min(before, previous[Index(j)]);
      }
      if (j > 0) {
        before = std::min(before, current[Index(j - 1)]);
      }
      if (i > 0 && j > 0) {
        before = std::min(before, previous[Index(j - 1)]);
      }
      current[Index(j)] = before + std::abs(a[Index(i)] - b[Index(j)]);
    }
    std::swap(previous, current);
  }
  return previous.back();
}

const Signature& SignatureFinder::Find(absl::Span<const double> history, Fft& fft) {
  result_.is_found = false;
  result_.pattern.clear();
  size_t size = std::min(history.size(), Index(parameters_.signature_window));
  if (size < Index(parameters_.signature_window)) {
    size -= size % 8;  // few lengths, so few plans, and none of a large prime
  }
  if (size < Index(parameters_.signature_min_steps)) {
    return result_;
  }
  const auto window = history.last(size);
  const int period = FindPeriod(window, fft);
  if (period == 0 || !WindowsAgree(window, period)) {
    return result_;
  }
  const size_t z = Index(period);
  const size_t count = window.size() / z;
  const size_t first = window.size() - count * z;
  result_.pattern.assign(z, 0);
  for (size_t q = 0; q < count; ++q) {
    for (size_t i = 0; i < z; ++i) {
      result_.pattern[i] += window[first + q * z + i];
    }
  }
  for (double& value : result_.pattern) {
    value /= static_cast<double>(count);
  }
  result_.period = period;
  result_.is_found = true;
  return result_;
}

int SignatureFinder::FindPeriod(absl::Span<const double> window, Fft& fft) {
  const double mean = Mean(window);
  centred_.resize(window.size());
  double scale = 0;
  for (size_t i = 0; i < window.size(); ++i) {
    centred_[i] = window[i] - mean;
    scale = std::max(scale, std::abs(window[i]));
  }
  fft.Forward(centred_, spectrum_);
  double highest = 0;
  for (size_t k = 1; k < spectrum_.size(); ++k) {
    highest = std::max(highest, std::norm(spectrum_[k]));
  }
  // Rounding errors of a constant series are no frequency.
  if (std::sqrt(highest) <= 1e-9 * scale * static_cast<double>(window.size())) {
    return 0;
  }
  const double similar =
      highest * parameters_.signature_similar_amplitude * parameters_.signature_similar_amplitude;
  for (size_t k = 1; k < spectrum_.size(); ++k) {
    if (std::norm(spectrum_[k]) >= similar) {
      return RefinePeriod(static_cast<int>(k));
    }
  }
  return 0;
}

// Zero when no period fits at least twice.
int SignatureFinder::RefinePeriod(int line) const {
  const int n = static_cast<int>(centred_.size());
  if (line < 2) {
    return 0;
  }
  const int shortest = std::max(kMinPeriod, n / (line + 1) + 1);
  const int longest = std::min(n / 2, (n + line - 2) / (line - 1) - 1);
  const int nominal = (2 * n + line) / (2 * line);
  int best = 0;
  double best_value = -kInfinity;
  for (int lag = shortest; lag <= longest; ++lag) {
    // Four sums, because one chain of additions would wait for itself.
    double sum[4] = {0, 0, 0, 0};
    const double* early = centred_.data();
    const double* late = centred_.data() + lag;
    const int length = n - lag;
    int i = 0;
    for (; i + 4 <= length; i += 4) {
      sum[0] += early[i] * late[i];
      sum[1] += early[i + 1] * late[i + 1];
      sum[2] += early[i + 2] * late[i + 2];
      sum[3] += early[i + 3] * late[i + 3];
    }
    for (; i < length; ++i) {
      sum[0] += early[i] * late[i];
    }
    const double value = (sum[0] + sum[1] + sum[2] + sum[3]) / length;
    const double margin = 1e-12 * std::abs(best_value);
    if (best == 0 || value > best_value + margin ||
        (value > best_value - margin && std::abs(lag - nominal) < std::abs(best - nominal))) {
      best = lag;
      best_value = value;
    }
  }
  return best_value > 0 ? best : 0;
}

bool SignatureFinder::WindowsAgree(absl::Span<const double> window, int period) {
  const size_t z = Index(period);
  const size_t count = window.size() / z;
  if (count < 2) {
    return false;
  }
  const size_t first = window.size() - count * z;
  normalised_.resize(count * z);
  means_.resize(count);
  for (size_t q = 0; q < count; ++q) {
    const auto part = window.subspan(first + q * z, z);
    const double mean = Mean(part);
    double square = 0;
    for (double value : part) {
      square += (value - mean) * (value - mean);
    }
    if (!(square > 0)) {
      return false;  // a window that does not vary correlates with nothing
    }
    const double factor = 1 / std::sqrt(square);
    for (size_t i = 0; i < z; ++i) {
      normalised_[q * z + i] = (part[i] - mean) * factor;
    }
    means_[q] = mean;
  }
  result_.correlation = 1;
  for (size_t a = 0; a < count; ++a) {
    for (size_t b = a + 1; b < count; ++b) {
      const double larger = std::max(std::abs(means_[a]), std::abs(means_[b]));
      if (std::abs(means_[a] - means_[b]) > parameters_.signature_mean_tolerance * larger) {
        return false;
      }
      double r = 0;
      for (size_t i = 0; i < z; ++i) {
        r += normalised_[a * z + i] * normalised_[b * z + i];
      }
      if (!(r >= parameters_.signature_correlation)) {
        return false;
      }
      result_.correlation = std::min(result_.correlation, r);
    }
  }
  return true;
}

int SignatureFinder::Align(absl::Span<const double> recent, absl::Span<const double> pattern) {
  CS_CHECK(!pattern.empty() && recent.size() == pattern.size());
  const int z = static_cast<int>(pattern.size());
  const int band =
      std::min(z / 2, std::max(1, static_cast<int>(parameters_.alignment_band_ratio * z)));
  // Two rounds of the pattern, and the band on either side.
  doubled_.resize(Index(2 * z + 2 * band));
  for (int j = 0; j < static_cast<int>(doubled_.size()); ++j) {
    doubled_[Index(j)] = pattern[Index((j - band + z) % z)];
  }
  int shift = 0;
  double least = kInfinity;
  for (int candidate = 0; candidate < z; ++candidate) {
    double distance = 0;
    const double* reference = doubled_.data() + band + candidate;
    for (int i = 0; i < z && distance < least; ++i) {
      const double difference = recent[Index(i)] - reference[i];
      distance += difference * difference;
    }
    if (distance < least) {
      least = distance;
      shift = candidate;
    }
  }
  // Cell d of row i pairs recent[i] with doubled_[shift + i + d]; d = band is the diagonal.
  const int width = 2 * band + 1;
  row_.assign(Index(width), 0);
  next_row_.resize(Index(width));
  for (int i = 0; i < z; ++i) {
    for (int d = 0; d < width; ++d) {
      double before = row_[Index(d)];  // diagonal move; row_ starts as zero: free start
      if (i > 0 && d + 1 < width) {
        before = std::min(before, row_[Index(d + 1)]);
      }
      if (i > 0 && d > 0) {
        before = std::min(before, next_row_[Index(d - 1)]);
      }
      next_row_[Index(d)] = before + std::abs(recent[Index(i)] - doubled_[Index(shift + i + d)]);
    }
    std::swap(row_, next_row_);
  }
  double scale = 0;
  for (double value : pattern) {
    scale = std::max(scale, std::abs(value));
  }
  int best = band;
  for (int offset = 1; offset <= band; ++offset) {
    for (const int d : {band - offset, band + offset}) {
      if (row_[Index(d)] < row_[Index(best)] - 1e-9 * scale) {
        best = d;
      }
    }
  }
  return (shift + z - 1 + best - band + z) % z;
}

}  // namespace cloudscale::predictor
