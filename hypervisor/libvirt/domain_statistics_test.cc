#include "hypervisor/libvirt/domain_statistics.h"

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/libvirt/domain_limits.h"
#include "hypervisor/libvirt/libvirt_options.h"
#include "hypervisor/libvirt/memory_note.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kNow = 1'700'000'000;

class StatisticsTest : public ::testing::Test {
 protected:
  StatisticsTest() { virInitialize(); }
  ~StatisticsTest() override { virTypedParamsFree(parameters_, count_); }
  void Number(const char* field, unsigned long long value) {
    virTypedParamsAddULLong(&parameters_, &count_, &capacity_, field, value);
  }
  void State(int state, int reason) {
    virTypedParamsAddInt(&parameters_, &count_, &capacity_, "state.state", state);
    virTypedParamsAddInt(&parameters_, &count_, &capacity_, "state.reason", reason);
  }
  [[nodiscard]] DomainStatistics Parse() const {
    return ParseStatistics(parameters_, count_, absl::FromUnixSeconds(kNow));
  }

 private:
  virTypedParameterPtr parameters_ = nullptr;
  int count_ = 0;
  int capacity_ = 0;
};

TEST_F(StatisticsTest, SumsOverVcpusInterfacesAndDisks) {
  State(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);
  Number("cpu.time", 5'000'000'000);
  Number("vcpu.current", 2);
  Number("vcpu.maximum", 4);
  Number("vcpu.0.time", 3'000'000'000);
  Number("vcpu.0.delay", 100'000'000);
  Number("vcpu.1.time", 1'000'000'000);
  Number("vcpu.1.delay", 50'000'000);
  Number("net.count", 2);
  Number("net.0.rx.bytes", 10);
  Number("net.1.rx.bytes", 5);
  Number("net.0.tx.bytes", 7);
  Number("block.0.rd.bytes", 100);
  Number("block.1.wr.bytes", 300);
  const DomainStatistics statistics = Parse();
  EXPECT_EQ(statistics.vm.state, VmState::kRunning);
  EXPECT_EQ(statistics.vm.cpu_time, absl::Seconds(5));
  EXPECT_EQ(statistics.vm.vcpu_count, 2);
  EXPECT_THAT(statistics.vm.vcpu_times, ElementsAre(absl::Seconds(3), absl::Seconds(1)));
  EXPECT_EQ(statistics.delay, absl::Milliseconds(150));
  EXPECT_EQ(statistics.vm.network_receive_bytes, 15);
  EXPECT_EQ(statistics.vm.network_transmit_bytes, 7);
  EXPECT_EQ(statistics.vm.disk_read_bytes, 100);
  EXPECT_EQ(statistics.vm.disk_write_bytes, 300);
}

TEST_F(StatisticsTest, P1WhatIsNotThereIsAbsentNotZero) {
  State(VIR_DOMAIN_RUNNING, 0);
  const DomainStatistics statistics = Parse();
  EXPECT_FALSE(statistics.vm.cpu_time.has_value());
  EXPECT_FALSE(statistics.delay.has_value());
  EXPECT_FALSE(statistics.vm.network_receive_bytes.has_value());
  EXPECT_FALSE(statistics.vm.disk_write_bytes.has_value());
  EXPECT_FALSE(statistics.vm.memory_current_bytes.has_value());
  EXPECT_FALSE(statistics.vm.memory_used_bytes.has_value());
}

TEST_F(StatisticsTest, MemoryNeedIsWhatTheGuestCannotGiveBack) {
  Number("balloon.current", 200 * 1024);
  Number("balloon.maximum", 256 * 1024);
  Number("balloon.available", 180 * 1024);
  Number("balloon.usable", 80 * 1024);
  Number("balloon.swap_in", 12);
  Number("balloon.major_fault", 34);
  Number("balloon.last-update", kNow - 10);
  const VmReading vm = Parse().vm;
  EXPECT_EQ(vm.memory_swap_in_bytes, 12 * 1024);
  EXPECT_EQ(vm.memory_major_fault_count, 34);
  EXPECT_EQ(vm.memory_current_bytes, 200 * kMiB);
  EXPECT_EQ(vm.memory_maximum_bytes, 256 * kMiB);
  EXPECT_EQ(vm.memory_used_bytes, 100 * kMiB);
}

TEST_F(StatisticsTest, P1OldFiguresOfAGuestThatHangsAreNotItsNeed) {
  Number("balloon.available", 180 * 1024);
  Number("balloon.usable", 170 * 1024);
  Number("balloon.swap_in", 12);
  Number("balloon.last-update", kNow - 61);
  EXPECT_FALSE(Parse().vm.memory_used_bytes.has_value());
  EXPECT_FALSE(Parse().vm.memory_swap_in_bytes.has_value());
}

TEST_F(StatisticsTest, P8ImpossibleFiguresOfAGuestAreNotItsNeed) {
  Number("balloon.available", 100 * 1024);
  Number("balloon.usable", 170 * 1024);
  Number("balloon.last-update", kNow);
  EXPECT_FALSE(Parse().vm.memory_used_bytes.has_value());
}

TEST(StateOfTest, TellsMigrationFromPause) {
  EXPECT_EQ(StateOf(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER), VmState::kPaused);
  EXPECT_EQ(StateOf(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION), VmState::kMigrating);
  EXPECT_EQ(StateOf(VIR_DOMAIN_CRASHED, 0), VmState::kCrashed);
  EXPECT_EQ(StateOf(VIR_DOMAIN_NOSTATE, 0), VmState::kUnknown);
}

TEST(MemoryNoteTest, SurvivesTheDomainsMetadata) {
  const MemoryNote note{.target_bytes = 128 * kMiB, .from_bytes = 256 * kMiB};
  EXPECT_EQ(NoteFromXml(ToXml(note)), note);
  // As libvirt gives it back.
  EXPECT_EQ(NoteFromXml("<cloudscale:memory xmlns:cloudscale='urn:x' target='5' from='6'/>"),
            (MemoryNote{5, 6}));
}

TEST(MemoryNoteTest, SomebodyElsesMetadataIsNoNote) {
  for (const char* xml :
       {"", "<a", "<memory/>", "<memory target='1'/>", "<memory target='-1' from='2'/>",
        "<memory target='x' from='2'/>", "<other target='1' from='2'/>"}) {
    EXPECT_EQ(NoteFromXml(xml), std::nullopt) << xml;
  }
}

TEST(MemoryTargetTest, IsWhatWasAskedForWhileTheBalloonIsOnItsWay) {
  const MemoryNote shrink{.target_bytes = 100 * kMiB, .from_bytes = 200 * kMiB};
  EXPECT_EQ(MemoryTarget(shrink, 200 * kMiB, 256 * kMiB), 100 * kMiB);
  EXPECT_EQ(MemoryTarget(shrink, 150 * kMiB, 256 * kMiB), 100 * kMiB);
  EXPECT_EQ(MemoryTarget(shrink, 100 * kMiB, 256 * kMiB), 100 * kMiB);
}

TEST(MemoryTargetTest, P19SomebodyElsesChangeIsSeen) {
  const MemoryNote shrink{.target_bytes = 100 * kMiB, .from_bytes = 200 * kMiB};
  EXPECT_EQ(MemoryTarget(shrink, 90 * kMiB, 256 * kMiB), 90 * kMiB);
  EXPECT_EQ(MemoryTarget(shrink, 220 * kMiB, 256 * kMiB), 220 * kMiB);
  EXPECT_EQ(MemoryTarget(std::nullopt, 220 * kMiB, 256 * kMiB), 220 * kMiB);
}

TEST(MemoryTargetTest, AllOfTheMemoryIsNoLimit) {
  EXPECT_EQ(MemoryTarget(std::nullopt, 256 * kMiB, 256 * kMiB), std::nullopt);
  EXPECT_EQ(MemoryTarget(MemoryNote{256 * kMiB, 100 * kMiB}, 120 * kMiB, 256 * kMiB), std::nullopt);
}

TEST(ParseUriTest, TellsDriverAndWhetherTheDaemonIsHere) {
  const auto qemu = ParseUri("qemu:///system");
  CS_ASSERT_OK(qemu);
  EXPECT_EQ(qemu->driver, Driver::kQemu);
  EXPECT_TRUE(qemu->is_local);
  const auto lxc = ParseUri("lxc:///system?socket=/tmp/sock");
  CS_ASSERT_OK(lxc);
  EXPECT_EQ(lxc->driver, Driver::kLxc);
  EXPECT_TRUE(lxc->is_local);
  const auto remote = ParseUri("qemu+tcp://10.0.0.2/system");
  CS_ASSERT_OK(remote);
  EXPECT_FALSE(remote->is_local);
  EXPECT_FALSE(CapabilitiesOf(*remote).throttled_time);
  EXPECT_FALSE(CapabilitiesOf(*remote).cpu_weight);
}

TEST(ParseUriTest, P14ErrorsNameTheUriAndWhatIsAllowed) {
  for (const char* uri : {"", "qemu", "kvm:///system", "qemu://", "qemu:///", "qemu:/// system"}) {
    EXPECT_THAT(ParseUri(uri),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("qemu:///system")))
        << uri;
  }
}

TEST(XenWeightTest, NormalIsNormalAndOursComesBack) {
  EXPECT_EQ(XenWeightFromOurs(100), 256);
  EXPECT_EQ(OursFromXenWeight(256), 100);
  for (int64_t weight = 1; weight <= 10000; ++weight) {
    ASSERT_EQ(OursFromXenWeight(XenWeightFromOurs(weight)), weight);
  }
}

}  // namespace
}  // namespace cloudscale::hypervisor::libvirt
