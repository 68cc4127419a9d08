#pragma once

#include <vector>

#include "absl/types/span.h"

namespace cloudscale::predictor {

// First-order Markov chain over equal-width bins of a series, as in PRESS and CloudScale: the
// transition probabilities are the counted ones, several steps follow from Chapman and Kolmogorov's
// equation, pi_t = pi_0 P^t.
//
// Only bins that occur are states. A state that was never left (the newest value in a bin seen for
// the first time) stays where it is: what is not known is not a reason to expect less. A state's
// expected value is the mean of its values, its upper bound the largest of them.
//
// Keeps its buffers. Thread safety: thread-compatible.
class MarkovChain {
 public:
  // `series` must not be empty; `bins` >= 1. The last value of the series is the present state.
  void Fit(absl::Span<const double> series, int bins);

  [[nodiscard]] int state_count() const { return static_cast<int>(means_.size()); }
  [[nodiscard]] int present_state() const { return present_; }
  // States are numbered by growing value.
  [[nodiscard]] double mean(int state) const { return means_[static_cast<size_t>(state)]; }
  [[nodiscard]] double upper(int state) const { return uppers_[static_cast<size_t>(state)]; }
  [[nodiscard]] double TransitionProbability(int from, int to) const;

  // Values of the next `steps` steps: the expected one, or that of the most probable state (the
  // higher one of equals).
  void Path(int steps, bool most_probable, std::vector<double>& path);

  // For each horizon (in steps, growing, >= 1) and state b, in that order: the probability that the
  // largest value within the horizon lies in a state <= b. Exact up to `kExactSteps`; beyond, the
  // chance of staying below is taken to shrink at the rate it settled to.
  void MaximumDistribution(absl::Span<const int> horizons, std::vector<double>& cumulative);

  static constexpr int kExactSteps = 12;

 private:
  struct Transition {
    int to;
    double probability;
  };
  [[nodiscard]] absl::Span<const Transition> TransitionsFrom(size_t state) const {
    return absl::MakeConstSpan(transitions_)
        .subspan(row_starts_[state], row_starts_[state + 1] - row_starts_[state]);
  }
  void AdvanceSurvival();

  int present_ = 0;
  std::vector<double> means_;
  std::vector<double> uppers_;
  std::vector<size_t> row_starts_;
  std::vector<Transition> transitions_;
  // Scratch.
  std::vector<int> bin_of_;
  std::vector<int> state_of_bin_;
  std::vector<int> counts_;
  std::vector<int> occupancy_;
  std::vector<double> distribution_;
  std::vector<double> next_distribution_;
  std::vector<double> survival_;
  std::vector<double> next_survival_;
  std::vector<double> rate_base_;
  std::vector<double> last_exact_;
};

}  // namespace cloudscale::predictor
