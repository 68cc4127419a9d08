#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "services/predictor/engine.h"

namespace cloudscale::predictor {

inline const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);

// Most tests are about what does not depend on the model, or about the published one.
inline PredictorOptions OptionsWith(absl::string_view model) {
  PredictorOptions options;
  options.model = std::string(model);
  return options;
}

inline std::unique_ptr<PredictorEngine> MakeEngine(
    PredictorOptions options = OptionsWith("cloudscale")) {
  auto engine = PredictorEngine::Create(std::move(options));
  EXPECT_THAT(engine, cloudscale::testing::IsOk());
  return *std::move(engine);
}

inline const MonoTime kReceived = MonoTime::FromStart(absl::Hours(1));

inline Observation Fresh(double demand) {
  return {.is_fresh = true, .usage = demand, .demand = demand};
}

// Feeds one VM on one host, one sample a second.
class Feeder {
 public:
  explicit Feeder(PredictorEngine& engine) : engine_(engine) {}

  // Returns the CPU forecast of the VM when the sample caused one.
  std::optional<SeriesForecast> Sample(std::optional<double> demand) {
    const VmObservation vm = {.vm_uuid = "vm-1",
                              .resource = {demand ? Fresh(*demand) : Observation(), Observation()}};
    const auto result = engine_.Ingest({.host_id = "host",
                                        .boot_id = "boot",
                                        .sequence = ++sequence_,
                                        .time = kStart + absl::Seconds(sequence_),
                                        .monotonic_time = absl::Seconds(sequence_),
                                        .vms = absl::MakeConstSpan(&vm, 1)},
                                       kReceived);
    EXPECT_THAT(result, cloudscale::testing::IsOk());
    return Take();
  }

  // No batch at all.
  void Skip(int samples) { sequence_ += samples; }

  std::optional<SeriesForecast> Take() {
    std::optional<SeriesForecast> mine;
    for (PublishedForecast& published :
         engine_.TakeForecasts("host", kStart + absl::Seconds(sequence_))) {
      if (published.id.vm_uuid == "vm-1") {
        mine = std::move(published.forecast);
      }
    }
    return mine;
  }

  // `steps` whole steps of the values that `demand` gives for the running step.
  template <typename Demand>
  std::optional<SeriesForecast> Steps(int steps, Demand demand) {
    std::optional<SeriesForecast> last;
    for (int s = 0; s < steps; ++s, ++step_) {
      for (int i = 0; i < 10; ++i) {
        if (auto forecast = Sample(demand(step_))) {
          last = std::move(forecast);
        }
      }
    }
    return last;
  }

  [[nodiscard]] const Series& series() const { return *engine_.Find("vm-1", "", Resource::kCpu); }

 private:
  PredictorEngine& engine_;
  int64_t sequence_ = 0;
  int step_ = 0;
};

inline double Flat(int) { return 2; }

}  // namespace cloudscale::predictor
