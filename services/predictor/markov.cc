#include "services/predictor/markov.h"

#include <algorithm>
#include <cmath>

#include "common/check/check.h"

namespace cloudscale::predictor {
namespace {

// Steps over which the settled rate of survival is measured; even, so that chains that alternate
// between two states do not distort it.
constexpr int kRateSteps = 4;

size_t Index(int i) { return static_cast<size_t>(i); }

}  // namespace

void MarkovChain::Fit(absl::Span<const double> series, int bins) {
  CS_CHECK(!series.empty() && bins >= 1);
  const auto [low, high] = std::minmax_element(series.begin(), series.end());
  const double least = *low;
  const double width = (*high - least) / bins;
  const double inverse_width = width > 0 ? 1 / width : 0;
  bin_of_.resize(series.size());
  occupancy_.assign(Index(bins), 0);
  for (size_t t = 0; t < series.size(); ++t) {
    const int bin = std::min(bins - 1, static_cast<int>((series[t] - least) * inverse_width));
    bin_of_[t] = bin;
    ++occupancy_[Index(bin)];
  }
  state_of_bin_.assign(Index(bins), -1);
  int states = 0;
  for (size_t bin = 0; bin < occupancy_.size(); ++bin) {
    if (occupancy_[bin] > 0) {
      state_of_bin_[bin] = states++;
    }
  }
  const size_t k = Index(states);
  means_.assign(k, 0);
  uppers_.assign(k, least);
  counts_.assign(k * k, 0);
  size_t previous = 0;
  for (size_t t = 0; t < series.size(); ++t) {
    const size_t state = Index(state_of_bin_[Index(bin_of_[t])]);
    means_[state] += series[t];
    uppers_[state] = std::max(uppers_[state], series[t]);
    if (t > 0) {
      ++counts_[previous * k + state];
    }
    previous = state;
  }
  present_ = static_cast<int>(previous);
  row_starts_.assign(1, 0);
  transitions_.clear();
  size_t state = 0;
  for (const int occupied : occupancy_) {
    if (occupied == 0) {
      continue;
    }
    means_[state] = std::min(means_[state] / occupied, uppers_[state]);
    int total = 0;
    for (size_t to = 0; to < k; ++to) {
      total += counts_[state * k + to];
    }
    for (size_t to = 0; to < k; ++to) {
      const int count = total > 0 ? counts_[state * k + to] : static_cast<int>(to == state);
      if (count > 0) {
        transitions_.push_back({static_cast<int>(to), 1.0 * count / std::max(total, 1)});
      }
    }
    row_starts_.push_back(transitions_.size());
    ++state;
  }
}

double MarkovChain::TransitionProbability(int from, int to) const {
  for (const Transition& transition : TransitionsFrom(Index(from))) {
    if (transition.to == to) {
      return transition.probability;
    }
  }
  return 0;
}

void MarkovChain::Path(int steps, bool most_probable, std::vector<double>& path) {
  const size_t k = means_.size();
  path.resize(Index(steps));
  distribution_.assign(k, 0);
  distribution_[Index(present_)] = 1;
  for (int t = 0; t < steps; ++t) {
    next_distribution_.assign(k, 0);
    for (size_t from = 0; from < k; ++from) {
      const double weight = distribution_[from];
      if (weight > 0) {
        for (const Transition& transition : TransitionsFrom(from)) {
          next_distribution_[Index(transition.to)] += weight * transition.probability;
        }
      }
    }
    double change = 0;
    double expected = 0;
    size_t likeliest = 0;
    for (size_t state = 0; state < k; ++state) {
      change = std::max(change, std::abs(next_distribution_[state] - distribution_[state]));
      expected += next_distribution_[state] * means_[state];
      if (next_distribution_[state] >= next_distribution_[likeliest]) {
        likeliest = state;
      }
    }
    std::swap(distribution_, next_distribution_);
    path[Index(t)] = most_probable ? means_[likeliest] : expected;
    if (change < 1e-4) {  // settled
      std::fill(path.begin() + t, path.end(), path[Index(t)]);
      return;
    }
  }
}

// survival_[i * k + b]: probability of being in state i now without having been above b since the
// start. One pass over the transitions serves all b at once.
void MarkovChain::AdvanceSurvival() {
  const size_t k = means_.size();
  next_survival_.assign(k * k, 0);
  for (size_t from = 0; from < k; ++from) {
    const double* source = survival_.data() + from * k;
    for (const Transition& transition : TransitionsFrom(from)) {
      const size_t to = Index(transition.to);
      double* target = next_survival_.data() + to * k;
      for (size_t b = to; b < k; ++b) {
        target[b] += transition.probability * source[b];
      }
    }
  }
  std::swap(survival_, next_survival_);
}

void MarkovChain::MaximumDistribution(absl::Span<const int> horizons,
                                      std::vector<double>& cumulative) {
  const size_t k = means_.size();
  cumulative.resize(horizons.size() * k);
  survival_.assign(k * k, 0);
  // What counts is the future: the present state does not bound it.
  std::fill_n(survival_.begin() + static_cast<std::ptrdiff_t>(Index(present_) * k), k, 1.0);
  last_exact_.assign(k, 1);
  rate_base_.assign(k, 1);
  const int longest = horizons.empty() ? 0 : horizons.back();
  size_t next = 0;
  for (int t = 1; t <= std::min(longest, kExactSteps); ++t) {
    AdvanceSurvival();
    std::fill(last_exact_.begin(), last_exact_.end(), 0);
    for (size_t state = 0; state < k; ++state) {
      for (size_t b = state; b < k; ++b) {
        last_exact_[b] += survival_[state * k + b];
      }
    }
    if (t == kExactSteps - kRateSteps) {
      rate_base_ = last_exact_;
    }
    for (; next < horizons.size() && horizons[next] == t; ++next) {
      std::copy(last_exact_.begin(), last_exact_.end(),
                cumulative.begin() + static_cast<std::ptrdiff_t>(next * k));
    }
  }
  for (; next < horizons.size(); ++next) {
    const double exponent = 1.0 * (horizons[next] - kExactSteps) / kRateSteps;
    for (size_t b = 0; b < k; ++b) {
      const double rate = rate_base_[b] > 0 ? std::min(1.0, last_exact_[b] / rate_base_[b]) : 0.0;
      cumulative[next * k + b] = last_exact_[b] * std::pow(rate, exponent);
    }
  }
}

}  // namespace cloudscale::predictor
