#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/time/clock.h"

namespace cloudscale::scaler {

enum class ReservationState { kHeld = 1, kCommitted = 2, kReleased = 3, kExpired = 4 };

// Room promised to one incoming VM.
struct Reservation {
  std::string reservation_id;
  std::string migration_id;
  std::string vm_uuid;
  std::string source_host_id;
  double cpu_cores = 0;
  double memory_bytes = 0;
  ReservationState state = ReservationState::kHeld;
  absl::Duration lease;
  MonoTime expires;       // decides
  absl::Time expires_at;  // is told
  absl::Time created_at;
  int64_t fencing_token = 0;
};

// The lease book of a host that may take VMs in. A lease that runs out frees its room by itself,
// so a source that dies never blocks the target. Each reservation gets a rising token; an older one
// of the same VM is refused with ABORTED. At most `kMaxHeld` are held at once; of those that ended
// the newest `kMaxEnded` are kept for reading. Thread safety: thread-compatible.
class ReservationBook {
 public:
  static constexpr size_t kMaxHeld = 1000;
  static constexpr size_t kMaxEnded = 1000;

  struct Room {
    double cpu_cores = 0;
    double memory_bytes = 0;
  };
  struct Wish {
    std::string migration_id;
    std::string vm_uuid;
    std::string source_host_id;
    double cpu_cores = 0;
    double memory_bytes = 0;
    absl::Duration lease = absl::Seconds(60);
  };

  // `next_token` continues the count of before a restart; leases themselves do not survive one (the
  // source renews, gets NOT_FOUND and reserves again).
  explicit ReservationBook(int64_t next_token) : next_token_(next_token) {}

  // `free` = what the host can promise beside what is already held here. RESOURCE_EXHAUSTED when it
  // does not fit. A second reservation for the same migration returns the first.
  absl::StatusOr<Reservation> Reserve(const Wish& wish, const Room& free, MonoTime now,
                                      absl::Time wall, bool validate_only);
  // NOT_FOUND after the end; ABORTED with a wrong token. `lease` zero = as before.
  absl::StatusOr<Reservation> Renew(const std::string& id, int64_t token, absl::Duration lease,
                                    MonoTime now, absl::Time wall);
  absl::StatusOr<Reservation> Commit(const std::string& id, int64_t token, MonoTime now);
  // True when it was held; an unknown one is success.
  absl::StatusOr<bool> Release(const std::string& id, int64_t token, MonoTime now);

  void Expire(MonoTime now);
  [[nodiscard]] Room Held() const;
  [[nodiscard]] std::vector<Reservation> List() const;  // oldest first
  [[nodiscard]] int64_t next_token() const { return next_token_; }

 private:
  absl::StatusOr<Reservation*> Find(const std::string& id, int64_t token, MonoTime now);
  void Prune();

  int64_t next_token_;
  std::map<int64_t, Reservation> by_token_;
};

}  // namespace cloudscale::scaler
