#include "cloudscaled/compose.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/rpc/component.h"
#include "common/rpc/main.h"
#include "hypervisor/factory/backend.h"
#include "services/lbctl/main/lbctl_component.h"
#include "services/monitor/main/monitor_config.h"
#include "services/predictor/main/predictor_component.h"
#include "services/scaler/main/scaler_component.h"
#include "services/sla/main/sla_component.h"

namespace cloudscale::cloudscaled {
namespace {

constexpr double kDemoTimeFactor = 60;

// What is wired inside the process must not be given a second time below.
void RequireUnset(bool is_set, absl::string_view field, Violations* violations) {
  if (is_set) {
    violations->Add(field, "set", "not set: cloudscaled gives it itself");
  }
}

std::string StateFile(const config::v1::CloudscaledConfig& config, absl::string_view name) {
  return config.state_directory().empty()
             ? std::string()
             : (std::filesystem::path(config.state_directory()) / std::string(name)).string();
}

}  // namespace

config::v1::CloudscaledConfig EmbeddedDefault() {
  config::v1::CloudscaledConfig config;
  config.set_host_id("demo-host");
  auto* fake = config.mutable_hypervisor()->mutable_fake();
  fake->set_cpu_capacity_cores(12);
  fake->set_time_factor(kDemoTimeFactor);
  config.mutable_scaler()->set_mode(scaler::v1::MODE_AUTO);
  config.mutable_scaler()->mutable_default_policy()->set_mode(scaler::v1::MODE_AUTO);
  auto* limits = config.mutable_scaler()->mutable_limits();
  // Five VMs that change every few seconds of simulated time.
  limits->set_max_actions_per_minute(600);
  limits->set_max_actions_per_vm_per_minute(60);
  return config;
}

Composition Compose(const config::v1::CloudscaledConfig& config) {
  const std::string in_process(rpc::kInProcessAddress);
  Composition c;
  c.hypervisor = config.hypervisor();
  c.host_id = config.host_id().empty() ? rpc::HostName() : config.host_id();
  if (c.hypervisor.has_fake() && c.hypervisor.fake().time_factor() > 0) {
    c.time_factor = c.hypervisor.fake().time_factor();
  }
  c.monitor = config.monitor();
  c.monitor.set_host_id(c.host_id);
  *c.monitor.mutable_hypervisor() = c.hypervisor;
  c.monitor.set_predictor_address(in_process);

  c.predictor = config.predictor();
  if (c.predictor.state_path().empty()) {
    c.predictor.set_state_path(StateFile(config, "predictor.db"));
  }

  c.scaler = config.scaler();
  c.scaler.set_host_id(c.host_id);
  *c.scaler.mutable_hypervisor() = c.hypervisor;
  c.scaler.set_monitor_address(in_process);
  c.scaler.set_predictor_address(in_process);
  c.scaler.set_sla_address(in_process);
  c.scaler.set_lbctl_address(in_process);
  if (c.scaler.journal_path().empty()) {
    c.scaler.set_journal_path(StateFile(config, "scaler.db"));
  }

  c.sla = config.sla();
  c.sla.set_predictor_address(in_process);
  c.sla.clear_scaler_addresses();
  c.sla.add_scaler_addresses(in_process);
  c.sla.set_lbctl_address(in_process);
  if (c.sla.state_path().empty()) {
    c.sla.set_state_path(StateFile(config, "sla.db"));
  }

  c.lbctl = config.lbctl();
  if (c.lbctl.backend_case() == config::v1::LbctlConfig::BACKEND_NOT_SET) {
    c.lbctl.mutable_fake();
  }
  if (c.lbctl.state_path().empty()) {
    c.lbctl.set_state_path(StateFile(config, "lbctl.db"));
  }
  return c;
}

void ValidateCloudscaled(const config::v1::CloudscaledConfig& config, Violations* violations) {
  hypervisor::ValidateHypervisorConfig(config.hypervisor(), "hypervisor",
                                       /*needs_actuator_alone=*/false, violations);
  RequireUnset(config.monitor().has_server(), "monitor.server", violations);
  RequireUnset(config.monitor().has_hypervisor(), "monitor.hypervisor", violations);
  RequireUnset(!config.monitor().predictor_address().empty(), "monitor.predictor_address",
               violations);
  RequireUnset(config.predictor().has_server(), "predictor.server", violations);
  RequireUnset(config.scaler().has_server(), "scaler.server", violations);
  RequireUnset(config.scaler().has_hypervisor(), "scaler.hypervisor", violations);
  RequireUnset(!config.scaler().monitor_address().empty(), "scaler.monitor_address", violations);
  RequireUnset(!config.scaler().predictor_address().empty(), "scaler.predictor_address",
               violations);
  RequireUnset(!config.scaler().sla_address().empty(), "scaler.sla_address", violations);
  RequireUnset(!config.scaler().lbctl_address().empty(), "scaler.lbctl_address", violations);
  RequireUnset(config.sla().has_server(), "sla.server", violations);
  RequireUnset(!config.sla().predictor_address().empty(), "sla.predictor_address", violations);
  RequireUnset(config.sla().scaler_addresses_size() > 0, "sla.scaler_addresses", violations);
  RequireUnset(!config.sla().lbctl_address().empty(), "sla.lbctl_address", violations);
  RequireUnset(config.lbctl().has_server(), "lbctl.server", violations);
  if (!config.state_directory().empty()) {
    std::error_code error;
    if (!std::filesystem::is_directory(config.state_directory(), error)) {
      violations->Add("state_directory", config.state_directory(), "a directory that exists");
    }
  }
  const Composition c = Compose(config);
  monitor::ValidateMonitorConfig(c.monitor, "monitor", *violations);
  Violations parts;
  predictor::ValidatePredictorConfig(c.predictor, &parts);
  violations->AddAll("predictor", parts);
  parts = {};
  scaler::ValidateScalerConfig(c.scaler, &parts);
  violations->AddAll("scaler", parts);
  parts = {};
  sla::ValidateSlaConfig(c.sla, &parts);
  violations->AddAll("sla", parts);
  parts = {};
  lbctl::ValidateLbctlConfig(c.lbctl, &parts);
  violations->AddAll("lbctl", parts);
}

}  // namespace cloudscale::cloudscaled
