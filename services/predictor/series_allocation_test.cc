// A series that forecasts online allocates nothing per step once it has seen a few.

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "gtest/gtest.h"
#include "services/predictor/model.h"
#include "services/predictor/series.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

// Counts every allocation of this test binary. Not inlined: the compiler would take an inlined half
// of the pair for a mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) {
    std::abort();
  }
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace cloudscale::predictor {
namespace {

TEST(SeriesAllocationTest, NoneInAStepOfTheDefaultModel) {
  const PredictorOptions options;
  const ModelRegistry registry(options.parameters);
  Workspace workspace(options.parameters);
  Series series({.vm_uuid = "vm", .host_id = "host"}, registry.Find("portfolio"), options);
  ForecastJob job;
  const absl::Time start = absl::FromUnixSeconds(1'800'000'000);
  int64_t before = 0;
  int64_t forecasts = 0;
  // Longer than the longest horizon, so that statements of all have ended.
  for (int64_t step = 0; step < 1500; ++step) {
    if (step == 1300) {
      before = allocations;
      forecasts = 0;
    }
    // Every 40th sample is lost, so that values are held.
    series.Observe(step, start + step * options.step, step, options.step,
                   {.is_fresh = step % 40 != 39,
                    .usage = 1,
                    .demand = 1 + static_cast<double>(step % 7),
                    .capacity = 16});
    if (series.Prepare(job)) {
      ComputeForecast(options, workspace, job);
      series.Commit(job, start + step * options.step);
      ++forecasts;
    }
  }
  EXPECT_GE(forecasts, 195);
  EXPECT_EQ(allocations - before, 0);
}

}  // namespace
}  // namespace cloudscale::predictor
