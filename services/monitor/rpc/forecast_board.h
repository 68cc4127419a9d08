#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "cloudscale/common/v1/forecast.pb.h"
#include "cloudscale/monitor/v1/monitor.pb.h"
#include "common/sync/mutex.h"

namespace cloudscale::monitor {

// The newest forecast per VM and resource, and of the host's sum. They are kept and grow old while
// the predictor is away; those of VMs that are gone are dropped. A forecast with a value that is
// not a finite number of 0 or more, or without horizons, is refused and counted: the scaler may
// rely on what it gets. Bounded by the VMs of the host. Thread safety: thread-safe.
class ForecastBoard {
 public:
  // Takes what is newer (by `based_on_sequence`, then `made_at`) than what is held.
  void Update(const std::string& host_id, const std::vector<common::v1::Forecast>& forecasts,
              const std::vector<common::v1::Forecast>& host_forecasts);

  // Drops forecasts of VMs not in `uuids` and refuses them from now on.
  void KeepOnly(std::set<std::string> uuids);

  // Adds all to `out`; ages are counted from the sample they are based on to that of `sequence`.
  void AddTo(int64_t sequence, absl::Duration period, v1::ObservationBatch* out) const;
  // Adds those of one VM, in order of resource.
  void AddTo(const std::string& uuid, int64_t sequence, absl::Duration period, v1::Vm* out) const;

  [[nodiscard]] int64_t refused_count() const;
  [[nodiscard]] int64_t taken_count() const;

 private:
  using Key = std::pair<std::string, int>;  // VM (empty for the host), resource
  void Take(const std::string& key, const common::v1::Forecast& forecast)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::set<std::string> known_ ABSL_GUARDED_BY(mutex_);
  std::map<Key, common::v1::Forecast> forecasts_ ABSL_GUARDED_BY(mutex_);
  int64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

// True when every number in it is finite and in its range.
[[nodiscard]] bool IsSaneForecast(const common::v1::Forecast& forecast);

}  // namespace cloudscale::monitor
