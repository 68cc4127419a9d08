#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cloudscale/monitor/v1/monitor.pb.h"
#include "common/rpc/serving/watch_hub.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "services/monitor/guest_reports.h"
#include "services/monitor/rpc/forecast_board.h"
#include "services/monitor/sample_history.h"

namespace cloudscale::monitor {

using ObservationHub = rpc::WatchHub<v1::ObservationBatch>;

// What handlers share with the sampling loop. Each part locks for itself and for short; the newest
// batch is an immutable snapshot, so that reading it holds nobody up.
// Thread safety: thread-safe.
class MonitorState {
 public:
  struct Config {
    std::string host_id;   // as configured; may be empty until the first reading names it
    std::string hostname;  // label
    std::string backend;
    std::vector<std::string> capabilities;
    absl::Duration period = absl::Seconds(1);
    size_t history_samples = 3600;
    absl::Duration forget_after = absl::Seconds(60);
    size_t watch_queue_length = 64;
    GuestReportConfig guest_reports;
    bool takes_guest_reports = true;
    int64_t max_guest_streams = 1024;
  };
  // What GetStatus tells beside the newest batch.
  struct Progress {
    int64_t missed_tick_count = 0;
    std::map<std::string, int64_t> quality_counts;
    bool is_serving = false;
  };

  explicit MonitorState(Config config);

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] ForecastBoard& forecasts() { return forecasts_; }
  [[nodiscard]] const std::shared_ptr<ObservationHub>& hub() { return hub_; }

  // Makes `snapshot` the newest: history, watchers, and what the unary calls answer.
  void Publish(MonoTime now, const HostSnapshot& snapshot, common::v1::LinkState predictor_link,
               Progress progress);

  // Null before the first snapshot.
  [[nodiscard]] std::shared_ptr<const v1::ObservationBatch> newest() const;
  [[nodiscard]] Progress progress() const;

  [[nodiscard]] bool KnowsHistory(const std::string& uuid) const;
  [[nodiscard]] std::vector<HistoryPoint> ListHistory(const std::string& uuid,
                                                      int64_t after_sequence, absl::Time start,
                                                      absl::Time end, size_t limit) const;

  // Runs `use` with the guest reports locked.
  void WithGuestReports(const std::function<void(GuestReportStore&)>& use);

 private:
  const Config config_;
  ForecastBoard forecasts_;
  const std::shared_ptr<ObservationHub> hub_;
  mutable Mutex mutex_;
  std::shared_ptr<const v1::ObservationBatch> newest_ ABSL_GUARDED_BY(mutex_);
  Progress progress_ ABSL_GUARDED_BY(mutex_);
  mutable Mutex history_mutex_;
  SampleHistory history_ ABSL_GUARDED_BY(history_mutex_);
  Mutex guests_mutex_;
  GuestReportStore guests_ ABSL_GUARDED_BY(guests_mutex_);
};

}  // namespace cloudscale::monitor
