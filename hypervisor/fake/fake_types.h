#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "common/workload/demand_source.h"
#include "hypervisor/types.h"

namespace cloudscale::hypervisor::fake {

inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kGiB = int64_t{1} << 30;

[[nodiscard]] Capabilities AllCapabilities();  // of a hypervisor that can do everything

struct FakeHostOptions {
  std::string host_id = "fake-host";
  double cpu_capacity_cores = 8;              // > 0
  int64_t memory_capacity_bytes = 16 * kGiB;  // > 0
  Capabilities capabilities = AllCapabilities();
  // The model moves in steps of this length, or longer ones when more than `max_substeps` would be
  // needed for one advance, which bounds its cost.
  absl::Duration substep = absl::Milliseconds(100);
  int64_t max_substeps = 60;
  // Live migration from this host: link, the longest pause that is accepted, rounds before it
  // gives up.
  double migration_bytes_per_second = 1.25e9;
  absl::Duration migration_downtime_limit = absl::Milliseconds(300);
  int64_t migration_max_rounds = 30;
};

// How the guest answers to a memory target below what it holds. Growing is always at once.
enum class BalloonGuest {
  kCooperative,  // at once
  kSlow,         // `balloon_bytes_per_second`
  kRefusing,     // never
};

struct FakeVmSpec {
  std::string uuid = {};  // unique on the host, not empty
  std::string name = {};
  int64_t vcpu_count = 2;                   // online at the start and the maximum; >= 1
  int64_t memory_maximum_bytes = 2 * kGiB;  // > 0
  // Fractions of `vcpu_count` and `memory_maximum_bytes`; null = idle, a quarter of the memory.
  std::shared_ptr<const workload::DemandSource> cpu_demand = nullptr;
  std::shared_ptr<const workload::DemandSource> memory_demand = nullptr;
  Allocation allocation = {};  // at the start and after each restart; no weight = 100
  BalloonGuest balloon = BalloonGuest::kCooperative;
  double balloon_bytes_per_second = 100.0 * static_cast<double>(kMiB);
  // Work that found no CPU waits and is done later, up to this much; beyond it is lost. 0 = all of
  // it is lost, as requests that time out are.
  double backlog_limit_core_seconds = 0;
  absl::Duration boot_time = absl::Seconds(10);  // after a restart
  // Written memory while running; what live migration must send again.
  double dirty_bytes_per_second = 20.0 * static_cast<double>(kMiB);
  // Traffic per second of CPU work done.
  double network_receive_bytes_per_core_second = 1e6;
  double network_transmit_bytes_per_core_second = 2e6;
  double disk_read_bytes_per_core_second = 5e5;
  double disk_write_bytes_per_core_second = 1e6;
};

// What really happened to a VM, which no hypervisor could tell. Sums run from its creation, over
// restarts and migrations.
struct GroundTruth {
  double demand_cores = 0;   // now
  double granted_cores = 0;  // now
  double backlog_core_seconds = 0;
  double demand_core_seconds = 0;
  double granted_core_seconds = 0;
  double lost_core_seconds = 0;       // work never done
  double allocated_core_seconds = 0;  // integral of min(cap, vCPUs): what it was charged for
  double peak_demand_cores = 0;
  absl::Duration running_time;
  // Time in which more than 1 % of what it could have used was withheld; `cap_` counts the part
  // in which the cap did it.
  absl::Duration violation_time;
  absl::Duration cap_violation_time;
  int64_t memory_need_bytes = 0;         // now
  absl::Duration memory_violation_time;  // it held less than it needed
  double allocated_byte_seconds = 0;     // integral of memory held
};

// What the next changing calls for a VM do instead of obeying.
struct ActuationFault {
  enum class Kind {
    kNone,
    kRefuse,          // answers `status`, changes nothing
    kIgnore,          // answers OK, changes nothing; the read-back tells the truth
    kLie,             // answers OK, changes nothing; the read-back tells what was asked
    kHalf,            // answers OK, goes only `fraction` of the way
    kLate,            // answers OK, takes effect after `delay`
    kAppliedUnknown,  // does it but answers `status`, as when the answer is lost
  };
  Kind kind = Kind::kNone;
  int64_t calls = 1;  // so many calls; < 0 = until replaced
  absl::Status status = absl::UnavailableError("fake: refused by fault plan");
  double fraction = 0.5;
  absl::Duration delay = absl::Seconds(5);
};

// What is wrong with the readings of a VM until replaced.
struct ReadFault {
  enum class Impossible { kNone, kCpuTimeBack, kCpuTimeHuge, kMemoryNegative };
  std::string unreadable = {};  // not empty: listed as unreadable with this reason
  bool are_counters_stuck = false;
  Impossible impossible = Impossible::kNone;
};

// One changing call, for tests that ask what reached the hypervisor.
struct ActionRecord {
  MonoTime at;
  std::string uuid;
  std::string what;  // "cpu_cap 0.5", "memory_target none" …
  int64_t fencing_token = 0;
  std::string request_id;
  absl::Status status;  // what was answered
};

}  // namespace cloudscale::hypervisor::fake
