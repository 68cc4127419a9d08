#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/sla/compliance_log.h"
#include "services/sla/latency_report.h"
#include "services/sla/objective.h"
#include "services/sla/objective_window.h"
#include "services/sla/source_table.h"
#include "services/sla/violation.h"
#include "services/sla/violation_tracker.h"

namespace cloudscale::sla {

// More room for one VM, asked of the scalers.
struct BoostDecision {
  std::string vm_uuid;
  double factor = 1.0;
  absl::Duration duration;
  std::string objective_id;
  std::string violation_id;
};

// A new model for one VM, asked of the predictor.
struct RetrainDecision {
  std::string vm_uuid;
  std::string objective_id;
  std::string violation_id;
};

// A higher price of a too small allocation for one VM, asked of the predictor.
struct PriceDecision {
  std::string vm_uuid;
  double factor = 1.0;
  absl::Duration duration;
  std::string objective_id;
  std::string violation_id;
};

// How the price is raised for the VMs of an objective that is missed.
struct PriceTerms {
  bool is_enabled = true;
  double factor = 2.0;                          // 1 to 100; the first of a violation
  double growth = 1.5;                          // 1 to 10; with each renewal
  double max_factor = 8.0;                      // `factor` to 100
  absl::Duration duration = absl::Minutes(10);  // 10 s to 24 h; renewed after half of it
};

// What one step found and what is to be done about it.
struct StepResult {
  std::vector<Violation> changed;  // begun, grown worse, or ended, in that order of events
  std::vector<BoostDecision> boosts;
  std::vector<RetrainDecision> retrains;
  std::vector<PriceDecision> prices;  // each VM at most once
};

enum class ReportOutcome {
  kAccepted,
  kDuplicate,           // its sequence is known
  kLate,                // ended more than an hour ago
  kAhead,               // ends more than 5 s in the future
  kUnknownApplication,  // no objective names it
  kSuperseded,          // statistics of an application of which single requests are told
};

// For metrics and logs: `accepted`, `duplicate`, …
[[nodiscard]] const char* NameOf(ReportOutcome outcome);

struct BurnRate {
  absl::Duration window;
  double rate = 0.0;  // 1 spends exactly the budget by the end of the period
};

// How well an objective was kept, over time.
struct ComplianceSeries {
  Objective objective;
  absl::Duration bucket_length;
  std::vector<std::pair<absl::Time, ComplianceBucket>> buckets;  // oldest first, no empty ones
};

// How well an objective was kept.
struct Compliance {
  std::string objective_id;
  std::string application;
  absl::Time start;
  absl::Time end;
  ComplianceBucket totals;
  double compliance_ratio = 1.0;
  double target_ratio = 0.0;
  double budget_remaining_ratio = 1.0;
  std::vector<BurnRate> burn_rates;
  int64_t violation_count = 0;
  absl::Duration violation_time;
};

struct ApplicationView {
  std::string name;
  std::vector<Member> members;  // union over its objectives
  std::vector<std::string> objective_ids;
  bool is_violated = false;
  std::optional<absl::Time> last_report_at;
  int64_t refused_report_count = 0;
};

struct ViolationFilter {
  std::string application;   // empty: all
  std::string objective_id;  // empty: all
  absl::Time start = absl::InfinitePast();
  absl::Time end = absl::InfiniteFuture();  // exclusive; of the begin
  bool open_only = false;
  int64_t before_number = 0;  // 0: from the newest; else only older ones
  size_t limit = 100;
};

// The price in force for a VM.
struct RaisedPrice {
  double factor = 1.0;
  absl::Time until;
};

// What changed since the last call and must survive a restart.
struct EngineChanges {
  struct Bucket {
    std::string objective_id;
    ComplianceLog::Key key;
    ComplianceBucket content;
  };
  std::vector<Bucket> buckets;
  std::vector<Violation> violations;
  std::vector<int64_t> forgotten_violations;  // numbers
  std::vector<SourceState> sources;
  std::map<std::string, absl::Time> retrained_at;  // by VM
  std::map<std::string, RaisedPrice> prices;       // by VM
};

// Judges objectives over reported latencies and decides what to do about missed ones. Pure: time
// comes with each call, nothing is sent or stored here.
//
// Life of a violation: reports fill the sliding windows (`ObjectiveWindow`); each step judges those
// that ended and feeds the verdicts to the hysteresis (`ViolationTracker`). While a violation is
// open, each VM concerned is boosted again before its boost runs out, and retrained at most once
// per `retrain_interval` over all objectives (a retrain needs new data before another one can help;
// this holds over restarts). Likewise the price of a too small allocation is raised for it, before
// half of its time is over again and by more each time, up to a bound; when nothing renews it, it
// expires at the predictor by itself. VMs concerned: the members known to have served slow or
// failed requests, else all members. Names of VMs that are no members are never acted on: reports
// are not trusted to point at other people's VMs. Error budget: bad windows over (1 - target) of
// all windows of the period. Burn rate over a window: bad share of the judged windows over (1 -
// target). Bounds: see Limits and the parts; at a bound creating is refused and history drops its
// oldest. Thread safety: confined to the service's engine thread.
class SlaEngine {
 public:
  struct Limits {
    size_t max_applications = 1000;
    size_t max_objectives = 1000;
    size_t violation_history = 10000;
    size_t max_sources = 10000;
  };

  // Statistics of an application are not used for this long after the last report of single
  // requests.
  static constexpr absl::Duration kStatisticsPause = absl::Minutes(1);

  SlaEngine(Limits limits, ViolationTracker::Config hysteresis)
      : SlaEngine(limits, hysteresis, PriceTerms()) {}
  SlaEngine(Limits limits, ViolationTracker::Config hysteresis, PriceTerms price);

  // INVALID_ARGUMENT with all faults; ALREADY_EXISTS when the id is taken; FAILED_PRECONDITION when
  // another objective promises the same thing otherwise; RESOURCE_EXHAUSTED at a bound. Returns it
  // as stored. With `validate_only` answers as if it were done, and changes nothing.
  absl::StatusOr<Objective> Create(Objective objective, absl::Time now, bool validate_only);
  // As above; NOT_FOUND when there is none; ABORTED when `expected_revision` is given and is not
  // the current one. The history is kept; the window starts anew when it is judged otherwise.
  absl::StatusOr<Objective> Update(Objective objective, std::optional<int64_t> expected_revision,
                                   absl::Time now, bool validate_only);
  // NOT_FOUND, ABORTED as above. An open violation ends; its record is kept and told by the next
  // step.
  absl::Status Delete(const std::string& id, std::optional<int64_t> expected_revision,
                      absl::Time now, bool validate_only);
  [[nodiscard]] absl::StatusOr<Objective> Get(const std::string& id) const;
  // In order of id, after `after_id`.
  [[nodiscard]] std::vector<Objective> List(const std::string& application,
                                            const std::string& after_id, size_t limit) const;

  // Takes a report whose form is valid (`ValidateReport`). `source`: see latency_report.h.
  ReportOutcome Report(const LatencyReport& report, const std::string& source, absl::Time now);

  StepResult Step(absl::Time now);

  // Over [start, end); `start` infinite past: one period of the objective back from `end`. In order
  // of objective id.
  [[nodiscard]] std::vector<Compliance> GetCompliance(const std::string& application,
                                                      const std::string& objective_id,
                                                      absl::Time start, absl::Time end) const;
  // Over [start, end) in at most `max_buckets` (1 or more); `start` as above. NOT_FOUND when there
  // is no such objective.
  [[nodiscard]] absl::StatusOr<ComplianceSeries> GetComplianceSeries(const std::string& id,
                                                                     absl::Time start,
                                                                     absl::Time end,
                                                                     int64_t max_buckets) const;
  // Newest first.
  [[nodiscard]] std::vector<Violation> ListViolations(const ViolationFilter& filter) const;
  // In order of name, after `after_name`.
  [[nodiscard]] std::vector<ApplicationView> ListApplications(const std::string& after_name,
                                                              size_t limit) const;

  [[nodiscard]] size_t objective_count() const { return objectives_.size(); }
  [[nodiscard]] int64_t open_violation_count() const;
  [[nodiscard]] int64_t accepted_report_count() const { return accepted_reports_; }
  [[nodiscard]] int64_t refused_report_count() const { return refused_reports_; }
  [[nodiscard]] int64_t duplicate_report_count() const { return duplicate_reports_; }
  // Changes whenever an objective does; for those that keep something made from them.
  [[nodiscard]] int64_t objectives_version() const { return objectives_version_; }

  EngineChanges TakeChanges();

  // Puts state back after a restart, before the first report or step: objectives first.
  absl::Status RestoreObjective(const Objective& objective);
  void RestoreViolation(const Violation& violation);
  void RestoreBucket(const std::string& objective_id, ComplianceLog::Key key,
                     ComplianceBucket bucket);
  void RestoreSource(const SourceState& source) { sources_.Restore(source); }
  void RestoreRetrain(const std::string& vm_uuid, absl::Time at);
  void RestorePrice(const std::string& vm_uuid, RaisedPrice price);

 private:
  struct State {
    Objective objective;
    ObjectiveWindow window;
    ComplianceLog log;
    ViolationTracker tracker;
    int64_t open_number = 0;  // 0: no violation is open
  };
  struct ApplicationState {
    std::optional<absl::Time> last_report_at;
    absl::Time last_single_requests_at = absl::InfinitePast();
    int64_t refused_reports = 0;
  };

  [[nodiscard]] absl::Status CheckNew(const Objective& objective) const;
  [[nodiscard]] absl::StatusOr<State*> Find(const std::string& id,
                                            std::optional<int64_t> expected_revision);
  void Feed(State& state, const LatencyReport& report, const LatencyHistogram& histogram,
            const std::string& source);
  void Judge(State& state, const Judgement& judgement, absl::Time now, StepResult& result);
  void OpenViolation(State& state, const Judgement& judgement, absl::Time now, StepResult& result);
  void UpdateViolation(State& state, const Judgement& judgement, absl::Time now);
  void CloseViolation(State& state, const std::string& effect, absl::Time now);
  void Correct(State& state, absl::Time now, StepResult& result);
  void Boost(const std::string& vm, const State& state, absl::Time now, StepResult& result);
  void Retrain(const std::string& vm, const State& state, absl::Time now, StepResult& result);
  void RaisePrice(const std::string& vm, const State& state, absl::Time now, StepResult& result);
  void NoteEffect(Violation& violation, const std::string& effect);
  [[nodiscard]] std::vector<std::string> ConcernedVms(const Objective& objective,
                                                      const Judgement& judgement) const;
  [[nodiscard]] Compliance ComplianceOf(const State& state, absl::Time start, absl::Time end) const;
  void DropOldViolations();
  void RefreshApplications();

  const Limits limits_;
  const ViolationTracker::Config hysteresis_;
  const PriceTerms price_;
  std::map<std::string, State> objectives_;
  std::map<std::string, ApplicationState> applications_;
  std::map<int64_t, Violation> violations_;
  SourceTable sources_;
  std::map<std::string, absl::Time> retrained_at_;
  std::map<std::string, absl::Time> boosted_until_;
  std::map<std::string, RaisedPrice> prices_;
  int64_t last_revision_ = 0;
  int64_t last_number_ = 0;
  int64_t accepted_reports_ = 0;
  int64_t refused_reports_ = 0;
  int64_t duplicate_reports_ = 0;
  int64_t objectives_version_ = 0;
  std::vector<Violation> pending_;              // ended outside of a step
  std::map<int64_t, bool> changed_violations_;  // number -> still there
  std::map<std::string, absl::Time> changed_retrains_;
  std::map<std::string, RaisedPrice> changed_prices_;
};

}  // namespace cloudscale::sla
