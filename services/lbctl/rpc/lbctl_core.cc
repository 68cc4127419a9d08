#include "services/lbctl/rpc/lbctl_core.h"

#include <algorithm>
#include <utility>

#include "common/logging/log.h"
#include "common/status/macros.h"

namespace cloudscale::lbctl {
namespace {

// Heartbeats of streams and cancelled drains need a look this often.
constexpr absl::Duration kMaxTick = absl::Milliseconds(500);
constexpr absl::Duration kDrainTick = absl::Milliseconds(100);

}  // namespace

LbctlCore::LbctlCore(Options options, std::unique_ptr<Balancer> balancer,
                     const rpc::Environment& environment)
    : options_(std::move(options)),
      environment_(environment),
      balancer_(std::move(balancer)),
      control_(*balancer_, options_.vm_uuids),
      follower_(options_.follows),
      next_poll_(environment.clock.MonoNow()),
      snapshot_(control_.view()) {
  auto follows = std::make_shared<Follows>();
  for (const auto& [backend, policy] : options_.follows) {
    (*follows)[backend].detail = "no report yet";
  }
  follows_ = std::move(follows);
}

absl::StatusOr<std::unique_ptr<LbctlCore>> LbctlCore::Open(Options options,
                                                           std::unique_ptr<Balancer> balancer,
                                                           const rpc::Environment& environment) {
  auto core = std::unique_ptr<LbctlCore>(
      new LbctlCore(std::move(options), std::move(balancer), environment));
  CS_ASSIGN_OR_RETURN(core->store_, DesiredStore::Open(core->options_.state_path));
  CS_ASSIGN_OR_RETURN(DesiredState desired, core->store_->Load());
  core->control_.Restore(std::move(desired));
  CS_ASSIGN_OR_RETURN(rpc::RequestLog requests,
                      rpc::RequestLog::Load(core->store_->database(), core->Now()));
  core->requests_.emplace(std::move(requests));
  return core;
}

void LbctlCore::Tick() {
  const MonoTime now = environment_.clock.MonoNow();
  if (now < next_poll_ && drains_.empty()) {
    return;
  }
  const bool is_due = now >= next_poll_;
  const bool was_ok = control_.view()->status.ok();
  const absl::Status status = control_.Poll(Now());
  if (status.ok() != was_ok) {
    LogLine(status.ok() ? LogLevel::kInfo : LogLevel::kWarning, "balancer_link")
        .Field("status", status);
  }
  Publish().IgnoreError();
  if (is_due) {
    next_poll_ = now + options_.poll_period;
    environment_.metrics.Count("cloudscale_lbctl_polls_total",
                               {{"outcome", status.ok() ? "ok" : "failed"}}, 1);
    environment_.metrics.Set("cloudscale_lbctl_drifts", {},
                             static_cast<double>(control_.view()->drifts.size()));
    environment_.metrics.Set("cloudscale_lbctl_up", {}, status.ok() ? 1 : 0);
    std::set<std::string> followed;
    for (const auto& [backend, policy] : options_.follows) {
      followed.insert(backend);
    }
    Follow(followed, nullptr);
    if (status.ok() && on_polled_) {
      on_polled_(*control_.view());
    }
  }
  CheckDrains();
}

absl::Duration LbctlCore::TickPeriod() const {
  const absl::Duration period = std::min(options_.poll_period, kMaxTick);
  return drains_.empty() ? period : std::min(period, kDrainTick);
}

absl::Status LbctlCore::Do(const std::function<absl::Status(BalancerControl&)>& change) {
  const absl::Status status = change(control_);
  const absl::Status published = Publish();
  return status.ok() ? published : status;
}

absl::Status LbctlCore::Publish() {
  const absl::Status saved = store_->Save(control_.TakeChanged());
  if (!saved.ok()) {
    environment_.metrics.Count("cloudscale_lbctl_save_failures_total", {}, 1);
    LogLine(LogLevel::kError, "wanted_state_not_saved").Field("status", saved);
  }
  MutexLock lock(&mutex_);
  snapshot_ = control_.view();
  return saved;
}

std::shared_ptr<const BalancerView> LbctlCore::snapshot() const {
  MutexLock lock(&mutex_);
  return snapshot_;
}

absl::StatusOr<LbctlCore::CapacityAnswer> LbctlCore::ReportCapacity(
    const std::string& host_id, const std::vector<VmCapacity>& vms, absl::Duration time_to_live) {
  const absl::Status taken =
      capacity_.Report(host_id, vms, time_to_live, environment_.clock.MonoNow());
  environment_.metrics.Count("cloudscale_lbctl_capacity_reports_total",
                             {{"result", taken.ok() ? "taken" : "refused"}}, 1);
  CS_RETURN_IF_ERROR(taken);
  std::map<std::string, std::set<std::string>> backends_of_vm;
  for (const auto& [key, uuid] : control_.view()->vm_uuids) {
    if (options_.follows.contains(key.backend)) {
      backends_of_vm[uuid].insert(key.backend);
    }
  }
  CapacityAnswer answer;
  std::set<std::string> backends;
  for (const VmCapacity& vm : vms) {
    const auto known = backends_of_vm.find(vm.vm_uuid);
    if (known != backends_of_vm.end()) {
      answer.followed_vm_uuids.push_back(vm.vm_uuid);
      backends.insert(known->second.begin(), known->second.end());
    }
  }
  Follow(backends, &answer.changes);
  answer.backends.assign(backends.begin(), backends.end());
  return answer;
}

void LbctlCore::Follow(const std::set<std::string>& backends, std::vector<WeightChange>* changes) {
  if (backends.empty()) {
    return;
  }
  auto next = std::make_shared<Follows>(*follows());
  for (const std::string& backend : backends) {
    FollowOne(backend, next->at(backend), changes);
  }
  std::map<FollowOutcome, int> counts;
  for (const auto& [backend, state] : *next) {
    ++counts[state.outcome];
  }
  for (int i = static_cast<int>(FollowOutcome::kChanged);
       i <= static_cast<int>(FollowOutcome::kBalancerFailed); ++i) {
    const auto outcome = static_cast<FollowOutcome>(i);
    environment_.metrics.Set("cloudscale_lbctl_followed_backends",
                             {{"outcome", std::string(NameOf(outcome))}}, counts[outcome]);
  }
  environment_.metrics.Set("cloudscale_lbctl_capacity_hosts", {},
                           static_cast<double>(capacity_.host_count(environment_.clock.MonoNow())));
  MutexLock lock(&mutex_);
  follows_ = std::move(next);
}

void LbctlCore::FollowOne(const std::string& backend, FollowState& state,
                          std::vector<WeightChange>* changes) {
  const MonoTime now = environment_.clock.MonoNow();
  const auto judge = [&] {
    return follower_.Judge(
        backend, *control_.view(),
        [&](const std::string& uuid) { return capacity_.UsableCores(uuid, now); }, now);
  };
  CapacityFollower::Verdict verdict = judge();
  if (verdict.outcome == FollowOutcome::kChanged) {
    control_.Poll(Now()).IgnoreError();  // judged by its view
    verdict = judge();
  }
  if (verdict.outcome == FollowOutcome::kChanged) {
    const absl::Status applied = control_.ApplyWeights(verdict.changes, "follows granted capacity",
                                                       Now(), WeightOwner::kCapacity);
    follower_.OnTried(backend, now);
    environment_.metrics.Count("cloudscale_lbctl_follow_changes_total",
                               {{"result", applied.ok() ? "done" : "failed"}}, 1);
    LogLine(applied.ok() ? LogLevel::kInfo : LogLevel::kWarning, "weights_follow_capacity")
        .Field("backend", backend)
        .Field("changes", verdict.changes.size())
        .Field("status", applied);
    Publish().IgnoreError();  // counted there
    if (applied.ok()) {
      state.changed_at = Now();
      if (changes != nullptr) {
        changes->insert(changes->end(), verdict.changes.begin(), verdict.changes.end());
      }
    } else {
      verdict = {FollowOutcome::kBalancerFailed, std::string(applied.message()), {}};
    }
  }
  state.outcome = verdict.outcome;
  state.detail = std::move(verdict.detail);
}

std::shared_ptr<const LbctlCore::Follows> LbctlCore::follows() const {
  MutexLock lock(&mutex_);
  return follows_;
}

void LbctlCore::CheckDrains() {
  drains_.remove_if([this](Drain& drain) { return CheckDrain(drain); });
}

bool LbctlCore::CheckDrain(Drain& drain) {
  const MonoTime now = environment_.clock.MonoNow();
  const absl::Duration elapsed = now - drain.started;
  if (drain.is_cancelled()) {
    drain.done(absl::CancelledError("the caller went away; the server stays in drain"), 0, elapsed);
    return true;
  }
  const ServerInfo* server = FindServer(control_.view()->backends, drain.key);
  if (server == nullptr) {
    drain.done(absl::NotFoundError(drain.key.ToString() + " went away while draining"), 0, elapsed);
    return true;
  }
  int64_t sessions = server->stats.current_sessions;
  const bool is_known = control_.view()->status.ok();
  if (is_known && sessions == 0) {
    drain.done(absl::OkStatus(), 0, elapsed);
    return true;
  }
  if (now < drain.deadline) {
    return false;
  }
  absl::Status status = control_.view()->status;
  if (drain.force && status.ok()) {
    status = control_.EndSessions(drain.key);
    if (status.ok() && control_.Poll(Now()).ok()) {
      server = FindServer(control_.view()->backends, drain.key);
      sessions = server == nullptr ? 0 : server->stats.current_sessions;
      Publish().IgnoreError();
    }
  }
  drain.done(status, sessions, elapsed);
  return true;
}

void LbctlCore::EndDrains() {
  for (Drain& drain : drains_) {
    drain.done(absl::UnavailableError("the service is stopping; the server stays in drain"), 0,
               environment_.clock.MonoNow() - drain.started);
  }
  drains_.clear();
}

}  // namespace cloudscale::lbctl
