#include "services/predictor/challenge.h"

#include "common/random/rng.h"
#include "gtest/gtest.h"

namespace cloudscale::predictor {
namespace {

TEST(ChallengeTest, EqualModelsAreHardlyEverToldApart) {
  // Both err alike, with errors that last: the worst case for a test that counts steps.
  int promotions = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed);
    Challenge challenge;
    double lasting = 0;
    bool is_promoted = false;
    for (int t = 0; t < 20000; ++t) {
      lasting = 0.9 * lasting + rng.Normal(0, 0.1);
      challenge.Observe(1 + lasting, 1 + rng.Normal(0, 0.1));
      is_promoted = is_promoted || challenge.advantage() >= 4;
    }
    promotions += is_promoted ? 1 : 0;
  }
  EXPECT_LE(promotions, 4);
}

TEST(ChallengeTest, BetterChallengerIsNoticedAndWorseOneToo) {
  for (const double gain : {0.1, -0.1}) {
    Rng rng(1);
    Challenge challenge;
    for (int t = 0; t < 3000; ++t) {
      challenge.Observe(1 + rng.Normal(0, 0.3), 1 - gain + rng.Normal(0, 0.3));
    }
    EXPECT_GE(challenge.advantage() * gain, 0.4);
  }
}

TEST(ChallengeTest, FewStepsSayNothing) {
  Challenge challenge;
  for (int t = 0; t < 10 * Challenge::kBlockSteps - 1; ++t) {
    challenge.Observe(2, 1);
    EXPECT_EQ(challenge.advantage(), 0);
  }
  challenge.Observe(2, 1);
  EXPECT_GT(challenge.advantage(), 4);
}

}  // namespace
}  // namespace cloudscale::predictor
