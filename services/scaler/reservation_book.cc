#include "services/scaler/reservation_book.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status/macros.h"

namespace cloudscale::scaler {

absl::StatusOr<Reservation> ReservationBook::Reserve(const Wish& wish, const Room& free,
                                                     MonoTime now, absl::Time wall,
                                                     bool validate_only) {
  Expire(now);
  size_t held = 0;
  for (const auto& [token, r] : by_token_) {
    if (r.state == ReservationState::kHeld) {
      ++held;
      if (r.migration_id == wish.migration_id) {
        return r;
      }
    }
  }
  const Room taken = Held();
  if (wish.cpu_cores > free.cpu_cores - taken.cpu_cores ||
      wish.memory_bytes > free.memory_bytes - taken.memory_bytes || held >= kMaxHeld) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "no room for %.2f cores and %.0f MiB: %.2f cores and %.0f MiB are left", wish.cpu_cores,
        wish.memory_bytes / 1048576, std::max(0.0, free.cpu_cores - taken.cpu_cores),
        std::max(0.0, free.memory_bytes - taken.memory_bytes) / 1048576));
  }
  Reservation r;
  r.fencing_token = next_token_;
  r.reservation_id = absl::StrCat("res-", r.fencing_token);
  r.migration_id = wish.migration_id;
  r.vm_uuid = wish.vm_uuid;
  r.source_host_id = wish.source_host_id;
  r.cpu_cores = wish.cpu_cores;
  r.memory_bytes = wish.memory_bytes;
  r.lease = wish.lease;
  r.expires = now + wish.lease;
  r.expires_at = wall + wish.lease;
  r.created_at = wall;
  if (!validate_only) {
    // The newest for a VM replaces an older one: a source that lost its answer asks again.
    for (auto& [token, old] : by_token_) {
      if (old.vm_uuid == r.vm_uuid && old.state == ReservationState::kHeld) {
        old.state = ReservationState::kReleased;
      }
    }
    by_token_[next_token_++] = r;
    Prune();
  }
  return r;
}

absl::StatusOr<Reservation*> ReservationBook::Find(const std::string& id, int64_t token,
                                                   MonoTime now) {
  Expire(now);
  for (auto& [own_token, r] : by_token_) {
    if (r.reservation_id == id) {
      if (own_token != token) {
        return absl::AbortedError(
            absl::StrCat("reservation ", id, " has another token than ", token));
      }
      return &r;
    }
  }
  return absl::NotFoundError(absl::StrCat("no reservation ", id));
}

absl::StatusOr<Reservation> ReservationBook::Renew(const std::string& id, int64_t token,
                                                   absl::Duration lease, MonoTime now,
                                                   absl::Time wall) {
  CS_ASSIGN_OR_RETURN(Reservation* const r, Find(id, token, now));
  if (r->state != ReservationState::kHeld) {
    return absl::NotFoundError(absl::StrCat("reservation ", id, " has ended"));
  }
  if (lease > absl::ZeroDuration()) {
    r->lease = lease;
  }
  r->expires = now + r->lease;
  r->expires_at = wall + r->lease;
  return *r;
}

absl::StatusOr<Reservation> ReservationBook::Commit(const std::string& id, int64_t token,
                                                    MonoTime now) {
  CS_ASSIGN_OR_RETURN(Reservation* const r, Find(id, token, now));
  if (r->state == ReservationState::kCommitted) {
    return *r;
  }
  if (r->state != ReservationState::kHeld) {
    return absl::FailedPreconditionError(absl::StrCat("reservation ", id, " has ended"));
  }
  r->state = ReservationState::kCommitted;
  return *r;
}

absl::StatusOr<bool> ReservationBook::Release(const std::string& id, int64_t token, MonoTime now) {
  const absl::StatusOr<Reservation*> found = Find(id, token, now);
  if (absl::IsNotFound(found.status())) {
    return false;
  }
  CS_RETURN_IF_ERROR(found.status());
  const bool was_held = (*found)->state == ReservationState::kHeld;
  if (was_held) {
    (*found)->state = ReservationState::kReleased;
  }
  return was_held;
}

void ReservationBook::Expire(MonoTime now) {
  for (auto& [token, r] : by_token_) {
    if (r.state == ReservationState::kHeld && r.expires <= now) {
      r.state = ReservationState::kExpired;
    }
  }
}

ReservationBook::Room ReservationBook::Held() const {
  Room room;
  for (const auto& [token, r] : by_token_) {
    if (r.state == ReservationState::kHeld) {
      room.cpu_cores += r.cpu_cores;
      room.memory_bytes += r.memory_bytes;
    }
  }
  return room;
}

std::vector<Reservation> ReservationBook::List() const {
  std::vector<Reservation> out;
  for (const auto& [token, r] : by_token_) {
    out.push_back(r);
  }
  return out;
}

void ReservationBook::Prune() {
  size_t ended = 0;
  for (auto it = by_token_.rbegin(); it != by_token_.rend(); ++it) {
    ended += it->second.state == ReservationState::kHeld ? 0 : 1;
  }
  for (auto it = by_token_.begin(); ended > kMaxEnded && it != by_token_.end();) {
    if (it->second.state != ReservationState::kHeld) {
      it = by_token_.erase(it);
      --ended;
    } else {
      ++it;
    }
  }
}

}  // namespace cloudscale::scaler
