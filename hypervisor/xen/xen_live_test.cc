// What only a real Xen host can show, besides the conformance suite. Runs in Dom-0
// (tests/hosts/xen/run); anywhere else its cases are skipped.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/xen/xen_host_reader.h"
#include "hypervisor/xen/xen_module.h"
#include "hypervisor/xen/xen_test_guests.h"
#include "hypervisor/xen/xen_vm_actuator.h"

namespace cloudscale::hypervisor::xen {
namespace {

using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

constexpr int64_t kMiB = int64_t{1} << 20;

absl::Duration FromTimeval(const timeval& time) {
  return absl::Seconds(time.tv_sec) + absl::Microseconds(time.tv_usec);
}

absl::Duration CpuTimeOf(int who) {
  rusage usage{};
  getrusage(who, &usage);
  return FromTimeval(usage.ru_utime) + FromTimeval(usage.ru_stime);
}

// The number after `key` in output of lines "key : number ...".
double NumberAfter(const std::string& text, const std::string& key) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StartsWith(absl::StripAsciiWhitespace(line), key)) {
      continue;
    }
    const std::vector<std::string> words =
        absl::StrSplit(absl::StripAsciiWhitespace(line).substr(key.size()), absl::ByAnyChar(": s"),
                       absl::SkipEmpty());
    double number = 0;
    if (!words.empty() && absl::SimpleAtod(words[0], &number)) {
      return number;
    }
  }
  return std::nan("");
}

class XenLiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = OpenXen();
    if (absl::IsUnavailable(store.status())) {
      GTEST_SKIP() << store.status().message();
    }
    ASSERT_THAT(store, IsOk());
    if (const absl::Status possible = TestGuest::CheckPossible(); !possible.ok()) {
      GTEST_SKIP() << possible.message();
    }
    store_ = *std::move(store);
    auto reading = OpenXen();
    auto changing = OpenXen();
    ASSERT_THAT(reading, IsOk());
    ASSERT_THAT(changing, IsOk());
    auto reader = XenHostReader::Create(*clock_, *std::move(reading), {});
    auto actuator = XenVmActuator::Create(*std::move(changing), {});
    ASSERT_THAT(reader, IsOk());
    ASSERT_THAT(actuator, IsOk());
    reader_ = *std::move(reader);
    actuator_ = *std::move(actuator);
  }

  // Up and idle.
  std::unique_ptr<TestGuest> StartGuest(const std::string& name, TestGuest::Kind kind = {}) {
    auto guest = TestGuest::Start(*clock_, *store_, name, kind);
    CS_EXPECT_OK(guest);
    if (!guest.ok()) {
      return nullptr;
    }
    CS_EXPECT_OK((*guest)->Work({}));
    return *std::move(guest);
  }

  VmReading MustRead(const std::string& uuid) {
    const auto reading = reader_->Read();
    CS_EXPECT_OK(reading);
    if (reading.ok()) {
      for (const VmReading& vm : reading->vms) {
        if (vm.uuid == uuid) {
          return vm;
        }
      }
    }
    ADD_FAILURE() << "no vm " << uuid;
    return {};
  }

  void Sleep(absl::Duration duration) {
    clock_->SleepUntil(clock_->MonoNow() + duration, std::stop_token());
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  const ActuationPermit permit_ = *ActuationPermit::Grant(true, 1, "live");
  std::unique_ptr<XenCalls> store_;
  std::unique_ptr<XenHostReader> reader_;
  std::unique_ptr<XenVmActuator> actuator_;
};

TEST_F(XenLiveTest, GuestFollowsItsVcpus) {
  const auto guest = StartGuest("vcpus");
  ASSERT_NE(guest, nullptr);
  const VmTarget vm{guest->uuid(), ""};
  for (const int64_t count : {1, 2}) {
    ASSERT_THAT(actuator_->SetVcpuCount(permit_, vm, count), IsOk());
    VmReading reading;
    for (int tries = 0; tries < 40; ++tries) {
      reading = MustRead(guest->uuid());
      if (reading.vcpu_count == count) {
        break;
      }
      Sleep(absl::Milliseconds(500));
    }
    EXPECT_EQ(reading.vcpu_count, count);
    EXPECT_THAT(reading.vcpu_times, SizeIs(static_cast<size_t>(count)));
  }
  EXPECT_THAT(actuator_->SetVcpuCount(permit_, vm, 3), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(XenLiveTest, NetworkAndDiskAreCountedAsTheGuestSeesThem) {
  const auto guest = StartGuest("devices", {.network_and_disk = true});
  ASSERT_NE(guest, nullptr);
  const VmReading before = MustRead(guest->uuid());
  ASSERT_TRUE(before.disk_read_bytes.has_value());
  ASSERT_TRUE(before.network_transmit_bytes.has_value());
  constexpr int64_t kKib = 1024;

  ASSERT_THAT(guest->Work({.read_kib = 4 * kKib, .send_kib = 200}), IsOk());
  const VmReading after = MustRead(guest->uuid());

  EXPECT_EQ(*after.disk_read_bytes - *before.disk_read_bytes, 4 * kMiB);
  EXPECT_EQ(*after.disk_write_bytes, *before.disk_write_bytes);
  const int64_t sent = *after.network_transmit_bytes - *before.network_transmit_bytes;
  EXPECT_GE(sent, 200 * kKib);  // and headers
  EXPECT_LE(sent, 260 * kKib);
  EXPECT_LE(*after.network_receive_bytes - *before.network_receive_bytes, 20 * kKib);
}

TEST_F(XenLiveTest, MemoryIsGrantedOnlyWhenTheHostHasIt) {
  const auto guest = StartGuest("grant");
  ASSERT_NE(guest, nullptr);
  const VmTarget vm{guest->uuid(), ""};
  XenOptions options;
  // As if all but 32 MiB of the free memory were Xen's reserve.
  const auto memory = store_->ReadMemory();
  options.reserve_bytes = std::get<XenMemory>(memory).free_bytes - 32 * kMiB;
  auto calls = OpenXen();
  ASSERT_THAT(calls, IsOk());
  auto strict = XenVmActuator::Create(*std::move(calls), options);
  ASSERT_THAT(strict, IsOk());

  EXPECT_THAT((*strict)->SetMemoryTarget(permit_, vm, std::nullopt),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(MustRead(guest->uuid()).allocation->memory_target_bytes, TestGuest::kMemoryMib * kMiB);
  ASSERT_THAT((*strict)->SetMemoryTarget(permit_, vm, (TestGuest::kMemoryMib + 16) * kMiB), IsOk());
  Sleep(absl::Seconds(6));
  // Xen counts whole pages and lends the guest a few more than its target.
  EXPECT_NEAR(static_cast<double>(MustRead(guest->uuid()).memory_current_bytes.value_or(0)),
              static_cast<double>((TestGuest::kMemoryMib + 16) * kMiB), static_cast<double>(kMiB));
}

// A migration is the same on the side where the VM arrives.
TEST_F(XenLiveTest, RestoredGuestIsAnotherIncarnationOfTheSameVm) {
  const auto guest = StartGuest("restored");
  ASSERT_NE(guest, nullptr);
  CS_ASSERT_OK(guest->Work({.load_percent = 50}));
  const VmReading before = MustRead(guest->uuid());

  CS_ASSERT_OK(guest->SaveAndRestore());
  const VmReading after = MustRead(guest->uuid());

  EXPECT_EQ(after.name, before.name);
  EXPECT_NE(after.incarnation, before.incarnation);
  EXPECT_LT(after.cpu_time, before.cpu_time);
  EXPECT_THAT(actuator_->SetCpuCap(permit_, {guest->uuid(), before.incarnation}, 0.5),
              StatusIs(absl::StatusCode::kAborted));
  CS_EXPECT_OK(actuator_->SetCpuCap(permit_, {guest->uuid(), after.incarnation}, 0.5));
}

TEST_F(XenLiveTest, TimeOfOneChange) {
  const auto guest = StartGuest("latency");
  ASSERT_NE(guest, nullptr);
  const VmTarget vm{guest->uuid(), MustRead(guest->uuid()).incarnation};
  const auto median = [&](const auto& call) {
    std::vector<double> milliseconds;
    for (int i = 0; i < 20; ++i) {
      const MonoTime start = clock_->MonoNow();
      EXPECT_THAT(call(i), IsOk());
      milliseconds.push_back(absl::ToDoubleMilliseconds(clock_->MonoNow() - start));
    }
    std::nth_element(milliseconds.begin(), milliseconds.begin() + 10, milliseconds.end());
    return milliseconds[10];
  };
  std::printf(
      "median under emulation: set cap %.1f ms, set weight %.1f ms, set memory target %.1f ms, "
      "read allocation %.1f ms, read host %.1f ms\n",
      median([&](int i) { return actuator_->SetCpuCap(permit_, vm, 0.2 + 0.01 * i); }),
      median([&](int i) { return actuator_->SetCpuWeight(permit_, vm, 100 + i); }),
      median([&](int i) {
        return actuator_->SetMemoryTarget(permit_, vm, (TestGuest::kMemoryMib - i) * kMiB);
      }),
      median([&](int) { return actuator_->ReadAllocation(vm).status(); }),
      median([&](int) { return reader_->Read().status(); }));
}

// The same VM through libvirt's Xen driver, when libvirt runs here.
TEST_F(XenLiveTest, LibvirtTellsTheSame) {
  const std::string virsh = "virsh -q -c xen:///system ";
  if (!RunCommand(virsh + "list").ok()) {
    GTEST_SKIP() << "libvirt's Xen driver does not run here";
  }
  const std::string uuid = "c10dc10d-0000-4000-8000-00000000f00d";
  const std::string file = "/tmp/libvirt-guest.xml";
  std::ofstream(file) << "<domain type='xen'><name>through-libvirt</name><uuid>" << uuid
                      << "</uuid><memory unit='MiB'>256</memory><currentMemory unit='MiB'>192"
                      << "</currentMemory><vcpu>1</vcpu><os><type arch='x86_64' machine='xenpv'>"
                      << "linux</type><kernel>/guests/vmlinux</kernel><initrd>/guests/initramfs"
                      << "</initrd><cmdline>console=hvc0 quiet rdinit=/init</cmdline></os>"
                      << "<on_crash>destroy</on_crash><devices><console type='pty'>"
                      << "<target type='xen' port='0'/></console></devices></domain>";
  ASSERT_THAT(RunCommand(virsh + "create " + file), IsOk());
  Sleep(absl::Seconds(8));
  const VmTarget vm{uuid, ""};
  CS_EXPECT_OK(actuator_->SetCpuCap(permit_, vm, 0.37));
  CS_EXPECT_OK(actuator_->SetCpuWeight(permit_, vm, 200));
  CS_EXPECT_OK(actuator_->SetMemoryTarget(permit_, vm, 176 * kMiB));
  Sleep(absl::Seconds(6));

  const VmReading before = MustRead(uuid);
  const auto information = RunCommand(virsh + "dominfo through-libvirt");
  const auto shares = RunCommand(virsh + "schedinfo through-libvirt");
  const VmReading after = MustRead(uuid);
  // And the other way round: what libvirt sets is what we read.
  CS_EXPECT_OK(RunCommand(virsh + "schedinfo through-libvirt cap=55 weight=128"));
  CS_EXPECT_OK(RunCommand(virsh + "setmem through-libvirt 184M --live"));
  const VmReading changed = MustRead(uuid);
  CS_EXPECT_OK(RunCommand(virsh + "destroy through-libvirt"));

  CS_ASSERT_OK(information);
  CS_ASSERT_OK(shares);
  // dominfo rounds to 0.1 s.
  EXPECT_GE(NumberAfter(*information, "CPU time"), absl::ToDoubleSeconds(*before.cpu_time) - 0.1);
  EXPECT_LE(NumberAfter(*information, "CPU time"), absl::ToDoubleSeconds(*after.cpu_time) + 0.1);
  EXPECT_EQ(NumberAfter(*information, "CPU(s)"), 1);
  EXPECT_EQ(NumberAfter(*information, "Max memory"), 256 * 1024);
  EXPECT_NEAR(NumberAfter(*information, "Used memory"),
              static_cast<double>(*after.memory_current_bytes) / 1024, 1024);
  EXPECT_EQ(after.memory_maximum_bytes, 256 * kMiB);
  EXPECT_EQ(NumberAfter(*shares, "cap"), 37);
  EXPECT_EQ(NumberAfter(*shares, "weight"), 512);
  EXPECT_EQ(
      changed.allocation,
      (Allocation{.cpu_cap_cores = 0.55, .cpu_weight = 50, .memory_target_bytes = 184 * kMiB}));
}

// What a reading costs beside Xen's own tool at the same rate: a figure for the documentation, and
// no limit, since times under emulation vary by half. Measured when CLOUDSCALE_XEN_MEASURE is set.
TEST_F(XenLiveTest, MeasuresReaderBesideXentop) {
  if (std::getenv("CLOUDSCALE_XEN_MEASURE") == nullptr) {
    GTEST_SKIP() << "CLOUDSCALE_XEN_MEASURE is not set";
  }
  const auto first = StartGuest("cost-1");
  const auto second = StartGuest("cost-2");
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  constexpr int kRounds = 4;
  constexpr int kReadings = 4;  // a round
  const auto read = [&] {
    const absl::Duration start = CpuTimeOf(RUSAGE_SELF);
    for (int i = 0; i < kReadings; ++i) {
      CS_EXPECT_OK(reader_->Read());
      Sleep(absl::Seconds(1));
    }
    return (CpuTimeOf(RUSAGE_SELF) - start) / kReadings;
  };
  const auto xentop = [&](int count) {
    const absl::Duration start = CpuTimeOf(RUSAGE_CHILDREN);
    CS_EXPECT_OK(RunCommand(absl::StrCat("xentop -b -d 1 -i ", count)));
    return CpuTimeOf(RUSAGE_CHILDREN) - start;
  };
  CS_ASSERT_OK(reader_->Read());
  // In turn, and the least of each: neighbours of the emulation only add.
  absl::Duration ours = absl::InfiniteDuration();
  absl::Duration once = absl::InfiniteDuration();  // what starting costs, and a first reading
  absl::Duration more = absl::InfiniteDuration();
  for (int round = 0; round < kRounds; ++round) {
    ours = std::min(ours, read());
    once = std::min(once, xentop(1));
    more = std::min(more, xentop(kReadings + 1));
  }
  const absl::Duration theirs = (more - once) / kReadings;

  std::printf("CPU time of one reading of 2 VMs under emulation: ours %.2f ms, xentop's %.2f ms\n",
              absl::ToDoubleMilliseconds(ours), absl::ToDoubleMilliseconds(theirs));
  EXPECT_GT(ours, absl::ZeroDuration());
  EXPECT_GT(theirs, absl::ZeroDuration());
}

// cloudscaled on this host in AUTO for as long as the object lives.
class Daemon {
 public:
  Daemon(const std::string& program, const std::string& directory)
      : log_(directory + "/daemon.log") {
    const std::string config = directory + "/cloudscaled.yaml";
    std::ofstream(config) << "host_id: recorded\n"
                             "hypervisor: {xen: {}}\n"
                             "monitor: {sampling_period: 1s}\n"
                             "predictor: {step: 2s, horizons: [2s, 20s, 60s]}\n"
                             "scaler:\n  mode: auto\n  step: 2s\n"
                             "  limits: {warm_up_samples: 10, max_actions_per_minute: 600, "
                             "max_actions_per_vm_per_minute: 60}\n"
                             "  default_policy: {mode: auto, cpu: {cool_down_down: 10s}}\n";
    pid_ = fork();
    if (pid_ == 0) {
      std::freopen(log_.c_str(), "w", stderr);
      execl(program.c_str(), "cloudscaled", "--config", config.c_str(), "--listen",
            absl::StrCat("unix:", directory, "/socket").c_str(), nullptr);
      _exit(127);
    }
  }
  ~Daemon() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] bool is_running() const { return waitpid(pid_, nullptr, WNOHANG) == 0; }
  [[nodiscard]] const std::string& log() const { return log_; }

 private:
  const std::string log_;
  pid_t pid_ = -1;
};

// A VM whose load changes while cloudscaled sizes it by its forecasts: a recording to plot. Made
// when CLOUDSCALE_XEN_RECORD names the file and CLOUDSCALE_XEN_DAEMON the program.
TEST_F(XenLiveTest, RecordsAChangingLoad) {
  const char* path = std::getenv("CLOUDSCALE_XEN_RECORD");
  const char* program = std::getenv("CLOUDSCALE_XEN_DAEMON");
  if (path == nullptr || program == nullptr) {
    GTEST_SKIP() << "CLOUDSCALE_XEN_RECORD and CLOUDSCALE_XEN_DAEMON are not set";
  }
  constexpr int kSeconds = 240;
  const cloudscale::testing::TempDir directory;
  const auto guest = StartGuest("recorded");
  ASSERT_NE(guest, nullptr);
  const Daemon daemon(program, directory.path().string());
  std::ofstream file(path);
  file << "t_seconds,wanted_cores,cap_cores,read_cores,independent_cores,held_mib,target_mib,"
          "balloon_mib\n";
  const MonoTime start = clock_->MonoNow();
  MonoTime next = start;
  std::optional<VmReading> last;
  MonoTime last_time;
  absl::Duration last_xl;
  MonoTime last_xl_time;
  GuestWork work;
  int capped = 0;
  for (double t = 0; t < kSeconds; t = absl::ToDoubleSeconds(clock_->MonoNow() - start)) {
    ASSERT_TRUE(daemon.is_running()) << RunCommand("tail -n 20 " + daemon.log()).value_or("");
    // A slow wave with bursts; memory in steps.
    const double wave = 0.35 + 0.25 * std::sin(t / 20);
    const double load = std::min(0.95, wave + (std::fmod(t, 60) < 8 ? 0.3 : 0));
    const GuestWork wanted = {.load_percent = std::lround(load * 20) * 5,
                              .hold_mib = std::fmod(t, 120) < 60 ? 16 : 96};
    if (wanted.load_percent != work.load_percent || wanted.hold_mib != work.hold_mib) {
      CS_ASSERT_OK(guest->Work(wanted));
      work = wanted;
    }
    next = std::max(next + absl::Seconds(1), clock_->MonoNow());
    clock_->SleepUntil(next, std::stop_token());
    const auto reading = reader_->Read();
    CS_ASSERT_OK(reading);
    const auto xl = guest->CpuTime();
    const MonoTime xl_time = clock_->MonoNow();
    CS_ASSERT_OK(xl);
    const VmReading now =
        *std::find_if(reading->vms.begin(), reading->vms.end(),
                      [&](const VmReading& v) { return v.uuid == guest->uuid(); });
    if (last.has_value()) {
      file << absl::StrFormat(
          "%.1f,%.2f,%.2f,%.3f,%.3f,%d,%d,%d\n",
          absl::ToDoubleSeconds(reading->monotonic_time - start),
          static_cast<double>(work.load_percent) / 100, now.allocation->cpu_cap_cores.value_or(-1),
          absl::FDivDuration(*now.cpu_time - *last->cpu_time, reading->monotonic_time - last_time),
          absl::FDivDuration(*xl - last_xl, xl_time - last_xl_time), work.hold_mib,
          *now.allocation->memory_target_bytes / kMiB, *now.memory_current_bytes / kMiB);
      capped += now.allocation->cpu_cap_cores.has_value() ? 1 : 0;
    }
    last = now;
    last_time = reading->monotonic_time;
    last_xl = *xl;
    last_xl_time = xl_time;
  }
  EXPECT_TRUE(file.good());
  EXPECT_GT(capped, kSeconds / 4) << RunCommand("tail -n 20 " + daemon.log()).value_or("");
}

}  // namespace
}  // namespace cloudscale::hypervisor::xen
