#include "services/sla/sla_engine.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::sla {

const char* NameOf(ReportOutcome outcome) {
  switch (outcome) {
    case ReportOutcome::kAccepted:
      return "accepted";
    case ReportOutcome::kDuplicate:
      return "duplicate";
    case ReportOutcome::kLate:
      return "late";
    case ReportOutcome::kAhead:
      return "ahead";
    case ReportOutcome::kUnknownApplication:
      return "unknown_application";
    case ReportOutcome::kSuperseded:
      return "superseded";
  }
  return "";
}

SlaEngine::SlaEngine(Limits limits, ViolationTracker::Config hysteresis, PriceTerms price)
    : limits_(limits), hysteresis_(hysteresis), price_(price), sources_(limits.max_sources) {}

absl::Status SlaEngine::CheckNew(const Objective& objective) const {
  Violations violations;
  ValidateObjective(objective, "objective", violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  for (const auto& [id, other] : objectives_) {
    if (id != objective.id && Overlap(other.objective, objective)) {
      return absl::FailedPreconditionError(
          absl::StrCat("objective '", objective.id, "' overlaps '", id, "': application '",
                       objective.application, "' has the same indicator and window there already"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SlaEngine::State*> SlaEngine::Find(const std::string& id,
                                                  std::optional<int64_t> expected_revision) {
  const auto it = objectives_.find(id);
  if (it == objectives_.end()) {
    return absl::NotFoundError(absl::StrCat("no objective '", id, "'"));
  }
  const int64_t revision = it->second.objective.revision;
  if (expected_revision.has_value() && *expected_revision != revision) {
    return absl::AbortedError(absl::StrCat("objective '", id, "' was changed: etag is '", revision,
                                           "', given '", *expected_revision, "'; read it again"));
  }
  return &it->second;
}

absl::StatusOr<Objective> SlaEngine::Create(Objective objective, absl::Time now,
                                            bool validate_only) {
  CS_RETURN_IF_ERROR(CheckNew(objective));
  if (objectives_.contains(objective.id)) {
    return absl::AlreadyExistsError(absl::StrCat("objective '", objective.id, "' exists"));
  }
  if (objectives_.size() >= limits_.max_objectives) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", objectives_.size(), " objectives, the configured limit"));
  }
  if (!applications_.contains(objective.application) &&
      applications_.size() >= limits_.max_applications) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", applications_.size(), " applications, the configured limit"));
  }
  objective.revision = last_revision_ + 1;
  objective.updated_at = now;
  if (!validate_only) {
    CS_RETURN_IF_ERROR(RestoreObjective(objective));
  }
  return objective;
}

absl::StatusOr<Objective> SlaEngine::Update(Objective objective,
                                            std::optional<int64_t> expected_revision,
                                            absl::Time now, bool validate_only) {
  CS_ASSIGN_OR_RETURN(State * state, Find(objective.id, expected_revision));
  CS_RETURN_IF_ERROR(CheckNew(objective));
  objective.revision = last_revision_ + 1;
  objective.updated_at = now;
  if (validate_only) {
    return objective;
  }
  last_revision_ = objective.revision;
  const bool is_judged_otherwise = !SameJudgement(state->objective, objective);
  if (state->open_number != 0 && (is_judged_otherwise || objective.is_disabled)) {
    CloseViolation(*state, "ended because the objective was changed", now);
  }
  if (is_judged_otherwise || objective.min_request_count != state->objective.min_request_count) {
    state->window = ObjectiveWindow(objective);
  }
  state->log.set_period(objective.period);
  state->objective = objective;
  RefreshApplications();
  return objective;
}

absl::Status SlaEngine::Delete(const std::string& id, std::optional<int64_t> expected_revision,
                               absl::Time now, bool validate_only) {
  CS_ASSIGN_OR_RETURN(State * state, Find(id, expected_revision));
  if (validate_only) {
    return absl::OkStatus();
  }
  if (state->open_number != 0) {
    CloseViolation(*state, "ended because the objective was deleted", now);
  }
  objectives_.erase(id);
  RefreshApplications();
  return absl::OkStatus();
}

absl::StatusOr<Objective> SlaEngine::Get(const std::string& id) const {
  const auto it = objectives_.find(id);
  if (it == objectives_.end()) {
    return absl::NotFoundError(absl::StrCat("no objective '", id, "'"));
  }
  return it->second.objective;
}

void SlaEngine::RefreshApplications() {
  ++objectives_version_;
  std::set<std::string> named;
  for (const auto& [id, state] : objectives_) {
    named.insert(state.objective.application);
    applications_.try_emplace(state.objective.application);
  }
  std::erase_if(applications_, [&](const auto& entry) { return !named.contains(entry.first); });
}

ReportOutcome SlaEngine::Report(const LatencyReport& report, const std::string& source,
                                absl::Time now) {
  const auto application = applications_.find(report.application);
  if (application == applications_.end()) {
    ++refused_reports_;
    return ReportOutcome::kUnknownApplication;
  }
  const absl::Time end = report.start + report.duration;
  if (end < now - kMaxReportAge || end > now + kMaxReportLead) {
    ++refused_reports_;
    ++application->second.refused_reports;
    return end > now ? ReportOutcome::kAhead : ReportOutcome::kLate;
  }
  const bool tells_single_requests = source == kSourceClient || source == kSourceHaproxyLog;
  if (source == kSourceHaproxyStatistics &&
      absl::AbsDuration(end - application->second.last_single_requests_at) < kStatisticsPause) {
    return ReportOutcome::kSuperseded;
  }
  if (!sources_.Take(report.application, report.source_id, report.sequence, report.start, end)) {
    ++duplicate_reports_;
    return ReportOutcome::kDuplicate;
  }
  ++accepted_reports_;
  application->second.last_report_at =
      std::max(application->second.last_report_at.value_or(absl::InfinitePast()), end);
  if (tells_single_requests) {
    application->second.last_single_requests_at =
        std::max(application->second.last_single_requests_at, end);
  }
  const LatencyHistogram histogram = HistogramOf(report);
  for (auto& [id, state] : objectives_) {
    if (state.objective.application == report.application) {
      Feed(state, report, histogram, source);
    }
  }
  return ReportOutcome::kAccepted;
}

void SlaEngine::Feed(State& state, const LatencyReport& report, const LatencyHistogram& histogram,
                     const std::string& source) {
  const absl::Time end = report.start + report.duration;
  const bool judges_rate = std::holds_alternative<SlowRateIndicator>(state.objective.indicator);
  if (judges_rate != (report.notice_count > 0)) {
    return;  // notifications are a kind of their own
  }
  state.log.AddRequests(end - absl::Nanoseconds(1),
                        histogram.count() + report.error_count + report.notice_count,
                        report.error_count, histogram);
  if (state.objective.is_disabled) {
    return;
  }
  const bool judges_latency = std::holds_alternative<LatencyIndicator>(state.objective.indicator);
  state.window.Add(
      end, {.request_count = histogram.count(),
            .slow_count = judges_latency ? CountAbove(report, ThresholdOf(state.objective)) : 0,
            .error_count = report.error_count,
            .notice_count = report.notice_count,
            .latencies = histogram,
            .vm_uuid = report.vm_uuid,
            .source = source});
}

absl::Status SlaEngine::RestoreObjective(const Objective& objective) {
  CS_RETURN_IF_ERROR(CheckNew(objective));
  last_revision_ = std::max(last_revision_, objective.revision);
  objectives_.insert_or_assign(objective.id, State{.objective = objective,
                                                   .window = ObjectiveWindow(objective),
                                                   .log = ComplianceLog(objective.period),
                                                   .tracker = ViolationTracker(hysteresis_)});
  RefreshApplications();
  return absl::OkStatus();
}

void SlaEngine::RestoreViolation(const Violation& violation) {
  last_number_ = std::max(last_number_, violation.number);
  violations_[violation.number] = violation;
  DropOldViolations();
  if (!violation.is_open) {
    return;
  }
  const auto it = objectives_.find(violation.objective_id);
  if (it != objectives_.end() && !it->second.objective.is_disabled) {
    it->second.open_number = violation.number;
    it->second.tracker.Resume(violation.started_at, violation.started_at, violation.observed);
    return;
  }
  // Its objective went away while nobody looked; it cannot end by itself any more.
  Violation& orphan = violations_[violation.number];
  orphan.is_open = false;
  orphan.ended_at = orphan.started_at;
  changed_violations_[orphan.number] = true;
}

void SlaEngine::RestoreBucket(const std::string& objective_id, ComplianceLog::Key key,
                              ComplianceBucket bucket) {
  const auto it = objectives_.find(objective_id);
  if (it != objectives_.end()) {
    it->second.log.Restore(key, std::move(bucket));
  }
}

void SlaEngine::RestoreRetrain(const std::string& vm_uuid, absl::Time at) {
  retrained_at_[vm_uuid] = at;
}

void SlaEngine::RestorePrice(const std::string& vm_uuid, RaisedPrice price) {
  prices_[vm_uuid] = price;
}

EngineChanges SlaEngine::TakeChanges() {
  EngineChanges changes;
  for (auto& [id, state] : objectives_) {
    for (auto& [key, bucket] : state.log.TakeChanged()) {
      changes.buckets.push_back({.objective_id = id, .key = key, .content = std::move(bucket)});
    }
  }
  for (const auto& [number, is_kept] : changed_violations_) {
    if (is_kept) {
      changes.violations.push_back(violations_.at(number));
    } else {
      changes.forgotten_violations.push_back(number);
    }
  }
  changed_violations_.clear();
  changes.sources = sources_.TakeChanged();
  changes.retrained_at = std::exchange(changed_retrains_, {});
  changes.prices = std::exchange(changed_prices_, {});
  return changes;
}

}  // namespace cloudscale::sla
