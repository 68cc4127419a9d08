#include "services/predictor/portfolio_forecaster.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string>
#include <vector>

#include "common/random/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::predictor {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

OnlineTraits Traits(Resource resource = Resource::kCpu) {
  return {.resource = resource,
          .step = absl::Seconds(10),
          .horizons = {1, 10, 60, 1080},
          .ratios = {0.5, 0.9, 0.98, 0.999}};
}

ModelOutput ForecastOf(PortfolioForecaster& forecaster) {
  ModelOutput output;
  forecaster.Forecast(output);
  return output;
}

double NoisyDay(int step, Rng& rng) {
  return std::max(0.0, 2 + std::sin(2 * std::numbers::pi * step / 8640) + rng.Normal(0, 0.2) +
                           (rng.Chance(0.01) ? 1 : 0));
}

void ExpectSane(const ModelOutput& output, const OnlineTraits& traits, double limit) {
  const size_t ratios = traits.ratios.size();
  ASSERT_EQ(output.quantiles.size(), traits.horizons.size() * ratios);
  ASSERT_EQ(output.expected.size(), traits.horizons.size());
  for (size_t h = 0; h < traits.horizons.size(); ++h) {
    for (size_t r = 0; r < ratios; ++r) {
      const double value = output.quantiles[h * ratios + r];
      ASSERT_TRUE(value >= 0 && value <= limit) << value;
      ASSERT_TRUE(r == 0 || value >= output.quantiles[h * ratios + r - 1]);
    }
  }
  ASSERT_TRUE(output.advised && *output.advised >= 0 && *output.advised <= limit);
}

TEST(PortfolioForecasterTest, FollowsDemandWhateverItsUnit) {
  for (const double unit : {1e-3, 1.0, 1e4, 7e9}) {
    for (const Resource resource : {Resource::kCpu, Resource::kMemory}) {
      PortfolioForecaster forecaster(Traits(resource));
      Rng rng(5);
      for (int t = 0; t < 3000; ++t) {
        forecaster.Observe(
            {.demand = unit * (resource == Resource::kMemory ? 1e9 : 1) * rng.Uniform(0.5, 1)});
      }
      const double whole = unit * (resource == Resource::kMemory ? 1e9 : 1);
      const ModelOutput output = ForecastOf(forecaster);
      ExpectSane(output, Traits(), 1e31);
      if (unit >= 1 || resource == Resource::kMemory) {
        EXPECT_THAT(*output.advised / whole, AllOf(Ge(0.9), Le(1.2))) << unit;
      }
    }
  }
}

TEST(PortfolioForecasterTest, QuantilesOfAllHorizonsHoldWhatTheySay) {
  const OnlineTraits traits = Traits();
  PortfolioForecaster forecaster(traits);
  forecaster.SetCapacity(8);
  Rng rng(2);
  std::vector<double> demand;
  constexpr int kDays = 9;
  for (int t = 0; t < kDays * 8640; ++t) {
    demand.push_back(NoisyDay(t, rng));
  }
  const size_t ratios = traits.ratios.size();
  std::vector<double> held(traits.horizons.size() * ratios);
  double judged = 0;
  for (int t = 0; t + 1080 < kDays * 8640; ++t) {
    forecaster.Observe({.demand = demand[static_cast<size_t>(t)]});
    if (t < 3 * 8640 || t % 97 != 0) {
      continue;
    }
    const ModelOutput output = ForecastOf(forecaster);
    ++judged;
    for (size_t h = 0; h < traits.horizons.size(); ++h) {
      double largest = 0;
      for (int ahead = 1; ahead <= traits.horizons[h]; ++ahead) {
        largest = std::max(largest, demand[static_cast<size_t>(t + ahead)]);
      }
      for (size_t r = 0; r < ratios; ++r) {
        held[h * ratios + r] += largest <= output.quantiles[h * ratios + r] ? 1 : 0;
      }
    }
  }
  for (size_t h = 0; h < traits.horizons.size(); ++h) {
    for (size_t r = 0; r < ratios; ++r) {
      const double wanted = traits.ratios[r];
      // A horizon of three hours has only 50 independent ends in six days, which is little to know
      // that it need not be as careful as at first.
      const bool is_long = traits.horizons[h] == 1080;
      EXPECT_GE(held[h * ratios + r] / judged, wanted - (wanted == 0.5 ? 0.15 : 0.07))
          << traits.horizons[h] << " steps, quantile " << wanted;
      EXPECT_LE(held[h * ratios + r] / judged, wanted + (wanted == 0.5 || is_long ? 0.15 : 0.07))
          << traits.horizons[h] << " steps, quantile " << wanted;
    }
  }
}

// Of a series that has just begun nearly nothing is known of the hours to come.
TEST(PortfolioForecasterTest, YoungSeriesExceedLongHorizonsNoMoreThanAsked) {
  const OnlineTraits traits = {.resource = Resource::kCpu,
                               .step = absl::Minutes(5),
                               .horizons = {1, 6, 36, 144},
                               .ratios = {0.9, 0.98, 0.99}};
  constexpr int kSeries = 60;
  constexpr int kSteps = 200;
  std::vector<double> missed(traits.horizons.size() * traits.ratios.size());
  Rng rng(17);
  for (int i = 0; i < kSeries; ++i) {
    // A day in another phase each, with bursts.
    const double phase = rng.Uniform(0, 2 * std::numbers::pi);
    std::vector<double> demand;
    for (int t = 0; t < kSteps + 144; ++t) {
      demand.push_back(std::max(0.1, 2 + 1.5 * std::sin(phase + 2 * std::numbers::pi * t / 288) +
                                         rng.Normal(0, 0.2) + (rng.Chance(0.02) ? 1 : 0)));
    }
    PortfolioForecaster forecaster(traits);
    forecaster.SetCapacity(8);
    for (size_t t = 0; t < kSteps; ++t) {
      forecaster.Observe({.demand = demand[t]});
      const ModelOutput output = ForecastOf(forecaster);
      for (size_t k = 0; k < missed.size(); ++k) {
        const auto first = demand.begin() + static_cast<std::ptrdiff_t>(t) + 1;
        const double largest =
            *std::max_element(first, first + traits.horizons[k / traits.ratios.size()]);
        missed[k] += largest > output.quantiles[k] ? 1 : 0;
      }
    }
  }
  for (size_t k = 0; k < missed.size(); ++k) {
    EXPECT_LE(missed[k] / (kSeries * kSteps),
              1.6 * (1 - traits.ratios[k % traits.ratios.size()]) + 0.005)
        << traits.horizons[k / traits.ratios.size()] << " steps, quantile "
        << traits.ratios[k % traits.ratios.size()];
  }
}

TEST(PortfolioForecasterTest, DoubledVcpusAreUsedAtOnceAndNothingIsForgotten) {
  PortfolioForecaster forecaster(Traits());
  forecaster.SetCapacity(4);
  PortfolioForecaster untouched(Traits());
  untouched.SetCapacity(4);
  Rng rng(1);
  for (int t = 0; t < 2000; ++t) {
    const double demand = NoisyDay(t, rng);
    forecaster.Observe({.demand = demand});
    untouched.Observe({.demand = demand});
    static_cast<void>(ForecastOf(forecaster));
    static_cast<void>(ForecastOf(untouched));
  }
  forecaster.SetCapacity(8);
  for (int t = 2000; t < 2003; ++t) {
    const double demand = NoisyDay(t, rng);
    forecaster.Observe({.demand = demand});
    untouched.Observe({.demand = demand});
  }
  const ModelOutput grown = ForecastOf(forecaster);
  ExpectSane(grown, Traits(), 8);
  EXPECT_NEAR(*grown.advised, *ForecastOf(untouched).advised, 0.2);
  for (int t = 0; t < 20; ++t) {
    forecaster.Observe({.demand = 7});
  }
  EXPECT_GE(*ForecastOf(forecaster).advised, 7);
  // One that loses vCPUs is never advised more than it has.
  forecaster.SetCapacity(2);
  forecaster.Observe({.demand = 2});
  ExpectSane(ForecastOf(forecaster), Traits(), 2);
}

TEST(PortfolioForecasterTest, UnknownCapacityIsFoundOutWithoutBeingTooSmall) {
  PortfolioForecaster forecaster(Traits());
  for (int t = 0; t < 400; ++t) {
    const double demand = 0.1 * std::exp2(t / 20.0);  // a million times more in the end
    forecaster.Observe({.demand = demand});
    const ModelOutput output = ForecastOf(forecaster);
    ExpectSane(output, Traits(), 1e31);
    ASSERT_GE(*output.advised, 0.98 * demand) << t;
  }
}

TEST(PortfolioForecasterTest, OneSampleConstantAndZeroSeriesAreDefined) {
  for (const double demand : {0.0, 1e-300, 0.5, 1e18}) {
    PortfolioForecaster forecaster(Traits());
    forecaster.Observe({.demand = demand});
    ExpectSane(ForecastOf(forecaster), Traits(), 1e31);
    EXPECT_GE(*ForecastOf(forecaster).advised, 0.99 * demand);
    for (int t = 0; t < 500; ++t) {
      forecaster.Observe({.demand = demand});
    }
    const ModelOutput output = ForecastOf(forecaster);
    ExpectSane(output, Traits(), 1e31);
    EXPECT_GE(*output.advised, 0.99 * demand);
    if (demand >= 0.5) {
      EXPECT_LE(*output.advised, 1.1 * demand);
    }
  }
}

TEST(PortfolioForecasterTest, WhatAnOperatorWithholdsDoesNotRaiseThePrice) {
  PortfolioForecaster forecaster(Traits());
  forecaster.SetCapacity(8);
  for (int t = 0; t < 500; ++t) {
    forecaster.Observe({.demand = 2});
    static_cast<void>(ForecastOf(forecaster));
  }
  const double before = ForecastOf(forecaster).violation_price.value_or(0);
  for (int t = 0; t < 500; ++t) {
    // A limit of 1 core; far more is advised.
    forecaster.Observe({.demand = 1, .is_censored = true, .allocation = 1});
    static_cast<void>(ForecastOf(forecaster));
  }
  EXPECT_LE(*ForecastOf(forecaster).violation_price, 1.3 * before);
}

TEST(PortfolioForecasterTest, PriceFactorRaisesTheSizeAndCanBeTakenBack) {
  PortfolioForecaster forecaster(Traits());
  forecaster.SetCapacity(8);
  Rng rng(9);
  for (int t = 0; t < 1000; ++t) {
    forecaster.Observe({.demand = rng.Uniform(1, 3) + (rng.Chance(0.05) ? 2 : 0)});
    static_cast<void>(ForecastOf(forecaster));
  }
  const double lean = *ForecastOf(forecaster).advised;
  forecaster.SetTarget(0.02, 20);
  forecaster.Observe({.demand = 2});
  EXPECT_GT(*ForecastOf(forecaster).advised, 1.1 * lean);
  forecaster.SetTarget(0.02, 1);
  forecaster.Observe({.demand = 2});
  EXPECT_NEAR(*ForecastOf(forecaster).advised, lean, 0.15 * lean);
}

TEST(PortfolioForecasterTest, AnOutlierIsForgottenOnceTheMemoryLiesAfterIt) {
  PortfolioForecaster forecaster(Traits(Resource::kMemory));
  PortfolioForecaster with_vcpus(Traits());
  Rng rng(3);
  for (int t = 0; t < 4000; ++t) {
    forecaster.Observe({.demand = t == 2000 ? 1e18 : rng.Uniform(0.9e9, 1e9)});
    with_vcpus.SetCapacity(t == 2000 ? 65536 : 4);
    with_vcpus.Observe({.demand = rng.Uniform(0.1, 0.2)});
    static_cast<void>(ForecastOf(forecaster));
    static_cast<void>(ForecastOf(with_vcpus));
  }
  EXPECT_THAT(*ForecastOf(forecaster).advised, AllOf(Ge(0.99e9), Le(1.2e9)));
  EXPECT_THAT(*ForecastOf(with_vcpus).advised, AllOf(Ge(0.19), Le(0.25)));
}

TEST(PortfolioForecasterTest, BytesOfAnotherScaleAreRefused) {
  PortfolioForecaster forecaster(Traits());
  forecaster.SetCapacity(4);
  forecaster.Observe({.demand = 1});
  const std::string good = forecaster.Save();
  PortfolioForecaster other(Traits());
  ASSERT_TRUE(other.Load(good));
  // The portfolio's own capacity, wherever it stands.
  const double four = 4;
  const double more = 4e6;
  int changed = 0;
  for (size_t at = 8; at + sizeof(four) <= good.size(); ++at) {
    if (std::memcmp(good.data() + at, &four, sizeof(four)) == 0) {
      std::string bad = good;
      std::memcpy(bad.data() + at, &more, sizeof(more));
      PortfolioForecaster loaded(Traits());
      if (loaded.Load(bad)) {
        loaded.Observe({.demand = 1000});  // the known capacity may be anything
        ExpectSane(ForecastOf(loaded), Traits(), 1e31);
      } else {
        ++changed;
      }
    }
  }
  EXPECT_GE(changed, 1);
}

TEST(PortfolioForecasterTest, RetrainForgetsErrorsAndKeepsDemand) {
  PortfolioForecaster forecaster(Traits());
  for (int t = 0; t < 500; ++t) {
    forecaster.Observe({.demand = t % 10 == 0 ? 3.0 : 1.0});
    static_cast<void>(ForecastOf(forecaster));
  }
  forecaster.Retrain();
  EXPECT_EQ(forecaster.RecentDemand(1000).size(), 500U);
  ExpectSane(ForecastOf(forecaster), Traits(), 1e31);
  EXPECT_GE(ForecastOf(forecaster).quantiles[3], 2.9);
}

TEST(PortfolioForecasterTest, StateIsSmall) {
  PortfolioForecaster forecaster(Traits());
  Rng rng(9);
  for (int t = 0; t < 10000; ++t) {
    forecaster.Observe({.demand = NoisyDay(t, rng)});
    static_cast<void>(ForecastOf(forecaster));
  }
  EXPECT_LE(forecaster.bytes(), 16U * 1024);
  EXPECT_LE(forecaster.Save().size(), 16U * 1024);
}

}  // namespace
}  // namespace cloudscale::predictor
