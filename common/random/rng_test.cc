#include "common/random/rng.h"

#include <cmath>

#include "gtest/gtest.h"

namespace cloudscale {
namespace {

TEST(RngTest, SameSeedGivesSameStream) {
  Rng a(7);
  Rng b(7);
  Rng c(8);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.Next();
    EXPECT_EQ(value, b.Next());
    differs |= value != c.Next();
  }
  EXPECT_TRUE(differs);
}

TEST(RngTest, ForksAreIndependentOfTheParentsLaterUse) {
  Rng parent(1);
  Rng fork = parent.Fork("faults");
  Rng other = parent.Fork("workload");
  EXPECT_NE(fork.Next(), other.Next());
}

TEST(RngTest, UniformStaysInRangeAndHasTheRightMean) {
  Rng rng(3);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = rng.Uniform();
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.01);
}

TEST(RngTest, NormalHasTheAskedMeanAndDeviation) {
  Rng rng(4);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = rng.Normal(10, 2);
    sum += x;
    squares += x * x;
  }
  const double mean = sum / 100000;
  EXPECT_NEAR(mean, 10, 0.05);
  EXPECT_NEAR(std::sqrt(squares / 100000 - mean * mean), 2, 0.05);
}

}  // namespace
}  // namespace cloudscale
