#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agents/guest/linux/proc_reader.h"
#include "agents/guest/main/agent_config.h"
#include "agents/guest/report_builder.h"
#include "agents/guest/transport/report_client.h"
#include "agents/guest/transport/report_transport.h"
#include "common/time/clock.h"

namespace cloudscale::guest {

// Looks at this machine once per period and reports it to the monitor. Serves nothing: no port is
// opened. The monitor may ask for another period; it is taken when within the range of the
// configuration. Ready once the monitor has acknowledged a report. Thread safety: Start and Stop
// from one thread, the rest from any.
class GuestAgent {
 public:
  // `clock` must outlive the agent; agents that start together should differ in `seed`.
  GuestAgent(const AgentConfig& config, std::string vm_uuid, Clock& clock, uint64_t seed,
             std::unique_ptr<ReportTransport> transport);
  ~GuestAgent();

  void Start();
  // Idempotent.
  void Stop();
  [[nodiscard]] absl::Status Readiness() const;
  [[nodiscard]] ReportClient::Stats stats() const { return client_.stats(); }

 private:
  void Run(std::stop_token stop);
  void SampleOnce();

  Clock& clock_;
  absl::Duration period_;  // the sampling thread's own
  const ProcReader reader_;
  ReportBuilder builder_;
  std::string last_fault_;  // logged once, not every second
  ReportClient client_;
  std::jthread thread_;
};

// The VM's identity: as configured, else the machine's own. NOT_FOUND when neither is known under
// `sys_root`.
[[nodiscard]] absl::StatusOr<std::string> FindVmUuid(const AgentConfig& config,
                                                     const std::string& sys_root);

}  // namespace cloudscale::guest
