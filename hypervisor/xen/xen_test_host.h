#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hypervisor/xen/xen_calls.h"

namespace cloudscale::hypervisor::xen {

inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kMibKib = 1024;

// A Xen host in memory, for the tests of this folder: domains with their xenstore nodes, pools,
// counters that the test moves by hand, and refusals. Several `XenCalls` may act on one host.
// Thread safety: confined to one thread.
class XenTestHost {
 public:
  struct Domain {
    XenDomain facts;
    XenDomainStatistics statistics;
    XenShare share{.cap_percent = 0, .weight = 256};
  };

  XenTestHost() {
    pools = {{.pool_id = 0, .name = "Pool-0", .scheduler = XenScheduler::kCredit, .cpu_count = 4}};
    memory = {.total_bytes = 4096 * kMiB, .free_bytes = 1024 * kMiB};
    Domain& dom0 = AddDomain(0, "00000000-0000-0000-0000-000000000000", "Domain-0");
    dom0.facts.limit_kib = int64_t{1} << 40;
  }

  // A running domain of two vCPUs with a target of 256 MiB and a maximum of 512 MiB.
  Domain& AddDomain(uint32_t id, const std::string& uuid, const std::string& name,
                    const std::string& start = "1000.00") {
    Domain& domain = domains[id];
    domain = Domain();
    domain.facts.domain_id = id;
    domain.facts.uuid = uuid;
    domain.facts.current_kib = 256 * kMibKib;
    domain.facts.limit_kib = 257 * kMibKib;
    domain.facts.online_vcpus = 2;
    domain.facts.maximum_vcpus = 2;
    domain.statistics.domain_id = id;
    domain.statistics.name = name;
    domain.statistics.current_bytes = 256 * kMiB;
    domain.statistics.vcpus = {{true, 0}, {true, 0}};
    const std::string path = "/local/domain/" + std::to_string(id);
    store[path + "/vm"] = "/vm/" + uuid;
    store["/vm/" + uuid + "/start_time"] = start;
    store[path + "/memory/target"] = std::to_string(256 * kMibKib);
    store[path + "/memory/static-max"] = std::to_string(512 * kMibKib);
    return domain;
  }

  void RemoveDomain(uint32_t id) {
    domains.erase(id);
    std::erase_if(store, [&](const auto& node) {
      return node.first.starts_with("/local/domain/" + std::to_string(id) + "/");
    });
  }

  void Consume(uint32_t id, int64_t cpu_time_ns) {
    Domain& domain = domains.at(id);
    domain.facts.cpu_time_ns += cpu_time_ns;
    domain.statistics.cpu_time_ns = domain.facts.cpu_time_ns;
    domain.statistics.vcpus.front().cpu_time_ns = domain.facts.cpu_time_ns;
  }

  std::unique_ptr<XenCalls> Open() { return std::make_unique<Calls>(*this); }

  std::map<uint32_t, Domain> domains;
  std::vector<XenPool> pools;
  std::map<std::string, std::string> store;
  XenMemory memory;
  // What the named call ("GetShare", "ReadStore" ...) answers instead of doing anything.
  std::map<std::string, XenError> refusals;
  // Runs before each call, with its name: what happens on the host meanwhile.
  std::function<void(const std::string&)> before;
  std::map<std::string, int> count_by_call;

 private:
  class Calls final : public XenCalls {
   public:
    explicit Calls(XenTestHost& host) : host_(host) {}

    XenOr<std::vector<XenDomain>> ListDomains() override {
      if (XenDone refused = Enter("ListDomains")) {
        return *refused;
      }
      std::vector<XenDomain> result;
      for (const auto& [id, domain] : host_.domains) {
        result.push_back(domain.facts);
      }
      return result;
    }
    XenOr<std::vector<XenPool>> ListPools() override {
      if (XenDone refused = Enter("ListPools")) {
        return *refused;
      }
      return host_.pools;
    }
    XenOr<XenStatistics> ReadStatistics() override {
      if (XenDone refused = Enter("ReadStatistics")) {
        return *refused;
      }
      XenStatistics result;
      result.memory = host_.memory;
      for (const auto& [id, domain] : host_.domains) {
        result.domains.push_back(domain.statistics);
      }
      return result;
    }
    XenOr<XenMemory> ReadMemory() override {
      if (XenDone refused = Enter("ReadMemory")) {
        return *refused;
      }
      return host_.memory;
    }
    XenOr<std::optional<std::string>> ReadStore(const std::string& path) override {
      if (XenDone refused = Enter("ReadStore")) {
        return *refused;
      }
      const auto node = host_.store.find(path);
      return node == host_.store.end() ? std::optional<std::string>() : node->second;
    }
    XenOr<XenShare> GetShare(uint32_t domain_id, XenScheduler scheduler) override {
      if (XenDone refused = EnterDomain("GetShare", domain_id, scheduler)) {
        return *refused;
      }
      return host_.domains.at(domain_id).share;
    }
    XenDone SetShare(uint32_t domain_id, XenScheduler scheduler, const XenShare& share) override {
      if (XenDone refused = EnterDomain("SetShare", domain_id, scheduler)) {
        return refused;
      }
      host_.domains.at(domain_id).share = share;
      return std::nullopt;
    }
    XenDone SetMemoryTarget(uint32_t domain_id, int64_t target_kib) override {
      if (XenDone refused = EnterDomain("SetMemoryTarget", domain_id, std::nullopt)) {
        return refused;
      }
      host_.domains.at(domain_id).facts.limit_kib = target_kib + kMibKib;
      host_.store["/local/domain/" + std::to_string(domain_id) + "/memory/target"] =
          std::to_string(target_kib);
      return std::nullopt;
    }
    XenDone SetOnlineVcpus(uint32_t domain_id, int64_t count) override {
      if (XenDone refused = EnterDomain("SetOnlineVcpus", domain_id, std::nullopt)) {
        return refused;
      }
      host_.domains.at(domain_id).facts.online_vcpus = count;
      return std::nullopt;
    }
    XenDone Resume(uint32_t domain_id) override {
      if (XenDone refused = EnterDomain("Resume", domain_id, std::nullopt)) {
        return refused;
      }
      host_.domains.at(domain_id).facts.is_shut_down = false;
      host_.domains.at(domain_id).facts.is_suspended = false;
      return std::nullopt;
    }

   private:
    XenDone Enter(const std::string& call) {
      ++host_.count_by_call[call];
      if (host_.before) {
        host_.before(call);
      }
      const auto refusal = host_.refusals.find(call);
      return refusal == host_.refusals.end() ? XenDone() : refusal->second;
    }
    // As Xen: a pool knows the shares of its own scheduler alone.
    XenDone EnterDomain(const std::string& call, uint32_t domain_id,
                        std::optional<XenScheduler> scheduler) {
      if (XenDone refused = Enter(call)) {
        return refused;
      }
      const auto domain = host_.domains.find(domain_id);
      if (domain == host_.domains.end()) {
        return XenError{XenErrorCode::kNotFound, "no such domain"};
      }
      for (const XenPool& pool : host_.pools) {
        if (scheduler.has_value() && pool.pool_id == domain->second.facts.pool_id &&
            pool.scheduler != *scheduler) {
          return XenError{XenErrorCode::kInvalid, "the pool has another scheduler"};
        }
      }
      return std::nullopt;
    }

    XenTestHost& host_;
  };
};

}  // namespace cloudscale::hypervisor::xen
