#include "services/predictor/main/predictor_component.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/server.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/predictor/engine.h"
#include "services/predictor/rpc/predictor_handlers.h"
#include "services/predictor/rpc/runtime.h"

namespace cloudscale::predictor {
namespace {

class PredictorComponent final : public rpc::Component {
 public:
  PredictorComponent(std::unique_ptr<PredictorEngine> engine, Runtime::Config config,
                     const rpc::Environment& environment)
      : runtime_(std::move(engine), std::move(config), environment.clock, environment.metrics),
        handlers_(&runtime_) {}
  ~PredictorComponent() override { runtime_.Stop(); }

  absl::string_view name() const override { return "predictor"; }
  std::vector<grpc::Service*> services() override { return {&handlers_}; }
  std::vector<std::string> service_names() const override {
    return {v1::PredictorService::service_full_name()};
  }
  absl::Status Start() override { return runtime_.Start(); }
  void Stop() override { runtime_.Stop(); }
  absl::Status Readiness() const override { return runtime_.Readiness(); }

 private:
  Runtime runtime_;
  PredictorHandlers handlers_;
};

absl::Duration OrDefault(bool is_set, const google::protobuf::Duration& value,
                         absl::Duration fallback) {
  return is_set ? rpc::FromProto(value) : fallback;
}

// Absent numbers are zero in the schema, which is never a valid value of these fields.
template <typename T>
T OrDefault(T value, T fallback) {
  return value != 0 ? value : fallback;
}

PredictorOptions OptionsOf(const config::v1::PredictorConfig& config) {
  PredictorOptions options;
  options.step = OrDefault(config.has_step(), config.step(), options.step);
  if (!config.horizons().empty()) {
    options.horizons.clear();
    for (const auto& horizon : config.horizons()) {
      // Multiples are checked by the validation.
      const absl::Duration length = rpc::FromProto(horizon);
      options.horizons.push_back(
          static_cast<int>(std::lround(absl::FDivDuration(length, options.step))));
    }
  }
  if (!config.quantile_ratios().empty()) {
    options.ratios.assign(config.quantile_ratios().begin(), config.quantile_ratios().end());
  }
  if (!config.model().empty()) {
    options.model = config.model();
  }
  const config::v1::PredictorLimits& limits = config.limits();
  options.max_series = OrDefault<int64_t>(limits.max_series(), 20000);
  options.history_steps = OrDefault(limits.history_steps(), options.history_steps);
  options.warm_up_steps = OrDefault(limits.warm_up_steps(), options.warm_up_steps);
  options.series_ttl = OrDefault(limits.has_series_ttl(), limits.series_ttl(), options.series_ttl);
  if (config.has_target_violation_ratio()) {
    options.target_violation_ratio = config.target_violation_ratio();
  }
  options.promotion_advantage =
      OrDefault(config.promotion_advantage(), options.promotion_advantage);
  options.retrain_min_interval = OrDefault(config.has_retrain_min_interval(),
                                           config.retrain_min_interval(), absl::Seconds(10));
  return options;
}

Runtime::Config RuntimeConfigOf(const config::v1::PredictorConfig& config) {
  Runtime::Config result;
  result.max_streams = OrDefault(config.limits().max_streams(), 256);
  result.state_path = config.state_path();
  result.checkpoint_period = OrDefault(config.has_checkpoint_period(), config.checkpoint_period(),
                                       result.checkpoint_period);
  return result;
}

void CheckHorizons(const config::v1::PredictorConfig& config, absl::Duration step,
                   Violations& violations) {
  constexpr absl::Duration kLongest = absl::Hours(7 * 24);
  absl::Duration previous = absl::ZeroDuration();
  for (int i = 0; i < config.horizons_size(); ++i) {
    const absl::Duration horizon = rpc::FromProto(config.horizons(i));
    if (horizon <= previous || horizon > kLongest || horizon / step > 10000 ||
        horizon % step != absl::ZeroDuration()) {
      violations.Add(
          absl::StrCat("horizons[", i, "]"), absl::FormatDuration(horizon),
          absl::StrCat("a multiple of ", absl::FormatDuration(step), " above ",
                       absl::FormatDuration(previous), ", at most 7 days and 10000 steps"));
    }
    previous = horizon;
  }
  if (config.horizons_size() > static_cast<int>(kMaxHorizons)) {
    violations.Add("horizons", absl::StrCat(config.horizons_size(), " values"), "1 to 8 values");
  }
}

}  // namespace

void ValidatePredictorConfig(const config::v1::PredictorConfig& config, Violations* violations) {
  Violations& v = *violations;
  const PredictorOptions options = OptionsOf(config);
  if (!RequireInRange(v, "step", absl::ToDoubleSeconds(options.step), 0.1, 3600)) {
    return;  // the other fields are measured in it
  }
  CheckHorizons(config, options.step, v);
  if (config.quantile_ratios_size() > static_cast<int>(kMaxRatios)) {
    v.Add("quantile_ratios", absl::StrCat(config.quantile_ratios_size(), " values"),
          "1 to 16 values");
  }
  for (int i = 0; i < config.quantile_ratios_size(); ++i) {
    const double previous = i > 0 ? config.quantile_ratios(i - 1) : 0;
    if (!(config.quantile_ratios(i) > previous && config.quantile_ratios(i) < 1)) {
      v.Add(absl::StrCat("quantile_ratios[", i, "]"), absl::StrCat(config.quantile_ratios(i)),
            absl::StrCat(previous, " < x < 1"));
    }
  }
  const ModelRegistry registry(options.parameters);
  if (registry.Find(options.model) == nullptr) {
    std::string names;
    for (const auto& model : registry.models()) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", model->name());
    }
    v.Add("model", options.model, names);
  }
  const Runtime::Config runtime = RuntimeConfigOf(config);
  RequireInRange(v, "checkpoint_period", absl::ToDoubleSeconds(runtime.checkpoint_period), 1, 3600);
  RequireInRange(v, "limits.max_series", static_cast<double>(options.max_series), 1, 1e6);
  RequireInRange(v, "limits.history_steps", options.history_steps, 32, 100000);
  RequireInRange(v, "limits.warm_up_steps", options.warm_up_steps, 1, 1000);
  RequireInRange(v, "limits.max_streams", static_cast<double>(runtime.max_streams), 1, 10000);
  RequirePositive(v, "limits.series_ttl", absl::ToDoubleSeconds(options.series_ttl));
  RequireInRange(v, "target_violation_ratio", options.target_violation_ratio, 0.0001, 0.5);
  RequireInRange(v, "promotion_advantage", options.promotion_advantage, 1, 100);
  RequireInRange(v, "retrain_min_interval", absl::ToDoubleSeconds(options.retrain_min_interval), 0,
                 1e9);
}

absl::StatusOr<std::unique_ptr<rpc::Component>> MakePredictorComponent(
    const config::v1::PredictorConfig& config, const rpc::Environment& environment) {
  Violations violations;
  ValidatePredictorConfig(config, &violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  CS_ASSIGN_OR_RETURN(auto engine, PredictorEngine::Create(OptionsOf(config)));
  return std::unique_ptr<rpc::Component>(std::make_unique<PredictorComponent>(
      std::move(engine), RuntimeConfigOf(config), environment));
}

}  // namespace cloudscale::predictor
