#include "hypervisor/fake/pre_copy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"

namespace cloudscale::hypervisor::fake {

PreCopy::PreCopy(const Options& options)
    : options_(options), remaining_bytes_(options.memory_bytes) {
  CS_CHECK(options.memory_bytes > 0 && options.bytes_per_second > 0 && options.max_rounds > 0);
  progress_.stage = MigrationStage::kPreCopy;
  progress_.remaining_bytes = static_cast<int64_t>(remaining_bytes_);
}

void PreCopy::Step(absl::Duration dt, double dirty_bytes_per_second) {
  progress_.dirty_bytes_per_second = dirty_bytes_per_second;
  double seconds = absl::ToDoubleSeconds(dt);
  // Ends: every turn either uses up the time or ends one of at most `max_rounds` + 1 rounds.
  while (!is_over() && seconds > 0) {
    const bool is_last = stage() == MigrationStage::kStopAndCopy;
    const double needed = remaining_bytes_ / options_.bytes_per_second +
                          (is_last ? absl::ToDoubleSeconds(options_.switch_over) : 0) -
                          (is_last ? round_seconds_ : 0);
    const double used = std::min(seconds, std::max(needed, 0.0));
    seconds -= used;
    round_seconds_ += used;
    if (is_last) {
      if (used >= needed) {
        transferred_bytes_ += remaining_bytes_;
        remaining_bytes_ = 0;
        progress_.stage = MigrationStage::kDone;
        progress_.downtime = absl::Seconds(round_seconds_);
      }
    } else if (used >= needed) {
      transferred_bytes_ += remaining_bytes_;
      EndRound(dirty_bytes_per_second);
    } else {
      const double sent = used * options_.bytes_per_second;
      transferred_bytes_ += sent;
      remaining_bytes_ -= sent;
    }
  }
  progress_.transferred_bytes = static_cast<int64_t>(transferred_bytes_);
  progress_.remaining_bytes = static_cast<int64_t>(remaining_bytes_);
}

void PreCopy::EndRound(double dirty_bytes_per_second) {
  remaining_bytes_ = std::min(options_.memory_bytes, dirty_bytes_per_second * round_seconds_);
  round_seconds_ = 0;
  const double fits = options_.bytes_per_second *
                      absl::ToDoubleSeconds(options_.downtime_limit - options_.switch_over);
  if (remaining_bytes_ <= fits) {
    progress_.stage = MigrationStage::kStopAndCopy;
  } else if (++rounds_ >= options_.max_rounds) {
    Fail(absl::StrCat("does not converge: ", static_cast<int64_t>(remaining_bytes_),
                      " bytes left after ", rounds_, " rounds"));
  }
}

bool PreCopy::Cancel() {
  if (stage() == MigrationStage::kPreCopy) {
    progress_.stage = MigrationStage::kCancelled;
  }
  return stage() == MigrationStage::kCancelled;
}

void PreCopy::Fail(const std::string& error) {
  progress_.stage = MigrationStage::kFailed;
  progress_.error = error;
}

}  // namespace cloudscale::hypervisor::fake
