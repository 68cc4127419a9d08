// Cost of forecasting one series (a window of 200 steps, default horizons and quantiles), by kind
// of series, and of taking in one sample.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "common/check/check.h"
#include "common/random/rng.h"
#include "services/predictor/engine.h"

namespace cloudscale::predictor {
namespace {

std::vector<double> Walk(int length) {
  Rng rng(1);
  std::vector<double> series = {2};
  while (static_cast<int>(series.size()) < length) {
    series.push_back(std::clamp(series.back() + rng.Normal(0, 0.15), 0.0, 8.0));
  }
  return series;
}

std::vector<double> Noise(int length) {
  Rng rng(1);
  std::vector<double> series;
  while (static_cast<int>(series.size()) < length) {
    series.push_back(rng.Uniform(0, 4));
  }
  return series;
}

std::vector<double> Periodic(int length) {
  Rng rng(1);
  std::vector<double> series;
  for (int t = 0; t < length; ++t) {
    series.push_back(2 + std::sin(2 * std::numbers::pi * t / 60) + rng.Normal(0, 0.02));
  }
  return series;
}

void BM_Forecast(benchmark::State& state, const char* model, std::vector<double> (*make)(int)) {
  const PredictorOptions options;
  const ModelRegistry registry(options.parameters);
  Workspace workspace(options.parameters);
  ForecastJob job;
  job.history = make(static_cast<int>(state.range(0)));
  job.models = {registry.Find(model)};
  job.residual_quantiles = {
      std::vector<double>(options.horizons.size() * options.ratios.size(), 0.1)};
  for (auto _ : state) {
    ComputeForecast(options, workspace, job);
    benchmark::DoNotOptimize(job.outputs);
  }
}
BENCHMARK_CAPTURE(BM_Forecast, cloudscale_walk, "cloudscale", &Walk)->Arg(200)->Arg(512);
BENCHMARK_CAPTURE(BM_Forecast, cloudscale_noise, "cloudscale", &Noise)->Arg(200)->Arg(512);
BENCHMARK_CAPTURE(BM_Forecast, cloudscale_periodic, "cloudscale", &Periodic)->Arg(200);
BENCHMARK_CAPTURE(BM_Forecast, markov_walk, "markov", &Walk)->Arg(200);
BENCHMARK_CAPTURE(BM_Forecast, max_walk, "max", &Walk)->Arg(200);
BENCHMARK_CAPTURE(BM_Forecast, autocorrelation_walk, "autocorrelation", &Walk)->Arg(200);
BENCHMARK_CAPTURE(BM_Forecast, autoregression_walk, "autoregression", &Walk)->Arg(200);

// One batch a second of simulated time for 100 VMs, both resources; items are samples.
void BM_Ingest(benchmark::State& state) {
  auto engine = PredictorEngine::Create({});
  CS_CHECK(engine.ok());
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) {
    names.push_back("0f8fad5b-d9cb-469f-a165-70867728" + std::to_string(1000 + i));
  }
  std::vector<VmObservation> vms;
  for (const std::string& name : names) {
    const Observation cpu{.is_fresh = true, .usage = 1, .demand = 1};
    const Observation memory{.is_fresh = true, .usage = 1e9, .demand = 1e9};
    vms.push_back({.vm_uuid = name, .resource = {cpu, memory}});
  }
  int64_t sequence = 0;
  for (auto _ : state) {
    ++sequence;
    const auto result = (*engine)->Ingest({.host_id = "host",
                                           .boot_id = "boot",
                                           .sequence = sequence,
                                           .time = absl::FromUnixSeconds(1'800'000'000 + sequence),
                                           .monotonic_time = absl::Seconds(sequence),
                                           .vms = vms},
                                          MonoTime::FromStart(absl::Seconds(sequence)));
    CS_CHECK(result.ok());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(vms.size()));
}
BENCHMARK(BM_Ingest);

}  // namespace
}  // namespace cloudscale::predictor
