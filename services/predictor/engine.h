#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "services/predictor/fleet_experience.h"
#include "services/predictor/model.h"
#include "services/predictor/series.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

// A forecast with what the receiver needs to place it.
struct PublishedForecast {
  SeriesId id;
  SeriesForecast forecast;
  double target_violation_ratio = 0;
  // Quantile that the target asks for, of the shortest horizon: cores or bytes.
  double advised_allocation = 0;
  // The shadow has taken the place of the model in use just now.
  bool is_promotion = false;
};

// All series of all hosts. Pure: time comes with the batches and arguments; the same calls give the
// same answers. What has not been received for `series_ttl`, by the receiver's clock, is forgotten.
// Bounded: `max_series` series (a VM has up to two, a host up to two for its sum) and as many VMs;
// more are refused and counted.
//
// Forecasting apart from ingesting: `NextDue` hands out a job, `ComputeForecast` (series.h) needs
// no access to the engine, `Commit` takes the result. A series is due at most once however many of
// its steps have ended, so a slow forecaster skips to the newest.
// Thread safety: thread-compatible.
class PredictorEngine {
 public:
  // INVALID_ARGUMENT with every fault of the options.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<PredictorEngine>> Create(
      PredictorOptions options);
  PredictorEngine(const PredictorEngine&) = delete;
  PredictorEngine& operator=(const PredictorEngine&) = delete;

  struct IngestResult {
    bool is_repeated = false;      // nothing was taken
    int64_t refused_vm_count = 0;  // for want of room
    bool has_due = false;          // forecasts of this host are due
  };
  // Takes one batch, whole or not at all. `received_at` is the receiver's own clock: ages follow it
  // alone, so that a host whose clock is wrong harms nobody. INVALID_ARGUMENT names what is not
  // finite or negative; RESOURCE_EXHAUSTED when there is no room for a new host.
  absl::StatusOr<IngestResult> Ingest(const ObservationBatch& batch, MonoTime received_at);

  struct Due {
    std::shared_ptr<Series> series;
    ForecastJob job;
  };
  // Series of the host that are due now.
  [[nodiscard]] size_t due_count(absl::string_view host_id) const;
  // The next due series of the host; false when none is left. Reuses the buffers of `due`. Series
  // that become due later come later.
  bool NextDue(absl::string_view host_id, Due& due);
  // Publishes; nullopt when overtaken meanwhile.
  std::optional<PublishedForecast> Commit(Due& due, absl::Time now);

  // NextDue, ComputeForecast and Commit of all due series of the host, for those with one thread.
  std::vector<PublishedForecast> TakeForecasts(absl::string_view host_id, absl::Time now);

  // Null when unknown. Empty `vm_uuid`: the host's sum.
  [[nodiscard]] const Series* Find(absl::string_view vm_uuid, absl::string_view host_id,
                                   Resource resource) const;
  [[nodiscard]] PublishedForecast Publish(const Series& series, absl::Time now) const;

  // The same by one of the series' models, by name; empty = the one in use. A shadow forecasts
  // anew. NOT_FOUND when the model does not run on the series or nothing has been forecast yet.
  absl::StatusOr<PublishedForecast> ForecastOf(absl::string_view vm_uuid, absl::string_view host_id,
                                               Resource resource, absl::string_view model,
                                               absl::Time now);

  // Position in the order of `Visit`: host sums by host, then VMs by UUID, each by resource.
  struct Position {
    std::string vm_uuid;
    std::string host_id;
    int resource = -1;
  };
  // Calls `visit` for the series after `position` until it returns false.
  void Visit(const Position& position, const std::function<bool(const Series&)>& visit) const;

  struct Selection {
    std::string model;
    std::string previous_model;
    int64_t series_count = 0;
  };
  // Chooses a model (empty: back to the default) for one VM, or with an empty `vm_uuid` for all
  // without a choice of their own. nullopt = both resources. `may_promote`: as soon as a shadow is
  // better than the model in use by the margin of the options, they change places. NOT_FOUND for an
  // unknown model, RESOURCE_EXHAUSTED when the VM is new and there is no room. `apply` false only
  // answers. Of all series, kChangedAtOnce change their models at once and kChangedPerBatch with
  // each batch taken, so that what a model learns from the steps known holds up no forecast; the
  // others go on with the models they have, and a saved state of theirs is that of these.
  static constexpr int kChangedAtOnce = 16;
  static constexpr int kChangedPerBatch = 4;
  absl::StatusOr<Selection> SelectModel(absl::string_view vm_uuid, std::optional<Resource> resource,
                                        absl::string_view model, bool is_shadow, bool apply,
                                        bool may_promote = false);

  struct RetrainResult {
    int64_t trained_count = 0;
    int64_t skipped_count = 0;  // unknown, or trained within the minimum interval
  };
  RetrainResult Retrain(const std::vector<std::string>& vm_uuids, std::optional<Resource> resource,
                        absl::Time now, bool apply);

  struct Target {
    std::string vm_uuid;
    std::optional<Resource> resource;
    std::optional<double> target_violation_ratio;  // (0, 0.5]
    std::optional<double> price_factor;            // [1, 100]
    absl::Duration price_factor_duration = absl::Minutes(10);
  };
  // Returns how many were taken; a VM that is not known yet is kept for its first sample.
  int64_t UpdateTarget(const Target& target, absl::Time now);

  // Installs learnt state; false when the own state is newer. Errors as DecodeState and
  // Series::FromState, RESOURCE_EXHAUSTED without room. `apply` false only checks.
  absl::StatusOr<bool> Import(const SeriesId& id, const SeriesState& state, bool apply);

  // RESOURCE_EXHAUSTED when importing all of them would go beyond a bound.
  [[nodiscard]] absl::Status CheckRoomFor(
      const std::vector<std::pair<SeriesId, SeriesState>>& states) const;

  [[nodiscard]] const PredictorOptions& options() const { return options_; }
  [[nodiscard]] const ModelRegistry& registry() const { return registry_; }
  [[nodiscard]] absl::string_view default_model(Resource resource) const {
    return defaults_[static_cast<size_t>(resource)].model->name();
  }
  [[nodiscard]] int64_t series_count() const { return series_count_; }
  [[nodiscard]] int64_t refused_count() const { return refused_count_; }
  [[nodiscard]] int64_t promotion_count() const { return promotion_count_; }
  // Series that have yet to change to the model chosen for all; some may be gone.
  [[nodiscard]] size_t waiting_count() const { return waiting_.size() - next_waiting_; }

 private:
  struct Choice {
    const ForecastModel* model = nullptr;
    const ForecastModel* shadow = nullptr;
    bool may_promote = false;  // of the shadow
  };
  struct Vm {
    std::string uuid;
    std::string host_id;
    std::shared_ptr<Series> series[kResourceCount];
    Choice choice[kResourceCount];
    std::optional<Target> target[kResourceCount];  // until the series exists
    std::optional<MonoTime> last_received;         // not set: ages from the next cleaning on
  };
  struct Host {
    std::string id;
    std::string boot_id;
    absl::Time boot_time;  // wall time of monotonic zero, as first seen
    absl::Duration last_monotonic_time;
    std::shared_ptr<Series> sum[kResourceCount];
    // VMs of the batch before, because the next one nearly always lists the same.
    std::vector<Vm*> order;
    std::vector<std::shared_ptr<Series>> due;
    size_t next_due = 0;
    absl::Time last_seen;  // newest sample, on the host's own time line
    std::optional<MonoTime> last_received;
  };

  explicit PredictorEngine(PredictorOptions options);
  absl::StatusOr<Host*> FindOrAddHost(absl::string_view host_id);
  Vm* FindOrAddVm(absl::string_view uuid);  // null: no room
  std::shared_ptr<Series> MakeSeries(SeriesId id, const Choice& choice);
  void ObserveSums(const ObservationBatch& batch, absl::Time time, int64_t step, Observation* sums,
                   Host& host);
  [[nodiscard]] std::shared_ptr<Series> FindShared(absl::string_view vm_uuid,
                                                   absl::string_view host_id,
                                                   Resource resource) const;
  // What it can teach the series of other VMs.
  void LearnFrom(Series& series);
  // The series has changed its models by itself: that is a choice like any other.
  void NotePromotion(Series& series, Vm& vm);
  bool ObserveVm(const VmObservation& observation, const ObservationBatch& batch,
                 MonoTime received_at, absl::Time time, int64_t step, size_t position, Host& host,
                 Observation* sums);
  [[nodiscard]] double AdvisedAllocation(const PublishedForecast& published, const Series& series,
                                         absl::Time now) const;
  static void MarkDue(const std::shared_ptr<Series>& series, Host& host);
  static void ApplyTarget(const Target& target, absl::Time now, Series& series);
  static void UseShadowOf(const Choice& choice, const Choice& fallback, Series& series);
  int64_t ApplyChoice(Vm& vm, size_t resource);
  // Lets the next so many series that wait for it change their models.
  void ChangeWaiting(int count);
  void ForgetOld(MonoTime now);

  const PredictorOptions options_;
  const ModelRegistry registry_;
  Workspace workspace_;
  std::map<std::string, std::unique_ptr<Vm>, std::less<>> vms_;
  std::map<std::string, std::unique_ptr<Host>, std::less<>> hosts_;
  Choice defaults_[kResourceCount];
  int64_t series_count_ = 0;
  int64_t refused_count_ = 0;
  int64_t promotion_count_ = 0;
  FleetExperience experience_;
  std::vector<std::weak_ptr<Series>> waiting_;
  size_t next_waiting_ = 0;
  std::optional<MonoTime> last_cleaning_;
};

}  // namespace cloudscale::predictor
