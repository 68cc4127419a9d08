#include "hypervisor/xen/xen_host_reader.h"

#include <memory>
#include <string>

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/xen/xen_test_host.h"

namespace cloudscale::hypervisor::xen {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::Key;
using ::testing::Pair;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr char kUuidA[] = "aaaaaaaa-0000-4000-8000-000000000001";
constexpr char kUuidB[] = "bbbbbbbb-0000-4000-8000-000000000002";

class XenHostReaderTest : public ::testing::Test {
 protected:
  XenHostReaderTest() { directory_.Write("sys/kernel/random/boot_id", "boot-1\n"); }

  void SetUp() override { MakeReader(); }

  void MakeReader() {
    auto reader = XenHostReader::Create(clock_, host_.Open(), Options());
    ASSERT_THAT(reader, IsOk());
    reader_ = *std::move(reader);
  }

  XenOptions Options() {
    XenOptions options;
    options.host_id = "host-x";
    options.proc_root = directory_.path();
    options.reserve_bytes = 50 * kMiB;
    return options;
  }

  HostReading MustRead() {
    auto reading = reader_->Read();
    CS_EXPECT_OK(reading);
    return reading.ok() ? *std::move(reading) : HostReading();
  }

  testing::TempDir directory_;
  SimClock clock_;
  XenTestHost host_;
  std::unique_ptr<XenHostReader> reader_;
};

TEST_F(XenHostReaderTest, ReadsCountersLimitsAndCapacity) {
  XenTestHost::Domain& domain = host_.AddDomain(7, kUuidA, "web");
  host_.Consume(7, 1'500'000'000);
  domain.share = {.cap_percent = 50, .weight = 512};
  domain.statistics.network_receive_bytes = 10;
  domain.statistics.network_transmit_bytes = 20;
  domain.statistics.disk_read_bytes = 30;
  domain.statistics.disk_write_bytes = 40;

  const HostReading reading = MustRead();

  EXPECT_EQ(reading.host_id, "host-x");
  EXPECT_EQ(reading.boot_id, "boot-1");
  EXPECT_EQ(reading.cpu_capacity_cores, 4);
  EXPECT_EQ(reading.memory_capacity_bytes, (1024 + 256 - 50) * kMiB);
  EXPECT_EQ(reading.memory_free_bytes, (1024 - 50) * kMiB);
  ASSERT_THAT(reading.vms, SizeIs(1));
  const VmReading& vm = reading.vms[0];
  EXPECT_EQ(vm.uuid, kUuidA);
  EXPECT_EQ(vm.name, "web");
  EXPECT_EQ(vm.state, VmState::kRunning);
  EXPECT_EQ(vm.incarnation, "7@1000.00");
  EXPECT_EQ(vm.vcpu_count, 2);
  EXPECT_EQ(vm.cpu_time, absl::Milliseconds(1500));
  EXPECT_THAT(vm.vcpu_times, ElementsAre(absl::Milliseconds(1500), absl::ZeroDuration()));
  EXPECT_EQ(vm.memory_current_bytes, 256 * kMiB);
  EXPECT_EQ(vm.memory_maximum_bytes, 512 * kMiB);
  EXPECT_FALSE(vm.memory_used_bytes.has_value());
  EXPECT_FALSE(vm.cpu_wait_time.has_value());
  EXPECT_EQ(vm.network_receive_bytes, 10);
  EXPECT_EQ(vm.network_transmit_bytes, 20);
  EXPECT_EQ(vm.disk_read_bytes, 30);
  EXPECT_EQ(vm.disk_write_bytes, 40);
  EXPECT_EQ(
      vm.allocation,
      (Allocation{.cpu_cap_cores = 0.5, .cpu_weight = 200, .memory_target_bytes = 256 * kMiB}));
}

TEST_F(XenHostReaderTest, LeavesOutOfflineVcpus) {
  XenTestHost::Domain& domain = host_.AddDomain(7, kUuidA, "web");
  domain.statistics.vcpus[1].is_online = false;
  domain.facts.online_vcpus = 1;
  const HostReading reading = MustRead();
  ASSERT_THAT(reading.vms, SizeIs(1));
  EXPECT_THAT(reading.vms[0].vcpu_times, SizeIs(1));
  EXPECT_EQ(reading.vms[0].vcpu_count, 1);
}

TEST_F(XenHostReaderTest, SeesOnlyItsPoolAndNoDyingDomains) {
  host_.pools.push_back({1, "other", XenScheduler::kCredit2, 8});
  host_.AddDomain(1, kUuidA, "elsewhere").facts.pool_id = 1;
  host_.AddDomain(2, kUuidB, "dying").facts.is_dying = true;
  EXPECT_THAT(MustRead().vms, IsEmpty());
}

TEST_F(XenHostReaderTest, RestartChangesTheIncarnationUnderANewIdAndUnderTheOldOne) {
  host_.AddDomain(7, kUuidA, "web", "1000.00");
  host_.Consume(7, 5'000'000'000);
  EXPECT_EQ(MustRead().vms.at(0).incarnation, "7@1000.00");

  host_.RemoveDomain(7);
  host_.AddDomain(8, kUuidA, "web", "2000.00");
  EXPECT_EQ(MustRead().vms.at(0).incarnation, "8@2000.00");

  // The same id and UUID with a new start: the counters that begin anew tell.
  host_.Consume(8, 5'000'000'000);
  EXPECT_EQ(MustRead().vms.at(0).incarnation, "8@2000.00");
  host_.RemoveDomain(8);
  host_.AddDomain(8, kUuidA, "web", "3000.00");
  EXPECT_EQ(MustRead().vms.at(0).incarnation, "8@3000.00");
}

TEST_F(XenHostReaderTest, DomainIdGivenToAnotherVmIsAnotherVm) {
  host_.AddDomain(7, kUuidA, "web", "1000.00");
  MustRead();
  host_.RemoveDomain(7);
  host_.AddDomain(7, kUuidB, "db", "2000.00");
  host_.Consume(7, 9'000'000'000);
  const HostReading reading = MustRead();
  ASSERT_THAT(reading.vms, SizeIs(1));
  EXPECT_EQ(reading.vms[0].uuid, kUuidB);
  EXPECT_EQ(reading.vms[0].incarnation, "7@2000.00");
}

TEST_F(XenHostReaderTest, DomainIdGivenToAnotherVmDuringTheReadingIsLeftOut) {
  host_.AddDomain(7, kUuidA, "web");
  host_.Consume(7, 9'000'000'000);
  host_.before = [&](const std::string& call) {
    if (call == "ListDomains") {
      host_.before = nullptr;
      host_.RemoveDomain(7);
      host_.AddDomain(7, kUuidB, "db", "2000.00");
    }
  };
  EXPECT_THAT(MustRead().vms, IsEmpty());
  EXPECT_THAT(MustRead().vms, SizeIs(1));
}

TEST_F(XenHostReaderTest, VanishingDomainIsLeftOutAndTheOthersStay) {
  host_.AddDomain(7, kUuidA, "web");
  host_.AddDomain(8, kUuidB, "db");
  host_.before = [&](const std::string& call) {
    if (call == "GetShare") {
      host_.before = nullptr;
      host_.RemoveDomain(7);
    }
  };
  const HostReading reading = MustRead();
  ASSERT_THAT(reading.vms, SizeIs(1));
  EXPECT_EQ(reading.vms[0].uuid, kUuidB);
  EXPECT_THAT(reading.unreadable, IsEmpty());
}

TEST_F(XenHostReaderTest, HalfMadeDomainIsUnreadable) {
  host_.AddDomain(7, kUuidA, "web");
  host_.store.erase("/local/domain/7/memory/target");
  const HostReading reading = MustRead();
  EXPECT_THAT(reading.vms, IsEmpty());
  EXPECT_THAT(reading.unreadable, ElementsAre(Pair(kUuidA, HasSubstr("memory/target"))));
}

TEST_F(XenHostReaderTest, DomainThatLibxenstatDoesNotTellYetIsUnreadable) {
  host_.before = [&](const std::string& call) {
    if (call == "ListDomains") {
      host_.before = nullptr;
      host_.AddDomain(7, kUuidA, "web");
    }
  };
  EXPECT_THAT(MustRead().unreadable, ElementsAre(Pair(kUuidA, HasSubstr("no counters"))));
  EXPECT_THAT(MustRead().vms, SizeIs(1));
}

TEST_F(XenHostReaderTest, OfTwoDomainsWithOneUuidTheRunningOneIsTheVm) {
  host_.AddDomain(7, kUuidA, "web");
  host_.AddDomain(8, kUuidA, "web--incoming").facts.is_paused = true;
  const HostReading reading = MustRead();
  ASSERT_THAT(reading.vms, SizeIs(1));
  EXPECT_EQ(reading.vms[0].name, "web");

  host_.domains.at(8).facts.is_paused = false;
  EXPECT_THAT(MustRead().unreadable, ElementsAre(Key(kUuidA)));
}

TEST_F(XenHostReaderTest, TellsStates) {
  XenTestHost::Domain& domain = host_.AddDomain(7, kUuidA, "web");
  const auto state = [&] { return MustRead().vms.at(0).state; };
  domain.facts.is_paused = true;
  EXPECT_EQ(state(), VmState::kPaused);
  domain.statistics.name = "web--incoming";
  EXPECT_EQ(state(), VmState::kMigrating);
  domain.statistics.name = "web";
  domain.facts.is_shut_down = true;
  EXPECT_EQ(state(), VmState::kShutOff);
  domain.facts.is_suspended = true;
  EXPECT_EQ(state(), VmState::kMigrating);
  domain.facts.is_suspended = false;
  domain.facts.is_crashed = true;
  EXPECT_EQ(state(), VmState::kCrashed);
}

TEST_F(XenHostReaderTest, KeepsWhatSeldomChangesAndSeesWhatDoes) {
  host_.AddDomain(7, kUuidA, "web");
  MustRead();
  while (host_.count_by_call["ReadStore"] > 0) {
    host_.count_by_call.clear();
    MustRead();
  }
  // The limit moves with the target.
  host_.store["/local/domain/7/memory/target"] = std::to_string(300 * kMibKib);
  host_.domains.at(7).facts.limit_kib = 301 * kMibKib;
  EXPECT_EQ(MustRead().vms.at(0).allocation->memory_target_bytes, 300 * kMiB);

  // Without a hint it takes some readings.
  host_.store["/local/domain/7/memory/static-max"] = std::to_string(400 * kMibKib);
  int64_t maximum = 0;
  for (int64_t i = 0; i <= XenHostReader::kStoredReadings; ++i) {
    maximum = MustRead().vms.at(0).memory_maximum_bytes.value_or(0);
  }
  EXPECT_EQ(maximum, 400 * kMiB);
}

TEST_F(XenHostReaderTest, GrantsWithoutWhatIsPromised) {
  host_.AddDomain(7, kUuidA, "web").facts.limit_kib = (256 + 100 + 1) * kMibKib;
  host_.AddDomain(8, kUuidB, "db").facts.claimed_kib = 24 * kMibKib;
  EXPECT_EQ(MustRead().memory_free_bytes, (1024 - 50 - 100 - 24) * kMiB);
  host_.memory.free_bytes = 10 * kMiB;
  EXPECT_EQ(MustRead().memory_free_bytes, 0);
}

TEST_F(XenHostReaderTest, CapabilitiesFollowTheScheduler) {
  EXPECT_EQ(reader_->capabilities().backend, "xen-credit");
  EXPECT_TRUE(reader_->capabilities().cpu_cap);
  EXPECT_FALSE(reader_->capabilities().wait_time);
  EXPECT_TRUE(reader_->capabilities().live_migration);

  host_.pools[0].scheduler = XenScheduler::kCredit2;
  MakeReader();
  EXPECT_EQ(reader_->capabilities().backend, "xen-credit2");

  host_.pools[0].scheduler = XenScheduler::kOther;
  MakeReader();
  EXPECT_FALSE(reader_->capabilities().cpu_weight);
  host_.AddDomain(7, kUuidA, "web");
  EXPECT_FALSE(MustRead().vms.at(0).allocation->cpu_weight.has_value());
}

TEST_F(XenHostReaderTest, FollowsAPoolThatWasMadeAnewWithAnotherScheduler) {
  host_.AddDomain(7, kUuidA, "web");
  MustRead();
  host_.pools[0].scheduler = XenScheduler::kCredit2;
  EXPECT_THAT(MustRead().unreadable, ElementsAre(Key(kUuidA)));
  EXPECT_THAT(MustRead().vms, SizeIs(1));
  EXPECT_EQ(reader_->capabilities().backend, "xen-credit2");
}

TEST_F(XenHostReaderTest, SaysWhichPoolsThereAre) {
  XenOptions options = Options();
  options.pool = "vms";
  EXPECT_THAT(XenHostReader::Create(clock_, host_.Open(), options),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Pool-0")));
}

TEST_F(XenHostReaderTest, XenThatDoesNotAnswerIsUnavailable) {
  host_.AddDomain(7, kUuidA, "web");
  for (const char* call : {"ReadStatistics", "ListDomains", "ReadStore"}) {
    host_.refusals = {{call, {XenErrorCode::kUnavailable, "gone"}}};
    EXPECT_THAT(reader_->Read(), StatusIs(absl::StatusCode::kUnavailable)) << call;
  }
  host_.refusals.clear();
  EXPECT_THAT(reader_->Read(), IsOk());
}

}  // namespace
}  // namespace cloudscale::hypervisor::xen
