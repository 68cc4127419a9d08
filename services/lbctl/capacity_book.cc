#include "services/lbctl/capacity_book.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace cloudscale::lbctl {

absl::Status CapacityBook::Report(const std::string& host_id, const std::vector<VmCapacity>& vms,
                                  absl::Duration time_to_live, MonoTime now) {
  Expire(now);
  const auto known = hosts_.find(host_id);
  const size_t replaced = known == hosts_.end() ? 0 : known->second.usable_cores.size();
  if (known == hosts_.end() && hosts_.size() >= kMaxHosts) {
    return absl::ResourceExhaustedError(
        absl::StrCat("capacity of ", hosts_.size(), " hosts is known, the limit"));
  }
  if (vm_count_ - replaced + vms.size() > kMaxVms) {
    return absl::ResourceExhaustedError(
        absl::StrCat("capacity of ", vm_count_, " VMs is known; the limit is ", kMaxVms));
  }
  HostReport report{.reported_at = now, .expires_at = now + time_to_live, .usable_cores = {}};
  for (const VmCapacity& vm : vms) {
    report.usable_cores[vm.vm_uuid] =
        std::min(vm.granted_cores, vm.coming_cores.value_or(vm.granted_cores));
  }
  vm_count_ = vm_count_ - replaced + report.usable_cores.size();
  hosts_[host_id] = std::move(report);
  return absl::OkStatus();
}

std::optional<double> CapacityBook::UsableCores(const std::string& vm_uuid, MonoTime now) const {
  const HostReport* newest = nullptr;
  for (const auto& [host, report] : hosts_) {
    if (report.expires_at > now && report.usable_cores.contains(vm_uuid) &&
        (newest == nullptr || report.reported_at > newest->reported_at)) {
      newest = &report;
    }
  }
  return newest == nullptr ? std::nullopt : std::optional(newest->usable_cores.at(vm_uuid));
}

size_t CapacityBook::host_count(MonoTime now) const {
  return static_cast<size_t>(std::count_if(
      hosts_.begin(), hosts_.end(), [&](const auto& h) { return h.second.expires_at > now; }));
}

void CapacityBook::Expire(MonoTime now) {
  std::erase_if(hosts_, [&](const auto& entry) {
    const bool is_over = entry.second.expires_at <= now;
    vm_count_ -= is_over ? entry.second.usable_cores.size() : 0;
    return is_over;
  });
}

}  // namespace cloudscale::lbctl
