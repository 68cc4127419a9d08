#include "services/predictor/sizing/autopilot_ml.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "services/predictor/sizing/sizing_testing.h"

namespace cloudscale::predictor {
namespace {

TEST(CheapestLimitTest, IsTheBruteForceMinimum) {
  Rng rng(1);
  const std::vector<double> limits = {0.1, 0.2, 0.35, 0.5, 0.8, 1};
  for (int round = 0; round < 500; ++round) {
    std::vector<double> weights;
    double total = 0;
    for (size_t k = 0; k < limits.size(); ++k) {
      weights.push_back(rng.Chance(0.3) ? 0 : rng.Uniform());
      total += weights.back();
    }
    weights[2] += 0.1;
    total += 0.1;
    const double mean = rng.Uniform(0.05, 1);
    const double price = rng.Uniform(0.1, 30);
    const double change = rng.Uniform(0, 0.3);
    const auto before = static_cast<size_t>(rng.UniformInt(7));
    size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t limit = 0; limit < limits.size(); ++limit) {
      double cost = limit == before ? 0 : change;
      for (size_t k = 0; k < limits.size(); ++k) {
        const double part = weights[k] / total;
        cost +=
            limits[k] > limits[limit] ? price * part : part * (limits[limit] - limits[k]) / mean;
      }
      if (cost < least - 1e-12) {
        least = cost;
        best = limit;
      }
    }
    ASSERT_EQ(CheapestLimit(weights, total, limits, mean, price, change, before), best) << round;
  }
}

TEST(CheapestLimitTest, GrowsWithTheCostOfOverruns) {
  const std::vector<double> limits = {0.1, 0.2, 0.35, 0.5, 0.8, 1};
  const std::vector<double> weights = {5, 3, 1, 0.5, 0.3, 0.1};
  size_t before = 0;
  for (double price = 0.1; price < 200; price *= 1.3) {
    const size_t limit = CheapestLimit(weights, 9.9, limits, 0.2, price, 0, limits.size());
    EXPECT_GE(limit, before);
    before = limit;
  }
  EXPECT_EQ(before, 5u);
}

TEST(CheapestLimitTest, StaysWhereItIsForASmallGain) {
  const std::vector<double> limits = {0.5, 1};
  // Costs without hysteresis: 0.1 * price against 0.9 * 0.5 / mean = 0.45.
  const std::vector<double> weights = {9, 1};
  EXPECT_EQ(CheapestLimit(weights, 10, limits, 1, 4.4, 0, 2), 0u);
  EXPECT_EQ(CheapestLimit(weights, 10, limits, 1, 4.4, 0.02, 1), 1u);
  EXPECT_EQ(CheapestLimit(weights, 10, limits, 1, 4.2, 0.02, 1), 0u);
}

// The recursions of the publication, written out over all limits.
class Reference {
 public:
  explicit Reference(double price) : price_(price) {
    for (int k = 0; k < 96; ++k) {
      limits_.push_back(k == 95 ? 1 : 0.01 * std::pow(100, k / 95.0));
    }
    for (const double half_life : {6.0, 24.0, 144.0, 576.0}) {
      decays_.push_back({1 - std::pow(0.5, 1 / half_life), 0, std::vector<double>(96, 0),
                         std::vector<double>(96, 0), 96});
    }
    costs_.assign(16, 0);
    model_limits_.assign(16, 1);
  }

  double Observe(double x) {
    const double mean_gain = 1 - std::pow(0.5, 1 / 576.0);
    mean_ += mean_gain * (x - mean_);
    mean_weight_ += mean_gain * (1 - mean_weight_);
    const double mean = std::max(1e-3, mean_ / mean_weight_);
    const double d = 1 - std::pow(0.5, 1 / 72.0);
    for (size_t m = 0; m < 16; ++m) {
      const double cost = x > model_limits_[m] ? price_ : (model_limits_[m] - x) / mean;
      costs_[m] = (1 - d) * costs_[m] + d * cost;
    }
    const double counted = *std::lower_bound(limits_.begin(), limits_.end(), x);
    for (size_t i = 0; i < 4; ++i) {
      Decay& decay = decays_[i];
      size_t best = 0;
      double least = std::numeric_limits<double>::infinity();
      decay.weight = (1 - decay.gain) * decay.weight + decay.gain;
      for (size_t k = 0; k < 96; ++k) {
        decay.over[k] += decay.gain * ((counted > limits_[k] ? 1 : 0) - decay.over[k]);
        decay.under[k] += decay.gain * (std::max(0.0, limits_[k] - counted) - decay.under[k]);
        const double cost = (price_ * decay.over[k] + decay.under[k] / mean) / decay.weight +
                            (k == decay.choice ? 0 : 0.01);
        if (cost < least - 1e-12) {
          least = cost;
          best = k;
        }
      }
      decay.choice = best;
      const double margins[] = {0, 0.05, 0.1, 0.2};
      for (size_t j = 0; j < 4; ++j) {
        const double limit = std::min(1.0, (1 + margins[j]) * limits_[best]);
        if (std::abs(limit - model_limits_[4 * i + j]) > 1e-12) {
          costs_[4 * i + j] += d * 0.01;
        }
        model_limits_[4 * i + j] = limit;
      }
    }
    size_t chosen = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t m = 0; m < 16; ++m) {
      const double cost = costs_[m] + (m == followed_ ? 0 : 0.02) +
                          (std::abs(model_limits_[m] - limit_) < 1e-12 ? 0 : 0.01);
      if (cost < least - 1e-12) {
        least = cost;
        chosen = m;
      }
    }
    followed_ = chosen;
    limit_ = model_limits_[chosen];
    return limit_;
  }

 private:
  struct Decay {
    double gain;
    double weight;
    std::vector<double> over;
    std::vector<double> under;
    size_t choice;
  };
  double price_;
  std::vector<double> limits_;
  std::vector<Decay> decays_;
  std::vector<double> costs_;
  std::vector<double> model_limits_;
  double mean_ = 0;
  double mean_weight_ = 0;
  size_t followed_ = 0;
  double limit_ = 1;
};

TEST(AutopilotMlTest, FollowsTheRecursionsOfThePublication) {
  for (const double price : {3.0, 15.0, 90.0}) {
    const auto state = StartMethod("autopilot_ml", CpuTraits(), price);
    Reference reference(price);
    int changes = 0;
    double before = 1;
    const std::vector<double> demand = NoisyDays(900, 288, 4);
    for (size_t t = 0; t < demand.size(); ++t) {
      state->Observe({.demand = demand[t]});
      const double limit = reference.Observe(demand[t]);
      ASSERT_NEAR(state->Size(1), limit, 1e-9) << price << " " << t;
      changes += std::abs(limit - before) > 1e-9 ? 1 : 0;
      before = limit;
    }
    // It moves, but not at each step.
    EXPECT_GT(changes, 5);
    EXPECT_LT(changes, 300);
  }
}

TEST(AutopilotMlTest, RecoversWhenItSeesOnlyWhatItAllows) {
  const auto state = StartMethod("autopilot_ml", CpuTraits());
  int over = 0;
  for (int t = 0; t < 1000; ++t) {
    const double demand = t < 300 ? 0.1 : 0.5;
    const double size = state->Size(1);
    over += t >= 300 && demand > size ? 1 : 0;
    state->Observe({.demand = std::min(demand, size), .is_censored = demand > size});
  }
  EXPECT_LT(over, 60);
}

TEST(AutopilotMlTest, DearOverrunsAreRare) {
  double rate_before = 1;
  for (const double price : {2.0, 15.0, 250.0}) {
    const auto state = StartMethod("autopilot_ml", CpuTraits(), price);
    int over = 0;
    const std::vector<double> demand = NoisyDays(3000, 288, 5);
    for (size_t t = 0; t < demand.size(); ++t) {
      over += t > 300 && demand[t] > state->Size(1) ? 1 : 0;
      state->Observe({.demand = demand[t]});
    }
    const double rate = over / 2700.0;
    EXPECT_LT(rate, rate_before);
    rate_before = rate;
  }
  EXPECT_LT(rate_before, 0.01);
}

}  // namespace
}  // namespace cloudscale::predictor
