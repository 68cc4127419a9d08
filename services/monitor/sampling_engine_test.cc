#include "services/monitor/sampling_engine.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::monitor {
namespace {

using hypervisor::HostReading;
using hypervisor::VmReading;
using hypervisor::VmState;

constexpr char kVm[] = "11111111-1111-1111-1111-111111111111";
constexpr char kOther[] = "22222222-2222-2222-2222-222222222222";
constexpr int64_t kMiB = 1024 * 1024;

hypervisor::Allocation CapOf(double cores, int64_t weight = 100) {
  hypervisor::Allocation allocation;
  allocation.cpu_cap_cores = cores;
  allocation.cpu_weight = weight;
  return allocation;
}

// A host with a busy VM of two vCPUs, moved second by second. Changing the public members before
// `Step` is how a test makes a fault.
class SamplingEngineTest : public ::testing::Test {
 protected:
  explicit SamplingEngineTest(const SamplingConfig& config = {}) : engine_(config) {
    vm_.uuid = kVm;
    vm_.name = "web";
    vm_.state = VmState::kRunning;
    vm_.incarnation = "1";
    vm_.vcpu_count = 2;
    vm_.cpu_time = absl::Seconds(1000);
    vm_.memory_current_bytes = 1000 * kMiB;
    vm_.memory_maximum_bytes = 2048 * kMiB;
    vm_.memory_used_bytes = 512 * kMiB;
  }

  // The VM works `usage` cores for `seconds`, then a tick happens.
  HostSnapshot Advance(double usage, double seconds = 1) {
    Work(usage, seconds);
    return Step();
  }
  void Work(double usage, double seconds) {
    *vm_.cpu_time += absl::Seconds(usage * seconds);
    Pass(seconds);
  }
  void Pass(double seconds) {
    now_ = now_ + absl::Seconds(seconds);
    wall_ += absl::Seconds(seconds);
  }
  HostReading Read() const {
    HostReading reading;
    reading.host_id = "host";
    reading.boot_id = boot_id_;
    reading.sample_time = wall_;
    reading.monotonic_time = now_;
    reading.cpu_capacity_cores = 8;
    reading.memory_capacity_bytes = 16384 * kMiB;
    reading.vms = {vm_};
    return reading;
  }
  HostSnapshot Step() { return Step(Read()); }
  HostSnapshot Step(const absl::StatusOr<HostReading>& reading) {
    Tick tick;
    tick.sequence = ++sequence_;
    tick.mono = now_;
    tick.wall = wall_;
    return engine_.Step(tick, reading, guests_);
  }
  void WarmUp(double usage = 1.0) {
    Step();
    Advance(usage);
    ASSERT_EQ(Advance(usage).vms.at(0).cpu_quality, Quality::kFresh);
  }
  GuestReport& Guest(int64_t sequence) {
    HeldReport& held = guests_[kVm];
    held.received_at = now_;
    held.clock_skew = absl::ZeroDuration();
    held.report.vm_uuid = kVm;
    held.report.boot_id = "b";
    held.report.sequence = sequence;
    held.report.memory_total_bytes = 1000 * kMiB;
    held.report.memory_available_bytes = 400 * kMiB;
    return held.report;
  }

  SamplingEngine engine_;
  VmReading vm_;
  std::string boot_id_ = "boot";
  MonoTime now_ = MonoTime::FromStart(absl::Seconds(10));
  absl::Time wall_ = absl::FromUnixSeconds(1'800'000'000);
  int64_t sequence_ = 0;
  std::map<std::string, HeldReport> guests_;
};

TEST_F(SamplingEngineTest, FirstSampleWarmsUpThenRatesFollow) {
  const VmSample first = Step().vms.at(0);
  EXPECT_EQ(first.cpu_quality, Quality::kWarming);
  EXPECT_FALSE(first.cpu_usage_cores.has_value());
  EXPECT_EQ(first.memory_quality, Quality::kFresh) << "a gauge needs no second reading";
  const HostSnapshot second = Advance(1.25);
  EXPECT_EQ(second.vms.at(0).cpu_quality, Quality::kFresh);
  EXPECT_NEAR(second.vms.at(0).cpu_usage_cores.value(), 1.25, 1e-9);
  EXPECT_NEAR(second.host.cpu_usage_cores.value(), 1.25, 1e-9);
  EXPECT_TRUE(second.is_complete);
}

TEST_F(SamplingEngineTest, RateUsesTheRealIntervalNotThePeriod) {
  WarmUp();
  const VmSample sample = Advance(0.8, 1.3).vms.at(0);
  EXPECT_NEAR(sample.cpu_usage_cores.value(), 0.8, 1e-9);
  EXPECT_EQ(sample.cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, IntervalOverMissedTicksIsTrueButLate) {
  WarmUp();
  const VmSample sample = Advance(0.8, 4).vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kLate);
  EXPECT_NEAR(sample.cpu_usage_cores.value(), 0.8, 1e-9);
}

TEST_F(SamplingEngineTest, IntervalTooShortHasNoRateAndCostsNoTime) {
  WarmUp();
  const VmSample early = Advance(1.0, 0.1).vms.at(0);
  EXPECT_EQ(early.cpu_quality, Quality::kLate);
  EXPECT_FALSE(early.cpu_usage_cores.has_value());
  const VmSample next = Advance(0.4, 0.9).vms.at(0);
  EXPECT_EQ(next.cpu_quality, Quality::kFresh);
  EXPECT_NEAR(next.cpu_usage_cores.value(), 0.46, 1e-9) << "covers both intervals";
}

TEST_F(SamplingEngineTest, ReadingThatAgedOnItsWayIsLate) {
  WarmUp();
  Work(1, 1);
  const HostReading reading = Read();
  Pass(1.5);
  const VmSample sample = Step(reading).vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kLate);
  EXPECT_EQ(sample.memory_quality, Quality::kLate);
}

TEST_F(SamplingEngineTest, NewIncarnationResetsWithoutARate) {
  WarmUp();
  vm_.incarnation = "2";
  vm_.cpu_time = absl::Seconds(1001);  // even when the counter looks as if it went on
  Pass(1);
  const VmSample reset = Step().vms.at(0);
  EXPECT_EQ(reset.cpu_quality, Quality::kReset);
  EXPECT_EQ(reset.memory_quality, Quality::kReset);
  EXPECT_FALSE(reset.cpu_usage_cores.has_value());
  EXPECT_FALSE(reset.memory_used_bytes.has_value());
  EXPECT_TRUE(reset.counters->is_reset);
  EXPECT_EQ(reset.counters->start_time, wall_);
  const VmSample next = Advance(0.5).vms.at(0);
  EXPECT_EQ(next.cpu_quality, Quality::kFresh);
  EXPECT_FALSE(next.counters->is_reset);
  EXPECT_NEAR(next.cpu_usage_cores.value(), 0.5, 1e-9);
}

TEST_F(SamplingEngineTest, CounterThatGoesBackOrWrapsIsAReset) {
  WarmUp();
  vm_.cpu_time = absl::Seconds(3);
  Pass(1);
  EXPECT_EQ(Step().vms.at(0).cpu_quality, Quality::kReset);
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, ThrottledCounterThatGoesBackIsAResetToo) {
  vm_.cpu_throttled_time = absl::Seconds(50);
  WarmUp();
  vm_.cpu_throttled_time = absl::Seconds(1);
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kReset);
}

TEST_F(SamplingEngineTest, HostRestartResetsEverything) {
  WarmUp();
  boot_id_ = "boot-2";
  now_ = MonoTime::FromStart(absl::Seconds(1));
  const VmSample sample = Step().vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kReset);
  EXPECT_EQ(sample.memory_quality, Quality::kReset);
  EXPECT_EQ(engine_.stats().host_restart_count, 1);
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, SameReadingAgainIsRepeatedThenStale) {
  WarmUp();
  const HostReading reading = Read();
  for (int i = 1; i <= 3; ++i) {
    Pass(1);
    const VmSample sample = Step(reading).vms.at(0);
    EXPECT_EQ(sample.cpu_quality, Quality::kRepeated);
    EXPECT_EQ(sample.memory_quality, Quality::kRepeated);
    EXPECT_FALSE(sample.cpu_usage_cores.has_value());
  }
  Pass(1);
  EXPECT_EQ(Step(reading).vms.at(0).cpu_quality, Quality::kStale);
}

TEST_F(SamplingEngineTest, P1FailedReadingsKeepEveryVmAsMissingThenStale) {
  WarmUp();
  const absl::Status down = absl::UnavailableError("no answer");
  for (int i = 1; i <= 5; ++i) {
    Pass(1);
    const HostSnapshot snapshot = Step(down);
    ASSERT_EQ(snapshot.vms.size(), 1u);
    EXPECT_FALSE(snapshot.is_complete);
    EXPECT_EQ(snapshot.vms[0].uuid, kVm);
    EXPECT_EQ(snapshot.vms[0].name, "web");
    EXPECT_EQ(snapshot.vms[0].vcpu_count, 2);
    EXPECT_FALSE(snapshot.vms[0].cpu_usage_cores.has_value());
    EXPECT_FALSE(snapshot.vms[0].memory_used_bytes.has_value());
    EXPECT_FALSE(snapshot.host.cpu_usage_cores.has_value());
    EXPECT_EQ(snapshot.host.cpu_capacity_cores, 8);
    EXPECT_EQ(snapshot.vms[0].cpu_quality, i <= 3 ? Quality::kMissing : Quality::kStale) << i;
  }
  EXPECT_EQ(engine_.stats().failed_reading_count, 5);
  const VmSample back = Advance(1.0).vms.at(0);
  EXPECT_EQ(back.cpu_quality, Quality::kLate) << "a mean over the gap";
}

TEST_F(SamplingEngineTest, UnreadableVmStaysAsMissing) {
  WarmUp();
  Pass(1);
  HostReading reading = Read();
  reading.vms.clear();
  reading.unreadable = {{kVm, "permission denied"}, {kOther, "timed out"}};
  const HostSnapshot snapshot = Step(reading);
  ASSERT_EQ(snapshot.vms.size(), 2u);
  EXPECT_EQ(snapshot.vms[0].cpu_quality, Quality::kMissing);
  EXPECT_EQ(snapshot.vms[0].name, "web");
  EXPECT_EQ(snapshot.vms[1].uuid, kOther);
  EXPECT_EQ(snapshot.vms[1].memory_quality, Quality::kMissing);
}

TEST_F(SamplingEngineTest, VanishedVmLeavesAtOnceAndMayReturn) {
  WarmUp();
  Pass(1);
  HostReading reading = Read();
  reading.vms.clear();
  EXPECT_TRUE(Step(reading).vms.empty());
  Pass(1);
  EXPECT_TRUE(Step(absl::UnavailableError("x")).vms.empty()) << "gone is not missing";
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kLate);
  Pass(1);
  reading = Read();
  reading.vms.clear();
  Step(reading);
  for (int i = 0; i < 62; ++i) {
    Pass(1);
    reading.monotonic_time = now_;
    Step(reading);
  }
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kWarming) << "forgotten by now";
}

TEST_F(SamplingEngineTest, UsageBeyondItsVcpusIsImpossible) {
  WarmUp();
  const VmSample sample = Advance(2.2).vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kImpossible);
  EXPECT_FALSE(sample.cpu_usage_cores.has_value());
  EXPECT_EQ(engine_.stats().cpu[Quality::kImpossible], 1);
}

TEST_F(SamplingEngineTest, UsageWithinTheToleranceIsTaken) {
  WarmUp();
  EXPECT_EQ(Advance(2.08).vms.at(0).cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, UsageFarBeyondTheHostIsImpossible) {
  vm_.vcpu_count = 64;
  WarmUp(1);
  EXPECT_EQ(Advance(20).vms.at(0).cpu_quality, Quality::kImpossible);
}

TEST_F(SamplingEngineTest, OneOutlierDoesNotCostTheNextSample) {
  WarmUp();
  const absl::Duration before = *vm_.cpu_time;
  vm_.cpu_time = before + absl::Hours(5);
  Pass(1);
  EXPECT_EQ(Step().vms.at(0).cpu_quality, Quality::kImpossible);
  vm_.cpu_time = before + absl::Seconds(2);
  Pass(1);
  const VmSample sample = Step().vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kLate);
  EXPECT_NEAR(sample.cpu_usage_cores.value(), 1.0, 1e-9);
}

TEST_F(SamplingEngineTest, LastingStepOfTheCounterIsAcceptedAsNewBase) {
  WarmUp();
  *vm_.cpu_time += absl::Hours(5);
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kImpossible);
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kImpossible);
  EXPECT_EQ(Advance(1).vms.at(0).cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, InsaneValuesAreImpossible) {
  WarmUp();
  vm_.cpu_time = absl::Seconds(-5);
  Pass(1);
  EXPECT_EQ(Step().vms.at(0).cpu_quality, Quality::kImpossible);
  vm_.cpu_time = absl::Seconds(1003);
  vm_.vcpu_count = 0;
  Pass(1);
  EXPECT_EQ(Step().vms.at(0).cpu_quality, Quality::kImpossible);
  vm_.vcpu_count = 2;
  vm_.allocation = CapOf(std::nan(""));
  Pass(1);
  const VmSample sample = Step().vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kImpossible);
  EXPECT_FALSE(sample.cpu_cap_cores.has_value());
}

TEST_F(SamplingEngineTest, P1CounterThatStopsAfterWorkIsNotBelievedAtOnce) {
  WarmUp();
  for (int i = 0; i < 3; ++i) {
    const VmSample sample = Advance(0).vms.at(0);
    EXPECT_EQ(sample.cpu_quality, Quality::kStuck);
    EXPECT_FALSE(sample.cpu_usage_cores.has_value());
  }
  const VmSample believed = Advance(0).vms.at(0);
  EXPECT_EQ(believed.cpu_usage_cores.value(), 0);
  EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kFresh) << "idle is legitimate";
}

TEST_F(SamplingEngineTest, StuckCounterThatMovesAgainCoversTheWholeTime) {
  WarmUp();
  Pass(1);
  EXPECT_EQ(Step().vms.at(0).cpu_quality, Quality::kStuck);
  *vm_.cpu_time += absl::Seconds(1.5);
  Pass(1);
  const VmSample sample = Step().vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kLate);
  EXPECT_NEAR(sample.cpu_usage_cores.value(), 0.75, 1e-9);
}

TEST_F(SamplingEngineTest, IdleVmWithoutContradictionIsFresh) {
  Step();
  for (int i = 0; i < 4; ++i) {
    Advance(0);  // a VM that is new is not known to be idle
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kFresh);
  }
}

TEST_F(SamplingEngineTest, P1CounterContradictedByThrottlingStaysStuck) {
  vm_.cpu_throttled_time = absl::Seconds(1);
  WarmUp();
  for (int i = 0; i < 20; ++i) {
    *vm_.cpu_throttled_time += absl::Milliseconds(300);
    EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kStuck);
  }
}

TEST_F(SamplingEngineTest, P1CounterContradictedByTrafficStaysStuck) {
  vm_.network_transmit_bytes = 1000;
  WarmUp();
  for (int i = 0; i < 20; ++i) {
    *vm_.network_transmit_bytes += 5000;
    EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kStuck);
  }
}

TEST_F(SamplingEngineTest, ReceivedBytesAloneProveNothing) {
  vm_.network_receive_bytes = 1000;
  vm_.disk_write_bytes = 1000;
  Step();
  Advance(0.001);
  for (int i = 0; i < 10; ++i) {
    *vm_.network_receive_bytes += 5000;
    *vm_.disk_write_bytes += 5000;
    EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kFresh);
  }
}

TEST_F(SamplingEngineTest, P1CounterContradictedByTheGuestStaysStuck) {
  WarmUp();
  for (int i = 0; i < 20; ++i) {
    Guest(i + 1).run_queue_length = 4;
    EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kStuck);
  }
}

TEST_F(SamplingEngineTest, AWitnessIsHeardOnce) {
  vm_.network_transmit_bytes = 1000;
  WarmUp();
  *vm_.network_transmit_bytes += 5000;
  EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kStuck);
  Advance(0);
  Advance(0);
  Advance(0);
  EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, PausedVmMayStandStill) {
  WarmUp();
  vm_.state = VmState::kPaused;
  EXPECT_EQ(Advance(0).vms.at(0).cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, MissingCounterIsMissingNotZero) {
  WarmUp();
  vm_.cpu_time.reset();
  for (int i = 1; i <= 4; ++i) {
    Pass(1);
    const VmSample sample = Step().vms.at(0);
    EXPECT_EQ(sample.cpu_quality, i <= 3 ? Quality::kMissing : Quality::kStale);
    EXPECT_FALSE(sample.cpu_usage_cores.has_value());
    EXPECT_EQ(sample.memory_quality, Quality::kFresh);
  }
}

TEST_F(SamplingEngineTest, DemandUndoesTheCap) {
  vm_.allocation = CapOf(1.0, 250);
  vm_.cpu_throttled_time = absl::Seconds(5);
  vm_.cpu_wait_time = absl::Seconds(5);
  WarmUp();
  std::vector<double> demands;
  VmSample sample;
  for (int second = 0; second < 3; ++second) {
    *vm_.cpu_throttled_time += absl::Milliseconds(400);
    *vm_.cpu_wait_time += absl::Milliseconds(100);
    sample = Advance(1.0).vms.at(0);
    demands.push_back(sample.cpu_demand_cores.value());
  }
  // The longer it is held back, the more of the throttled time is believed.
  EXPECT_THAT(demands, ::testing::Pointwise(::testing::DoubleNear(1e-9), {1.35, 1.5, 1.5}));
  EXPECT_NEAR(sample.cpu_throttled_ratio.value(), 0.2, 1e-9);
  EXPECT_NEAR(sample.cpu_wait_ratio.value(), 0.1 / 1.5, 1e-9);
  EXPECT_EQ(sample.cpu_cap_cores, 1.0);
  EXPECT_EQ(sample.cpu_weight, 2.5);
}

TEST_F(SamplingEngineTest, P15WallJumpLeavesRatesAloneAndIsNoticed) {
  WarmUp();
  for (const absl::Duration jump : {absl::Hours(1), absl::Hours(-2)}) {
    wall_ += jump;
    const VmSample sample = Advance(0.6).vms.at(0);
    EXPECT_NEAR(sample.cpu_usage_cores.value(), 0.6, 1e-9);
    EXPECT_EQ(sample.cpu_quality, Quality::kSkewed);
    const VmSample after = Advance(0.6).vms.at(0);
    EXPECT_NEAR(after.cpu_usage_cores.value(), 0.6, 1e-9);
    EXPECT_EQ(after.cpu_quality, Quality::kFresh);
  }
  EXPECT_EQ(engine_.stats().wall_jump_count, 2);
}

TEST_F(SamplingEngineTest, P15ReaderWithAnotherWallClockIsSkewed) {
  WarmUp();
  Work(0.5, 1);
  HostReading reading = Read();
  reading.sample_time += absl::Seconds(30);
  const VmSample sample = Step(reading).vms.at(0);
  EXPECT_EQ(sample.cpu_quality, Quality::kSkewed);
  EXPECT_EQ(sample.memory_quality, Quality::kSkewed);
  EXPECT_NEAR(sample.cpu_usage_cores.value(), 0.5, 1e-9);
}

TEST_F(SamplingEngineTest, GuestReportIsMergedWithItsAge) {
  WarmUp();
  GuestReport& report = Guest(1);
  report.memory_pressure = GuestPressure{.some_ratio = 0.1, .full_ratio = 0.02};
  report.swap_in_bytes = 77;
  const VmSample sample = Advance(1).vms.at(0);
  EXPECT_EQ(sample.memory_quality, Quality::kFresh);
  EXPECT_EQ(sample.memory_used_bytes, 600 * kMiB) << "the guest's larger number";
  EXPECT_EQ(sample.memory_guest_total_bytes, 1000 * kMiB);
  EXPECT_EQ(sample.memory_guest_available_bytes, 400 * kMiB);
  EXPECT_EQ(sample.memory_pressure_full_ratio, 0.02);
  EXPECT_EQ(sample.memory_demand_bytes, 750 * kMiB);
  EXPECT_EQ(sample.guest_report_age, absl::Seconds(1));
  EXPECT_EQ(sample.guest_source, GuestSource::kAgent);
  EXPECT_EQ(sample.counters->swap_in_bytes, 77);
}

TEST_F(SamplingEngineTest, WhatTheGuestsKernelKeepsForItselfIsNeededToo) {
  WarmUp();
  vm_.memory_current_bytes = 1100 * kMiB;
  Guest(1);
  EXPECT_EQ(Advance(1).vms.at(0).memory_used_bytes, 700 * kMiB) << "600 and 100 of the kernel";
  vm_.memory_guest_total_bytes = 1060 * kMiB;
  for (int i = 0; i < 20; ++i) {
    Guest(i + 2);
    Advance(1);
  }
  EXPECT_EQ(Advance(1).vms.at(0).memory_used_bytes, 640 * kMiB)
      << "the hypervisor's own figure of what the kernel manages wins";
}

TEST_F(SamplingEngineTest, AMovingBalloonIsNotTakenForOverhead) {
  vm_.memory_guest_total_bytes = 960 * kMiB;
  WarmUp();
  for (int i = 0; i < 10; ++i) {
    Advance(1);
  }
  ASSERT_EQ(Advance(1).vms.at(0).memory_used_bytes, 552 * kMiB);
  // The VM was given more, and the figures of the guest are from before.
  vm_.memory_current_bytes = 1400 * kMiB;
  EXPECT_EQ(Advance(1).vms.at(0).memory_used_bytes, 552 * kMiB);
  // Taken away again and more: the guest's figures still tell of more than it has.
  vm_.memory_current_bytes = 800 * kMiB;
  EXPECT_EQ(Advance(1).vms.at(0).memory_used_bytes, 552 * kMiB);
}

TEST_F(SamplingEngineTest, P8GuestCannotHideWhatTheHypervisorSees) {
  WarmUp();
  Guest(1).memory_available_bytes = 999 * kMiB;
  EXPECT_EQ(Advance(1).vms.at(0).memory_used_bytes, 512 * kMiB);
}

TEST_F(SamplingEngineTest, P8GuestThatClaimsMoreThanTheVmHasIsImpossible) {
  WarmUp();
  Guest(1).memory_total_bytes = 3000 * kMiB;
  const VmSample sample = Advance(1).vms.at(0);
  EXPECT_EQ(sample.memory_quality, Quality::kImpossible);
  EXPECT_FALSE(sample.memory_used_bytes.has_value());
  EXPECT_FALSE(sample.memory_guest_total_bytes.has_value());
}

TEST_F(SamplingEngineTest, P1TheGuestsWordAloneIsNeverFreshThenMissingThenStale) {
  vm_.memory_used_bytes.reset();
  Step();
  Guest(1);
  std::vector<Quality> seen;
  for (int i = 0; i < 10; ++i) {
    seen.push_back(Advance(1).vms.at(0).memory_quality);
  }
  using enum Quality;
  EXPECT_THAT(seen, ::testing::ElementsAre(kLate, kLate, kLate, kLate, kLate, kMissing, kMissing,
                                           kMissing, kStale, kStale));
}

class TrustedGuestTest : public SamplingEngineTest {
 protected:
  TrustedGuestTest() : SamplingEngineTest(TrustingConfig()) {}

 private:
  static SamplingConfig TrustingConfig() {
    SamplingConfig config;
    config.is_guest_memory_trusted = true;
    return config;
  }
};

TEST_F(TrustedGuestTest, ItsWordIsFreshWhileItsSizeIsWhatItWasGiven) {
  vm_.memory_used_bytes.reset();
  vm_.memory_current_bytes = 1040 * kMiB;
  WarmUp();
  Guest(1);
  EXPECT_EQ(Advance(1).vms.at(0).memory_quality, Quality::kFresh);
  EXPECT_EQ(Advance(1).vms.at(0).memory_quality, Quality::kFresh);
  EXPECT_EQ(Advance(1).vms.at(0).memory_quality, Quality::kLate) << "it has fallen silent";
  vm_.memory_current_bytes = 2000 * kMiB;
  Guest(2);
  EXPECT_EQ(Advance(1).vms.at(0).memory_quality, Quality::kLate) << "it does not see what it holds";
  vm_.memory_current_bytes = 1040 * kMiB;
  Guest(3);
  EXPECT_EQ(Advance(1).vms.at(0).memory_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, GuestReportOfThePreviousBootIsNotUsed) {
  vm_.memory_used_bytes.reset();
  WarmUp();
  Guest(1);
  Advance(1);
  vm_.incarnation = "2";
  Advance(1);
  EXPECT_EQ(Advance(1).vms.at(0).memory_quality, Quality::kMissing);
}

TEST_F(SamplingEngineTest, GuestClockThatIsOffIsSkewedButUsable) {
  WarmUp();
  Guest(1);
  guests_[kVm].clock_skew = absl::Seconds(-3);
  const VmSample sample = Advance(1).vms.at(0);
  EXPECT_EQ(sample.memory_quality, Quality::kSkewed);
  EXPECT_EQ(sample.memory_used_bytes, 600 * kMiB);
  EXPECT_EQ(sample.cpu_quality, Quality::kFresh);
}

TEST_F(SamplingEngineTest, OomKillRaisesDemandOnce) {
  WarmUp();
  Guest(1).oom_kill_count = 4;
  EXPECT_EQ(Advance(1).vms.at(0).memory_demand_bytes, 600 * kMiB) << "old kills are history";
  Guest(2).oom_kill_count = 5;
  EXPECT_EQ(Advance(1).vms.at(0).memory_demand_bytes, 720 * kMiB);
  Guest(3).oom_kill_count = 5;
  EXPECT_EQ(Advance(1).vms.at(0).memory_demand_bytes, 600 * kMiB);
}

TEST_F(SamplingEngineTest, TheHypervisorsWordOfShortageStandsWithoutAGuest) {
  WarmUp();
  vm_.memory_swap_in_bytes = 4096;
  vm_.memory_major_fault_count = 9;
  vm_.memory_oom_kill_count = 4;
  const VmSample old = Advance(1).vms.at(0);
  EXPECT_EQ(old.counters->swap_in_bytes, 4096);
  EXPECT_EQ(old.counters->major_fault_count, 9);
  EXPECT_EQ(old.counters->oom_kill_count, 4);
  const int64_t before = old.memory_demand_bytes.value();
  vm_.memory_oom_kill_count = 5;
  EXPECT_GT(Advance(1).vms.at(0).memory_demand_bytes, before);
  EXPECT_EQ(Advance(1).vms.at(0).memory_demand_bytes, before);
}

// A guest that shares its kernel with others counts theirs too.
TEST_F(SamplingEngineTest, TheHypervisorsWordOfShortageComesBeforeTheGuests) {
  WarmUp();
  vm_.memory_swap_in_bytes = 4096;
  vm_.memory_oom_kill_count = 4;
  Guest(1).oom_kill_count = 70;
  const int64_t before = Advance(1).vms.at(0).memory_demand_bytes.value();
  Guest(2).oom_kill_count = 71;
  Guest(2).swap_in_bytes = int64_t{1} << 40;
  const VmSample sample = Advance(1).vms.at(0);
  EXPECT_EQ(sample.memory_demand_bytes, before);
  EXPECT_EQ(sample.counters->swap_in_bytes, 4096);
  EXPECT_EQ(sample.counters->oom_kill_count, 4);
}

TEST_F(SamplingEngineTest, P1ImpossibleMemoryIsNeverSmallUse) {
  WarmUp();
  for (const int64_t bad : {int64_t{0}, int64_t{-1}, int64_t{5000} * kMiB}) {
    vm_.memory_used_bytes = bad;
    const VmSample sample = Advance(1).vms.at(0);
    EXPECT_EQ(sample.memory_quality, Quality::kImpossible) << bad;
    EXPECT_FALSE(sample.memory_used_bytes.has_value());
    EXPECT_FALSE(sample.memory_demand_bytes.has_value());
  }
}

TEST_F(SamplingEngineTest, DoubledVmsAreTakenOnceAndCounted) {
  HostReading reading = Read();
  reading.vms.push_back(vm_);
  EXPECT_EQ(Step(reading).vms.size(), 1u);
  EXPECT_EQ(engine_.stats().ignored_vm_count, 1);
}

TEST_F(SamplingEngineTest, VmsComeSortedByUuid) {
  HostReading reading = Read();
  VmReading other = vm_;
  other.uuid = "00000000-0000-0000-0000-000000000000";
  reading.vms.push_back(other);
  const HostSnapshot snapshot = Step(reading);
  ASSERT_EQ(snapshot.vms.size(), 2u);
  EXPECT_LT(snapshot.vms[0].uuid, snapshot.vms[1].uuid);
}

TEST_F(SamplingEngineTest, UnreadSamplesKeepTheLastKnownAllocation) {
  vm_.allocation = CapOf(1.5, 200);
  vm_.allocation->memory_target_bytes = 1024 * kMiB;
  WarmUp();
  const auto expect_held = [](const VmSample& sample) {
    EXPECT_EQ(sample.cpu_cap_cores, 1.5);
    EXPECT_EQ(sample.cpu_weight, 2.0);
    EXPECT_EQ(sample.memory_target_bytes, 1024 * kMiB);
    EXPECT_NE(sample.cpu_quality, Quality::kFresh);
    EXPECT_NE(sample.memory_quality, Quality::kFresh);
  };
  expect_held(Step().vms.at(0));  // repeated
  for (int i = 0; i < 6; ++i) {
    Work(1, 1);
    expect_held(Step(absl::UnavailableError("down")).vms.at(0));  // missing, then stale
  }
  vm_.allocation.reset();  // the VM answers, but not what it is limited to
  for (int i = 0; i < 3; ++i) {
    expect_held(Advance(1).vms.at(0));
  }
  vm_.incarnation = "2";
  EXPECT_FALSE(Advance(1).vms.at(0).cpu_cap_cores.has_value()) << "another boot, another size";
}

}  // namespace
}  // namespace cloudscale::monitor
