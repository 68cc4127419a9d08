// What happens to reader and actuator when daemon or domains fail; inside a simulated host.
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/bounded/bounded_backend.h"
#include "hypervisor/libvirt/libvirt_host_reader.h"
#include "hypervisor/libvirt/libvirt_vm_actuator.h"
#include "hypervisor/libvirt/test_domains.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr absl::Duration kLong = absl::Seconds(30);

const VmReading* FindVm(const HostReading& reading, const std::string& uuid) {
  for (const VmReading& vm : reading.vms) {
    if (vm.uuid == uuid) {
      return &vm;
    }
  }
  return nullptr;
}

class FaultsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("CLOUDSCALE_TEST_HOST") == nullptr) {
      GTEST_SKIP() << "not inside a simulated host (tests/hosts/libvirt/with_host)";
    }
    ASSERT_GT(DaemonProcess(), 1);
  }
  // A test that fails half-way leaves a daemon for the next one.
  void TearDown() override {
    if (std::getenv("CLOUDSCALE_TEST_HOST") != nullptr) {
      kill(DaemonProcess(), SIGCONT);
      StartDaemon();
    }
  }

  static pid_t DaemonProcess() {
    pid_t pid = 0;
    return absl::SimpleAtoi(absl::StripAsciiWhitespace(ReadText("/run/libvirt/libvirtd.pid")), &pid)
               ? pid
               : -1;
  }
  static bool IsDaemonAlive() {
    const pid_t pid = DaemonProcess();
    return pid > 1 && ReadText(absl::StrCat("/proc/", pid, "/comm")) == "libvirtd\n" &&
           !absl::StrContains(ReadText(absl::StrCat("/proc/", pid, "/status")), "State:\tZ");
  }
  void KillDaemon() {
    kill(DaemonProcess(), SIGKILL);
    while (IsDaemonAlive()) {
      Rest(absl::Milliseconds(5));
    }
  }
  static void StartDaemon() {
    if (!IsDaemonAlive()) {
      ASSERT_EQ(std::system("libvirtd -d --listen -f /etc/libvirt/libvirtd.conf "
                            "-p /run/libvirt/libvirtd.pid"),
                0);
    }
  }
  void Rest(absl::Duration duration) {
    clock_->SleepUntil(clock_->MonoNow() + duration, std::stop_token());
  }

  std::unique_ptr<HostReader> Reader(const std::string& uri, absl::Duration limit) {
    LibvirtOptions options;
    options.uri = uri;
    options.host_id = "test-host";
    return std::make_unique<BoundedHostReader>(
        [options] { return LibvirtHostReader::Create(options); }, CapabilitiesOf({}), limit);
  }
  static std::unique_ptr<VmActuator> Actuator(const std::string& uri, absl::Duration limit) {
    LibvirtOptions options;
    options.uri = uri;
    options.host_id = "test-host";
    return std::make_unique<BoundedVmActuator>(
        [options] { return LibvirtVmActuator::Create(options); }, CapabilitiesOf({}), limit);
  }
  static ActuationPermit Permit() { return *ActuationPermit::Grant(true, 1, "faults"); }
  // Until it succeeds; a daemon takes a moment to come back.
  absl::StatusOr<HostReading> ReadAgain(HostReader& reader) {
    const MonoTime deadline = clock_->MonoNow() + kLong;
    absl::StatusOr<HostReading> reading = reader.Read();
    while (!reading.ok() && clock_->MonoNow() < deadline) {
      Rest(absl::Milliseconds(50));
      reading = reader.Read();
    }
    return reading;
  }
  std::string StartContainer(const std::string& name) {
    const std::string uuid = TestUuid(name);
    container_connection_ = Connect("lxc:///system", Access::kReadWrite).value();
    container_.reset(virDomainCreateXML(
        container_connection_.get(),
        ContainerXml(name, uuid, CLOUDSCALE_GUEST_PROGRAM, 0.2, 0, 128 * kMiB, {}).c_str(), 0));
    EXPECT_NE(container_, nullptr) << LastError("start a container");
    return uuid;
  }
  void EndContainer(const std::string& uuid) {
    const auto connection = Connect("lxc:///system", Access::kReadWrite);
    if (connection.ok()) {
      const auto domain = FindActiveDomain(connection->get(), uuid);
      if (domain.ok()) {
        virDomainDestroy(domain->get());
      }
    }
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  Connection container_connection_;
  Domain container_;
};

using DaemonFaultsTest = FaultsTest;

TEST_F(DaemonFaultsTest, WrongPathIsAConfigurationErrorThatNamesTheUri) {
  EXPECT_THAT(Reader("qemu:///sytem", kLong)->Read(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("qemu:///sytem")));
}

TEST_F(DaemonFaultsTest, WithoutPermissionItSaysSoWithTheUri) {
  // The daemon's socket for changes is root's; that for reading is everybody's.
  chmod("/run/libvirt/libvirt-sock", 0700);
  absl::Status changing;
  absl::Status reading;
  absl::Status change;
  const std::string uuid = StartContainer("guarded");
  std::thread([&] {
    // As the system call, which changes this thread alone.
    ASSERT_EQ(syscall(SYS_setresuid, 65534, 65534, 65534), 0);
    changing = Connect("lxc:///system", Access::kReadWrite).status();
    const auto connection = Connect("lxc:///system", Access::kReadOnly);
    reading = connection.status();
    if (connection.ok()) {
      const Domain domain(virDomainLookupByUUIDString(connection->get(), uuid.c_str()));
      change = virDomainSetMemoryFlags(domain.get(), 64 * 1024, VIR_DOMAIN_AFFECT_LIVE) < 0
                   ? LastError("set memory")
                   : absl::OkStatus();
    }
  }).join();
  EXPECT_THAT(changing, StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("lxc:///system")));
  EXPECT_THAT(reading, StatusIs(absl::StatusCode::kOk));
  EXPECT_THAT(change, StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(DaemonFaultsTest, P2KilledDaemonIsUnavailableAndTheVmIsTheSameAfterwards) {
  const std::string uuid = StartContainer("survivor");
  const auto reader = Reader("lxc:///system", kLong);
  const auto before = reader->Read();
  CS_ASSERT_OK(before);
  ASSERT_NE(FindVm(*before, uuid), nullptr);

  KillDaemon();
  EXPECT_THAT(reader->Read(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(reader->Read(), StatusIs(absl::StatusCode::kUnavailable));
  StartDaemon();

  const auto after = ReadAgain(*reader);
  CS_ASSERT_OK(after);
  const VmReading* const vm = FindVm(*after, uuid);
  ASSERT_NE(vm, nullptr);
  EXPECT_EQ(vm->incarnation, FindVm(*before, uuid)->incarnation);
  EXPECT_GT(vm->cpu_time, FindVm(*before, uuid)->cpu_time);
  EndContainer(uuid);
}

TEST_F(DaemonFaultsTest, P4KilledDuringActionsLeavesOneOfTheTwoCapsAndIsRepeatable) {
  const std::string uuid = StartContainer("target");
  const VmTarget vm{.uuid = uuid, .incarnation = ""};
  const auto actuator = Actuator("lxc:///system", kLong);
  CS_ASSERT_OK(actuator->SetCpuCap(Permit(), vm, 0.3));

  std::jthread killer([this] {
    Rest(absl::Milliseconds(30));
    kill(DaemonProcess(), SIGKILL);
  });
  absl::Status status;
  for (int i = 0; status.ok(); ++i) {
    status = actuator->SetCpuCap(Permit(), vm, i % 2 == 0 ? 0.5 : 0.3);
  }
  killer.join();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  while (IsDaemonAlive()) {
    Rest(absl::Milliseconds(5));
  }
  StartDaemon();
  const auto reader = Reader("lxc:///system", kLong);
  CS_ASSERT_OK(ReadAgain(*reader));

  const auto held = actuator->ReadAllocation(vm);
  CS_ASSERT_OK(held);
  EXPECT_THAT(held->cpu_cap_cores, AnyOf(0.3, 0.5));
  CS_EXPECT_OK(actuator->SetCpuCap(Permit(), vm, 0.5));
  EXPECT_EQ(actuator->ReadAllocation(vm)->cpu_cap_cores, 0.5);
  EndContainer(uuid);
}

TEST_F(DaemonFaultsTest, HangingDaemonEndsACallInTimeAndIsReadAgainWhenItGoesOn) {
  constexpr absl::Duration kLimit = absl::Milliseconds(500);
  const auto reader = Reader("lxc:///system", kLimit);
  CS_ASSERT_OK(ReadAgain(*reader));
  kill(DaemonProcess(), SIGSTOP);

  const MonoTime start = clock_->MonoNow();
  EXPECT_THAT(reader->Read(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(reader->Read(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_LT(clock_->MonoNow() - start, absl::Seconds(10));  // bounded, not fast

  kill(DaemonProcess(), SIGCONT);
  CS_EXPECT_OK(ReadAgain(*reader));
}

TEST_F(DaemonFaultsTest, DaemonMayStartAfterUs) {
  KillDaemon();
  const auto reader = Reader("lxc:///system", kLong);
  EXPECT_THAT(reader->Read(), StatusIs(absl::StatusCode::kUnavailable));
  StartDaemon();
  CS_EXPECT_OK(ReadAgain(*reader));
}

TEST_F(DaemonFaultsTest, P19SomebodyElsesCapIsSeen) {
  const std::string uuid = StartContainer("shared");
  ASSERT_EQ(std::system("virsh -q -c lxc:///system schedinfo shared --live --set "
                        "vcpu_quota=70000 >/dev/null"),
            0);
  const auto reader = Reader("lxc:///system", kLong);
  const auto reading = reader->Read();
  CS_ASSERT_OK(reading);
  ASSERT_NE(FindVm(*reading, uuid), nullptr);
  EXPECT_EQ(FindVm(*reading, uuid)->allocation->cpu_cap_cores, 0.7);
  EndContainer(uuid);
}

class QemuFaultsTest : public FaultsTest {
 protected:
  void SetUp() override {
    FaultsTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    ASSERT_NE(std::getenv("CLOUDSCALE_GUEST_IMAGE"), nullptr);
    auto connection = Connect("qemu:///system", Access::kReadWrite);
    CS_ASSERT_OK(connection);
    connection_ = *std::move(connection);
    auto guest =
        TestGuest::Boot(*clock_, connection_.get(), "fault", std::getenv("CLOUDSCALE_GUEST_IMAGE"));
    CS_ASSERT_OK(guest);
    guest_ = *std::move(guest);
  }
  void TearDown() override {
    if (guest_ != nullptr && guest_->process().ok()) {
      kill(*guest_->process(), SIGCONT);
    }
    guest_.reset();
    FaultsTest::TearDown();
  }

  Connection connection_;
  std::unique_ptr<TestGuest> guest_;
};

TEST_F(QemuFaultsTest, HangingVmDoesNotHideTheOthersAndItselfStays) {
  auto other =
      TestGuest::Boot(*clock_, connection_.get(), "other", std::getenv("CLOUDSCALE_GUEST_IMAGE"));
  CS_ASSERT_OK(other);
  const auto reader = Reader("qemu:///system", absl::Seconds(2));
  CS_ASSERT_OK(ReadAgain(*reader));
  const pid_t process = guest_->process().value();
  kill(process, SIGSTOP);

  const auto reading = ReadAgain(*reader);
  CS_ASSERT_OK(reading);
  ASSERT_NE(FindVm(*reading, (*other)->uuid()), nullptr);
  EXPECT_TRUE(FindVm(*reading, (*other)->uuid())->memory_current_bytes.has_value());
  const VmReading* const hanging = FindVm(*reading, guest_->uuid());
  EXPECT_TRUE(hanging != nullptr || reading->unreadable.contains(guest_->uuid()));

  const auto actuator = Actuator("qemu:///system", absl::Seconds(2));
  CS_EXPECT_OK(actuator->SetCpuCap(Permit(), {(*other)->uuid(), ""}, 0.5));
  EXPECT_THAT(actuator->SetMemoryTarget(Permit(), {guest_->uuid(), ""}, 160 * kMiB),
              StatusIs(absl::StatusCode::kDeadlineExceeded));

  kill(process, SIGCONT);
  const auto healed = ReadAgain(*reader);
  CS_ASSERT_OK(healed);
  EXPECT_NE(FindVm(*healed, guest_->uuid()), nullptr);
}

TEST_F(QemuFaultsTest, CrashedVmIsGoneAndAnswersNotFound) {
  const auto reader = Reader("qemu:///system", kLong);
  const auto actuator = Actuator("qemu:///system", kLong);
  CS_ASSERT_OK(reader->Read());
  kill(guest_->process().value(), SIGKILL);
  absl::StatusOr<HostReading> reading = reader->Read();
  const MonoTime deadline = clock_->MonoNow() + kLong;
  while (reading.ok() && FindVm(*reading, guest_->uuid()) != nullptr &&
         clock_->MonoNow() < deadline) {
    Rest(absl::Milliseconds(50));
    reading = reader->Read();
  }
  CS_ASSERT_OK(reading);
  EXPECT_EQ(FindVm(*reading, guest_->uuid()), nullptr);
  EXPECT_THAT(actuator->SetCpuCap(Permit(), {guest_->uuid(), ""}, 0.5),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(QemuFaultsTest, PausedAndRedefinedVmIsTheSameVm) {
  const auto reader = Reader("qemu:///system", kLong);
  const auto before = reader->Read();
  CS_ASSERT_OK(before);
  ASSERT_EQ(virDomainSuspend(guest_->domain()), 0);
  const auto paused = reader->Read();
  CS_ASSERT_OK(paused);
  ASSERT_NE(FindVm(*paused, guest_->uuid()), nullptr);
  EXPECT_EQ(FindVm(*paused, guest_->uuid())->state, VmState::kPaused);
  ASSERT_EQ(virDomainResume(guest_->domain()), 0);

  const std::unique_ptr<char, decltype(&std::free)> xml(virDomainGetXMLDesc(guest_->domain(), 0),
                                                        &std::free);
  const Domain defined(virDomainDefineXML(connection_.get(), xml.get()));
  ASSERT_NE(defined, nullptr);
  const auto after = reader->Read();
  CS_ASSERT_OK(after);
  ASSERT_NE(FindVm(*after, guest_->uuid()), nullptr);
  EXPECT_EQ(FindVm(*after, guest_->uuid())->incarnation,
            FindVm(*before, guest_->uuid())->incarnation);
  EXPECT_EQ(FindVm(*after, guest_->uuid())->state, VmState::kRunning);
  EXPECT_EQ(virDomainUndefine(defined.get()), 0);
}

TEST_F(QemuFaultsTest, OperatorsQuotaPerVcpuIsNeverAboveTheCapAtAnyMoment) {
  ASSERT_EQ(std::system("virsh -q schedinfo fault --live --set vcpu_quota=80000 >/dev/null"), 0);
  ASSERT_EQ(std::system("virsh -q schedinfo fault --live --set global_quota=90000 >/dev/null"), 0);
  const auto actuator = Actuator("qemu:///system", kLong);
  const VmTarget vm{guest_->uuid(), ""};
  for (const double cores : {0.3, 1.2, 0.1, 0.85}) {
    CS_ASSERT_OK(actuator->SetCpuCap(Permit(), vm, cores));
    EXPECT_NEAR(actuator->ReadAllocation(vm)->cpu_cap_cores.value_or(0), cores, 1e-4);
  }
  CS_ASSERT_OK(actuator->SetCpuCap(Permit(), vm, std::nullopt));
  EXPECT_EQ(actuator->ReadAllocation(vm)->cpu_cap_cores, std::nullopt);
}

}  // namespace
}  // namespace cloudscale::hypervisor::libvirt
