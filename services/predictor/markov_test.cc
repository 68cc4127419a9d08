#include "services/predictor/markov.h"

#include <cmath>
#include <vector>

#include "common/random/rng.h"
#include "gtest/gtest.h"

namespace cloudscale::predictor {
namespace {

TEST(MarkovChainTest, TransitionProbabilitiesAreCounted) {
  MarkovChain chain;
  // Bins [0,1) [1,2) [2,3]: 0 0 1 2 0 1 -> from 0: one 0, two 1; from 1: one 2; from 2: one 0.
  chain.Fit({0, 0, 1, 3, 0, 1}, 3);
  ASSERT_EQ(chain.state_count(), 3);
  EXPECT_EQ(chain.present_state(), 1);
  EXPECT_DOUBLE_EQ(chain.TransitionProbability(0, 0), 1.0 / 3);
  EXPECT_DOUBLE_EQ(chain.TransitionProbability(0, 1), 2.0 / 3);
  EXPECT_DOUBLE_EQ(chain.TransitionProbability(0, 2), 0);
  EXPECT_DOUBLE_EQ(chain.TransitionProbability(1, 2), 1);
  EXPECT_DOUBLE_EQ(chain.TransitionProbability(2, 0), 1);
}

TEST(MarkovChainTest, SeveralStepsFollowChapmanAndKolmogorov) {
  MarkovChain chain;
  chain.Fit({0, 0, 1, 3, 0, 1}, 3);
  std::vector<double> path;
  chain.Path(3, false, path);
  EXPECT_DOUBLE_EQ(path[0], 3);        // 1 -> 2
  EXPECT_DOUBLE_EQ(path[1], 0);        // -> 0
  EXPECT_DOUBLE_EQ(path[2], 2.0 / 3);  // -> 0 (1/3) or 1 (2/3)
  chain.Path(3, true, path);
  EXPECT_DOUBLE_EQ(path[2], 1);
}

TEST(MarkovChainTest, MaximumDistributionCountsPaths) {
  MarkovChain chain;
  // Last state 0; P(0,0) = 1/2, P(0,1) = 1/2, P(1,0) = 1.
  chain.Fit({0, 0, 1, 0, 0, 1, 0}, 2);
  std::vector<double> cumulative;
  chain.MaximumDistribution({1, 2, 3}, cumulative);
  ASSERT_EQ(cumulative.size(), 6u);
  EXPECT_DOUBLE_EQ(cumulative[0], 0.5);
  EXPECT_DOUBLE_EQ(cumulative[2], 0.25);
  EXPECT_DOUBLE_EQ(cumulative[4], 0.125);
  for (size_t h = 0; h < 3; ++h) {
    EXPECT_DOUBLE_EQ(cumulative[2 * h + 1], 1);
  }
}

TEST(MarkovChainTest, LongHorizonsGoOnAtTheSettledRate) {
  MarkovChain chain;
  chain.Fit({0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}, 2);  // P(0,1) = 2/8
  std::vector<double> cumulative;
  chain.MaximumDistribution({1, 60}, cumulative);
  EXPECT_NEAR(cumulative[2], std::pow(0.75, 60), 1e-12);
}

TEST(MarkovChainTest, StateThatWasNeverLeftStays) {
  MarkovChain chain;
  chain.Fit({1, 1, 2, 1, 9}, 4);
  std::vector<double> path;
  chain.Path(2, false, path);
  EXPECT_DOUBLE_EQ(path[0], 9);
  EXPECT_DOUBLE_EQ(path[1], 9);
}

TEST(MarkovChainTest, ConstantSeriesStaysExactlyTheSame) {
  MarkovChain chain;
  chain.Fit({0.1, 0.1, 0.1}, 40);
  std::vector<double> path;
  chain.Path(5, false, path);
  EXPECT_EQ(path[4], 0.1);
}

TEST(MarkovChainTest, EveryRowSumsUpToOne) {
  Rng rng(3);
  std::vector<double> series;
  for (int t = 0; t < 300; ++t) {
    series.push_back(rng.Uniform(1, 5));
  }
  MarkovChain chain;
  chain.Fit(series, 40);
  for (int from = 0; from < chain.state_count(); ++from) {
    double sum = 0;
    for (int to = 0; to < chain.state_count(); ++to) {
      sum += chain.TransitionProbability(from, to);
    }
    EXPECT_NEAR(sum, 1, 1e-12);
    if (from > 0) {
      EXPECT_GT(chain.mean(from), chain.upper(from - 1));
    }
  }
}

}  // namespace
}  // namespace cloudscale::predictor
