// Cost of the default forecaster by itself, as the predictor runs it, with many series in turn so
// that their states do not fit into the caches:
//
//   observe_ns    one step taken in (whatever the portfolio learns from it)
//   forecast_us   one forecast: the advised size and all quantiles of all horizons
//   step_us       both, and its ratio to the limit of 20 µs
//   bytes         of the learnt state of one series, and its ratio to the limit of 16 KiB
//
// CPU time of this thread. With `--steps N --series 1 --quiet 1` it does only that much, for
// counting instructions (bench/instructions.py).
//
// forecaster_cost [--series 1,1000,100000] [--steps N per series at least] [--json]
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "bench/macro/settings.h"
#include "common/check/check.h"
#include "common/random/rng.h"
#include "services/predictor/portfolio_forecaster.h"

namespace cloudscale::bench {
namespace {

using predictor::ModelOutput;
using predictor::OnlineTraits;
using predictor::PortfolioForecaster;
using predictor::PredictorOptions;

constexpr double kLimitSeconds = 20e-6;
constexpr double kLimitBytes = 16.0 * 1024;
constexpr int kDaySteps = 8640;
// Series that are trained; the others are copies of them.
constexpr int kTrained = 100;
constexpr int kTrainingSteps = 3000;

double ThreadCpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

std::vector<double> MakeDemand() {
  Rng rng(1);
  std::vector<double> demand;
  for (int t = 0; t < 4 * kTrainingSteps; ++t) {
    const double wave = std::sin(2 * std::numbers::pi * t / kDaySteps);
    demand.push_back(
        std::max(0.0, 1.6 + 0.8 * wave + rng.Normal(0, 0.12) + (rng.Chance(0.02) ? 1 : 0)));
  }
  return demand;
}

OnlineTraits Traits() {
  const PredictorOptions options;
  return {.resource = predictor::Resource::kCpu,
          .step = options.step,
          .horizons = options.horizons,
          .ratios = options.ratios,
          .target_violation_ratio = options.target_violation_ratio};
}

std::vector<std::unique_ptr<PortfolioForecaster>> MakeSeries(int count,
                                                             const std::vector<double>& demand) {
  std::vector<std::string> trained;
  ModelOutput output;
  for (int i = 0; i < std::min(count, kTrained); ++i) {
    PortfolioForecaster forecaster(Traits());
    forecaster.SetCapacity(4);
    for (int t = 0; t < kTrainingSteps; ++t) {
      forecaster.Observe({.demand = demand[static_cast<size_t>(t) + 10 * static_cast<size_t>(i)]});
      forecaster.Forecast(output);
    }
    trained.push_back(forecaster.Save());
  }
  std::vector<std::unique_ptr<PortfolioForecaster>> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(std::make_unique<PortfolioForecaster>(Traits()));
    CS_CHECK(all.back()->Load(trained[static_cast<size_t>(i) % trained.size()]));
  }
  return all;
}

struct Cost {
  double observe_seconds = 0;
  double forecast_seconds = 0;
  double bytes = 0;
};

Cost Measure(int series, int64_t steps) {
  const std::vector<double> demand = MakeDemand();
  auto all = MakeSeries(series, demand);
  ModelOutput output;
  double checksum = 0;
  double observing = 0;
  double forecasting = 0;
  // In groups, so that reading the clock does not count.
  constexpr size_t kGroup = 50;
  int64_t done = 0;
  for (size_t t = kTrainingSteps; done < steps * series; ++t) {
    const double now = demand[t % demand.size()];
    for (size_t first = 0; first < all.size(); first += kGroup) {
      const size_t end = std::min(all.size(), first + kGroup);
      const double start = ThreadCpuSeconds();
      for (size_t i = first; i < end; ++i) {
        all[i]->Observe({.demand = now});
      }
      const double middle = ThreadCpuSeconds();
      for (size_t i = first; i < end; ++i) {
        all[i]->Forecast(output);
        checksum += *output.advised;
      }
      observing += middle - start;
      forecasting += ThreadCpuSeconds() - middle;
    }
    done += series;
  }
  CS_CHECK(checksum > 0);
  return {.observe_seconds = observing / static_cast<double>(done),
          .forecast_seconds = forecasting / static_cast<double>(done),
          .bytes = static_cast<double>(all.front()->bytes())};
}

int Run(int argc, char** argv) {
  Settings settings({{"series", "1,1000,100000"}, {"steps", "20"}, {"quiet", "0"}});
  if (const absl::Status status = settings.Parse(argc, argv); !status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 2;
  }
  const bool is_quiet = settings.Number("quiet") > 0;
  if (!is_quiet) {
    settings.PrintHeader("cost of the default forecaster per series and step");
  }
  RowPrinter printer(settings.is_json());
  for (const absl::string_view word : absl::StrSplit(settings.Text("series"), ',')) {
    int series = 0;
    if (!absl::SimpleAtoi(word, &series) || series < 1 || series > 1000000) {
      std::fprintf(stderr, "--series: '%s': numbers of 1 to 1000000, separated by commas\n",
                   std::string(word).c_str());
      return 2;
    }
    // As many steps in all for few series as for many, within reason.
    const auto wanted = static_cast<int64_t>(settings.Number("steps"));
    const int64_t steps = is_quiet ? wanted : std::max<int64_t>(wanted, 200000 / series);
    const Cost cost = Measure(series, steps);
    if (is_quiet) {
      continue;
    }
    const double step = cost.observe_seconds + cost.forecast_seconds;
    printer.Print({{"series", absl::StrFormat("%d", series)},
                   {"observe_ns", absl::StrFormat("%.0f", cost.observe_seconds * 1e9)},
                   {"forecast_us", absl::StrFormat("%.2f", cost.forecast_seconds * 1e6)},
                   {"step_us", absl::StrFormat("%.2f", step * 1e6)},
                   {"of_time_limit", absl::StrFormat("%.2f", step / kLimitSeconds)},
                   {"bytes", absl::StrFormat("%.0f", cost.bytes)},
                   {"of_byte_limit", absl::StrFormat("%.2f", cost.bytes / kLimitBytes)}});
  }
  return 0;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Run(argc, argv); }
