#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands/commands.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

using monitor::v1::MonitorService;

class HostsCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"hosts", "Watching", "hosts with their capacity and what they can do", {"hosts"}};
  }
  void Register(CLI::App&) override {}

  absl::Status Run(Session& session) override {
    monitor::v1::ListHostsResponse hosts;
    CS_RETURN_IF_ERROR(session.CallAllPages(Peer::kMonitor, &MonitorService::Stub::ListHosts,
                                            monitor::v1::ListHostsRequest(), &hosts));
    if (session.options().is_json) {
      session.PrintJson(hosts);
      return absl::OkStatus();
    }
    Table table({{.title = "HOST"},
                 {.title = "HYPERVISOR"},
                 {.title = "CPU USED", .align = Align::kRight},
                 {.title = "CORES", .align = Align::kRight},
                 {.title = "MEMORY", .align = Align::kRight},
                 {.title = "FREE", .align = Align::kRight, .drop_order = 2},
                 {.title = "VMS", .align = Align::kRight},
                 {.title = "SAMPLE", .align = Align::kRight, .drop_order = 3},
                 {.title = "CAN", .drop_order = 1, .min_width = 16}});
    for (const auto& host : hosts.hosts()) {
      const auto& latest = host.latest();
      table.AddRow({{host.host_id(), Colour::kBold},
                    {host.hypervisor()},
                    {FormatCores(CLOUDSCALE_CLI_OPTIONAL(latest, cpu_usage_cores))},
                    {FormatCores(latest.cpu_capacity_cores())},
                    {FormatBytes(static_cast<double>(latest.memory_total_bytes()))},
                    {FormatBytes(CLOUDSCALE_CLI_OPTIONAL(latest, memory_free_bytes))},
                    {absl::StrCat(latest.vm_count())},
                    {absl::StrCat(host.header().sequence())},
                    {absl::StrJoin(host.capabilities(), " ")}});
    }
    session.io().out << table.Render(session.style(), session.width());
    return absl::OkStatus();
  }
};

class VmsCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"vms", "Watching", "VMs with their newest sample", {"vms", "vms --json"}};
  }
  void Register(CLI::App& app) override {
    app.add_option("--host", host_, "only those of this host")->type_name("HOST");
  }

  absl::Status Run(Session& session) override {
    monitor::v1::ListVmsRequest request;
    request.set_host_id(host_);
    monitor::v1::ListVmsResponse vms;
    CS_RETURN_IF_ERROR(
        session.CallAllPages(Peer::kMonitor, &MonitorService::Stub::ListVms, request, &vms));
    if (session.options().is_json) {
      session.PrintJson(vms);
      return absl::OkStatus();
    }
    Table table({{.title = "VM", .min_width = 8},
                 {.title = "UUID", .drop_order = 2},
                 {.title = "STATE"},
                 {.title = "VCPUS", .align = Align::kRight, .drop_order = 4},
                 {.title = "USAGE", .align = Align::kRight},
                 {.title = "DEMAND", .align = Align::kRight},
                 {.title = "CAP", .align = Align::kRight},
                 {.title = "MEM USED", .align = Align::kRight},
                 {.title = "MEM TARGET", .align = Align::kRight, .drop_order = 1},
                 {.title = "DATA", .drop_order = 3}});
    for (const auto& vm : vms.vms()) {
      const auto& s = vm.latest();
      const std::string cpu_quality = EnumText(s.cpu_quality());
      const std::string memory_quality = EnumText(s.memory_quality());
      table.AddRow({{vm.name(), Colour::kBold},
                    {vm.vm_uuid()},
                    {EnumText(s.state())},
                    {absl::StrCat(s.vcpu_count())},
                    {FormatCores(CLOUDSCALE_CLI_OPTIONAL(s, cpu_usage_cores))},
                    {FormatCores(CLOUDSCALE_CLI_OPTIONAL(s, cpu_demand_cores))},
                    {s.has_cpu_cap_cores() ? FormatCores(s.cpu_cap_cores()) : "none"},
                    {FormatBytes(CLOUDSCALE_CLI_OPTIONAL(s, memory_used_bytes))},
                    {FormatBytes(CLOUDSCALE_CLI_OPTIONAL(s, memory_target_bytes))},
                    {cpu_quality == memory_quality
                         ? cpu_quality
                         : absl::StrCat("cpu ", cpu_quality, ", mem ", memory_quality)}});
    }
    session.io().out << (table.empty() ? "no VMs\n"
                                       : table.Render(session.style(), session.width()));
    return absl::OkStatus();
  }

 private:
  std::string host_;
};

}  // namespace

std::unique_ptr<Command> MakeHostsCommand() { return std::make_unique<HostsCommand>(); }
std::unique_ptr<Command> MakeVmsCommand() { return std::make_unique<VmsCommand>(); }

}  // namespace cloudscale::cli
