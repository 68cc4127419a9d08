// The handlers that change something. Those that only read: balancer_service_read.cc.
#include "services/lbctl/rpc/balancer_service.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "common/rpc/serving/engine_call.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/lbctl/rpc/convert.h"
#include "services/lbctl/rpc/request_checks.h"

namespace cloudscale::lbctl {

using rpc::Answer;
using rpc::AnswerOnEngine;
using rpc::FromProto;
using rpc::ToProto;

namespace {

constexpr absl::Duration kDefaultDrainTimeout = absl::Seconds(60);
constexpr absl::Duration kDefaultCapacityTimeToLive = absl::Seconds(30);

template <typename Request>
ServerKey KeyOf(const Request& request) {
  return {request.backend(), request.server()};
}

// The call's own deadline must leave room for the drain's bound.
void CheckDrainDeadline(const grpc::CallbackServerContext& context, absl::Duration timeout,
                        Violations& violations) {
  const gpr_timespec deadline = context.raw_deadline();
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
    return;
  }
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  const absl::Duration has = absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
  if (has < timeout) {
    violations.Add(
        "timeout", absl::FormatDuration(timeout),
        absl::StrCat("shorter than the call's deadline, which is in ", absl::FormatDuration(has)));
  }
}

}  // namespace

// A drain may outlive the interest of its caller.
class DrainReactor final : public grpc::ServerUnaryReactor {
 public:
  DrainReactor() : is_cancelled_(std::make_shared<std::atomic<bool>>(false)) {}
  void OnCancel() override { *is_cancelled_ = true; }
  void OnDone() override { delete this; }
  [[nodiscard]] std::shared_ptr<std::atomic<bool>> cancelled() const { return is_cancelled_; }

 private:
  const std::shared_ptr<std::atomic<bool>> is_cancelled_;
};

template <typename Request, typename Response>
BalancerServiceImpl::Reactor* BalancerServiceImpl::Change(
    Context* context, const Violations& violations, const Request* request, Response* response,
    std::function<absl::Status(BalancerControl&)> change) {
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response, change = std::move(change)] {
    return rpc::Once(core_.requests(), core_.Now(), *request, response,
                     [&] { return core_.Do(change); });
  });
}

void BalancerServiceImpl::FillServer(const ServerKey& key, const ServerInfo& after,
                                     v1::Server* out) const {
  // The newest view has what is wanted now; the server is as the change left it.
  const auto view = core_.snapshot();
  *out = ToWire(*view, key.backend, after);
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::SetWeight(Context* context,
                                                             const v1::SetWeightRequest* request,
                                                             v1::SetWeightResponse* response) {
  return Change(
      context, FaultsOf(*request), request, response,
      [this, request, response](BalancerControl& control) -> absl::Status {
        const ServerKey key = KeyOf(*request);
        CS_ASSIGN_OR_RETURN(
            const ServerChange change,
            request->has_absolute()
                ? control.SetWeight(key, request->absolute(), request->reason(), core_.Now(),
                                    request->validate_only())
                : control.SetWeightPercent(key, request->initial_percent(), request->reason(),
                                           core_.Now(), request->validate_only()));
        response->set_previous_weight(change.before.weight);
        *response->mutable_server() = ToWire(*control.view(), key.backend, change.after);
        return absl::OkStatus();
      });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::SetServerState(
    Context* context, const v1::SetServerStateRequest* request,
    v1::SetServerStateResponse* response) {
  return Change(context, FaultsOf(*request), request, response,
                [this, request, response](BalancerControl& control) -> absl::Status {
                  const ServerKey key = KeyOf(*request);
                  ServerState state = ServerState::kReady;
                  CS_CHECK(FromWire(request->state(), &state));  // by FaultsOf above
                  CS_ASSIGN_OR_RETURN(const ServerChange change,
                                      control.SetState(key, state, request->reason(), core_.Now(),
                                                       request->validate_only()));
                  response->set_previous_state(ToWire(change.before.state));
                  *response->mutable_server() = ToWire(*control.view(), key.backend, change.after);
                  return absl::OkStatus();
                });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::SetServerAddress(
    Context* context, const v1::SetServerAddressRequest* request,
    v1::SetServerAddressResponse* response) {
  return Change(
      context, FaultsOf(*request), request, response,
      [this, request, response](BalancerControl& control) -> absl::Status {
        const ServerKey key = KeyOf(*request);
        CS_ASSIGN_OR_RETURN(
            const ServerChange change,
            control.SetAddress(
                key, {.address = NormalAddress(request->address()), .port = request->port()},
                request->reason(), core_.Now(), request->validate_only()));
        response->set_previous_address(change.before.endpoint.address);
        response->set_previous_port(change.before.endpoint.port);
        *response->mutable_server() = ToWire(*control.view(), key.backend, change.after);
        return absl::OkStatus();
      });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::AddServer(Context* context,
                                                             const v1::AddServerRequest* request,
                                                             v1::AddServerResponse* response) {
  return Change(context, FaultsOf(*request), request, response,
                [this, request, response](BalancerControl& control) -> absl::Status {
                  const NewServer server{.key = KeyOf(*request),
                                         .endpoint = {.address = NormalAddress(request->address()),
                                                      .port = request->port()},
                                         .weight = request->weight() == 0 ? 100 : request->weight(),
                                         .is_checked = request->is_checked()};
                  CS_ASSIGN_OR_RETURN(const ServerInfo added,
                                      control.AddServer(server, request->vm_uuid(), core_.Now(),
                                                        request->validate_only()));
                  *response->mutable_server() = ToWire(*control.view(), request->backend(), added);
                  response->mutable_server()->set_vm_uuid(request->vm_uuid());
                  return absl::OkStatus();
                });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::RemoveServer(
    Context* context, const v1::RemoveServerRequest* request, v1::RemoveServerResponse* response) {
  return Change(
      context, FaultsOf(*request), request, response, [this, request](BalancerControl& control) {
        return control.RemoveServer(KeyOf(*request), core_.Now(), request->validate_only());
      });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::ApplyPlan(Context* context,
                                                             const v1::ApplyPlanRequest* request,
                                                             v1::ApplyPlanResponse* response) {
  return Change(
      context, FaultsOf(*request), request, response,
      [this, request, response](BalancerControl& control) -> absl::Status {
        PlanOrder order{
            .kind = request->plan() == v1::PLAN_SHIFT_AWAY ? PlanKind::kShiftAway
                    : request->plan() == v1::PLAN_BALANCE  ? PlanKind::kBalance
                                                           : PlanKind::kProportional,
            .backend = request->backend(),
            .server = request->server(),
            .capacity_cores = {request->capacity_cores().begin(), request->capacity_cores().end()}};
        if (request->has_remaining_ratio()) {
          order.remaining_ratio = request->remaining_ratio();
        }
        CS_ASSIGN_OR_RETURN(
            const std::vector<WeightChange> changes,
            control.ApplyPlan(order, request->reason(), core_.Now(), request->validate_only()));
        for (const WeightChange& change : changes) {
          *response->add_changes() = ToWire(change);
        }
        return absl::OkStatus();
      });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::Reconcile(Context* context,
                                                             const v1::ReconcileRequest* request,
                                                             v1::ReconcileResponse* response) {
  return Change(
      context, FaultsOf(*request), request, response,
      [this, request, response](BalancerControl& control) -> absl::Status {
        const Scope scope{.backend = request->backend(), .server = request->server()};
        std::shared_ptr<const BalancerView> view;
        if (request->choice() == v1::RECONCILE_CHOICE_APPLY_DESIRED) {
          CS_ASSIGN_OR_RETURN(const auto changes,
                              control.ApplyDesired(scope, core_.Now(), request->validate_only()));
          for (const ServerChange& change : changes) {
            *response->add_changes() = ToWire(change);
          }
          view = control.view();
        } else {
          CS_ASSIGN_OR_RETURN(view,
                              control.AcceptActual(scope, core_.Now(), request->validate_only()));
        }
        for (const NoticedDrift& drift : view->drifts) {
          const bool will_be_settled = request->validate_only() &&
                                       scope.Contains(drift.drift.key) &&
                                       request->choice() == v1::RECONCILE_CHOICE_APPLY_DESIRED;
          if (!will_be_settled) {
            *response->add_remaining() = ToWire(drift);
          }
        }
        return absl::OkStatus();
      });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::DrainServer(
    Context* context, const v1::DrainServerRequest* request, v1::DrainServerResponse* response) {
  Violations violations = FaultsOf(*request);
  const absl::Duration timeout =
      request->has_timeout() ? FromProto(request->timeout()) : kDefaultDrainTimeout;
  if (!request->validate_only()) {
    CheckDrainDeadline(*context, timeout, violations);
  }
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  auto* reactor = new DrainReactor;
  if (!engine_.Post(
          [this, request, response, reactor] { StartDrain(request, response, reactor); })) {
    reactor->Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                 "the service is stopping or overloaded; try again"));
  }
  return reactor;
}

void BalancerServiceImpl::StartDrain(const v1::DrainServerRequest* request,
                                     v1::DrainServerResponse* response, DrainReactor* reactor) {
  const ServerKey key = KeyOf(*request);
  const std::string call = absl::StrCat("drain\n", request->SerializeAsString());
  const auto known = core_.requests().Find(request->request_id(), call, core_.Now());
  if (!known.ok() || (known->has_value() && !request->validate_only())) {
    if (known.ok()) {
      response->ParseFromString(**known);
    }
    reactor->Finish(rpc::ToGrpcStatus(known.status()));
    return;
  }
  ServerInfo after;
  const absl::Status started = core_.Do([&](BalancerControl& control) -> absl::Status {
    CS_ASSIGN_OR_RETURN(const ServerChange change,
                        control.SetState(key, ServerState::kDrain, request->reason(), core_.Now(),
                                         request->validate_only()));
    after = change.after;
    return absl::OkStatus();
  });
  if (!started.ok() || request->validate_only()) {
    response->set_is_drained(after.stats.current_sessions == 0);
    response->set_remaining_sessions(after.stats.current_sessions);
    FillServer(key, after, response->mutable_server());
    reactor->Finish(rpc::ToGrpcStatus(started));
    return;
  }
  const MonoTime now = core_.clock().MonoNow();
  core_.WaitForDrain(
      {.key = key,
       .started = now,
       .deadline =
           now + (request->has_timeout() ? FromProto(request->timeout()) : kDefaultDrainTimeout),
       .force = request->force(),
       .is_cancelled = [cancelled = reactor->cancelled()] { return cancelled->load(); },
       .done =
           [this, key, call, id = request->request_id(), response, reactor](
               const absl::Status& status, int64_t sessions, absl::Duration elapsed) {
             const auto view = core_.snapshot();
             const ServerInfo* server = FindServer(view->backends, key);
             response->set_is_drained(status.ok() && sessions == 0);
             response->set_remaining_sessions(sessions);
             *response->mutable_elapsed() = ToProto(elapsed);
             if (server != nullptr) {
               FillServer(key, *server, response->mutable_server());
             }
             absl::Status answer = status;
             if (status.ok()) {
               answer =
                   core_.requests().Remember(id, call, response->SerializeAsString(), core_.Now());
             }
             reactor->Finish(rpc::ToGrpcStatus(answer));
           }});
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::ReportCapacity(
    Context* context, const v1::ReportCapacityRequest* request,
    v1::ReportCapacityResponse* response) {
  const Violations violations = FaultsOf(*request);
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response]() -> absl::Status {
    std::vector<VmCapacity> vms;
    vms.reserve(static_cast<size_t>(request->vms_size()));
    for (const v1::VmCapacity& vm : request->vms()) {
      vms.push_back({.vm_uuid = vm.vm_uuid(),
                     .granted_cores = vm.granted_cores(),
                     .coming_cores =
                         vm.has_coming_cores() ? std::optional(vm.coming_cores()) : std::nullopt});
    }
    CS_ASSIGN_OR_RETURN(
        const LbctlCore::CapacityAnswer answer,
        core_.ReportCapacity(request->host_id(), vms,
                             request->has_time_to_live() ? FromProto(request->time_to_live())
                                                         : kDefaultCapacityTimeToLive));
    for (const std::string& uuid : answer.followed_vm_uuids) {
      response->add_followed_vm_uuids(uuid);
    }
    for (const WeightChange& change : answer.changes) {
      *response->add_changes() = ToWire(change);
    }
    const auto follows = core_.follows();
    for (const std::string& backend : answer.backends) {
      *response->add_follows() = ToWire(backend, follows->at(backend));
    }
    return absl::OkStatus();
  });
}

}  // namespace cloudscale::lbctl
