// Sizes the groups below a cgroup as an operator would without CloudScale, for the experiment in
// this folder: reads what each used in the last step, asks the policy, sets the cap. The same
// reader and actuator as in production. Ends at SIGTERM.
//
// webapp_controller --parent-group NAME --policy reactive|vpa|cloudscale|... [--step 1]
//   [--floor 0.1] [--ceiling 1] [--history FILE] [--resource cpu|memory]
// Cores, or MiB of memory.
// The history is CSV, a column for each group, a row for each step: uncapped use. Every
// policy learns from it before it acts. Without a group it only says whether it knows the policy.
#include <signal.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/macro/settings.h"
#include "bench/macro/webapp/tier_policy.h"
#include "common/status/macros.h"
#include "common/time/clock.h"
#include "hypervisor/cgroup/cgroup_host_reader.h"
#include "hypervisor/cgroup/cgroup_vm_actuator.h"

namespace cloudscale::bench {
namespace {

namespace cg = hypervisor::cgroup;

// Columns by name; empty without a file.
absl::StatusOr<std::map<std::string, std::vector<double>>> ReadHistory(const std::string& path) {
  std::map<std::string, std::vector<double>> columns;
  if (path.empty()) {
    return columns;
  }
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) {
    return absl::NotFoundError(absl::StrCat("cannot read the history ", path));
  }
  const std::vector<std::string> names = absl::StrSplit(line, ',');
  for (int row = 2; std::getline(file, line); ++row) {
    const std::vector<std::string> cells = absl::StrSplit(line, ',');
    for (size_t i = 0; i < names.size(); ++i) {
      double value = 0;
      if (cells.size() != names.size() || !absl::SimpleAtod(cells[i], &value)) {
        return absl::InvalidArgumentError(absl::StrCat(path, ":", row, ": ", line));
      }
      columns[names[i]].push_back(value);
    }
  }
  return columns;
}

constexpr double kMebibyte = 1024.0 * 1024.0;

struct Tier {
  std::unique_ptr<TierPolicy> policy;
  absl::Duration cpu_time;
  MonoTime read_at;
};

// What a group uses and may use. Processor time is counted from the reading before.
struct Use {
  double used = 0;
  std::optional<double> limit;
};

absl::StatusOr<Use> UseOf(const hypervisor::VmReading& vm, bool is_memory, const Tier& tier,
                          MonoTime now) {
  if (!vm.allocation.has_value() ||
      !(is_memory ? vm.memory_used_bytes.has_value() : vm.cpu_time.has_value())) {
    return absl::InternalError(absl::StrCat("no use or no limit of group ", vm.name));
  }
  if (!is_memory) {
    return Use{absl::FDivDuration(*vm.cpu_time - tier.cpu_time, now - tier.read_at),
               vm.allocation->cpu_cap_cores};
  }
  Use use{static_cast<double>(*vm.memory_used_bytes) / kMebibyte, std::nullopt};
  if (vm.allocation->memory_target_bytes.has_value()) {
    use.limit = static_cast<double>(*vm.allocation->memory_target_bytes) / kMebibyte;
  }
  return use;
}

absl::Status Run(const Settings& settings, const sigset_t& ends) {
  const absl::Duration step = absl::Seconds(settings.Number("step"));
  const TierPolicy::Bounds bounds = {.floor = settings.Number("floor"),
                                     .ceiling = settings.Number("ceiling")};
  const bool is_memory = settings.Text("resource") == "memory";
  const auto resource = is_memory ? predictor::Resource::kMemory : predictor::Resource::kCpu;
  CS_RETURN_IF_ERROR(MakeTierPolicy(settings.Text("policy"), resource, step, bounds).status());
  if (settings.Text("parent-group").empty()) {
    return absl::OkStatus();
  }
  const auto clock = MakeRealClock();
  cg::CgroupOptions options;
  options.parent_group = settings.Text("parent-group");
  options.host_id = "webapp";
  CS_ASSIGN_OR_RETURN(const auto reader, cg::CgroupHostReader::Create(*clock, options));
  CS_ASSIGN_OR_RETURN(const auto actuator, cg::CgroupVmActuator::Create(options));
  const auto permit = hypervisor::ActuationPermit::Grant(true, 1, "webapp");
  if (!permit.has_value()) {
    return absl::InternalError("no permit to change anything");
  }
  CS_ASSIGN_OR_RETURN(const auto history, ReadHistory(settings.Text("history")));
  std::map<std::string, Tier> tiers;
  MonoTime next = clock->MonoNow();
  while (true) {
    CS_ASSIGN_OR_RETURN(const hypervisor::HostReading reading, reader->Read());
    for (const hypervisor::VmReading& vm : reading.vms) {
      Tier& tier = tiers[vm.uuid];
      if (tier.policy == nullptr) {
        CS_ASSIGN_OR_RETURN(tier.policy,
                            MakeTierPolicy(settings.Text("policy"), resource, step, bounds));
        if (const auto column = history.find(vm.name); column != history.end()) {
          for (const double used : column->second) {
            tier.policy->Step(used, bounds.ceiling);
          }
        }
      } else {
        CS_ASSIGN_OR_RETURN(const Use use, UseOf(vm, is_memory, tier, reading.monotonic_time));
        const double limit = tier.policy->Step(use.used, use.limit.value_or(bounds.ceiling));
        const hypervisor::VmTarget group = {vm.uuid, ""};
        const absl::Status status =
            is_memory
                ? actuator->SetMemoryTarget(*permit, group, static_cast<int64_t>(limit * kMebibyte))
                : actuator->SetCpuCap(*permit, group, limit);
        // Less memory than what is in use is refused; the limit then stays, as for everybody.
        if (!status.ok() && !(is_memory && absl::IsFailedPrecondition(status))) {
          return status;
        }
      }
      tier.cpu_time = vm.cpu_time.value_or(absl::ZeroDuration());
      tier.read_at = reading.monotonic_time;
    }
    next = std::max(next + step, clock->MonoNow());
    const absl::Duration left = next - clock->MonoNow();
    const timespec wait = absl::ToTimespec(std::max(left, absl::ZeroDuration()));
    if (sigtimedwait(&ends, nullptr, &wait) > 0) {
      return absl::OkStatus();
    }
  }
}

int Main(int argc, char** argv) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  Settings settings({{"parent-group", ""},
                     {"policy", "reactive"},
                     {"step", "1"},
                     {"history", ""},
                     {"resource", "cpu"},
                     {"floor", "0.1"},
                     {"ceiling", "1"}});
  absl::Status status = settings.Parse(argc, argv);
  if (status.ok()) {
    status = Run(settings, ends);
  }
  if (!status.ok()) {
    std::fprintf(stderr, "webapp_controller: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Main(argc, argv); }
