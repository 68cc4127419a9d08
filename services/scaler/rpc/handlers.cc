#include "services/scaler/rpc/handlers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "services/scaler/rpc/request_checks.h"

namespace cloudscale::scaler {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr size_t kMaxRequestId = 128;

ServerUnaryReactor* Finish(CallbackServerContext* context, const absl::Status& status) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpcStatus(status));
  return reactor;
}

// Runs `call` on the engine thread; the reactor finishes there.
template <typename Call>
ServerUnaryReactor* OnEngine(Runtime& runtime, CallbackServerContext* context, Call call) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool is_posted = runtime.Post([reactor, call = std::move(call)](ScalerCore* core) {
    reactor->Finish(
        rpc::ToGrpcStatus(core == nullptr ? absl::UnavailableError("shutting down") : call(*core)));
  });
  if (!is_posted) {
    reactor->Finish(rpc::ToGrpcStatus(
        absl::ResourceExhaustedError("too many requests are waiting; try again")));
  }
  return reactor;
}

template <typename Request, typename Response>
using Method = absl::Status (ScalerCore::*)(const Request&, Response*);

template <typename Request, typename Response>
ServerUnaryReactor* Ask(Runtime& runtime, CallbackServerContext* context, const Request* in,
                        Response* out, Method<Request, Response> method) {
  return OnEngine(runtime, context,
                  [in, out, method](ScalerCore& core) { return (core.*method)(*in, out); });
}

// A changing request: with a request id, once.
template <typename Request, typename Response>
ServerUnaryReactor* Change(Runtime& runtime, AnswerLog& answers, CallbackServerContext* context,
                           const Request* in, Response* out, Method<Request, Response> method) {
  if (in->request_id().empty() || in->request_id().size() > kMaxRequestId) {
    Violations v;
    v.Add("request_id", in->request_id(), "a UUID chosen by the caller");
    return Finish(context, v.ToStatus());
  }
  return OnEngine(runtime, context, [&runtime, &answers, in, out, method](ScalerCore& core) {
    const std::string key = absl::StrCat(Request::descriptor()->name(), "/", in->request_id());
    const MonoTime now = runtime.clock().MonoNow();
    bool is_dry = false;
    if constexpr (requires { in->validate_only(); }) {
      is_dry = in->validate_only();
    }
    if (!is_dry) {
      if (const std::string* known = answers.Find(key, now); known != nullptr) {
        return out->ParseFromString(*known) ? absl::OkStatus()
                                            : absl::InternalError("kept answer is damaged");
      }
    }
    absl::Status status = (core.*method)(*in, out);
    if (status.ok() && !is_dry) {
      answers.Keep(key, out->SerializeAsString(), now);
    }
    return status;
  });
}

template <typename Response, typename Request>
grpc::ServerWriteReactor<Response>* Watch(rpc::WatchHub<Response>& hub, const Request& in,
                                          typename rpc::WatchHub<Response>::Filter filter) {
  Violations v;
  rpc::WatchOptions options = rpc::ParseWatch(in, v);
  if (!v.empty()) {
    return new rpc::RefusedStream<Response>(v.ToStatus());
  }
  return hub.Open(std::move(options), std::move(filter));
}

bool ChangesSomething(const v1::Decision& d) {
  return d.outcome() != v1::DECISION_OUTCOME_HELD && d.outcome() != v1::DECISION_OUTCOME_PAUSED &&
         d.outcome() != v1::DECISION_OUTCOME_DEFERRED;
}

absl::Status NoMigration(absl::string_view what) {
  return absl::UnimplementedError(
      absl::StrCat(what,
                   " needs the capability live_migration, which this host's hypervisor "
                   "backend does not offer"));
}

}  // namespace

const std::string* AnswerLog::Find(const std::string& key, MonoTime now) {
  while (!entries_.empty() && now - entries_.front().at > kKeep) {
    by_key_.erase(entries_.front().key);
    entries_.pop_front();
  }
  const auto it = by_key_.find(key);
  return it == by_key_.end() ? nullptr : &it->second->answer;
}

void AnswerLog::Keep(const std::string& key, std::string answer, MonoTime now) {
  if (entries_.size() >= kMaxKept) {
    by_key_.erase(entries_.front().key);
    entries_.pop_front();
  }
  entries_.push_back({key, std::move(answer), now});
  by_key_[key] = std::prev(entries_.end());
}

#define CS_ASK(Class, Name)                                                                    \
  ServerUnaryReactor* Class::Name(CallbackServerContext* context, const v1::Name##Request* in, \
                                  v1::Name##Response* out) {                                   \
    return Ask(runtime_, context, in, out, &ScalerCore::Name);                                 \
  }
#define CS_CHANGE(Class, Name)                                                                 \
  ServerUnaryReactor* Class::Name(CallbackServerContext* context, const v1::Name##Request* in, \
                                  v1::Name##Response* out) {                                   \
    return Change(runtime_, answers_, context, in, out, &ScalerCore::Name);                    \
  }
CS_ASK(ScalerHandlers, ExplainVm)
CS_ASK(ScalerHandlers, ListPolicies)
CS_ASK(ScalerHandlers, GetPolicy)
CS_CHANGE(ScalerHandlers, UpdatePolicy)
CS_CHANGE(ScalerHandlers, DeletePolicy)
CS_CHANGE(ScalerHandlers, SetMode)
CS_CHANGE(ScalerHandlers, SetPause)
CS_ASK(ScalerHandlers, ListDecisions)
CS_ASK(ScalerHandlers, ListActions)
CS_ASK(ScalerHandlers, GetAction)
CS_CHANGE(ScalerHandlers, ApproveAction)
CS_CHANGE(ScalerHandlers, SkipAction)
CS_CHANGE(ScalerHandlers, UndoAction)
CS_CHANGE(ScalerHandlers, RestoreOriginals)
CS_CHANGE(ScalerHandlers, RequestBoost)
CS_CHANGE(ReservationHandlers, Reserve)
CS_CHANGE(ReservationHandlers, Renew)
CS_CHANGE(ReservationHandlers, Commit)
CS_CHANGE(ReservationHandlers, Release)
CS_ASK(ReservationHandlers, ListReservations)
#undef CS_ASK
#undef CS_CHANGE

ServerUnaryReactor* ScalerHandlers::GetStatus(CallbackServerContext* context,
                                              const v1::GetStatusRequest*,
                                              v1::GetStatusResponse* out) {
  *out = runtime_.snapshot()->status;
  return Finish(context, absl::OkStatus());
}

ServerUnaryReactor* ScalerHandlers::GetCapacity(CallbackServerContext* context,
                                                const v1::GetCapacityRequest*,
                                                v1::GetCapacityResponse* out) {
  *out = runtime_.snapshot()->capacity;
  return Finish(context, absl::OkStatus());
}

ServerUnaryReactor* ScalerHandlers::ListVmStates(CallbackServerContext* context,
                                                 const v1::ListVmStatesRequest* in,
                                                 v1::ListVmStatesResponse* out) {
  Violations v;
  const int64_t size = PageSize(in->page_size(), v);
  if (!v.empty()) {
    return Finish(context, v.ToStatus());
  }
  const auto snapshot = runtime_.snapshot();
  for (const v1::VmStatus& vm : snapshot->view.vms()) {
    if (vm.vm_uuid() <= in->page_token()) {
      continue;
    }
    if (out->vms_size() == size) {
      out->set_next_page_token(out->vms(out->vms_size() - 1).vm_uuid());
      break;
    }
    *out->add_vms() = vm;
  }
  return Finish(context, absl::OkStatus());
}

ServerUnaryReactor* ScalerHandlers::ListConflicts(CallbackServerContext* context,
                                                  const v1::ListConflictsRequest* in,
                                                  v1::ListConflictsResponse*) {
  Violations v;
  (void)PageSize(in->page_size(), v);
  return Finish(context, v.ToStatus());
}

grpc::ServerWriteReactor<v1::WatchStatusResponse>* ScalerHandlers::WatchStatus(
    CallbackServerContext*, const v1::WatchStatusRequest* in) {
  return Watch(*runtime_.hubs().status, *in, {});
}

grpc::ServerWriteReactor<v1::WatchDecisionsResponse>* ScalerHandlers::WatchDecisions(
    CallbackServerContext*, const v1::WatchDecisionsRequest* in) {
  return Watch(*runtime_.hubs().decisions, *in,
               [uuid = in->vm_uuid(), changes = in->changes_only()](const auto& message) {
                 return (uuid.empty() || message.decision().vm_uuid() == uuid) &&
                        (!changes || ChangesSomething(message.decision()));
               });
}

grpc::ServerWriteReactor<v1::WatchActionsResponse>* ScalerHandlers::WatchActions(
    CallbackServerContext*, const v1::WatchActionsRequest* in) {
  return Watch(*runtime_.hubs().actions, *in, [uuid = in->vm_uuid()](const auto& message) {
    return uuid.empty() || message.action().vm_uuid() == uuid;
  });
}

#define CS_NO_MIGRATION(Name)                                                                  \
  ServerUnaryReactor* MigrationHandlers::Name(CallbackServerContext* context,                  \
                                              const v1::Name##Request*, v1::Name##Response*) { \
    return Finish(context, NoMigration(#Name));                                                \
  }
CS_NO_MIGRATION(PlanMigration)
CS_NO_MIGRATION(StartMigration)
CS_NO_MIGRATION(EvacuateHost)
CS_NO_MIGRATION(LeaveMaintenance)
#undef CS_NO_MIGRATION

ServerUnaryReactor* MigrationHandlers::GetMigration(CallbackServerContext* context,
                                                    const v1::GetMigrationRequest* in,
                                                    v1::GetMigrationResponse*) {
  return Finish(context, absl::NotFoundError(absl::StrCat("no migration ", in->migration_id())));
}

ServerUnaryReactor* MigrationHandlers::CancelMigration(CallbackServerContext* context,
                                                       const v1::CancelMigrationRequest* in,
                                                       v1::CancelMigrationResponse*) {
  return Finish(context, absl::NotFoundError(absl::StrCat("no migration ", in->migration_id())));
}

ServerUnaryReactor* MigrationHandlers::ListMigrations(CallbackServerContext* context,
                                                      const v1::ListMigrationsRequest* in,
                                                      v1::ListMigrationsResponse*) {
  Violations v;
  (void)PageSize(in->page_size(), v);
  return Finish(context, v.ToStatus());
}

grpc::ServerWriteReactor<v1::WatchMigrationsResponse>* MigrationHandlers::WatchMigrations(
    CallbackServerContext*, const v1::WatchMigrationsRequest* in) {
  return Watch(*runtime_.hubs().migrations, *in, {});
}

}  // namespace cloudscale::scaler
