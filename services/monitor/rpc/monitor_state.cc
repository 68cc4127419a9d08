#include "services/monitor/rpc/monitor_state.h"

#include <set>
#include <utility>

#include "services/monitor/rpc/convert.h"

namespace cloudscale::monitor {

MonitorState::MonitorState(Config config)
    : config_(std::move(config)),
      hub_(ObservationHub::Create(
          {.kept = config_.watch_queue_length, .queue_length = config_.watch_queue_length})),
      history_(config_.history_samples, config_.forget_after),
      guests_(config_.guest_reports) {}

void MonitorState::Publish(MonoTime now, const HostSnapshot& snapshot,
                           common::v1::LinkState predictor_link, Progress progress) {
  {
    MutexLock lock(&history_mutex_);
    history_.Add(now, snapshot);
  }
  std::set<std::string> uuids;
  for (const VmSample& vm : snapshot.vms) {
    uuids.insert(vm.uuid);
  }
  WithGuestReports([&](GuestReportStore& store) { store.SetKnownVms(uuids); });
  forecasts_.KeepOnly(std::move(uuids));
  auto batch = std::make_shared<v1::ObservationBatch>();
  ToWire(snapshot, batch->mutable_snapshot());
  forecasts_.AddTo(snapshot.header.sequence, config_.period, batch.get());
  *batch->mutable_predictor_link() = std::move(predictor_link);
  {
    MutexLock lock(&mutex_);
    newest_ = batch;
    progress_ = std::move(progress);
  }
  hub_->Publish(std::move(batch), now);
}

std::shared_ptr<const v1::ObservationBatch> MonitorState::newest() const {
  MutexLock lock(&mutex_);
  return newest_;
}

MonitorState::Progress MonitorState::progress() const {
  MutexLock lock(&mutex_);
  return progress_;
}

bool MonitorState::KnowsHistory(const std::string& uuid) const {
  MutexLock lock(&history_mutex_);
  return history_.Knows(uuid);
}

std::vector<HistoryPoint> MonitorState::ListHistory(const std::string& uuid, int64_t after_sequence,
                                                    absl::Time start, absl::Time end,
                                                    size_t limit) const {
  MutexLock lock(&history_mutex_);
  return history_.List(uuid, after_sequence, start, end, limit);
}

void MonitorState::WithGuestReports(const std::function<void(GuestReportStore&)>& use) {
  MutexLock lock(&guests_mutex_);
  use(guests_);
}

}  // namespace cloudscale::monitor
