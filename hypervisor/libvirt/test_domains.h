#pragma once

#include <libvirt/libvirt.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "hypervisor/libvirt/handles.h"

// Real domains with known loads, for tests inside a simulated host (tests/hosts/libvirt).
namespace cloudscale::hypervisor::libvirt {

// The process number that the daemon noted for a domain; QEMU itself or the container's controller.
[[nodiscard]] absl::StatusOr<pid_t> DomainProcess(const std::string& driver,
                                                  const std::string& name);
// User and system time of a process, from /proc/PID/stat.
[[nodiscard]] absl::StatusOr<absl::Duration> ProcessCpuTime(pid_t pid);
// All processes whose cpu control group is that one or inside it.
[[nodiscard]] std::vector<pid_t> ProcessesBelow(const std::string& cpu_group);
// Path of a process's group in a v1 tree, below its mount point.
[[nodiscard]] absl::StatusOr<std::string> CgroupOf(pid_t pid, const std::string& controller);
// Content of a small file; empty when it cannot be read.
[[nodiscard]] std::string ReadText(const std::string& path);

// A container that is one process: the test guest's program with a load.
[[nodiscard]] std::string ContainerXml(const std::string& name, const std::string& uuid,
                                       const std::string& program, double load_cores,
                                       int64_t memory_bytes, int64_t memory_maximum_bytes,
                                       std::optional<int> on_cpu);

// Host's end of the port `org.cloudscale.agent.0` of a test guest.
[[nodiscard]] std::string AgentSocketPath(const std::string& name);

// A VM of the test guest (tests/hosts/guest) and the line to its program.
class TestGuest {
 public:
  // Boots it and waits until it obeys. `image` as `build_image` prints it; `initrd` in place of the
  // image's own, for instance one with an agent.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TestGuest>> Boot(
      Clock& clock, virConnectPtr connection, const std::string& name, const std::string& image,
      const std::string& initrd = "");
  ~TestGuest();
  TestGuest(const TestGuest&) = delete;
  TestGuest& operator=(const TestGuest&) = delete;

  [[nodiscard]] const std::string& uuid() const { return uuid_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] virDomainPtr domain() const { return domain_.get(); }
  [[nodiscard]] absl::StatusOr<pid_t> process() const { return DomainProcess("qemu", name_); }

  [[nodiscard]] absl::Status SetLoad(double cores);
  [[nodiscard]] absl::Status HoldMemory(int64_t bytes);
  // Ends it and boots it again under the same name and UUID.
  [[nodiscard]] absl::Status Reboot();
  // Only on this CPU from now on, emulator included; nullopt = on all.
  [[nodiscard]] absl::Status Pin(std::optional<int> cpu) const;

 private:
  TestGuest(Clock& clock, virConnectPtr connection, std::string name, std::string image,
            std::string initrd);
  [[nodiscard]] absl::Status Start();
  [[nodiscard]] absl::Status Ask(const std::string& request, absl::Duration limit);

  Clock& clock_;
  const virConnectPtr connection_;
  const std::string name_;
  const std::string image_;
  const std::string initrd_;
  const std::string uuid_;
  Domain domain_;
  int socket_ = -1;
  int64_t next_request_ = 1;
};

// Random enough for a test: of the name and the process.
[[nodiscard]] std::string TestUuid(const std::string& name);

}  // namespace cloudscale::hypervisor::libvirt
