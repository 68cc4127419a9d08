// Cost of one step (observe and size) of one series, and the bytes that it holds, per method. The
// limit of the default method is 20 µs and 16 KiB; the counters give the share of it.
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include "common/check/check.h"
#include "services/predictor/sizing/sizing_testing.h"

namespace cloudscale::predictor {
namespace {

constexpr double kLimitSeconds = 20e-6;
constexpr double kLimitBytes = 16.0 * 1024;

void BM_Step(benchmark::State& state, const char* name) {
  const std::vector<double> demand = NoisyDays(4032, 288, 1);
  // More series than fit into the caches, as in service.
  std::vector<std::unique_ptr<SizingState>> series;
  for (int i = 0; i < state.range(0); ++i) {
    series.push_back(StartMethod(name, CpuTraits()));
    ObserveAll(*series.back(), {demand.begin(), demand.begin() + 1500 + i % 100});
  }
  size_t t = 1600;
  size_t next = 0;
  for (auto _ : state) {
    SizingState& one = *series[next];
    benchmark::DoNotOptimize(one.Size(1));
    one.Observe({.demand = demand[t]});
    if (++next == series.size()) {
      next = 0;
      t = t + 1 < demand.size() ? t + 1 : 0;
    }
  }
  state.counters["bytes"] = static_cast<double>(series.front()->bytes());
  state.counters["part_of_byte_limit"] = static_cast<double>(series.front()->bytes()) / kLimitBytes;
  state.counters["part_of_time_limit"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * kLimitSeconds,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK_CAPTURE(BM_Step, portfolio, "portfolio")->Arg(1)->Arg(1000);
BENCHMARK_CAPTURE(BM_Step, max24, "max24")->Arg(1000);
BENCHMARK_CAPTURE(BM_Step, vpa, "vpa")->Arg(1000);
BENCHMARK_CAPTURE(BM_Step, autopilot_ml, "autopilot_ml")->Arg(1000);
BENCHMARK_CAPTURE(BM_Step, holt_winters, "holt_winters")->Arg(1000);

}  // namespace
}  // namespace cloudscale::predictor
