#include "hypervisor/libvirt/libvirt_host_reader.h"

#include <algorithm>
#include <pugixml.hpp>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/status/macros.h"
#include "hypervisor/cgroup/cgroup_files.h"
#include "hypervisor/libvirt/domain_limits.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr int64_t kKiB = 1024;

// Changes when the host restarts; without local files the daemon's own identity must do.
std::string BootId(const LibvirtOptions& options, const Endpoint& endpoint,
                   virConnectPtr connection) {
  if (endpoint.is_local) {
    const auto directory =
        cgroup::OpenDirectory(absl::StrCat(options.proc_root, "/sys/kernel/random"));
    if (directory.ok()) {
      if (const auto text = cgroup::ReadFile(*directory, "boot_id"); text.ok()) {
        return std::string(absl::StripAsciiWhitespace(*text));
      }
    }
  }
  const std::unique_ptr<char, decltype(&std::free)> name(virConnectGetHostname(connection),
                                                         &std::free);
  return name != nullptr ? name.get() : "unknown";
}

std::vector<std::string> Attributes(const pugi::xml_document& document, const char* path) {
  std::vector<std::string> values;
  for (const pugi::xpath_node& node : document.select_nodes(path)) {
    values.emplace_back(node.attribute().value());
  }
  return values;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostReader>> LibvirtHostReader::Create(LibvirtOptions options) {
  CS_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseUri(options.uri));
  CS_ASSIGN_OR_RETURN(Connection connection, Connect(options.uri, Access::kReadOnly));
  return std::unique_ptr<HostReader>(
      new LibvirtHostReader(std::move(options), endpoint, std::move(connection)));
}

LibvirtHostReader::LibvirtHostReader(LibvirtOptions options, Endpoint endpoint,
                                     Connection connection)
    : options_(std::move(options)),
      endpoint_(endpoint),
      connection_(std::move(connection)),
      events_(connection_.get()),
      local_(options_, endpoint_),
      capabilities_(CapabilitiesOf(endpoint_)),
      boot_id_(BootId(options_, endpoint_, connection_.get())) {
  local_.Refine(capabilities_);
}

absl::Status LibvirtHostReader::ReadHost(HostReading& reading) {
  virNodeInfo node{};
  if (virNodeGetInfo(connection_.get(), &node) < 0) {
    return LastError("host information");
  }
  host_cpu_count_ = std::max<int64_t>(1, node.cpus);
  reading.cpu_capacity_cores =
      options_.cpu_capacity_cores.value_or(static_cast<double>(host_cpu_count_));
  int64_t total = static_cast<int64_t>(node.memory) * kKiB;
  // Node information counts one NUMA node only on some hosts; Xen has nothing else.
  int count = 0;
  constexpr int kAllNodes = VIR_NODE_MEMORY_STATS_ALL_CELLS;
  if (virNodeGetMemoryStats(connection_.get(), kAllNodes, nullptr, &count, 0) == 0 && count > 0) {
    std::vector<virNodeMemoryStats> memory(static_cast<size_t>(count));
    if (virNodeGetMemoryStats(connection_.get(), kAllNodes, memory.data(), &count, 0) < 0) {
      return LastError("host memory");
    }
    int64_t free = 0;
    for (int i = 0; i < count; ++i) {
      const absl::string_view field = memory[static_cast<size_t>(i)].field;
      const auto bytes = static_cast<int64_t>(memory[static_cast<size_t>(i)].value) * kKiB;
      if (field == VIR_NODE_MEMORY_STATS_TOTAL) {
        total = bytes;
      } else if (field == VIR_NODE_MEMORY_STATS_FREE || field == VIR_NODE_MEMORY_STATS_BUFFERS ||
                 field == VIR_NODE_MEMORY_STATS_CACHED) {
        free += bytes;
      }
    }
    reading.memory_free_bytes = free;
  } else if (const auto free = virNodeGetFreeMemory(connection_.get()); free > 0) {
    reading.memory_free_bytes = static_cast<int64_t>(free);
  }
  reading.memory_capacity_bytes = options_.memory_capacity_bytes.value_or(total);
  return absl::OkStatus();
}

absl::StatusOr<HostReading> LibvirtHostReader::Read() {
  HostReading reading;
  reading.host_id = options_.host_id;
  reading.boot_id = boot_id_;
  CS_RETURN_IF_ERROR(ReadHost(reading));
  changed_ = events_.Take();

  const absl::Time wall_start = clock_->WallNow();
  const MonoTime start = clock_->MonoNow();
  CS_ASSIGN_OR_RETURN(std::vector<Sampled> samples,
                      endpoint_.driver == Driver::kQemu ? SampleTogether() : SampleOneByOne());
  const absl::Duration half = (clock_->MonoNow() - start) / 2;
  reading.sample_time = wall_start + half;
  reading.monotonic_time = start + half;

  std::vector<std::string> uuids;
  for (Sampled& sampled : samples) {
    const std::string uuid = sampled.statistics.vm.uuid;
    uuids.push_back(uuid);
    const absl::Status status = Complete(sampled);
    if (status.ok()) {
      reading.vms.push_back(std::move(sampled.statistics.vm));
    } else if (absl::IsUnavailable(status)) {
      return status;
    } else if (!absl::IsNotFound(status)) {
      reading.unreadable[uuid] = std::string(status.message());
    }
  }
  std::sort(uuids.begin(), uuids.end());
  std::erase_if(remembered_, [&](const auto& entry) {
    return !std::binary_search(uuids.begin(), uuids.end(), entry.first);
  });
  local_.KeepOnly(uuids);
  std::sort(reading.vms.begin(), reading.vms.end(),
            [](const VmReading& a, const VmReading& b) { return a.uuid < b.uuid; });
  return reading;
}

absl::StatusOr<std::vector<LibvirtHostReader::Sampled>> LibvirtHostReader::SampleTogether() {
  virDomainStatsRecordPtr* raw = nullptr;
  constexpr unsigned kWanted = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL |
                               VIR_DOMAIN_STATS_VCPU | VIR_DOMAIN_STATS_BALLOON |
                               VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK;
  // Without waiting for the job lock of a domain: a hanging QEMU must not hold up the others.
  const int count = virConnectGetAllDomainStats(
      connection_.get(), kWanted, &raw,
      VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
  if (count < 0) {
    return LastError("statistics of all domains");
  }
  const std::unique_ptr<virDomainStatsRecordPtr, decltype(&virDomainStatsRecordListFree)> records(
      raw, &virDomainStatsRecordListFree);
  if (count > kMaxDomains) {
    return absl::ResourceExhaustedError(absl::StrCat(count, " domains; at most ", kMaxDomains));
  }
  std::vector<Sampled> samples;
  samples.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const virDomainStatsRecord& record = *raw[i];
    Sampled sampled;
    sampled.statistics = ParseStatistics(record.params, record.nparams, clock_->WallNow());
    virDomainRef(record.dom);
    sampled.domain.reset(record.dom);
    CS_ASSIGN_OR_RETURN(sampled.statistics.vm.uuid, UuidOf(record.dom));
    samples.push_back(std::move(sampled));
  }
  return samples;
}

absl::StatusOr<std::vector<LibvirtHostReader::Sampled>> LibvirtHostReader::SampleOneByOne() {
  std::vector<Sampled> samples;
  // The two lists tell the state of all without a call for each.
  for (const VmState state : {VmState::kRunning, VmState::kPaused}) {
    virDomainPtr* raw = nullptr;
    const int count = virConnectListAllDomains(
        connection_.get(), &raw,
        VIR_CONNECT_LIST_DOMAINS_ACTIVE |
            (state == VmState::kRunning ? VIR_CONNECT_LIST_DOMAINS_RUNNING
                                        : VIR_CONNECT_LIST_DOMAINS_PAUSED));
    if (count < 0) {
      return LastError("list of domains");
    }
    for (int i = 0; i < count; ++i) {
      Sampled sampled;
      sampled.domain.reset(raw[i]);
      sampled.statistics.vm.state = state;
      samples.push_back(std::move(sampled));
    }
    std::free(static_cast<void*>(raw));
  }
  if (samples.size() > kMaxDomains) {
    return absl::ResourceExhaustedError(
        absl::StrCat(samples.size(), " domains; at most ", kMaxDomains));
  }
  if (endpoint_.driver == Driver::kXen) {  // Dom-0 is the host, not a VM
    std::erase_if(samples,
                  [](const Sampled& sampled) { return virDomainGetID(sampled.domain.get()) == 0; });
  }
  for (Sampled& sampled : samples) {
    CS_ASSIGN_OR_RETURN(sampled.statistics.vm.uuid, UuidOf(sampled.domain.get()));
  }
  return samples;
}

absl::Status LibvirtHostReader::ReadAlone(virDomainPtr domain, Remembered& remembered,
                                          VmReading& vm) {
  const LocalDomains::Measured measured = local_.Measure(vm.uuid);
  vm.cpu_throttled_time = measured.throttled_time;
  vm.memory_pressure_some_ratio = measured.memory_pressure_some_ratio;
  vm.vcpu_count = host_cpu_count_;
  if (remembered.memory_maximum_bytes == 0 || !measured.cpu_time || !measured.memory) {
    virDomainInfo info{};
    if (virDomainGetInfo(domain, &info) < 0) {
      return LastError("domain information");
    }
    if (endpoint_.driver != Driver::kLxc) {
      vm.vcpu_count = std::max<int64_t>(1, info.nrVirtCpu);
    }
    vm.cpu_time = absl::Nanoseconds(static_cast<int64_t>(info.cpuTime));
    vm.memory_current_bytes = static_cast<int64_t>(info.memory) * kKiB;
    remembered.memory_maximum_bytes = static_cast<int64_t>(info.maxMem) * kKiB;
  }
  vm.memory_maximum_bytes = remembered.memory_maximum_bytes;
  if (measured.cpu_time) {
    vm.cpu_time = measured.cpu_time;
  }
  if (measured.memory) {
    vm.memory_current_bytes = measured.memory->current_bytes;
    vm.memory_used_bytes = measured.memory->used_bytes;
    vm.memory_swap_in_bytes = measured.memory->swap_in_bytes;
    vm.memory_major_fault_count = measured.memory->major_fault_count;
    vm.memory_oom_kill_count = measured.memory->oom_kill_count;
  }
  AddDeviceCounters(domain, remembered, vm);
  if (measured.allocation) {
    DomainSettings settings;
    settings.allocation = *measured.allocation;
    vm.allocation = AllocationOf(settings, endpoint_.driver,
                                 {.memory_maximum_bytes = remembered.memory_maximum_bytes});
    return absl::OkStatus();
  }
  remembered.settings.reset();  // its driver tells of no changes
  return AddAllocation(domain, remembered, vm);
}

void LibvirtHostReader::AddDeviceCounters(virDomainPtr domain, Remembered& remembered,
                                          VmReading& vm) {
  if (!remembered.has_devices) {
    const std::unique_ptr<char, decltype(&std::free)> xml(virDomainGetXMLDesc(domain, 0),
                                                          &std::free);
    pugi::xml_document document;
    if (xml == nullptr || !document.load_string(xml.get())) {
      return;
    }
    remembered.interfaces = Attributes(document, "/domain/devices/interface/target/@dev");
    remembered.disks = Attributes(document, "/domain/devices/disk/target/@dev");
    remembered.has_devices = true;
  }
  const auto add = [](std::optional<int64_t>& sum, long long value) {
    if (value >= 0) {
      sum = sum.value_or(0) + value;
    }
  };
  for (const std::string& name : remembered.interfaces) {
    virDomainInterfaceStatsStruct counters{};
    if (virDomainInterfaceStats(domain, name.c_str(), &counters, sizeof(counters)) == 0) {
      add(vm.network_receive_bytes, counters.rx_bytes);
      add(vm.network_transmit_bytes, counters.tx_bytes);
    }
  }
  for (const std::string& name : remembered.disks) {
    virDomainBlockStatsStruct counters{};
    if (virDomainBlockStats(domain, name.c_str(), &counters, sizeof(counters)) == 0) {
      add(vm.disk_read_bytes, counters.rd_bytes);
      add(vm.disk_write_bytes, counters.wr_bytes);
    }
  }
}

absl::Status LibvirtHostReader::AddAllocation(virDomainPtr domain, Remembered& remembered,
                                              VmReading& vm) {
  DomainSize size;
  size.vcpu_count = std::max<int64_t>(1, vm.vcpu_count);
  size.memory_current_bytes = vm.memory_current_bytes.value_or(0);
  size.memory_maximum_bytes = vm.memory_maximum_bytes.value_or(0);
  const bool is_first = !remembered.settings;
  if (is_first || ++remembered.readings_since_asked >= kSettingsReadings) {
    CS_ASSIGN_OR_RETURN(remembered.settings,
                        ReadSettings(domain, endpoint_.driver, size.vcpu_count, local_.version()));
    // So that not all are asked again in the same reading.
    remembered.readings_since_asked = is_first ? remembered.id % kSettingsReadings : 0;
  }
  vm.allocation = AllocationOf(*remembered.settings, endpoint_.driver, size);
  return absl::OkStatus();
}

absl::Status LibvirtHostReader::Complete(Sampled& sampled) {
  VmReading& vm = sampled.statistics.vm;
  const virDomainPtr domain = sampled.domain.get();
  vm.name = virDomainGetName(domain);
  const int id = static_cast<int>(virDomainGetID(domain));
  vm.incarnation = local_.Incarnation(vm.uuid, vm.name, id);
  Remembered& remembered = remembered_[vm.uuid];
  if (remembered.id != id) {
    remembered = Remembered();
    remembered.id = id;
  }
  if (changed_.contains(vm.uuid)) {
    remembered.settings.reset();
    remembered.has_devices = false;
  }
  if (endpoint_.driver != Driver::kQemu) {
    return ReadAlone(domain, remembered, vm);
  }
  vm.cpu_throttled_time = local_.Measure(vm.uuid).throttled_time;
  if (sampled.statistics.delay && vm.cpu_throttled_time) {
    // The kernel's run-queue delay holds the time under a cap as well.
    remembered.wait = std::max(remembered.wait, *sampled.statistics.delay - *vm.cpu_throttled_time);
    vm.cpu_wait_time = remembered.wait;
  }
  return AddAllocation(domain, remembered, vm);
}

}  // namespace cloudscale::hypervisor::libvirt
