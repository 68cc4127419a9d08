#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "gtest/gtest.h"
#include "hypervisor/cgroup/cgroup_host_reader.h"
#include "hypervisor/cgroup/cgroup_vm_actuator.h"
#include "hypervisor/cgroup/live_tree.h"
#include "hypervisor/cgroup/load_process.h"
#include "hypervisor/conformance/conformance.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

using conformance::VmSpec;

// The machine's own cgroups with real processes in them; their own accounting is the other source.
class CgroupBackend final : public conformance::Backend {
 public:
  static absl::StatusOr<std::unique_ptr<conformance::Backend>> Make() {
    auto backend = std::make_unique<CgroupBackend>();
    CS_ASSIGN_OR_RETURN(backend->tree_, MakeLiveTree(*backend->clock_));
    const CgroupOptions& options = backend->tree_->hierarchy().options();
    CS_ASSIGN_OR_RETURN(backend->reader_, CgroupHostReader::Create(*backend->clock_, options));
    CS_ASSIGN_OR_RETURN(backend->actuator_, CgroupVmActuator::Create(options));
    return backend;
  }

  absl::StatusOr<std::string> MakeVm(const VmSpec& spec) override {
    return MakeVm(spec, std::nullopt);
  }

  absl::StatusOr<std::vector<std::string>> MakeContendingVms() override {
    std::vector<std::string> uuids;
    for (const char* name : {"rival-1", "rival-2"}) {
      CS_ASSIGN_OR_RETURN(const std::string uuid, MakeVm({.name = name, .load_cores = 1}, 0));
      uuids.push_back(uuid);
    }
    return uuids;
  }

  absl::Status RemoveVm(const std::string& uuid) override {
    const auto vm = vms_.find(uuid);
    if (vm == vms_.end()) {
      return absl::NotFoundError(uuid);
    }
    const std::string name = vm->second.spec.name;
    vms_.erase(vm);
    return tree_->RemoveGroup(name);
  }

  absl::Status RestartVm(const std::string& uuid) override {
    const VmSpec spec = vms_.at(uuid).spec;
    CS_RETURN_IF_ERROR(RemoveVm(uuid));
    return MakeVm(spec).status();
  }

  HostReader& reader() override { return *reader_; }
  VmActuator& actuator() override { return *actuator_; }

  void Run(absl::Duration duration) override {
    clock_->SleepUntil(clock_->MonoNow() + duration, std::stop_token());
  }

  absl::StatusOr<absl::Duration> IndependentCpuTime(const std::string& uuid) override {
    absl::Duration sum;
    for (const std::unique_ptr<LoadProcess>& process : vms_.at(uuid).processes) {
      CS_ASSIGN_OR_RETURN(const absl::Duration time, process->CpuTime());
      sum += time;
    }
    return sum;
  }

  absl::StatusOr<Allocation> IndependentAllocation(const std::string& uuid) override {
    const std::string group = absl::StrCat("/", tree_->hierarchy().options().parent_group, "/",
                                           vms_.at(uuid).spec.name, "/");
    const std::string root = tree_->hierarchy().options().root;
    Allocation result;
    std::string quota;
    double period = 0;
    double weight = 0;
    std::string memory;
    if (tree_->hierarchy().version() == CgroupVersion::kV2) {
      std::ifstream(root + group + "cpu.max") >> quota >> period;
      std::ifstream(root + group + "cpu.weight") >> weight;
      std::ifstream(root + group + "memory.max") >> memory;
    } else {
      std::ifstream(root + "/cpu" + group + "cpu.cfs_quota_us") >> quota;
      std::ifstream(root + "/cpu" + group + "cpu.cfs_period_us") >> period;
      std::ifstream(root + "/cpu" + group + "cpu.shares") >> weight;
      std::ifstream(root + "/memory" + group + "memory.limit_in_bytes") >> memory;
      weight = weight * 100 / 1024;
    }
    if (quota != "max" && quota != "-1") {
      result.cpu_cap_cores = std::stod(quota) / period;
    }
    result.cpu_weight = std::llround(weight);
    if (!memory.empty() && memory != "max" && !absl::StartsWith(memory, "92233720368547")) {
      result.memory_target_bytes = std::stoll(memory);
    }
    return result;
  }

 private:
  struct Vm {
    VmSpec spec;
    std::vector<std::unique_ptr<LoadProcess>> processes;
  };

  absl::StatusOr<std::string> MakeVm(const VmSpec& spec, std::optional<int> on_cpu) {
    CS_ASSIGN_OR_RETURN(const Group group, tree_->CreateGroup(spec.name));
    Vm vm{.spec = spec, .processes = {}};
    const int count = std::max(1, static_cast<int>(std::ceil(spec.load_cores)));
    for (int i = 0; i < count; ++i) {
      CS_ASSIGN_OR_RETURN(
          auto process,
          LoadProcess::Start({.load_cores = spec.load_cores / count,
                              .memory_bytes = spec.memory_bytes / count,
                              .on_cpu = on_cpu},
                             [&](pid_t pid) { return tree_->Attach(spec.name, pid); }));
      vm.processes.push_back(std::move(process));
    }
    vms_[group.uuid] = std::move(vm);
    return group.uuid;
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  std::unique_ptr<CgroupTree> tree_;
  std::unique_ptr<CgroupHostReader> reader_;
  std::unique_ptr<CgroupVmActuator> actuator_;
  std::map<std::string, Vm> vms_;  // ends before the tree that they run in
};

}  // namespace
}  // namespace cloudscale::hypervisor::cgroup

namespace cloudscale::hypervisor::conformance {

INSTANTIATE_TEST_SUITE_P(Cgroup, ConformanceTest,
                         ::testing::Values(BackendUnderTest("cgroup",
                                                            &cgroup::CgroupBackend::Make)),
                         BackendName);

}  // namespace cloudscale::hypervisor::conformance
