#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agents/guest/linux/proc_reader.h"
#include "agents/guest/report_builder.h"
#include "agents/guest/transport/report_client.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/component.h"
#include "common/status/violations.h"

namespace cloudscale::guest {

// Adds all faults of `config`, by field path. No effect on anything else.
void ValidateGuestAgentConfig(const config::v1::GuestAgentConfig& config, Violations* violations);

// Looks at this machine once per period and reports it to the monitor. Serves nothing: no port is
// opened. The monitor may ask for another period; it is taken when within the range of the
// configuration. Ready once the monitor has acknowledged a report. Thread safety: as
// `rpc::Component`.
class GuestAgent final : public rpc::Component {
 public:
  // INVALID_ARGUMENT with all faults of the configuration; NOT_FOUND when no vm_uuid is configured
  // and the machine has none under `sys_root`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<GuestAgent>> Create(
      const config::v1::GuestAgentConfig& config, const rpc::Environment& environment,
      const std::string& sys_root);
  ~GuestAgent() override;

  [[nodiscard]] absl::string_view name() const override { return "guest-agent"; }
  std::vector<grpc::Service*> services() override { return {}; }
  [[nodiscard]] std::vector<std::string> service_names() const override { return {}; }
  absl::Status Start() override;
  void Stop() override;
  [[nodiscard]] absl::Status Readiness() const override;

  [[nodiscard]] ReportClient::Stats stats() const;

 private:
  GuestAgent(const config::v1::GuestAgentConfig& config, const rpc::Environment& environment,
             std::string vm_uuid);
  void Run(std::stop_token stop);
  void SampleOnce();

  const rpc::Environment environment_;
  const std::string vm_uuid_;
  const std::string monitor_address_;
  const int64_t buffer_reports_;
  absl::Duration period_;  // the sampling thread's own
  const ProcReader reader_;
  ReportBuilder builder_;
  std::string last_fault_;  // logged once, not every second
  std::unique_ptr<ReportClient> client_;
  std::jthread thread_;
};

}  // namespace cloudscale::guest
