#include "services/lbctl/balancer_control.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"

namespace cloudscale::lbctl {
namespace {

absl::Status Unverified(const ServerKey& key, absl::string_view what, absl::string_view wanted,
                        absl::string_view actual) {
  return absl::InternalError(absl::StrCat(key.ToString(), ": the balancer took ", what, " ", wanted,
                                          " but shows ", actual));
}

bool CountersFell(const std::vector<BackendInfo>& before, const std::vector<BackendInfo>& after) {
  for (const BackendInfo& backend : after) {
    for (const ServerInfo& server : backend.servers) {
      const ServerInfo* old = FindServer(before, {backend.name, server.name});
      if (old != nullptr && server.stats.total_sessions < old->stats.total_sessions) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

BalancerControl::BalancerControl(Balancer& balancer, std::map<ServerKey, std::string> vm_uuids)
    : balancer_(balancer), vm_uuids_(std::move(vm_uuids)) {}

absl::Status BalancerControl::Read() {
  CS_ASSIGN_OR_RETURN(BalancerState state, balancer_.Read());
  info_ = std::move(state.info);
  backends_ = std::move(state.backends);
  return absl::OkStatus();
}

absl::Status BalancerControl::Poll(absl::Time now) {
  absl::Status status = Read();
  if (status.ok()) {
    const Reconciliation first = Reconcile(desired_, backends_, info_.epoch);
    SetDesired(first.desired);
    for (const Command& command : first.commands) {
      const absl::Status executed = Execute(command);
      if (!executed.ok() && status.ok()) {
        status = WithContext(absl::StrCat("apply to ", command.key.ToString()), executed);
      }
    }
    if (!first.commands.empty() && status.ok()) {
      status = Read();
    }
    Reconciliation last = Reconcile(desired_, backends_, info_.epoch);
    SetDesired(std::move(last.desired));
    drifts_ = std::move(last.drifts);
  }
  Publish(now, status);
  return status;
}

void BalancerControl::SetDesired(DesiredState next) {
  for (const auto& [key, wanted] : next) {
    const auto old = desired_.find(key);
    if (old == desired_.end() || !(old->second == wanted)) {
      changed_[key] = wanted;
    }
  }
  for (const auto& [key, wanted] : desired_) {
    if (!next.contains(key)) {
      changed_[key] = DesiredServer();
    }
  }
  desired_ = std::move(next);
}

void BalancerControl::Publish(absl::Time now, absl::Status status) {
  auto next = std::make_shared<BalancerView>();
  std::map<std::pair<ServerKey, std::string>, absl::Time> still;
  for (const Drift& drift : drifts_) {
    const std::pair<ServerKey, std::string> id(drift.key, drift.field);
    const auto known = noticed_at_.find(id);
    const absl::Time at = known == noticed_at_.end() ? now : known->second;
    still[id] = at;
    next->drifts.push_back({.drift = drift, .noticed_at = at});
  }
  noticed_at_ = std::move(still);
  next->polled_at = status.ok() ? now : view_->polled_at;
  next->is_reset = view_->status.ok() && status.ok() &&
                   (view_->info.epoch != info_.epoch || CountersFell(view_->backends, backends_));
  next->status = std::move(status);
  next->info = info_;
  next->backends = backends_;
  next->desired = desired_;
  next->vm_uuids = vm_uuids_;
  for (const auto& [key, wanted] : desired_) {
    if (!wanted.vm_uuid.empty()) {
      next->vm_uuids[key] = wanted.vm_uuid;
    }
  }
  for (BackendInfo& backend : next->backends) {
    for (ServerInfo& server : backend.servers) {
      const auto wanted = desired_.find({backend.name, server.name});
      server.is_dynamic =
          server.is_dynamic || (wanted != desired_.end() && wanted->second.presence.has_value());
    }
  }
  view_ = std::move(next);
}

absl::StatusOr<const ServerInfo*> BalancerControl::Find(const ServerKey& key) const {
  const ServerInfo* server = FindServer(backends_, key);
  if (server != nullptr) {
    return server;
  }
  std::vector<std::string> known;
  const BackendInfo* backend = FindBackend(backends_, key.backend);
  if (backend == nullptr) {
    for (const BackendInfo& other : backends_) {
      known.push_back(other.name);
    }
    return absl::NotFoundError(
        absl::StrCat("no backend '", key.backend, "'; there are: ", absl::StrJoin(known, ", ")));
  }
  for (const ServerInfo& other : backend->servers) {
    known.push_back(other.name);
  }
  return absl::NotFoundError(absl::StrCat("no server '", key.server, "' in backend '", key.backend,
                                          "'; there are: ", absl::StrJoin(known, ", ")));
}

absl::Status BalancerControl::CheckRoom(const ServerKey& key) const {
  if (desired_.size() >= kMaxDesired && !desired_.contains(key)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the wanted state of ", desired_.size(), " servers is kept, the limit"));
  }
  return absl::OkStatus();
}

absl::Status BalancerControl::Execute(const Command& command) {
  struct Visitor {
    Balancer& balancer;
    const ServerKey& key;
    absl::Status operator()(const SetWeightCommand& c) const {
      return balancer.SetWeight(key, c.weight);
    }
    absl::Status operator()(const SetStateCommand& c) const {
      return balancer.SetState(key, c.state);
    }
    absl::Status operator()(const SetAddressCommand& c) const {
      return balancer.SetAddress(key, c.endpoint);
    }
    absl::Status operator()(const AddServerCommand& c) const {
      return balancer.AddServer(c.server);
    }
  };
  return std::visit(Visitor{balancer_, command.key}, command.what);
}

DesiredServer& BalancerControl::Want(const ServerKey& key, const std::string& reason,
                                     absl::Time now) {
  DesiredServer& wanted = desired_[key];
  wanted.reason = reason;
  wanted.set_at = now;
  return wanted;
}

absl::StatusOr<ServerChange> BalancerControl::SetWeight(const ServerKey& key, int weight,
                                                        const std::string& reason, absl::Time now,
                                                        bool validate_only) {
  return SetWeightFor(WeightOwner::kOperator, key, weight, reason, now, validate_only);
}

absl::StatusOr<ServerChange> BalancerControl::SetWeightFor(WeightOwner owner, const ServerKey& key,
                                                           int weight, const std::string& reason,
                                                           absl::Time now, bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(const ServerInfo* server, Find(key));
  CS_RETURN_IF_ERROR(CheckRoom(key));
  const BackendInfo* backend = FindBackend(backends_, key.backend);
  if (!backend->has_dynamic_weights) {
    return absl::FailedPreconditionError(absl::StrCat("backend '", key.backend, "' balances by '",
                                                      backend->algorithm,
                                                      "', which takes no weights at run time"));
  }
  ServerChange change{.key = key, .before = *server, .after = *server};
  change.after.weight = weight;
  if (validate_only) {
    return change;
  }
  CS_RETURN_IF_ERROR(balancer_.SetWeight(key, weight));
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(server, Find(key));
  if (server->weight != weight) {
    return Unverified(key, "weight", absl::StrCat(weight), absl::StrCat(server->weight));
  }
  change.after = *server;
  DesiredServer& wanted = Want(key, reason, now);
  wanted.weight = {.value = weight, .confirmed_epoch = info_.epoch};
  wanted.follows_capacity = owner == WeightOwner::kCapacity;
  changed_[key] = wanted;
  Poll(now).IgnoreError();  // done and verified; trouble with others is in the view
  return change;
}

absl::StatusOr<ServerChange> BalancerControl::SetWeightPercent(const ServerKey& key, double percent,
                                                               const std::string& reason,
                                                               absl::Time now, bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(const ServerInfo* server, Find(key));
  return SetWeight(key, WeightFromPercent(server->initial_weight, percent), reason, now,
                   validate_only);
}

absl::StatusOr<ServerChange> BalancerControl::SetState(const ServerKey& key, ServerState state,
                                                       const std::string& reason, absl::Time now,
                                                       bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(const ServerInfo* server, Find(key));
  CS_RETURN_IF_ERROR(CheckRoom(key));
  ServerChange change{.key = key, .before = *server, .after = *server};
  change.after.state = state;
  if (validate_only) {
    return change;
  }
  CS_RETURN_IF_ERROR(balancer_.SetState(key, state));
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(server, Find(key));
  if (server->state != state) {
    return Unverified(key, "state", NameOf(state), NameOf(server->state));
  }
  change.after = *server;
  Want(key, reason, now).state = {.value = state, .confirmed_epoch = info_.epoch};
  changed_[key] = desired_[key];
  Poll(now).IgnoreError();
  return change;
}

absl::StatusOr<ServerChange> BalancerControl::SetAddress(const ServerKey& key,
                                                         const Endpoint& endpoint,
                                                         const std::string& reason, absl::Time now,
                                                         bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(const ServerInfo* server, Find(key));
  CS_RETURN_IF_ERROR(CheckRoom(key));
  ServerChange change{.key = key, .before = *server, .after = *server};
  const Endpoint wanted{.address = endpoint.address,
                        .port = endpoint.port == 0 ? server->endpoint.port : endpoint.port};
  change.after.endpoint = wanted;
  if (validate_only) {
    return change;
  }
  CS_RETURN_IF_ERROR(balancer_.SetAddress(key, wanted));
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(server, Find(key));
  if (!(server->endpoint == wanted)) {
    return Unverified(key, "address", absl::StrCat(wanted.address, " port ", wanted.port),
                      absl::StrCat(server->endpoint.address, " port ", server->endpoint.port));
  }
  change.after = *server;
  Want(key, reason, now).endpoint = {.value = wanted, .confirmed_epoch = info_.epoch};
  changed_[key] = desired_[key];
  Poll(now).IgnoreError();
  return change;
}

absl::StatusOr<ServerInfo> BalancerControl::AddServer(const NewServer& server,
                                                      const std::string& vm_uuid, absl::Time now,
                                                      bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  const ServerKey& key = server.key;
  if (FindBackend(backends_, key.backend) == nullptr) {
    return Find(key).status();
  }
  if (FindServer(backends_, key) != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("server '", key.ToString(), "' exists"));
  }
  CS_RETURN_IF_ERROR(CheckRoom(key));
  if (validate_only) {
    ServerInfo planned;
    planned.name = key.server;
    planned.endpoint = server.endpoint;
    planned.weight = server.weight;
    planned.initial_weight = server.weight;
    planned.is_dynamic = true;
    return planned;
  }
  CS_RETURN_IF_ERROR(balancer_.AddServer(server));
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(const ServerInfo* added, Find(key));
  DesiredServer& wanted = Want(key, "added", now);
  wanted.presence = {.value = server, .confirmed_epoch = info_.epoch};
  wanted.vm_uuid = vm_uuid;
  changed_[key] = wanted;
  ServerInfo result = *added;
  result.is_dynamic = true;
  Poll(now).IgnoreError();
  return result;
}

absl::Status BalancerControl::RemoveServer(const ServerKey& key, absl::Time now,
                                           bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  CS_ASSIGN_OR_RETURN(const ServerInfo* server, Find(key));
  const auto wanted = desired_.find(key);
  if (!server->is_dynamic && (wanted == desired_.end() || !wanted->second.presence.has_value())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "server '", key.ToString(), "' is of the balancer's configuration and was not added here"));
  }
  if (server->state != ServerState::kMaint || server->stats.current_sessions > 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "server '", key.ToString(), "' is in state ", NameOf(server->state), " with ",
        server->stats.current_sessions, " sessions; it must be in maint without sessions"));
  }
  if (validate_only) {
    return absl::OkStatus();
  }
  CS_RETURN_IF_ERROR(balancer_.RemoveServer(key));
  desired_.erase(key);
  changed_[key] = DesiredServer();
  Poll(now).IgnoreError();
  return absl::OkStatus();
}

absl::Status BalancerControl::EndSessions(const ServerKey& key) {
  return balancer_.EndSessions(key);
}

absl::Status BalancerControl::ApplyWeights(const std::vector<WeightChange>& changes,
                                           const std::string& reason, absl::Time now,
                                           WeightOwner owner) {
  const DesiredState before = desired_;
  for (size_t i = 0; i < changes.size(); ++i) {
    const absl::Status status =
        SetWeightFor(owner, changes[i].key, changes[i].after, reason, now, false).status();
    if (status.ok()) {
      continue;
    }
    // The refused one may have taken effect all the same.
    balancer_.SetWeight(changes[i].key, changes[i].before).IgnoreError();
    for (size_t j = 0; j < i; ++j) {
      const absl::Status undone = balancer_.SetWeight(changes[j].key, changes[j].before);
      if (!undone.ok()) {
        return WithContext(absl::StrCat("plan undone in part only (", changes[j].key.ToString(),
                                        ": ", undone.message(), ")"),
                           status);
      }
    }
    SetDesired(before);
    Poll(now).IgnoreError();
    return WithContext(absl::StrCat("plan undone, ", changes[i].key.ToString()), status);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<WeightChange>> BalancerControl::ApplyPlan(const PlanOrder& order,
                                                                     const std::string& reason,
                                                                     absl::Time now,
                                                                     bool validate_only) {
  CS_RETURN_IF_ERROR(Poll(now));
  const BackendInfo* backend = FindBackend(backends_, order.backend);
  if (backend == nullptr) {
    return Find({.backend = order.backend, .server = ""}).status();
  }
  CS_ASSIGN_OR_RETURN(const std::vector<WeightChange> changes, MakePlan(*backend, order));
  if (!validate_only) {
    CS_RETURN_IF_ERROR(ApplyWeights(changes, reason, now));
  }
  return changes;
}

absl::StatusOr<std::vector<ServerChange>> BalancerControl::ApplyDesired(const Scope& scope,
                                                                        absl::Time now,
                                                                        bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  const Reconciliation found = Reconcile(desired_, backends_, info_.epoch, scope);
  std::map<ServerKey, ServerChange> changes;
  const std::vector<BackendInfo> before = backends_;
  for (const Command& command : found.commands) {
    if (!scope.Contains(command.key)) {
      continue;
    }
    const ServerInfo* old = FindServer(before, command.key);
    ServerInfo absent;
    absent.name = command.key.server;
    ServerChange& change = changes[command.key];
    change.key = command.key;
    change.before = old == nullptr ? absent : *old;
    if (!validate_only) {
      CS_RETURN_IF_ERROR(WithContext(command.key.ToString(), Execute(command)));
    }
  }
  if (!validate_only) {
    CS_RETURN_IF_ERROR(Poll(now));
  }
  std::vector<ServerChange> out;
  for (auto& [key, change] : changes) {
    const DesiredServer& wanted = found.desired.at(key);
    change.after = change.before;
    change.after.weight = wanted.weight ? wanted.weight->value : change.before.weight;
    change.after.state = wanted.state ? wanted.state->value : change.before.state;
    out.push_back(change);
  }
  return out;
}

absl::StatusOr<std::shared_ptr<const BalancerView>> BalancerControl::AcceptActual(
    const Scope& scope, absl::Time now, bool validate_only) {
  CS_RETURN_IF_ERROR(Read());
  DesiredState accepted = lbctl::AcceptActual(desired_, backends_, info_.epoch, scope);
  if (validate_only) {
    auto planned = std::make_shared<BalancerView>(*view_);
    planned->drifts.clear();
    for (Drift& drift : Reconcile(accepted, backends_, info_.epoch).drifts) {
      planned->drifts.push_back({.drift = std::move(drift), .noticed_at = now});
    }
    return std::shared_ptr<const BalancerView>(std::move(planned));
  }
  SetDesired(std::move(accepted));
  CS_RETURN_IF_ERROR(Poll(now));
  return view_;
}

}  // namespace cloudscale::lbctl
