#include "hypervisor/xen/xen_host_reader.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::xen {
namespace {

constexpr int64_t kKib = 1024;

absl::StatusOr<std::string> ReadBootId(const std::string& proc_root) {
  const std::string path = proc_root + "/sys/kernel/random/boot_id";
  std::string boot_id;
  if (!(std::ifstream(path) >> boot_id)) {
    return absl::UnavailableError(absl::StrCat("cannot read ", path));
  }
  return boot_id;
}

VmState StateOf(const XenDomain& domain, const std::string& name) {
  if (domain.is_crashed) {
    return VmState::kCrashed;
  }
  // For the last part of a move it is suspended; the names are those that `xl migrate` gives the
  // two copies until one of them is the VM.
  if (domain.is_suspended || absl::EndsWith(name, "--incoming") ||
      absl::EndsWith(name, "--migratedaway")) {
    return VmState::kMigrating;
  }
  if (domain.is_shut_down) {
    return VmState::kShutOff;
  }
  return domain.is_paused ? VmState::kPaused : VmState::kRunning;
}

}  // namespace

absl::StatusOr<std::unique_ptr<XenHostReader>> XenHostReader::Create(
    Clock& clock, std::unique_ptr<XenCalls> calls, XenOptions options) {
  CS_ASSIGN_OR_RETURN(std::string boot_id, ReadBootId(options.proc_root));
  CS_ASSIGN_OR_RETURN(XenPool pool, FindPool(*calls, options.pool));
  return std::unique_ptr<XenHostReader>(new XenHostReader(
      clock, std::move(calls), std::move(options), std::move(boot_id), std::move(pool)));
}

XenHostReader::XenHostReader(Clock& clock, std::unique_ptr<XenCalls> calls, XenOptions options,
                             std::string boot_id, XenPool pool)
    : clock_(clock),
      calls_(std::move(calls)),
      options_(std::move(options)),
      boot_id_(std::move(boot_id)),
      pool_(std::move(pool)) {}

absl::StatusOr<HostReading> XenHostReader::Read() {
  if (--pool_readings_left_ <= 0) {
    CS_ASSIGN_OR_RETURN(pool_, FindPool(*calls_, options_.pool));
    pool_readings_left_ = kStoredReadings;
  }
  const absl::Time wall_start = clock_.WallNow();
  const MonoTime start = clock_.MonoNow();
  CS_ASSIGN_OR_RETURN(const XenStatistics statistics, ToStatusOr(calls_->ReadStatistics()));
  const absl::Duration half = (clock_.MonoNow() - start) / 2;
  // After the statistics, so that a domain id given to another domain meanwhile shows as less CPU
  // time.
  CS_ASSIGN_OR_RETURN(const std::vector<XenDomain> domains, ToStatusOr(calls_->ListDomains()));

  HostReading reading;
  reading.host_id = options_.host_id;
  reading.boot_id = boot_id_;
  reading.sample_time = wall_start + half;
  reading.monotonic_time = start + half;
  reading.cpu_capacity_cores = static_cast<double>(pool_.cpu_count);
  reading.memory_free_bytes =
      GrantableBytes(statistics.memory, domains, std::nullopt, options_.reserve_bytes);
  reading.memory_capacity_bytes = statistics.memory.free_bytes - options_.reserve_bytes;

  std::map<uint32_t, const XenDomainStatistics*> counted;
  for (const XenDomainStatistics& domain : statistics.domains) {
    counted[domain.domain_id] = &domain;
  }
  std::map<std::string, const XenDomain*> by_uuid;  // nullptr: several, none of them the VM
  std::map<uint32_t, Kept> still_kept;
  for (const XenDomain& domain : domains) {
    if (!IsVm(domain, pool_.pool_id)) {
      continue;
    }
    reading.memory_capacity_bytes += domain.current_kib * kKib;
    const auto [it, is_new] = by_uuid.emplace(domain.uuid, &domain);
    if (!is_new && it->second != nullptr) {
      it->second = Prefer(*it->second, domain);
    }
    if (auto node = kept_.extract(domain.domain_id); !node.empty()) {
      still_kept.insert(std::move(node));
    }
  }
  kept_ = std::move(still_kept);
  reading.memory_capacity_bytes = std::max<int64_t>(0, reading.memory_capacity_bytes);

  for (const auto& [uuid, domain] : by_uuid) {
    if (domain == nullptr) {
      reading.unreadable[uuid] = "several domains have this UUID and none of them alone runs";
      continue;
    }
    const auto statistics_of = counted.find(domain->domain_id);
    if (statistics_of == counted.end()) {
      reading.unreadable[uuid] =
          absl::StrCat("domain ", domain->domain_id, " has no counters yet: it has no name");
      continue;
    }
    if (statistics_of->second->cpu_time_ns > domain->cpu_time_ns) {
      continue;  // its id was another domain's when the counters were read
    }
    absl::StatusOr<VmReading> vm = ReadVm(*domain, *statistics_of->second);
    if (vm.ok()) {
      reading.vms.push_back(*std::move(vm));
    } else if (absl::IsUnavailable(vm.status())) {
      return vm.status();
    } else if (IsStillThere(*domain)) {
      reading.unreadable[uuid] =
          absl::StrCat("domain ", domain->domain_id, ": ", vm.status().message());
    }
  }
  return reading;
}

bool XenHostReader::IsStillThere(const XenDomain& domain) {
  const absl::StatusOr<std::vector<XenDomain>> domains = ToStatusOr(calls_->ListDomains());
  return !domains.ok() || std::any_of(domains->begin(), domains->end(), [&](const XenDomain& now) {
    return now.domain_id == domain.domain_id && now.uuid == domain.uuid && !now.is_dying;
  });
}

absl::StatusOr<StoredDomain> XenHostReader::Stored(const XenDomain& domain) {
  Kept& kept = kept_[domain.domain_id];
  const bool is_good = kept.readings_left > 0 && kept.uuid == domain.uuid &&
                       kept.limit_kib == domain.limit_kib && kept.cpu_time_ns <= domain.cpu_time_ns;
  if (!is_good) {
    kept.readings_left = 0;
    CS_ASSIGN_OR_RETURN(kept.stored, ReadStored(*calls_, domain.domain_id));
    // Spread, so that not all domains are read again at one reading.
    kept.readings_left =
        kept.uuid.empty() ? 1 + domain.domain_id % kStoredReadings : kStoredReadings;
    kept.uuid = domain.uuid;
    kept.limit_kib = domain.limit_kib;
  }
  kept.cpu_time_ns = domain.cpu_time_ns;
  --kept.readings_left;
  return kept.stored;
}

absl::StatusOr<VmReading> XenHostReader::ReadVm(const XenDomain& domain,
                                                const XenDomainStatistics& statistics) {
  CS_ASSIGN_OR_RETURN(const StoredDomain stored, Stored(domain));
  VmReading vm;
  vm.uuid = domain.uuid;
  vm.name = statistics.name;
  vm.state = StateOf(domain, statistics.name);
  vm.incarnation = stored.incarnation;
  vm.vcpu_count = domain.online_vcpus;
  vm.cpu_time = absl::Nanoseconds(statistics.cpu_time_ns);
  for (const XenVcpuStatistics& vcpu : statistics.vcpus) {
    if (vcpu.is_online) {
      vm.vcpu_times.push_back(absl::Nanoseconds(vcpu.cpu_time_ns));
    }
  }
  vm.memory_current_bytes = statistics.current_bytes;
  vm.memory_maximum_bytes = stored.maximum_kib * kKib;
  vm.network_receive_bytes = statistics.network_receive_bytes;
  vm.network_transmit_bytes = statistics.network_transmit_bytes;
  vm.disk_read_bytes = statistics.disk_read_bytes;
  vm.disk_write_bytes = statistics.disk_write_bytes;
  Allocation allocation;
  allocation.memory_target_bytes = TargetOf(stored);
  if (pool_.scheduler != XenScheduler::kOther) {
    const absl::StatusOr<XenShare> share =
        ToStatusOr(calls_->GetShare(domain.domain_id, pool_.scheduler));
    if (!share.ok()) {
      pool_readings_left_ = 0;  // was the pool made anew with another scheduler?
      return share.status();
    }
    FillShare(*share, allocation);
  }
  vm.allocation = allocation;
  return vm;
}

}  // namespace cloudscale::hypervisor::xen
