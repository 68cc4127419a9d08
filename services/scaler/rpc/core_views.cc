// What readers see: totals, VM states, decisions, actions, explanations.
#include <algorithm>
#include <functional>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/rpc/main.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/scaler/rpc/convert.h"
#include "services/scaler/rpc/request_checks.h"
#include "services/scaler/rpc/scaler_core.h"

namespace cloudscale::scaler {
namespace {

namespace cv1 = cloudscale::common::v1;

constexpr int kExplainLength = 20;
// Page tokens of actions: a number in the recommendations, the journal's start, an id in it.
constexpr char kRecommendationToken[] = "recommendation:";
constexpr char kJournalToken[] = "journal";

template <typename List, typename Value>
bool Contains(const List& list, Value value) {
  return list.empty() || std::find(list.begin(), list.end(), static_cast<int>(value)) != list.end();
}

template <typename Request>
bool InTime(const Request& in, absl::Time time) {
  return (!in.has_start_time() || time >= rpc::FromProto(in.start_time())) &&
         (!in.has_end_time() || time < rpc::FromProto(in.end_time()));
}

void FillResource(const SeriesState& series, const Decision* d, const VmObservation* vm,
                  Resource resource, v1::ResourceStatus* out) {
  if (vm != nullptr) {
    if (const auto usage = UsageOf(*vm, resource)) {
      out->set_usage(*usage);
    }
    if (const auto demand = DemandOf(*vm, resource)) {
      out->set_demand(*demand);
    }
    if (const auto& limit = resource == Resource::kCpu ? vm->cpu_cap : vm->memory_target) {
      out->set_allocation(*limit);
    }
    out->set_quality(static_cast<cv1::SampleQuality>(
        resource == Resource::kCpu ? vm->cpu_quality : vm->memory_quality));
  }
  if (d != nullptr) {
    if (d->forecast) {
      out->set_forecast(*d->forecast);
    }
    out->set_recommended(d->target);
    *out->mutable_padding() = ToProto(d->padding);
    out->set_is_warm(d->forecast.has_value());
    out->set_model(d->model);
    if (!d->reasons.empty()) {
      *out->mutable_reason() = ToProto(d->reasons.front());
    }
    out->set_outcome(static_cast<v1::DecisionOutcome>(d->outcome));
    out->set_alpha(d->alpha);
  }
  const SeriesState::Account& account = series.account();
  out->set_saved_seconds(account.saved_seconds());
  out->set_under_estimate_count(account.under_estimate_count);
  out->set_step_count(account.step_count);
  out->set_static_peak(account.peak_demand);
}

}  // namespace

const Decision* ScalerCore::LastDecision(const std::string& uuid, Resource resource) const {
  const auto it = last_decisions_.find({uuid, Index(resource)});
  return it == last_decisions_.end() ? nullptr : it->second.get();
}

void ScalerCore::FillTotals(v1::FleetTotals* t) const {
  double granted = 0;
  double usage = 0;
  double demand = 0;
  double memory = 0;
  int64_t managed = 0;
  if (observation_ != nullptr) {
    for (const VmObservation& vm : observation_->vms) {
      granted += PresentAllocation(vm, Resource::kCpu).value_or(0);
      usage += UsageOf(vm, Resource::kCpu).value_or(0);
      demand += DemandOf(vm, Resource::kCpu).value_or(0);
      memory += PresentAllocation(vm, Resource::kMemory).value_or(0);
    }
    const ReservationBook::Room reserved = reservations_->Held();
    t->set_cpu_capacity_cores(observation_->cpu_capacity_cores);
    t->set_cpu_headroom_cores(observation_->cpu_capacity_cores - granted - reserved.cpu_cores);
    t->set_memory_capacity_bytes(static_cast<int64_t>(observation_->memory_capacity_bytes));
    t->set_memory_headroom_bytes(
        static_cast<int64_t>(observation_->memory_capacity_bytes - memory - reserved.memory_bytes));
    t->set_reserved_cpu_cores(reserved.cpu_cores);
    t->set_reserved_memory_bytes(static_cast<int64_t>(reserved.memory_bytes));
    t->set_vm_count(static_cast<int64_t>(observation_->vms.size()));
  }
  t->set_granted_cpu_cores(granted);
  t->set_cpu_usage_cores(usage);
  t->set_cpu_demand_cores(demand);
  t->set_granted_memory_bytes(static_cast<int64_t>(memory));
  double peaks = 0;
  double saved = 0;
  double granted_seconds = 0;
  int64_t under = 0;
  int64_t steps = 0;
  for (const auto& [uuid, entry] : engine_.vms()) {
    const SeriesState::Account& account = entry.of(Resource::kCpu).account();
    peaks += account.peak_demand;
    saved += account.saved_seconds();
    granted_seconds += account.granted_seconds;
    under += account.under_estimate_count;
    steps += account.step_count;
    if (entry.policy != nullptr && entry.policy->mode >= Mode::kCanary &&
        (entry.policy->of(Resource::kCpu).is_managed ||
         entry.policy->of(Resource::kMemory).is_managed)) {
      ++managed;
    }
  }
  t->set_static_peak_cores(peaks);
  t->set_saved_core_seconds(saved);
  t->set_granted_core_seconds(granted_seconds);
  t->set_managed_vm_count(managed);
  t->set_decision_count(engine_.counters().decisions);
  t->set_action_count(action_count_);
  t->set_failed_action_count(failed_action_count_);
  t->set_under_estimate_count(under);
  t->set_step_count(steps);
  t->set_violation_count(violation_count_);
  t->set_retrain_request_count(engine_.counters().retrains);
}

void ScalerCore::FillVm(const std::string& uuid, const PlanningEngine::VmEntry& entry,
                        const VmObservation* vm, v1::VmStatus* out) const {
  out->set_vm_uuid(uuid);
  if (vm != nullptr) {
    out->set_name(vm->name);
  }
  if (entry.policy != nullptr) {
    out->set_mode(static_cast<v1::Mode>(entry.policy->mode));
    out->set_service_class(static_cast<v1::ServiceClass>(entry.policy->service_class));
    v1::PauseState* pause = out->mutable_pause();
    pause->set_pause_grow(entry.policy->pause_grow);
    pause->set_pause_shrink(entry.policy->pause_shrink);
    pause->set_pause_migrate(entry.policy->pause_migrate);
    pause->set_reason(entry.policy->pause_reason);
  }
  FillResource(entry.of(Resource::kCpu), LastDecision(uuid, Resource::kCpu), vm, Resource::kCpu,
               out->mutable_cpu());
  FillResource(entry.of(Resource::kMemory), LastDecision(uuid, Resource::kMemory), vm,
               Resource::kMemory, out->mutable_memory());
  if (const auto it = violations_.find(uuid); it != violations_.end()) {
    out->set_violation_count(it->second);
  }
  if (const auto it = last_changes_.find(uuid); it != last_changes_.end()) {
    out->set_last_reason(it->second.first);
    if (it->second.second > absl::UnixEpoch()) {
      *out->mutable_last_changed_at() = rpc::ToProto(it->second.second);
    }
  }
}

void ScalerCore::PublishSnapshot() {
  if (!sinks_.snapshot) {
    return;
  }
  auto snapshot = std::make_shared<Snapshot>();
  v1::GetStatusResponse& s = snapshot->status;
  s.mutable_build()->set_service("cloudscale-scaler");
  s.mutable_build()->set_version(rpc::kVersion);
  *s.mutable_build()->mutable_started_at() = rpc::ToProto(started_at_);
  s.set_host_id(config_.host_id.empty() && observation_ != nullptr ? observation_->header.host_id
                                                                   : config_.host_id);
  s.set_mode(static_cast<v1::Mode>(policies_->host_mode()));
  *s.mutable_pause() = policies_->Effective("").pause();
  s.set_is_warm(observation_ != nullptr && engine_.is_warm());
  s.set_is_fail_static(!fail_static_reason_.empty());
  s.set_fail_static_reason(fail_static_reason_);
  s.set_pending_action_count(static_cast<int64_t>(pending_.size()));
  s.set_fencing_token(fencing_token_);
  if (last_step_at_) {
    *s.mutable_last_step_at() = rpc::ToProto(*last_step_at_);
  }
  FillTotals(s.mutable_totals());
  if (sinks_.links) {
    for (auto& link : sinks_.links()) {
      *s.add_links() = std::move(link);
    }
  }
  v1::WatchStatusResponse& view = snapshot->view;
  *view.mutable_totals() = s.totals();
  *view.mutable_links() = s.links();
  view.set_mode(s.mode());
  v1::GetCapacityResponse& c = snapshot->capacity;
  c.set_host_id(s.host_id());
  c.set_is_accepting(s.is_warm() && !s.is_fail_static());
  c.set_reason(c.is_accepting() ? "" : s.is_fail_static() ? s.fail_static_reason() : "not warm");
  c.set_generation(reservations_->next_token());
  if (observation_ != nullptr) {
    s.set_sequence(observation_->header.sequence);
    *view.mutable_header() = ToProto(observation_->header);
    *c.mutable_header() = view.header();
    c.set_cpu_capacity_cores(observation_->cpu_capacity_cores);
    c.set_memory_capacity_bytes(static_cast<int64_t>(observation_->memory_capacity_bytes));
    const ReservationBook::Room free = FreeRoom();
    const ReservationBook::Room held = reservations_->Held();
    c.set_cpu_headroom_cores(free.cpu_cores - held.cpu_cores);
    c.set_memory_headroom_bytes(static_cast<int64_t>(free.memory_bytes - held.memory_bytes));
    std::map<std::string, const VmObservation*> seen;
    for (const VmObservation& vm : observation_->vms) {
      seen[vm.uuid] = &vm;
    }
    for (const auto& [uuid, entry] : engine_.vms()) {
      if (const auto it = seen.find(uuid); it != seen.end()) {
        FillVm(uuid, entry, it->second, view.add_vms());
      }
    }
  }
  sinks_.snapshot(std::move(snapshot));
}

void ScalerCore::FillBoosts(const std::string& uuid, v1::ExplainVmResponse* out) const {
  const auto it = engine_.vms().find(uuid);
  if (it == engine_.vms().end()) {
    return;
  }
  for (const Resource r : kResources) {
    if (const auto boost = it->second.of(r).ActiveBoost(clock_.MonoNow())) {
      v1::Boost* b = out->add_boosts();
      b->set_vm_uuid(uuid);
      b->set_resource(ToProto(r));
      b->set_factor(boost->factor);
      *b->mutable_expires_at() = rpc::ToProto(clock_.WallNow() + (boost->until - clock_.MonoNow()));
      b->set_objective_id(boost->objective_id);
      b->set_violation_id(boost->violation_id);
      b->set_is_granted(true);
    }
  }
}

absl::Status ScalerCore::ExplainVm(const v1::ExplainVmRequest& in, v1::ExplainVmResponse* out) {
  const auto vm = engine_.vms().find(in.vm_uuid());
  if (vm == engine_.vms().end()) {
    return absl::NotFoundError(absl::StrCat("no vm ", in.vm_uuid(), " on this host; known are ",
                                            engine_.vms().size(), " vms"));
  }
  const bool all = in.resource() == cv1::RESOURCE_UNSPECIFIED;
  std::vector<const Decision*> chosen;
  for (auto it = decisions_.rbegin(); it != decisions_.rend(); ++it) {
    const Decision& d = *it->second;
    if (d.vm_uuid != in.vm_uuid()) {
      continue;
    }
    if (!in.decision_id().empty() && d.decision_id == in.decision_id()) {
      chosen.push_back(&d);
    }
    if (out->recent_decisions_size() < kExplainLength) {
      if (all || ToProto(d.resource) == in.resource()) {
        *out->add_recent_decisions() = ToProto(d);
      }
    } else if (in.decision_id().empty() || !chosen.empty()) {
      break;
    }
  }
  if (in.decision_id().empty()) {
    for (const Resource r : kResources) {
      if (const Decision* d = LastDecision(in.vm_uuid(), r);
          d != nullptr && (all || ToProto(r) == in.resource())) {
        chosen.push_back(d);
      }
    }
  } else if (chosen.empty()) {
    return absl::NotFoundError(absl::StrCat("decision ", in.decision_id(), " is not kept"));
  }
  for (const Decision* d : chosen) {
    *out->add_decisions() = ToProto(*d);
    if (d->inputs != nullptr) {
      const VmObservation& seen = d->inputs->vm();
      const auto& f = d->resource == Resource::kCpu ? seen.cpu_forecast : seen.memory_forecast;
      if (f) {
        *out->add_forecasts() = ToProto(*f, d->vm_uuid, d->resource);
      }
    }
  }
  const VmObservation* seen = nullptr;
  for (const VmObservation& o : observation_->vms) {
    seen = o.uuid == in.vm_uuid() ? &o : seen;
  }
  FillVm(in.vm_uuid(), vm->second, seen, out->mutable_status());
  *out->mutable_policy() = policies_->Effective(in.vm_uuid());
  CS_ASSIGN_OR_RETURN(const auto actions, journal_->ListNewest(in.vm_uuid(), "", kExplainLength));
  for (const ActionRecord& record : actions) {
    *out->add_recent_actions() = ToProto(record);
  }
  FillBoosts(in.vm_uuid(), out);
  return absl::OkStatus();
}

absl::Status ScalerCore::ListDecisions(const v1::ListDecisionsRequest& in,
                                       v1::ListDecisionsResponse* out) {
  Violations v;
  const int64_t size = PageSize(in.page_size(), v);
  const int64_t before = NumberToken(in.page_token(), v);
  CS_RETURN_IF_ERROR(v.ToStatus());
  int64_t last = 0;
  for (auto it = decisions_.rbegin(); it != decisions_.rend(); ++it) {
    const Decision& d = *it->second;
    if ((before > 0 && it->first >= before) ||
        (!in.vm_uuid().empty() && d.vm_uuid != in.vm_uuid()) ||
        (in.resource() != cv1::RESOURCE_UNSPECIFIED && ToProto(d.resource) != in.resource()) ||
        !Contains(in.outcomes(), d.outcome) || (in.changes_only() && !d.wants_change()) ||
        !InTime(in, d.decided_at)) {
      continue;
    }
    if (out->decisions_size() == size) {
      out->set_next_page_token(absl::StrCat(last));
      break;
    }
    *out->add_decisions() = ToProto(d);
    last = it->first;
  }
  return absl::OkStatus();
}

std::map<int64_t, const ActionRecord*, std::greater<>> ScalerCore::Recommendations() const {
  std::map<int64_t, const ActionRecord*, std::greater<>> out;
  const auto add = [&out](const ActionRecord& record) {
    int64_t number = 0;
    if (absl::SimpleAtoi(record.action_id.substr(record.action_id.rfind('-') + 1), &number)) {
      out[number] = &record;
    }
  };
  for (const auto& [key, record] : pending_) {
    add(record);
  }
  for (const ActionRecord& record : ended_pending_) {
    add(record);
  }
  return out;
}

absl::Status ScalerCore::ListActions(const v1::ListActionsRequest& in,
                                     v1::ListActionsResponse* out) {
  Violations v;
  const int64_t size = PageSize(in.page_size(), v);
  CS_RETURN_IF_ERROR(v.ToStatus());
  const auto matches = [&](const ActionRecord& r) {
    return (in.vm_uuid().empty() || r.vm_uuid == in.vm_uuid()) && Contains(in.states(), r.state) &&
           Contains(in.kinds(), r.kind) && InTime(in, r.created_at) && in.plan_id().empty();
  };
  // Recommendations of this process, of which none is in the journal, come before it.
  absl::string_view token = in.page_token();
  int64_t below = std::numeric_limits<int64_t>::max();
  if (token.empty() || absl::ConsumePrefix(&token, kRecommendationToken)) {
    if (!token.empty() && !absl::SimpleAtoi(token, &below)) {
      v.Add("page_token", in.page_token(), "the next_page_token of an answer");
      return v.ToStatus();
    }
    for (const auto& [number, record] : Recommendations()) {
      if (number >= below || !matches(*record)) {
        continue;
      }
      if (out->actions_size() == size) {
        out->set_next_page_token(absl::StrCat(kRecommendationToken, below));
        return absl::OkStatus();
      }
      *out->add_actions() = ToProto(*record);
      below = number;
    }
    token = kJournalToken;
  }
  std::string before = token == kJournalToken ? "" : std::string(token);
  while (true) {
    if (out->actions_size() >= size) {
      out->set_next_page_token(before.empty() ? kJournalToken : before);
      return absl::OkStatus();
    }
    CS_ASSIGN_OR_RETURN(const auto records, journal_->ListNewest(in.vm_uuid(), before, size));
    for (const ActionRecord& r : records) {
      if (out->actions_size() >= size) {
        break;
      }
      before = r.action_id;
      if (matches(r)) {
        *out->add_actions() = ToProto(r);
      }
    }
    if (records.empty()) {
      return absl::OkStatus();
    }
  }
}

void ScalerCore::WriteMetrics(const StepResult& result) const {
  const PlanningEngine::Counters& c = engine_.counters();
  metrics_.Set("cloudscale_scaler_vms", {}, static_cast<double>(engine_.vms().size()));
  metrics_.Set("cloudscale_scaler_fail_static", {}, fail_static_reason_.empty() ? 0 : 1);
  metrics_.Set("cloudscale_scaler_lost_samples", {}, static_cast<double>(c.lost_samples));
  metrics_.Set("cloudscale_scaler_foreign_changes", {}, static_cast<double>(c.foreign_changes));
  std::map<std::string, double> outcomes;
  for (const auto& [key, d] : last_decisions_) {
    if (d->header.sequence == observation_->header.sequence) {
      outcomes[v1::DecisionOutcome_Name(static_cast<v1::DecisionOutcome>(d->outcome))] += 1;
    }
  }
  for (const auto& [outcome, count] : outcomes) {
    metrics_.Count("cloudscale_scaler_decisions_total", {{"outcome", outcome}}, count);
  }
  if (!result.retrains.empty()) {
    metrics_.Count("cloudscale_scaler_retrain_requests_total", {},
                   static_cast<double>(result.retrains.size()));
  }
}

}  // namespace cloudscale::scaler
