#include "hypervisor/libvirt/test_domains.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"
#include "hypervisor/cgroup/cgroup_parse.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr absl::Duration kBootLimit = absl::Seconds(60);
constexpr absl::Duration kAnswerLimit = absl::Seconds(20);
constexpr int64_t kGuestMemoryBytes = int64_t{256} << 20;

std::vector<int> NumbersIn(const std::string& directory) {
  std::vector<int> numbers;
  if (DIR* handle = opendir(directory.c_str())) {
    while (const dirent* entry = readdir(handle)) {
      int number = 0;
      if (absl::SimpleAtoi(entry->d_name, &number)) {
        numbers.push_back(number);
      }
    }
    closedir(handle);
  }
  return numbers;
}

std::string SocketPath(const std::string& name) {
  return absl::StrCat("/var/lib/libvirt/", name, ".test");
}

std::string GuestXml(const std::string& name, const std::string& uuid, const std::string& image,
                     const std::string& initrd) {
  return absl::StrCat(R"(<domain type='qemu'>
  <name>)",
                      name, "</name><uuid>", uuid, R"(</uuid>
  <memory unit='b'>)",
                      kGuestMemoryBytes, R"(</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>
    <kernel>)",
                      image, "/kernel</kernel><initrd>", initrd, R"(</initrd>
    <cmdline>console=ttyS0 quiet panic=1 mitigations=off tsc=unstable no_timer_check psi=1</cmdline></os>
  <features><acpi/><tcg><tb-cache unit='MiB'>64</tb-cache></tcg></features>
  <cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <interface type='bridge'><source bridge='br0'/><model type='virtio'/><rom enabled='no'/></interface>
    <serial type='file'><source path='/var/log/libvirt/)",
                      name, R"(-console.log'/></serial>
    <channel type='unix'><source mode='bind' path=')",
                      SocketPath(name), R"('/>
      <target type='virtio' name='org.cloudscale.test.0'/></channel>
    <channel type='unix'><source mode='bind' path=')",
                      AgentSocketPath(name), R"('/>
      <target type='virtio' name='org.cloudscale.agent.0'/></channel>
    <memballoon model='virtio'><stats period='1'/></memballoon>
  </devices>
</domain>)");
}

}  // namespace

std::string AgentSocketPath(const std::string& name) {
  return absl::StrCat("/var/lib/libvirt/", name, ".agent");
}

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string TestUuid(const std::string& name) {
  return cgroup::UuidFromName(absl::StrCat("test-", getpid()), name);
}

absl::StatusOr<pid_t> DomainProcess(const std::string& driver, const std::string& name) {
  const std::string path = absl::StrCat("/run/libvirt/", driver, "/", name, ".pid");
  pid_t pid = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(ReadText(path)), &pid)) {
    return absl::NotFoundError(absl::StrCat("no process number in ", path));
  }
  return pid;
}

absl::StatusOr<absl::Duration> ProcessCpuTime(pid_t pid) {
  const std::string stat = ReadText(absl::StrCat("/proc/", pid, "/stat"));
  const size_t bracket = stat.rfind(')');
  const std::vector<std::string> fields = absl::StrSplit(
      bracket == std::string::npos ? "" : stat.substr(bracket + 1), ' ', absl::SkipEmpty());
  int64_t user = 0;
  int64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return absl::NotFoundError(absl::StrCat("process ", pid, " is gone"));
  }
  return absl::Seconds(static_cast<double>(user + system) /
                       static_cast<double>(sysconf(_SC_CLK_TCK)));
}

absl::StatusOr<std::string> CgroupOf(pid_t pid, const std::string& controller) {
  for (const absl::string_view line :
       absl::StrSplit(ReadText(absl::StrCat("/proc/", pid, "/cgroup")), '\n', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() == 3) {
      for (const absl::string_view name : absl::StrSplit(parts[1], ',')) {
        if (name == controller) {
          return std::string(absl::StripSuffix(parts[2], "/emulator"));
        }
      }
    }
  }
  return absl::NotFoundError(absl::StrCat("process ", pid, " is in no group of ", controller));
}

std::vector<pid_t> ProcessesBelow(const std::string& cpu_group) {
  std::vector<pid_t> result;
  for (const int pid : NumbersIn("/proc")) {
    const absl::StatusOr<std::string> group = CgroupOf(pid, "cpu");
    if (group.ok() && (*group == cpu_group || absl::StartsWith(*group, cpu_group + "/"))) {
      result.push_back(pid);
    }
  }
  return result;
}

std::string ContainerXml(const std::string& name, const std::string& uuid,
                         const std::string& program, double load_cores, int64_t memory_bytes,
                         int64_t memory_maximum_bytes, std::optional<int> on_cpu) {
  return absl::StrCat("<domain type='lxc'><name>", name, "</name><uuid>", uuid,
                      "</uuid><memory unit='b'>", memory_maximum_bytes, "</memory><vcpu",
                      on_cpu ? absl::StrCat(" placement='static' cpuset='", *on_cpu, "'") : "",
                      ">1</vcpu><os><type>exe</type><init>", program, "</init><initarg>",
                      load_cores, "</initarg><initarg>", memory_bytes,
                      "</initarg></os><features><privnet/></features><devices>"
                      "<emulator>/usr/lib/libvirt/libvirt_lxc</emulator>"
                      "<interface type='bridge'><source bridge='br0'/></interface>"
                      "<console type='pty'/></devices></domain>");
}

TestGuest::TestGuest(Clock& clock, virConnectPtr connection, std::string name, std::string image,
                     std::string initrd)
    : clock_(clock),
      connection_(connection),
      name_(std::move(name)),
      image_(std::move(image)),
      initrd_(std::move(initrd)),
      uuid_(TestUuid(name_)) {}

absl::StatusOr<std::unique_ptr<TestGuest>> TestGuest::Boot(Clock& clock, virConnectPtr connection,
                                                           const std::string& name,
                                                           const std::string& image,
                                                           const std::string& initrd) {
  std::unique_ptr<TestGuest> guest(new TestGuest(
      clock, connection, name, image, initrd.empty() ? absl::StrCat(image, "/initrd") : initrd));
  CS_RETURN_IF_ERROR(guest->Start());
  return guest;
}

TestGuest::~TestGuest() {
  if (socket_ >= 0) {
    close(socket_);
  }
  if (domain_ != nullptr) {
    virDomainDestroy(domain_.get());
  }
}

absl::Status TestGuest::Start() {
  domain_.reset(
      virDomainCreateXML(connection_, GuestXml(name_, uuid_, image_, initrd_).c_str(), 0));
  if (domain_ == nullptr) {
    return LastError(absl::StrCat("start ", name_));
  }
  socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, SocketPath(name_).c_str(), sizeof(address.sun_path) - 1);
  sockaddr generic{};
  static_assert(sizeof(address) >= sizeof(generic));
  if (connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::InternalError(absl::StrCat("channel of ", name_, ": ", std::strerror(errno)));
  }
  return Ask("ping", kBootLimit);
}

absl::Status TestGuest::Reboot() {
  close(std::exchange(socket_, -1));
  if (virDomainDestroy(domain_.get()) < 0) {
    return LastError(absl::StrCat("end ", name_));
  }
  return Start();
}

absl::Status TestGuest::Ask(const std::string& request, absl::Duration limit) {
  const std::string id = absl::StrCat("r", next_request_++);
  const std::string line = absl::StrCat(id, " ", request, "\n");
  if (write(socket_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return absl::InternalError(absl::StrCat(name_, ": ", std::strerror(errno)));
  }
  const MonoTime deadline = clock_.MonoNow() + limit;
  std::string answer;
  while (clock_.MonoNow() < deadline) {
    pollfd wanted{socket_, POLLIN, 0};
    if (poll(&wanted, 1, 100) <= 0) {
      continue;
    }
    char byte = 0;
    if (read(socket_, &byte, 1) != 1) {
      return absl::UnavailableError(absl::StrCat(name_, " closed its channel"));
    }
    if (byte != '\n') {
      answer.push_back(byte);
      continue;
    }
    if (answer == absl::StrCat(id, " ok")) {
      return absl::OkStatus();
    }
    if (absl::StartsWith(answer, absl::StrCat(id, " "))) {
      return absl::InternalError(absl::StrCat(name_, " refuses: ", request));
    }
    answer.clear();  // of an earlier request
  }
  return absl::DeadlineExceededError(
      absl::StrCat(name_, " does not answer; its console:\n",
                   ReadText(absl::StrCat("/var/log/libvirt/", name_, "-console.log"))));
}

absl::Status TestGuest::SetLoad(double cores) {
  return Ask(absl::StrCat("load ", cores), kAnswerLimit);
}

absl::Status TestGuest::HoldMemory(int64_t bytes) {
  return Ask(absl::StrCat("memory ", bytes), kAnswerLimit);
}

absl::Status TestGuest::Pin(std::optional<int> cpu) const {
  CS_ASSIGN_OR_RETURN(const pid_t pid, process());
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (int i = 0; i < sysconf(_SC_NPROCESSORS_CONF); ++i) {
    if (!cpu || *cpu == i) {
      CPU_SET(static_cast<size_t>(i), &cpus);
    }
  }
  for (const int thread : NumbersIn(absl::StrCat("/proc/", pid, "/task"))) {
    if (sched_setaffinity(thread, sizeof(cpus), &cpus) != 0 && errno != ESRCH) {
      return absl::InternalError(absl::StrCat("pin ", name_, ": ", std::strerror(errno)));
    }
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::hypervisor::libvirt
