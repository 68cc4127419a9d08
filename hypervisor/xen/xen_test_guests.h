#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "hypervisor/types.h"
#include "hypervisor/xen/xen_calls.h"

namespace cloudscale::hypervisor::xen {

// Standard output of a shell command. INTERNAL with its output when it fails, DEADLINE_EXCEEDED
// after a minute.
[[nodiscard]] absl::StatusOr<std::string> RunCommand(const std::string& command);

// What a test guest is asked for (tests/hosts/xen/guest.cc).
struct GuestWork {
  int64_t load_percent = 0;  // of one core, 0 to 100
  int64_t hold_mib = 0;
  int64_t read_kib = 0;  // once, from its disk
  int64_t send_kib = 0;  // once, through its network card
};

// A real guest of the Xen host this runs on, with 192 of at most 256 MiB and two vCPUs. Made and
// ended with Xen's own tools, which are also the second source of what holds.
// Thread safety: confined to one thread.
class TestGuest {
 public:
  static constexpr int64_t kMemoryMib = 192;
  static constexpr int64_t kMaximumMib = 256;

  struct Kind {
    bool network_and_disk = false;
    // Fully virtualised, of a fixed 96 MiB and one vCPU; else paravirtualised.
    bool is_pvh = false;
  };

  // UNAVAILABLE when kernel or initial file system of the guests are not there.
  [[nodiscard]] static absl::Status CheckPossible();

  // `clock` and `store` must outlive the guest. Returns before the guest is up.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TestGuest>> Start(Clock& clock,
                                                                        XenCalls& store,
                                                                        const std::string& name,
                                                                        Kind kind);
  ~TestGuest();
  TestGuest(const TestGuest&) = delete;
  TestGuest& operator=(const TestGuest&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& uuid() const { return uuid_; }
  [[nodiscard]] const std::string& domain_id() const { return domain_id_; }

  // Returns when it is done. Waits for the guest to be up.
  [[nodiscard]] absl::Status Work(const GuestWork& work);
  // Ends it at once and starts it again under the same UUID.
  [[nodiscard]] absl::Status Restart();
  // Saves it and restores it from there: what a migration does, on one host. Its work goes on, but
  // it takes no new one.
  [[nodiscard]] absl::Status SaveAndRestore();
  // No work, no cap, Xen's default weight, all vCPUs and the memory it began with.
  [[nodiscard]] absl::Status Reset();

  // What `xl` and xenstore tell.
  [[nodiscard]] absl::StatusOr<absl::Duration> CpuTime() const;
  [[nodiscard]] absl::StatusOr<Allocation> ReadAllocation() const;

 private:
  TestGuest(Clock& clock, XenCalls& store, std::string name, std::string uuid, std::string file,
            std::string scheduler);
  [[nodiscard]] absl::Status Create();
  [[nodiscard]] absl::Status FindDomainId();
  [[nodiscard]] absl::Status WaitFor(const std::string& answer);

  Clock& clock_;
  XenCalls& store_;
  const std::string name_;
  const std::string uuid_;
  const std::string file_;       // configuration for `xl`
  const std::string scheduler_;  // command of `xl`
  std::string domain_id_;
  int64_t request_ = 0;
  bool is_up_ = false;
};

// "sched-credit" or "sched-credit2": the command of `xl` for the host's scheduler.
[[nodiscard]] absl::StatusOr<std::string> SchedulerCommand();

}  // namespace cloudscale::hypervisor::xen
