// Cost of one step of the sampling engine, by number of VMs.

#include "absl/strings/str_format.h"
#include "benchmark/benchmark.h"
#include "common/random/rng.h"
#include "services/monitor/sampling_engine.h"

namespace cloudscale::monitor {
namespace {

void BM_SamplingEngineStep(benchmark::State& state) {
  const auto vms = static_cast<int>(state.range(0));
  Rng rng(1);
  hypervisor::HostReading reading;
  reading.host_id = "host";
  reading.boot_id = "boot";
  reading.cpu_capacity_cores = 1e6;
  reading.memory_capacity_bytes = int64_t{1} << 50;
  reading.sample_time = absl::FromUnixSeconds(1'800'000'000);
  std::map<std::string, HeldReport> guests;
  for (int i = 0; i < vms; ++i) {
    hypervisor::VmReading vm;
    vm.uuid = absl::StrFormat("%08x-0000-4000-8000-000000000000", i);
    vm.state = hypervisor::VmState::kRunning;
    vm.incarnation = "1";
    vm.vcpu_count = 4;
    vm.cpu_time = absl::ZeroDuration();
    vm.cpu_throttled_time = absl::ZeroDuration();
    vm.memory_current_bytes = int64_t{1} << 30;
    vm.memory_maximum_bytes = int64_t{2} << 30;
    vm.memory_used_bytes = int64_t{1} << 29;
    guests[vm.uuid].report.memory_total_bytes = int64_t{1} << 30;
    guests[vm.uuid].report.memory_available_bytes = int64_t{1} << 29;
    reading.vms.push_back(vm);
  }
  SamplingEngine engine{SamplingConfig{}};
  Tick tick;
  tick.wall = reading.sample_time;
  for (auto _ : state) {
    tick.sequence += 1;
    tick.mono = tick.mono + absl::Seconds(1);
    tick.wall += absl::Seconds(1);
    reading.monotonic_time = tick.mono;
    reading.sample_time = tick.wall;
    for (hypervisor::VmReading& vm : reading.vms) {
      *vm.cpu_time += absl::Seconds(rng.Uniform(0.1, 3));
      guests[vm.uuid].received_at = tick.mono;
    }
    benchmark::DoNotOptimize(engine.Step(tick, reading, guests));
  }
  state.SetItemsProcessed(state.iterations() * vms);
}
BENCHMARK(BM_SamplingEngineStep)->Arg(1)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace cloudscale::monitor
