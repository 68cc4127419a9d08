#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "hypervisor/actuation_permit.h"
#include "hypervisor/vm_actuator.h"
#include "hypervisor/xen/xen_calls.h"
#include "hypervisor/xen/xen_move_record.h"
#include "hypervisor/xen/xen_options.h"

namespace cloudscale::hypervisor::xen {

// Where VMs may be moved to and how.
struct XenMigrationOptions {
  std::map<std::string, std::string> targets;  // host id to name or address, see IsHostAddress
  std::string xl_path = "xl";                  // a name without '/' is looked for in PATH
  // More arguments for `xl migrate`, before domain and host: "-e" leaves no watcher on the target.
  std::vector<std::string> migrate_arguments;
  // The program that reaches a target, with its arguments; `xl` adds the target and what to run
  // there. It must ask nothing and must notice a dead line.
  std::vector<std::string> ssh_command = {
      "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=10"};
  // Records of moves: made when missing, of this user alone. Must not outlive a boot of the host.
  std::string record_directory = "/run/cloudscale/xen-moves";
  // A move that takes longer is given up while that is possible; > 0.
  absl::Duration limit = absl::Hours(1);
  // As for libvirt. `xl` has none of them: anything but the default is UNIMPLEMENTED.
  int64_t bandwidth_bytes_per_second = 0;
  bool is_auto_converge = false;
  bool is_post_copy = false;
};

// Live migration with `xl migrate`, which runs by itself: when this process dies, a move goes on,
// and one that comes after it can watch and cancel it through its record. How a move ended is
// judged by where the domain is, and by what `xl` said only beside that. Cap, weight, memory target
// and vCPUs move with the VM. `incarnation` is another one on the target.
//
// StartMigration           FAILED_PRECONDITION for an unknown target, when the VM does not run and
//                          when `xl` is not there; UNAVAILABLE when another process begins a move.
// GetMigrationProgress     kNone when no move of it is known. `transferred_bytes` is what was sent
//                          so far, `remaining_bytes` what the first pass still has to send: `xl`
//                          does not tell of later ones, nor of dirty memory, nor of the downtime.
//                          Must be asked now and then: only then is `limit` kept.
// CancelMigration          FAILED_PRECONDITION once the VM is suspended, which it is for the last
//                          part of a move. Of a move whose `xl` died and left the VM suspended,
//                          with no leave for the target to run it: lets the VM run on.
// Other codes are those of `VmMigrator`, and PERMISSION_DENIED without the rights of Dom-0.
// Thread safety: confined to one thread at a time.
class XenVmMigrator final : public VmMigrator {
 public:
  // `clock` must be of the host's own monotonic time, and outlive the migrator.
  // Errors: INVALID_ARGUMENT and UNIMPLEMENTED naming the field.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<XenVmMigrator>> Create(
      const Clock& clock, std::unique_ptr<XenCalls> calls, XenOptions options,
      XenMigrationOptions migration);

  absl::Status StartMigration(const ActuationPermit& permit, const VmTarget& vm,
                              const std::string& target_host_id) override;
  absl::StatusOr<MigrationProgress> GetMigrationProgress(const VmTarget& vm) override;
  absl::Status CancelMigration(const ActuationPermit& permit, const VmTarget& vm) override;

 private:
  struct Look;  // at a move and its domain
  XenVmMigrator(const Clock& clock, std::unique_ptr<XenCalls> calls, XenOptions options,
                XenMigrationOptions migration);

  [[nodiscard]] std::string PathOf(const std::string& uuid) const;
  // nullopt when no move of it is known.
  [[nodiscard]] absl::StatusOr<std::optional<Look>> LookAt(const VmTarget& vm);
  [[nodiscard]] absl::Status StopMove(const Look& look, const char* note);
  // Makes the directory, and takes ended records away when they are many.
  [[nodiscard]] absl::Status TidyRecords();

  const Clock& clock_;
  const std::unique_ptr<XenCalls> calls_;
  const XenOptions options_;
  const XenMigrationOptions migration_;
  std::map<std::string, int64_t> sent_bytes_;  // by record, the last that was told
};

}  // namespace cloudscale::hypervisor::xen
