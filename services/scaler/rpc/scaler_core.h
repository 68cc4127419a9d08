#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cloudscale/scaler/v1/migration_service.pb.h"
#include "cloudscale/scaler/v1/reservation_service.pb.h"
#include "cloudscale/scaler/v1/scaler_service.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/time/clock.h"
#include "hypervisor/vm_actuator.h"
#include "services/scaler/action_executor.h"
#include "services/scaler/capacity_report.h"
#include "services/scaler/journal.h"
#include "services/scaler/planning_engine.h"
#include "services/scaler/reservation_book.h"
#include "services/scaler/rpc/policy_store.h"
#include "services/scaler/shrink_gate.h"

namespace cloudscale::scaler {

// What readers see between two steps. Immutable.
struct Snapshot {
  v1::GetStatusResponse status;
  v1::WatchStatusResponse view;
  v1::GetCapacityResponse capacity;
};

// The scaler behind its handlers: engine, executor, journal, policies, recommendations and leases,
// all on one thread. Every method of a request checks it (INVALID_ARGUMENT with all faults) and
// changes nothing when it fails. Fail-static: while the journal cannot be written or an action's
// outcome is unknown nothing is changed, reads go on, and status says why.
// Thread safety: confined to the engine thread.
class ScalerCore {
 public:
  struct Config {
    std::string host_id;
    ScalerConfig engine;
    PolicySet base;
    size_t decision_history = 20'000;
    absl::Duration shrink_wait = absl::Seconds(2);  // for the load balancer, at most
  };
  // Where results go. All optional.
  struct Sinks {
    std::function<void(const v1::Decision&)> decision;
    std::function<void(const v1::Action&)> action;
    std::function<void(std::shared_ptr<const Snapshot>)> snapshot;
    std::function<void(const RetrainRequest&)> retrain;
    std::function<void(std::vector<TargetRequest>)> targets;
    std::function<void(CapacityReport)> capacity;
    std::function<std::vector<cloudscale::common::v1::LinkState>()> links;
  };

  // FAILED_PRECONDITION, DATA_LOSS, UNAVAILABLE from the journal.
  static absl::StatusOr<std::unique_ptr<ScalerCore>> Create(
      Config config, std::unique_ptr<Journal> journal,
      std::unique_ptr<hypervisor::VmActuator> actuator, Clock& clock, MetricSink& metrics,
      Sinks sinks);

  // Takes one sample in and acts on it.
  void OnObservation(HostObservation observation);
  // The report of this number was answered: these VMs' load follows capacity until `until`.
  void OnCapacityAnswer(int64_t number, std::set<std::string> followed, MonoTime until);
  // Carries out what has waited long enough.
  void Tick() { CarryDueShrinks(); }
  // When to tick next, if at all.
  [[nodiscard]] std::optional<MonoTime> next_tick() const { return gate_.next_deadline(); }
  // Tells readers the present state without a sample (start, policy change).
  void PublishSnapshot();

  // ScalerService.
  absl::Status ExplainVm(const v1::ExplainVmRequest& in, v1::ExplainVmResponse* out);
  absl::Status ListPolicies(const v1::ListPoliciesRequest& in, v1::ListPoliciesResponse* out);
  absl::Status GetPolicy(const v1::GetPolicyRequest& in, v1::GetPolicyResponse* out);
  absl::Status UpdatePolicy(const v1::UpdatePolicyRequest& in, v1::UpdatePolicyResponse* out);
  absl::Status DeletePolicy(const v1::DeletePolicyRequest& in, v1::DeletePolicyResponse* out);
  absl::Status SetMode(const v1::SetModeRequest& in, v1::SetModeResponse* out);
  absl::Status SetPause(const v1::SetPauseRequest& in, v1::SetPauseResponse* out);
  absl::Status ListDecisions(const v1::ListDecisionsRequest& in, v1::ListDecisionsResponse* out);
  absl::Status ListActions(const v1::ListActionsRequest& in, v1::ListActionsResponse* out);
  absl::Status GetAction(const v1::GetActionRequest& in, v1::GetActionResponse* out);
  absl::Status ApproveAction(const v1::ApproveActionRequest& in, v1::ApproveActionResponse* out);
  absl::Status SkipAction(const v1::SkipActionRequest& in, v1::SkipActionResponse* out);
  absl::Status UndoAction(const v1::UndoActionRequest& in, v1::UndoActionResponse* out);
  absl::Status RestoreOriginals(const v1::RestoreOriginalsRequest& in,
                                v1::RestoreOriginalsResponse* out);
  absl::Status RequestBoost(const v1::RequestBoostRequest& in, v1::RequestBoostResponse* out);

  // ReservationService.
  absl::Status Reserve(const v1::ReserveRequest& in, v1::ReserveResponse* out);
  absl::Status Renew(const v1::RenewRequest& in, v1::RenewResponse* out);
  absl::Status Commit(const v1::CommitRequest& in, v1::CommitResponse* out);
  absl::Status Release(const v1::ReleaseRequest& in, v1::ReleaseResponse* out);
  absl::Status ListReservations(const v1::ListReservationsRequest& in,
                                v1::ListReservationsResponse* out);

  [[nodiscard]] const std::string& host_id() const { return config_.host_id; }

 private:
  using SeriesKey = std::pair<std::string, size_t>;

  ScalerCore(Config config, std::unique_ptr<Journal> journal,
             std::unique_ptr<hypervisor::VmActuator> actuator, Clock& clock, MetricSink& metrics,
             Sinks sinks);
  absl::Status Init();
  absl::Status RestoreRates();
  void ForgetGoneVms();

  // Acting (core_actions.cc).
  bool ReadyToAct();
  void Act(const PlannedAction& action, Decision& decision);
  absl::StatusOr<ActionRecord> Carry(const ActionOrder& order);
  void Recommend(const StepResult& result);
  // Shrinks that wait for the load balancer (core_capacity.cc).
  void CarryDueShrinks();
  void ReportCapacity();
  [[nodiscard]] std::optional<double> GrantedCores(const VmObservation& vm) const;
  void EndPending(const SeriesKey& key, ActionState state, const std::string& superseded_by);
  void Tell(const ActionRecord& record);
  absl::StatusOr<ActionRecord> FindAction(const std::string& action_id);
  std::map<SeriesKey, ActionRecord>::iterator FindPending(const std::string& action_id);
  void NoteFailStatic(const absl::Status& status);

  // Views (core_views.cc).
  // Pending and ended ones by number, newest first; pointers hold until the next change.
  std::map<int64_t, const ActionRecord*, std::greater<>> Recommendations() const;
  void FillTotals(v1::FleetTotals* totals) const;
  void FillVm(const std::string& uuid, const PlanningEngine::VmEntry& entry,
              const VmObservation* vm, v1::VmStatus* out) const;
  void FillBoosts(const std::string& uuid, v1::ExplainVmResponse* out) const;
  const Decision* LastDecision(const std::string& uuid, Resource resource) const;
  void WriteMetrics(const StepResult& result) const;

  // Policies (core_policies.cc).
  absl::Status CheckGuarantees(const PolicySet& set) const;
  void PoliciesChanged();
  ReservationBook::Room FreeRoom() const;

  const Config config_;
  const std::unique_ptr<Journal> journal_;
  const std::unique_ptr<hypervisor::VmActuator> actuator_;
  Clock& clock_;
  MetricSink& metrics_;
  const Sinks sinks_;
  const absl::Time started_at_;
  PlanningEngine engine_;
  std::unique_ptr<PolicyStore> policies_;
  std::unique_ptr<ActionExecutor> executor_;
  std::unique_ptr<ReservationBook> reservations_;
  int64_t fencing_token_ = 0;
  ShrinkGate gate_;
  int64_t report_number_ = 0;
  // CPU limits that we set since the last sample; absent = none.
  std::map<std::string, std::optional<double>> set_since_sample_;

  std::shared_ptr<const HostObservation> observation_;
  std::deque<std::pair<int64_t, std::shared_ptr<const Decision>>> decisions_;  // oldest first
  int64_t next_decision_ = 1;
  std::map<SeriesKey, std::shared_ptr<const Decision>> last_decisions_;
  std::map<std::string, std::pair<std::string, absl::Time>> last_changes_;  // reason, when
  std::map<std::string, int64_t> violations_;
  std::map<SeriesKey, ActionRecord> pending_;  // recommendations, at most one per series
  std::deque<ActionRecord> ended_pending_;     // newest last, bounded
  int64_t next_pending_ = 1;
  bool needs_recovery_ = true;
  std::string fail_static_reason_ = "starting: open actions are not settled yet";
  std::optional<absl::Time> last_step_at_;
  int64_t action_count_ = 0;
  int64_t failed_action_count_ = 0;
  int64_t violation_count_ = 0;
};

}  // namespace cloudscale::scaler
