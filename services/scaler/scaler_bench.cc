// One decision step of the engine for a large host, and one sample between steps.
#include <benchmark/benchmark.h>

#include "absl/strings/str_format.h"
#include "services/scaler/testing/world.h"

namespace cloudscale::scaler {
namespace {

testing::World MakeWorld(int64_t vms) {
  testing::World world;
  world.cpu_capacity = 2.0 * static_cast<double>(vms);
  world.ManageMemory();
  for (int64_t i = 0; i < vms; ++i) {
    world.vms[absl::StrFormat("%08d-0000-4000-8000-000000000000", i)] = {
        .demand = 0.2 + 0.001 * static_cast<double>(i % 1000), .cap = 2.0, .pad = 0.1};
  }
  world.Ticks(10);
  return world;
}

void RunSteps(benchmark::State& state, absl::Duration between) {
  testing::World world = MakeWorld(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    world.sequence += 1;
    world.sample_time += between;
    world.now += between;
    auto o = std::make_shared<const HostObservation>(world.Observe());
    state.ResumeTiming();
    benchmark::DoNotOptimize(
        world.engine.Step({MonoTime::FromStart(world.now), world.Wall()}, std::move(o)));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_FullStep(benchmark::State& state) { RunSteps(state, absl::Seconds(10)); }
void BM_SampleBetweenSteps(benchmark::State& state) { RunSteps(state, absl::Milliseconds(1)); }

BENCHMARK(BM_FullStep)->Arg(100)->Arg(1000)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_SampleBetweenSteps)->Arg(1000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cloudscale::scaler
