#include "hypervisor/cgroup/cgroup_host_reader.h"

#include <unistd.h>

#include <memory>
#include <string>

#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/cgroup/fixture_tree.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr int64_t kMiB = int64_t{1} << 20;

std::string Name(const ::testing::TestParamInfo<CgroupVersion>& info) {
  return info.param == CgroupVersion::kV2 ? "V2" : "V1";
}

class CgroupHostReaderTest : public ::testing::TestWithParam<CgroupVersion> {
 protected:
  void SetUp() override {
    auto reader = CgroupHostReader::Create(clock_, tree_.Options());
    CS_ASSERT_OK(reader);
    reader_ = *std::move(reader);
  }
  [[nodiscard]] bool is_v2() const { return GetParam() == CgroupVersion::kV2; }
  HostReading Read() {
    auto reading = reader_->Read();
    EXPECT_THAT(reading, testing::IsOk());
    return reading.ok() ? *std::move(reading) : HostReading();
  }

  FixtureTree tree_{GetParam()};
  SimClock clock_;
  std::unique_ptr<CgroupHostReader> reader_;
};

INSTANTIATE_TEST_SUITE_P(Versions, CgroupHostReaderTest,
                         ::testing::Values(CgroupVersion::kV1, CgroupVersion::kV2), Name);

TEST_P(CgroupHostReaderTest, EveryFileBecomesItsFieldInOurUnits) {
  tree_.AddGroup("web");

  const HostReading reading = Read();

  EXPECT_EQ(reading.host_id, "host-1");
  EXPECT_EQ(reading.boot_id, "0af0f7a5-1d0e-4a1b-9d57-3f6e9f0c6a11");
  EXPECT_EQ(reading.sample_time, clock_.WallNow());
  EXPECT_EQ(reading.cpu_capacity_cores, 4);
  EXPECT_EQ(reading.memory_capacity_bytes, int64_t{24684100} * 1024);
  EXPECT_EQ(reading.memory_free_bytes, int64_t{20000000} * 1024);
  ASSERT_THAT(reading.vms, SizeIs(1));
  const VmReading& vm = reading.vms[0];
  EXPECT_EQ(vm.name, "web");
  EXPECT_EQ(vm.uuid, UuidFromName("host-1", "vms/web"));
  EXPECT_EQ(vm.state, VmState::kRunning);
  EXPECT_EQ(vm.vcpu_count, 4);
  EXPECT_EQ(vm.cpu_time, absl::Milliseconds(7500));
  EXPECT_EQ(vm.cpu_throttled_time, absl::Milliseconds(1250));
  EXPECT_EQ(vm.cpu_wait_time, std::nullopt);
  EXPECT_EQ(vm.memory_current_bytes, 200 * kMiB);
  EXPECT_EQ(vm.memory_used_bytes, 120 * kMiB);
  EXPECT_EQ(vm.memory_maximum_bytes, reading.memory_capacity_bytes);
  EXPECT_EQ(vm.memory_swap_in_bytes, 3 * sysconf(_SC_PAGESIZE));
  EXPECT_EQ(vm.memory_major_fault_count, 7);
  EXPECT_EQ(vm.memory_oom_kill_count, 2);
  EXPECT_EQ(vm.allocation, (Allocation{1.5, 200, 512 * kMiB}));
  EXPECT_EQ(vm.memory_pressure_some_ratio, is_v2() ? std::optional<double>(0.025) : std::nullopt);
  EXPECT_EQ(vm.network_receive_bytes, std::nullopt);
  EXPECT_THAT(reading.unreadable, IsEmpty());
}

TEST_P(CgroupHostReaderTest, CapabilitiesFollowTheTree) {
  const Capabilities capabilities = reader_->capabilities();
  EXPECT_EQ(capabilities.backend, is_v2() ? "cgroup-v2" : "cgroup-v1");
  EXPECT_TRUE(capabilities.cpu_cap && capabilities.cpu_weight && capabilities.memory_target &&
              capabilities.throttled_time);
  EXPECT_FALSE(capabilities.vcpu_count || capabilities.live_migration || capabilities.wait_time);
  EXPECT_EQ(capabilities.memory_pressure, is_v2());
}

TEST_P(CgroupHostReaderTest, NoLimitsAreNoNumbers) {
  tree_.AddGroup("free");
  if (is_v2()) {
    tree_.Write("free", "cpu.max", "max 100000\n");
    tree_.Write("free", "memory.max", "max\n");
  } else {
    tree_.Write("free", "cpu.cfs_quota_us", "-1\n");
    tree_.Write("free", "memory.limit_in_bytes", "9223372036854771712\n");
  }

  const HostReading reading = Read();

  ASSERT_THAT(reading.vms, SizeIs(1));
  EXPECT_EQ(reading.vms[0].allocation, (Allocation{std::nullopt, 200, std::nullopt}));
}

TEST_P(CgroupHostReaderTest, VmsAreSortedByUuid) {
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    tree_.AddGroup(name);
  }
  const HostReading reading = Read();
  ASSERT_THAT(reading.vms, SizeIs(5));
  for (size_t i = 1; i < reading.vms.size(); ++i) {
    EXPECT_LT(reading.vms[i - 1].uuid, reading.vms[i].uuid);
  }
}

TEST_P(CgroupHostReaderTest, BrokenContentIsNamedAndTheOthersAreRead) {
  tree_.AddGroup("bad");
  tree_.AddGroup("good");
  const std::string usage = is_v2() ? "cpu.stat" : "cpuacct.usage";
  tree_.Write("bad", usage,
              "garb\x01"
              "age\n");

  const HostReading reading = Read();

  ASSERT_THAT(reading.vms, SizeIs(1));
  EXPECT_EQ(reading.vms[0].name, "good");
  EXPECT_THAT(reading.unreadable,
              UnorderedElementsAre(Pair(
                  UuidFromName("host-1", "vms/bad"),
                  AllOf(HasSubstr("group bad"), HasSubstr(usage), HasSubstr("garb\\001age")))));
}

TEST_P(CgroupHostReaderTest, EachBrokenFileIsNoticed) {
  const std::vector<std::string> files =
      is_v2() ? std::vector<std::string>{"cpu.stat",        "cpu.max",       "cpu.weight",
                                         "memory.current",  "memory.max",    "memory.stat",
                                         "memory.pressure", "memory.events", "cgroup.events"}
              : std::vector<std::string>{"cpu.stat",
                                         "cpu.cfs_quota_us",
                                         "cpu.cfs_period_us",
                                         "cpu.shares",
                                         "cpuacct.usage",
                                         "memory.usage_in_bytes",
                                         "memory.limit_in_bytes",
                                         "memory.stat",
                                         "memory.oom_control"};
  for (const std::string& file : files) {
    for (const char* text : {"-7 x\n", "\n\xff\n"}) {
      tree_.AddGroup("vm");
      tree_.Write("vm", file, text);
      const HostReading reading = Read();
      EXPECT_THAT(reading.vms, IsEmpty()) << file;
      ASSERT_THAT(reading.unreadable, SizeIs(1)) << file;
      EXPECT_THAT(reading.unreadable.begin()->second, HasSubstr(file));
    }
  }
  tree_.AddGroup("vm");
  EXPECT_THAT(Read().vms, SizeIs(1));
}

TEST_P(CgroupHostReaderTest, P1WhatAnOlderKernelDoesNotCountIsAbsentNotZero) {
  tree_.AddGroup("vm");
  tree_.Write("vm", "memory.stat", "inactive_file 0\ntotal_inactive_file 0\n");
  tree_.RemoveFile("vm", is_v2() ? "memory.events" : "memory.oom_control");
  const HostReading reading = Read();
  ASSERT_THAT(reading.vms, SizeIs(1));
  EXPECT_EQ(reading.vms[0].memory_swap_in_bytes, std::nullopt);
  EXPECT_EQ(reading.vms[0].memory_major_fault_count, std::nullopt);
  EXPECT_EQ(reading.vms[0].memory_oom_kill_count, std::nullopt);
}

// "No file" must not be taken for "no cap".
TEST_P(CgroupHostReaderTest, MissingQuotaFileIsUnreadableNotUncapped) {
  tree_.AddGroup("vm");
  tree_.RemoveFile("vm", is_v2() ? "cpu.max" : "cpu.cfs_quota_us");
  const HostReading reading = Read();
  EXPECT_THAT(reading.vms, IsEmpty());
  EXPECT_THAT(reading.unreadable, SizeIs(1));
}

TEST_P(CgroupHostReaderTest, VanishedGroupIsLeftOut) {
  tree_.AddGroup("gone");
  tree_.AddGroup("stays");
  ASSERT_THAT(Read().vms, SizeIs(2));

  tree_.RemoveGroup("gone");

  const HostReading reading = Read();
  EXPECT_THAT(reading.vms, SizeIs(1));
  EXPECT_THAT(reading.unreadable, IsEmpty());
}

TEST_P(CgroupHostReaderTest, GroupMadeAgainKeepsItsUuidAndChangesItsIncarnation) {
  tree_.AddGroup("web");
  const HostReading before = Read();
  ASSERT_THAT(before.vms, SizeIs(1));
  EXPECT_EQ(before.vms[0].incarnation, Read().vms.at(0).incarnation);

  tree_.RemoveGroup("web");
  tree_.AddGroup("web");
  tree_.Write("web", is_v2() ? "cpu.stat" : "cpuacct.usage", is_v2() ? "usage_usec 5\n" : "5000\n");

  const HostReading after = Read();
  ASSERT_THAT(after.vms, SizeIs(1));
  EXPECT_EQ(after.vms[0].uuid, before.vms[0].uuid);
  EXPECT_NE(after.vms[0].incarnation, before.vms[0].incarnation);
  EXPECT_EQ(after.vms[0].cpu_time, absl::Microseconds(5));
}

TEST_P(CgroupHostReaderTest, LinksAndFilesAreNoGroups) {
  tree_.AddGroup("web");
  tree_.Write("", is_v2() ? "cpu.idle" : "cpu.idle", "0\n");
  const std::string vms = tree_.Path(is_v2() ? "cgroup/vms" : "cgroup/cpu/vms");
  std::filesystem::create_directory_symlink(vms + "/web", vms + "/link");
  const HostReading reading = Read();
  EXPECT_THAT(reading.vms, SizeIs(1));
  EXPECT_THAT(reading.unreadable, IsEmpty());
}

TEST_P(CgroupHostReaderTest, LimitsOfTheParentLowerTheCapacity) {
  if (is_v2()) {
    tree_.Write("", "cpu.max", "250000 100000\n");
    tree_.Write("", "memory.max", "1073741824\n");
  } else {
    tree_.Write("", "cpu.cfs_quota_us", "250000\n");
    tree_.Write("", "memory.limit_in_bytes", "1073741824\n");
  }
  const HostReading reading = Read();
  EXPECT_EQ(reading.cpu_capacity_cores, 2.5);
  EXPECT_EQ(reading.memory_capacity_bytes, 1024 * kMiB);
}

TEST_P(CgroupHostReaderTest, MissingParentIsUnavailableAndComesBack) {
  std::filesystem::rename(tree_.Path("cgroup"), tree_.Path("away"));
  EXPECT_THAT(reader_->Read(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("vms")));
  std::filesystem::rename(tree_.Path("away"), tree_.Path("cgroup"));
  CS_EXPECT_OK(reader_->Read());
}

TEST_P(CgroupHostReaderTest, AttributeDecidesOnTheUuidAndDoublesAreNamed) {
  tree_.AddGroup("a");
  tree_.AddGroup("b");
  const std::string vms = tree_.Path(is_v2() ? "cgroup/vms" : "cgroup/cpu/vms");
  const std::string uuid = "9f8d5740-ca74-46de-a9d3-19b1732fe4d6";
  for (const char* name : {"a", "b"}) {
    const auto directory = OpenDirectory(vms + "/" + name);
    CS_ASSERT_OK(directory);
    if (!WriteAttribute(*directory, CgroupHierarchy::kUuidAttribute, uuid).ok()) {
      GTEST_SKIP() << "the temporary directory takes no extended attributes";
    }
    if (std::string(name) == "a") {
      const HostReading one = Read();
      ASSERT_THAT(one.vms, SizeIs(2));
      EXPECT_TRUE(one.vms[0].uuid == uuid || one.vms[1].uuid == uuid);
    }
  }
  auto fresh = CgroupHostReader::Create(clock_, tree_.Options());
  CS_ASSERT_OK(fresh);
  const auto reading = (*fresh)->Read();
  CS_ASSERT_OK(reading);
  ASSERT_THAT(reading->vms, SizeIs(1));
  EXPECT_EQ(reading->vms[0].name, "a");
  EXPECT_THAT(reading->unreadable,
              UnorderedElementsAre(Pair(UuidFromName("host-1", "vms/b"), HasSubstr(uuid))));
}

TEST(CgroupHostReaderV1Test, WaitTimeIsReadWhereTheKernelTellsIt) {
  const FixtureTree tree(CgroupVersion::kV1);
  const char* stat = "nr_periods 0\nnr_throttled 0\nthrottled_time 0\nwait_sum 2500000\n";
  tree.Write("", "cpu.stat", stat);
  tree.AddGroup("vm");
  tree.Write("vm", "cpu.stat", stat);
  SimClock clock;
  const auto reader = CgroupHostReader::Create(clock, tree.Options());
  CS_ASSERT_OK(reader);
  EXPECT_TRUE((*reader)->capabilities().wait_time);
  const auto reading = (*reader)->Read();
  CS_ASSERT_OK(reading);
  ASSERT_THAT(reading->vms, SizeIs(1));
  EXPECT_EQ(reading->vms[0].cpu_wait_time, absl::Microseconds(2500));
}

TEST(CgroupHostReaderV1Test, GroupMissingInOneTreeIsNamed) {
  const FixtureTree tree(CgroupVersion::kV1);
  tree.AddGroup("vm");
  std::filesystem::remove_all(tree.Path("cgroup/cpuacct/vms/vm"));
  SimClock clock;
  const auto reader = CgroupHostReader::Create(clock, tree.Options());
  CS_ASSERT_OK(reader);
  const auto reading = (*reader)->Read();
  CS_ASSERT_OK(reading);
  EXPECT_THAT(reading->vms, IsEmpty());
  ASSERT_THAT(reading->unreadable, SizeIs(1));
  EXPECT_THAT(reading->unreadable.begin()->second, HasSubstr("cpuacct"));
}

TEST(CgroupHostReaderV2Test, FrozenGroupIsPaused) {
  const FixtureTree tree(CgroupVersion::kV2);
  tree.AddGroup("vm");
  tree.Write("vm", "cgroup.events", "populated 1\nfrozen 1\n");
  SimClock clock;
  const auto reader = CgroupHostReader::Create(clock, tree.Options());
  CS_ASSERT_OK(reader);
  const auto reading = (*reader)->Read();
  CS_ASSERT_OK(reading);
  ASSERT_THAT(reading->vms, SizeIs(1));
  EXPECT_EQ(reading->vms[0].state, VmState::kPaused);
}

TEST(CgroupHostReaderV2Test, TreeWithoutControllersGivesUsageOnly) {
  const FixtureTree tree(CgroupVersion::kV2);
  tree.Write("", "cgroup.controllers", "\n");
  tree.Write("vm", "cpu.stat", "usage_usec 12\nuser_usec 12\nsystem_usec 0\n");
  tree.Write("vm", "cgroup.events", "populated 1\nfrozen 0\n");
  SimClock clock;
  const auto reader = CgroupHostReader::Create(clock, tree.Options());
  CS_ASSERT_OK(reader);
  EXPECT_FALSE((*reader)->capabilities().cpu_cap);
  const auto reading = (*reader)->Read();
  CS_ASSERT_OK(reading);
  ASSERT_THAT(reading->vms, SizeIs(1));
  EXPECT_EQ(reading->vms[0].cpu_time, absl::Microseconds(12));
  EXPECT_EQ(reading->vms[0].cpu_throttled_time, std::nullopt);
  EXPECT_EQ(reading->vms[0].memory_current_bytes, std::nullopt);
}

TEST(CgroupOptionsTest, AllFaultsAreNamedAtOnce) {
  SimClock clock;
  CgroupOptions options;
  options.parent_group = "a/../b";
  options.cpu_capacity_cores = -1.0;
  options.memory_capacity_bytes = 0;
  options.cpu_count = 0;
  EXPECT_THAT(CgroupHostReader::Create(clock, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("parent_group"), HasSubstr("cpu_capacity_cores"),
                             HasSubstr("memory_capacity_bytes"), HasSubstr("cpu_count"),
                             HasSubstr("host_id"))));
}

TEST(CgroupOptionsTest, NoTreeIsUnavailable) {
  const testing::TempDir empty;
  SimClock clock;
  CgroupOptions options;
  options.host_id = "h";
  options.root = empty.path();
  EXPECT_THAT(CgroupHostReader::Create(clock, options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cpu")));
  options.version = CgroupVersion::kV2;
  EXPECT_THAT(CgroupHostReader::Create(clock, options),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cgroup.controllers")));
}

}  // namespace
}  // namespace cloudscale::hypervisor::cgroup
