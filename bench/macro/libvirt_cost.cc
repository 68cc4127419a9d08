// What reading and capping through libvirt costs. Inside a simulated host (tests/hosts/libvirt) it
// makes its own domains, reads them at 1 Hz with the production reader, runs `virsh domstats` as
// often (where the driver has it), and applies and verifies caps. CPU time from getrusage: of this
// process without libvirtd, and of virsh without libvirtd.
//
// libvirt_cost [--driver lxc|qemu] [--domains N] [--readings N] [--caps N] [--json 1]
// `qemu` domains are made but not started: their processes are there, nothing runs in them.
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/macro/settings.h"
#include "common/time/clock.h"
#include "hypervisor/libvirt/libvirt_host_reader.h"
#include "hypervisor/libvirt/libvirt_vm_actuator.h"
#include "hypervisor/libvirt/test_domains.h"

namespace cloudscale::bench {
namespace {

using hypervisor::ActuationPermit;
using hypervisor::libvirt::Access;
using hypervisor::libvirt::Connect;
using hypervisor::libvirt::Connection;
using hypervisor::libvirt::Domain;

absl::Duration CpuTime(int who) {
  rusage usage{};
  getrusage(who, &usage);
  return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
}

std::string PausedVmXml(const std::string& name, const std::string& uuid) {
  return absl::StrCat("<domain type='qemu'><name>", name, "</name><uuid>", uuid,
                      "</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu><os><type "
                      "arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>"
                      "/usr/bin/qemu-system-x86_64</emulator><controller type='usb' "
                      "model='none'/><memballoon model='virtio'/></devices></domain>");
}

absl::StatusOr<std::vector<Domain>> MakeDomains(virConnectPtr connection, bool is_lxc, int count) {
  std::vector<Domain> domains;
  for (int i = 0; i < count; ++i) {
    const std::string name = absl::StrCat("bench-", i);
    const std::string uuid = hypervisor::libvirt::TestUuid(name);
    const std::string xml =
        is_lxc ? hypervisor::libvirt::ContainerXml(name, uuid, CLOUDSCALE_GUEST_PROGRAM, 0, 0,
                                                   int64_t{64} << 20, {})
               : PausedVmXml(name, uuid);
    Domain domain(
        virDomainCreateXML(connection, xml.c_str(), is_lxc ? 0 : VIR_DOMAIN_START_PAUSED));
    if (domain == nullptr) {
      return hypervisor::libvirt::LastError(absl::StrCat("start ", name));
    }
    domains.push_back(std::move(domain));
  }
  return domains;
}

struct Cost {
  double cpu_ms = 0;   // per call
  double wall_ms = 0;  // median per call
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

template <typename Call>
absl::StatusOr<Cost> Measure(Clock& clock, int count, int who, const Call& call) {
  std::vector<double> walls;
  absl::Duration cpu;
  for (int i = 0; i < count; ++i) {
    const MonoTime start = clock.MonoNow();
    const absl::Duration before = CpuTime(who);
    if (const absl::Status status = call(i); !status.ok()) {
      return status;
    }
    cpu += CpuTime(who) - before;
    walls.push_back(absl::ToDoubleMilliseconds(clock.MonoNow() - start));
    clock.SleepUntil(start + absl::Seconds(1), std::stop_token());
  }
  return Cost{absl::ToDoubleMilliseconds(cpu) / count, Median(walls)};
}

absl::Status Run(const Settings& settings) {
  const bool is_lxc = settings.Text("driver") == "lxc";
  const std::string uri = is_lxc ? "lxc:///system" : "qemu:///system";
  const auto clock = MakeRealClock();
  absl::StatusOr<Connection> connection = Connect(uri, Access::kReadWrite);
  if (!connection.ok()) {
    return connection.status();
  }
  const int domain_count = static_cast<int>(settings.Number("domains"));
  const auto domains = MakeDomains(connection->get(), is_lxc, domain_count);
  if (!domains.ok()) {
    return domains.status();
  }
  hypervisor::libvirt::LibvirtOptions options;
  options.uri = uri;
  options.host_id = "bench";
  auto reader = hypervisor::libvirt::LibvirtHostReader::Create(options);
  auto actuator = hypervisor::libvirt::LibvirtVmActuator::Create(options);
  if (!reader.ok() || !actuator.ok()) {
    return reader.ok() ? actuator.status() : reader.status();
  }
  const int readings = static_cast<int>(settings.Number("readings"));
  std::vector<std::string> uuids;
  const auto ours = Measure(*clock, readings, RUSAGE_SELF, [&](int) {
    const auto reading = (*reader)->Read();
    if (reading.ok() && static_cast<int>(reading->vms.size()) < domain_count) {
      return absl::InternalError(absl::StrCat(reading->vms.size(), " domains were read"));
    }
    if (reading.ok() && uuids.empty()) {
      for (const auto& vm : reading->vms) {
        uuids.push_back(vm.uuid);
      }
    }
    return reading.status();
  });
  if (!ours.ok()) {
    return ours.status();
  }
  const std::string command = absl::StrCat("virsh -q -r -c ", uri, " domstats >/dev/null");
  absl::StatusOr<Cost> peer = absl::UnimplementedError("the driver has none");
  if (!is_lxc) {
    peer = Measure(*clock, readings, RUSAGE_CHILDREN, [&](int) {
      return std::system(command.c_str()) == 0 ? absl::OkStatus()
                                               : absl::InternalError("virsh failed");
    });
    if (!peer.ok()) {
      return peer.status();
    }
  }
  const auto permit = *ActuationPermit::Grant(true, 1, "bench");
  std::vector<double> caps;
  for (int i = 0; i < static_cast<int>(settings.Number("caps")); ++i) {
    const hypervisor::VmTarget vm{uuids[static_cast<size_t>(i) % uuids.size()], ""};
    const double cores = 0.1 + 0.01 * (i % 50);
    const MonoTime start = clock->MonoNow();
    if (const absl::Status set = (*actuator)->SetCpuCap(permit, vm, cores); !set.ok()) {
      return set;
    }
    const auto held = (*actuator)->ReadAllocation(vm);
    if (!held.ok() || std::abs(held->cpu_cap_cores.value_or(0) - cores) > 2e-5) {
      return absl::InternalError("the cap was not held");
    }
    caps.push_back(absl::ToDoubleMilliseconds(clock->MonoNow() - start));
  }
  std::sort(caps.begin(), caps.end());
  settings.PrintHeader("libvirt_cost");
  RowPrinter rows(settings.is_json());
  rows.Print({{"driver", settings.Text("driver")},
              {"domains", absl::StrCat(domain_count)},
              {"read_cpu_ms", absl::StrFormat("%.2f", ours->cpu_ms)},
              {"limit_cpu_ms", absl::StrFormat("%.2f", 0.2 * domain_count)},
              {"read_wall_ms", absl::StrFormat("%.2f", ours->wall_ms)},
              {"virsh_cpu_ms", peer.ok() ? absl::StrFormat("%.2f", peer->cpu_ms) : "-"},
              {"virsh_wall_ms", peer.ok() ? absl::StrFormat("%.2f", peer->wall_ms) : "-"},
              {"cap_median_ms", absl::StrFormat("%.2f", Median(caps))},
              {"cap_p99_ms", absl::StrFormat("%.2f", caps[caps.size() * 99 / 100])}});
  for (const Domain& domain : *domains) {
    virDomainDestroyFlags(domain.get(), 0);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Settings settings({{"driver", "lxc"}, {"domains", "100"}, {"readings", "20"}, {"caps", "500"}});
  absl::Status status = settings.Parse(argc, argv);
  if (status.ok()) {
    status = Run(settings);
  }
  if (!status.ok()) {
    std::fprintf(stderr, "libvirt_cost: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Main(argc, argv); }
