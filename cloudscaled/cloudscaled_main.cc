// All services of one host in one process.

#include <memory>
#include <utility>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cloudscaled/compose.h"
#include "cloudscaled/replay.h"
#include "common/logging/log.h"
#include "common/rpc/main.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "hypervisor/factory/backend.h"
#include "services/lbctl/main/lbctl_component.h"
#include "services/monitor/main/monitor_component.h"
#include "services/predictor/main/predictor_component.h"
#include "services/scaler/main/scaler_component.h"
#include "services/sla/main/sla_component.h"

ABSL_DECLARE_FLAG(std::string, config);
ABSL_FLAG(std::string, trace, "",
          "replay this recorded trace on a simulated host (instead of --config)");
ABSL_FLAG(std::string, series, "",
          "with --trace: names of the series to play, separated by commas");
ABSL_FLAG(int, max_vms, 6, "with --trace and without --series: how many series to play");
ABSL_FLAG(
    double, speed, 0,
    "simulated time per real time; 0 = default (60 without --trace, 20 points a second with it)");
ABSL_FLAG(std::string, mode, "", "mode of all VMs at the start: observe, recommend, canary, auto");

namespace cloudscale::cloudscaled {
namespace {

using Components = std::vector<std::unique_ptr<rpc::Component>>;

absl::StatusOr<Components> Build(const config::v1::CloudscaledConfig& config,
                                 const rpc::Environment& environment) {
  const Composition c = Compose(config);
  if (c.hypervisor.has_fake()) {
    LogLine(LogLevel::kWarning, "simulated_host")
        .Field("time_factor", c.time_factor)
        .Field("note", "no real machine is watched or changed");
  }
  CS_ASSIGN_OR_RETURN(std::unique_ptr<hypervisor::Backend> backend,
                      hypervisor::MakeBackend(c.hypervisor, c.host_id, environment.clock));
  CS_ASSIGN_OR_RETURN(auto reader, backend->MakeReader());
  CS_ASSIGN_OR_RETURN(auto actuator, backend->MakeActuator());
  // Started in this order, so that each finds those it calls; stopped in the reverse.
  Components components;
  CS_ASSIGN_OR_RETURN(auto predictor, predictor::MakePredictorComponent(c.predictor, environment));
  components.push_back(std::move(predictor));
  CS_ASSIGN_OR_RETURN(auto monitor,
                      monitor::MakeMonitorComponent(c.monitor, std::move(reader), environment));
  components.push_back(std::move(monitor));
  CS_ASSIGN_OR_RETURN(auto lbctl, lbctl::MakeLbctlComponent(c.lbctl, environment));
  components.push_back(std::move(lbctl));
  CS_ASSIGN_OR_RETURN(auto scaler,
                      scaler::MakeScalerComponent(c.scaler, std::move(actuator), environment));
  components.push_back(std::move(scaler));
  CS_ASSIGN_OR_RETURN(auto sla, sla::MakeSlaComponent(c.sla, environment));
  components.push_back(std::move(sla));
  return components;
}

// Replaces the embedded default by what the flags ask for; all faults go into `violations`.
void ApplyDemoFlags(config::v1::CloudscaledConfig* config, bool has_file, Violations* violations) {
  const std::string trace = absl::GetFlag(FLAGS_trace);
  const double speed = absl::GetFlag(FLAGS_speed);
  if (!trace.empty()) {
    if (has_file) {
      violations->Add("--trace", trace, "either --trace or --config");
      return;
    }
    ReplayOptions options;
    options.file = trace;
    options.speed = speed;
    options.max_vms = absl::GetFlag(FLAGS_max_vms);
    for (absl::string_view name :
         absl::StrSplit(absl::GetFlag(FLAGS_series), ',', absl::SkipEmpty())) {
      options.series.emplace_back(name);
    }
    auto replay = ReplayConfig(options);
    if (!replay.ok()) {
      violations->Add("--trace", trace, replay.status().message());
      return;
    }
    const config::v1::ServerConfig server = config->server();
    const std::string state_directory = config->state_directory();
    *config = *std::move(replay);
    config->mutable_server()->MergeFrom(server);
    config->set_state_directory(state_directory);
  } else if (speed != 0) {
    if (!config->hypervisor().has_fake()) {
      violations->Add("--speed", absl::StrCat(speed), "only with a simulated host");
    } else if (RequireInRange(*violations, "--speed", speed, 0.01, 200)) {
      config->mutable_hypervisor()->mutable_fake()->set_time_factor(speed);
    }
  }
  const std::string mode = absl::GetFlag(FLAGS_mode);
  if (!mode.empty()) {
    scaler::v1::Mode value = scaler::v1::MODE_UNSPECIFIED;
    if (!scaler::v1::Mode_Parse(absl::StrCat("MODE_", absl::AsciiStrToUpper(mode)), &value) ||
        value == scaler::v1::MODE_UNSPECIFIED) {
      violations->Add("--mode", mode, "observe, recommend, canary, auto");
    } else {
      config->mutable_scaler()->set_mode(value);
      config->mutable_scaler()->mutable_default_policy()->set_mode(value);
    }
  }
}

int Main(int argc, char** argv) {
  config::v1::CloudscaledConfig config;
  rpc::Process process;
  process.name = "cloudscaled";
  process.description =
      "All CloudScale services of one host in one process. Without --config it simulates a host.";
  process.config = &config;
  process.mutable_server = [&config] { return config.mutable_server(); };
  process.prepare = [&config](Violations* violations) {
    const bool has_file = !absl::GetFlag(FLAGS_config).empty();
    if (!has_file) {
      config::v1::CloudscaledConfig merged = EmbeddedDefault();
      merged.MergeFrom(config);  // the flags
      config = merged;
    }
    ApplyDemoFlags(&config, has_file, violations);
  };
  process.validate = [&config](Violations* violations) { ValidateCloudscaled(config, violations); };
  process.make_clock = [&config] {
    const double speed = Compose(config).time_factor;
    return speed == 1 ? MakeRealClock() : MakeScaledClock(speed);
  };
  process.build = [&config](const rpc::Environment& environment) {
    return Build(config, environment);
  };
  return rpc::RunMain(argc, argv, std::move(process));
}

}  // namespace
}  // namespace cloudscale::cloudscaled

int main(int argc, char** argv) { return cloudscale::cloudscaled::Main(argc, argv); }
