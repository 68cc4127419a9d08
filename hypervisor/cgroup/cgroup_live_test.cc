// The machine's own cgroups and real processes: what the kernel really does with what we write, and
// whether what we read agrees with what the processes' own accounting says.

#include <memory>
#include <string>

#include "common/status/macros.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/cgroup/cgroup_host_reader.h"
#include "hypervisor/cgroup/cgroup_vm_actuator.h"
#include "hypervisor/cgroup/live_tree.h"
#include "hypervisor/cgroup/load_process.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMiB = int64_t{1} << 20;

class CgroupLiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto tree = MakeLiveTree(*clock_);
    if (!tree.ok()) {
      GTEST_SKIP() << tree.status().message();
    }
    tree_ = *std::move(tree);
    auto reader = CgroupHostReader::Create(*clock_, options());
    auto actuator = CgroupVmActuator::Create(options());
    CS_ASSERT_OK(reader);
    CS_ASSERT_OK(actuator);
    reader_ = *std::move(reader);
    actuator_ = *std::move(actuator);
  }
  [[nodiscard]] const CgroupOptions& options() const { return tree_->hierarchy().options(); }
  [[nodiscard]] bool is_v2() const { return tree_->hierarchy().version() == CgroupVersion::kV2; }

  absl::StatusOr<VmTarget> MakeGroup(const std::string& name) {
    CS_ASSIGN_OR_RETURN(const Group group, tree_->CreateGroup(name));
    return VmTarget{group.uuid, group.incarnation};
  }
  absl::StatusOr<std::unique_ptr<LoadProcess>> StartLoad(const std::string& name,
                                                         const LoadProcess::Spec& spec) {
    return LoadProcess::Start(spec, [&](pid_t pid) { return tree_->Attach(name, pid); });
  }
  absl::StatusOr<VmReading> ReadVm(const VmTarget& target) {
    CS_ASSIGN_OR_RETURN(reading_, reader_->Read());
    for (const VmReading& vm : reading_.vms) {
      if (vm.uuid == target.uuid) {
        return vm;
      }
    }
    return absl::NotFoundError(target.uuid);
  }
  void Run(absl::Duration duration) {
    clock_->SleepUntil(clock_->MonoNow() + duration, std::stop_token());
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  const ActuationPermit permit_ = *ActuationPermit::Grant(true, 1, "test");
  std::unique_ptr<CgroupTree> tree_;
  std::unique_ptr<CgroupHostReader> reader_;
  std::unique_ptr<CgroupVmActuator> actuator_;
  HostReading reading_;
};

TEST_F(CgroupLiveTest, SpinnerCappedAtThirtyPercentUsesThirtyPercentByBothAccounts) {
  const auto vm = MakeGroup("spinner");
  CS_ASSERT_OK(vm);
  const auto load = StartLoad("spinner", {.load_cores = 1});
  CS_ASSERT_OK(load);
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, *vm, 0.3));
  Run(absl::Milliseconds(300));  // let the period pass in which there was no cap

  const auto before = ReadVm(*vm);
  const MonoTime start = reading_.monotonic_time;
  const auto process_before = (*load)->CpuTime();
  Run(absl::Seconds(4));
  const auto after = ReadVm(*vm);
  const auto process_after = (*load)->CpuTime();

  CS_ASSERT_OK(before);
  CS_ASSERT_OK(after);
  CS_ASSERT_OK(process_before);
  CS_ASSERT_OK(process_after);
  const absl::Duration elapsed = reading_.monotonic_time - start;
  const double read = absl::FDivDuration(*after->cpu_time - *before->cpu_time, elapsed);
  const double process = absl::FDivDuration(*process_after - *process_before, elapsed);
  const double throttled =
      absl::FDivDuration(*after->cpu_throttled_time - *before->cpu_throttled_time, elapsed);
  RecordProperty("read_cores", absl::StrCat(read));
  RecordProperty("process_cores", absl::StrCat(process));
  RecordProperty("throttled_cores", absl::StrCat(throttled));
  EXPECT_NEAR(read, 0.30, 0.03);
  EXPECT_NEAR(process, 0.30, 0.03);
  EXPECT_NEAR(read, process, 0.02);
  // What it wanted was a whole core: what it got, what the cap held back, and, on a busy machine,
  // what it waited for a CPU.
  EXPECT_GT(read + throttled, 0.6);
  EXPECT_LT(read + throttled, 1.1);
}

TEST_F(CgroupLiveTest, UnthrottledLoadCountsNoThrottledTime) {
  const auto vm = MakeGroup("free");
  CS_ASSERT_OK(vm);
  const auto load = StartLoad("free", {.load_cores = 0.2});
  CS_ASSERT_OK(load);
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, *vm, 1.0));
  const auto before = ReadVm(*vm);
  Run(absl::Seconds(1));
  const auto after = ReadVm(*vm);
  CS_ASSERT_OK(before);
  CS_ASSERT_OK(after);
  EXPECT_EQ(*before->cpu_throttled_time, *after->cpu_throttled_time);
  EXPECT_EQ(after->allocation->cpu_cap_cores, 1.0);
}

TEST_F(CgroupLiveTest, GroupMadeAgainIsAnotherIncarnationAndItsOldDecisionsAbort) {
  const auto vm = MakeGroup("again");
  CS_ASSERT_OK(vm);
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, *vm, 0.5));
  CS_ASSERT_OK(ReadVm(*vm));
  CS_ASSERT_OK(tree_->RemoveGroup("again"));
  EXPECT_THAT(ReadVm(*vm), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(reading_.unreadable, IsEmpty());
  EXPECT_THAT(actuator_->SetCpuCap(permit_, *vm, 0.4), StatusIs(absl::StatusCode::kNotFound));

  const auto again = MakeGroup("again");
  CS_ASSERT_OK(again);
  EXPECT_EQ(again->uuid, vm->uuid);
  EXPECT_NE(again->incarnation, vm->incarnation);
  EXPECT_THAT(actuator_->SetCpuCap(permit_, *vm, 0.4), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(actuator_->ReadAllocation(*again),
              IsOkAndHolds(Allocation{std::nullopt, 100, std::nullopt}));
}

TEST_F(CgroupLiveTest, CapAboveTheParentsNamesTheParent) {
  if (is_v2()) {
    GTEST_SKIP() << "v2 lets a child have more than its parent";
  }
  const auto vm = MakeGroup("child");
  CS_ASSERT_OK(vm);
  const auto parent = tree_->hierarchy().OpenParent();
  CS_ASSERT_OK(parent);
  CS_ASSERT_OK(WriteFile(parent->cpu, "cpu.cfs_quota_us", "50000"));
  EXPECT_THAT(actuator_->SetCpuCap(permit_, *vm, 0.8),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr(options().parent_group)));
  CS_EXPECT_OK(actuator_->SetCpuCap(permit_, *vm, 0.5));
  CS_ASSERT_OK(ReadVm(*vm));
  EXPECT_EQ(reading_.cpu_capacity_cores, 0.5);
}

TEST_F(CgroupLiveTest, CapBelowAnInnerGroupsIsFailedPrecondition) {
  if (is_v2()) {
    GTEST_SKIP() << "v2 lets a child have more than its parent";
  }
  const auto vm = MakeGroup("outer");
  CS_ASSERT_OK(vm);
  CgroupOptions inner_options = options();
  inner_options.parent_group += "/outer";
  auto inner = CgroupTree::Create(*clock_, inner_options);
  CS_ASSERT_OK(inner);
  const auto group = (*inner)->CreateGroup("inner");
  CS_ASSERT_OK(group);
  CS_ASSERT_OK(WriteFile(group->directories.cpu, "cpu.cfs_quota_us", "60000"));
  EXPECT_THAT(actuator_->SetCpuCap(permit_, *vm, 0.3),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(CgroupLiveTest, PeriodOfAnotherOwnerIsReplaced) {
  const auto vm = MakeGroup("period");
  CS_ASSERT_OK(vm);
  const auto parent = tree_->hierarchy().OpenParent();
  CS_ASSERT_OK(parent);
  const auto group = tree_->hierarchy().OpenGroup(*parent, "period");
  CS_ASSERT_OK(group);
  for (const char* period : {"20000", "500000"}) {
    if (is_v2()) {
      CS_ASSERT_OK(WriteFile(group->directories.cpu, "cpu.max", absl::StrCat("10000 ", period)));
    } else {
      CS_ASSERT_OK(WriteFile(group->directories.cpu, "cpu.cfs_quota_us", "10000"));
      CS_ASSERT_OK(WriteFile(group->directories.cpu, "cpu.cfs_period_us", period));
    }
    CS_ASSERT_OK(actuator_->SetCpuCap(permit_, *vm, 0.7));
    const auto quota = tree_->hierarchy().ReadQuota(group->directories);
    EXPECT_THAT(quota, IsOkAndHolds(CpuQuota{70000, 100000}));
  }
}

TEST_F(CgroupLiveTest, MemoryIsSeenAndLimitBelowUseIsRefused) {
  if (!reader_->capabilities().memory_target) {
    GTEST_SKIP() << "no memory controller";
  }
  const auto vm = MakeGroup("memory");
  CS_ASSERT_OK(vm);
  const auto load = StartLoad("memory", {.load_cores = 0, .memory_bytes = 48 * kMiB});
  CS_ASSERT_OK(load);
  const auto reading = ReadVm(*vm);
  CS_ASSERT_OK(reading);
  ASSERT_TRUE(reading->memory_used_bytes.has_value());
  EXPECT_GE(*reading->memory_used_bytes, 48 * kMiB);
  EXPECT_LT(*reading->memory_used_bytes, 64 * kMiB);
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, *vm, 32 * kMiB),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  CS_ASSERT_OK(actuator_->SetMemoryTarget(permit_, *vm, 64 * kMiB));
  EXPECT_EQ(ReadVm(*vm)->allocation->memory_target_bytes, 64 * kMiB);
  CS_ASSERT_OK(actuator_->SetMemoryTarget(permit_, *vm, std::nullopt));
  EXPECT_EQ(ReadVm(*vm)->allocation->memory_target_bytes, std::nullopt);
}

TEST_F(CgroupLiveTest, TreeRemovesGroupsWithRunningProcesses) {
  const std::string path = tree_->hierarchy().trees()[0] + "/" + options().parent_group;
  CS_ASSERT_OK(MakeGroup("busy"));
  const auto load = StartLoad("busy", {.load_cores = 0.1});
  CS_ASSERT_OK(load);
  EXPECT_THAT(tree_->CreateGroup("busy"), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(tree_->CreateGroup("a/b"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(tree_->Attach("nowhere", (*load)->pid()), StatusIs(absl::StatusCode::kNotFound));
  CS_ASSERT_OK(tree_->Remove());
  EXPECT_THAT(OpenDirectory(path), StatusIs(absl::StatusCode::kNotFound));
}

// The unified tree of this machine may have no controllers; usage is there all the same.
TEST(CgroupLiveV2Test, UsageOfAProcessIsReadFromTheUnifiedTree) {
  const std::unique_ptr<Clock> clock = MakeRealClock();
  CgroupOptions options = LiveOptions();
  options.version = CgroupVersion::kV2;
  auto tree = CgroupTree::Create(*clock, options);
  if (!tree.ok()) {
    options.root = absl::StrCat(options.root, "/unified");
    tree = CgroupTree::Create(*clock, options);
  }
  if (!tree.ok()) {
    GTEST_SKIP() << "no writable unified tree: " << tree.status().message();
  }
  CS_ASSERT_OK((*tree)->CreateGroup("vm"));
  const auto load = LoadProcess::Start({.load_cores = 0.5},
                                       [&](pid_t pid) { return (*tree)->Attach("vm", pid); });
  CS_ASSERT_OK(load);
  const auto reader = CgroupHostReader::Create(*clock, options);
  CS_ASSERT_OK(reader);
  const auto before = (*reader)->Read();
  const auto process_before = (*load)->CpuTime();
  clock->SleepUntil(clock->MonoNow() + absl::Seconds(1), std::stop_token());
  const auto after = (*reader)->Read();
  const auto process_after = (*load)->CpuTime();
  CS_ASSERT_OK(before);
  CS_ASSERT_OK(after);
  CS_ASSERT_OK(process_before);
  CS_ASSERT_OK(process_after);
  ASSERT_THAT(before->vms, SizeIs(1));
  ASSERT_THAT(after->vms, SizeIs(1));
  EXPECT_EQ(before->vms[0].memory_pressure_some_ratio.has_value(),
            (*reader)->capabilities().memory_pressure);
  const double read = absl::ToDoubleSeconds(*after->vms[0].cpu_time - *before->vms[0].cpu_time);
  EXPECT_GT(read, 0.05);
  EXPECT_NEAR(read, absl::ToDoubleSeconds(*process_after - *process_before), 0.03);
}

}  // namespace
}  // namespace cloudscale::hypervisor::cgroup
