// The handlers that only read.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/main.h"
#include "common/rpc/serving/engine_call.h"
#include "common/rpc/serving/pagination.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/lbctl/rpc/balancer_service.h"
#include "services/lbctl/rpc/convert.h"
#include "services/lbctl/rpc/request_checks.h"

namespace cloudscale::lbctl {

using rpc::Answer;
using rpc::AnswerOnEngine;
using rpc::FromProto;
using rpc::ToProto;

namespace {

// A line break sorts before all that names may hold, so the text keeps the order of the keys.
std::string PlaceOf(const ServerKey& key) { return absl::StrCat(key.backend, "\n", key.server); }

absl::Status NoServer(const BalancerView& view, const std::string& backend,
                      const std::string& server) {
  std::string known;
  const BackendInfo* found = FindBackend(view.backends, backend);
  if (found == nullptr) {
    for (const BackendInfo& other : view.backends) {
      absl::StrAppend(&known, known.empty() ? "" : ", ", other.name);
    }
    return absl::NotFoundError(absl::StrCat("no backend '", backend, "'; there are: ", known));
  }
  for (const ServerInfo& other : found->servers) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", other.name);
  }
  return absl::NotFoundError(
      absl::StrCat("no server '", server, "' in backend '", backend, "'; there are: ", known));
}

}  // namespace

BalancerServiceImpl::BalancerServiceImpl(LbctlCore& core, EngineThread& engine,
                                         std::shared_ptr<Hub> hub, absl::Duration poll_period,
                                         std::string address)
    : core_(core),
      engine_(engine),
      hub_(std::move(hub)),
      poll_period_(poll_period),
      address_(std::move(address)),
      started_at_(core.Now()) {}

v1::WatchStatsResponse BalancerServiceImpl::ToMessage(const BalancerView& view) {
  v1::WatchStatsResponse message;
  for (const BackendInfo& backend : view.backends) {
    *message.add_backends() = ToWire(view, backend);
  }
  *message.mutable_sample_time() = ToProto(view.polled_at);
  return message;
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::GetStatus(Context* context,
                                                             const v1::GetStatusRequest*,
                                                             v1::GetStatusResponse* response) {
  const auto view = core_.snapshot();
  response->mutable_build()->set_service("cloudscale-lbctl");
  response->mutable_build()->set_version(rpc::kVersion);
  *response->mutable_build()->mutable_started_at() = ToProto(started_at_);
  auto* link = response->mutable_balancer();
  link->set_peer("balancer");
  link->set_address(address_);
  const bool was_seen = view->polled_at != absl::InfinitePast();
  link->set_health(view->status.ok()                   ? common::v1::LINK_HEALTH_UP
                   : absl::IsUnavailable(view->status) ? common::v1::LINK_HEALTH_CONNECTING
                                                       : common::v1::LINK_HEALTH_DEGRADED);
  if (was_seen) {
    *link->mutable_last_answer_age() =
        ToProto(std::max(core_.Now() - view->polled_at, absl::ZeroDuration()));
  }
  link->set_detail(view->status.ok() ? "" : view->status.ToString());
  response->set_balancer_version(view->info.version);
  if (view->info.started_at.has_value()) {
    *response->mutable_balancer_started_at() = ToProto(*view->info.started_at);
  }
  response->set_drift_count(static_cast<int64_t>(view->drifts.size()));
  response->mutable_capabilities()->Assign(view->info.capabilities.begin(),
                                           view->info.capabilities.end());
  for (const auto& [backend, state] : *core_.follows()) {
    *response->add_capacity_follows() = ToWire(backend, state);
  }
  return Answer(context, absl::OkStatus());
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::ListBackends(
    Context* context, const v1::ListBackendsRequest* request, v1::ListBackendsResponse* response) {
  Violations violations;
  const rpc::Page page =
      rpc::ParsePage(request->page_size(), request->page_token(), "backends", violations);
  const auto view = core_.snapshot();
  if (!violations.empty() || !view->status.ok()) {
    return Answer(context, violations.empty() ? view->status : violations.ToStatus());
  }
  for (const BackendInfo& backend : view->backends) {
    if (backend.name <= page.after) {
      continue;
    }
    if (static_cast<size_t>(response->backends_size()) == page.size) {
      response->set_next_page_token(
          rpc::MakePageToken(response->backends(response->backends_size() - 1).name(), "backends"));
      break;
    }
    *response->add_backends() = ToWire(*view, backend);
  }
  return Answer(context, absl::OkStatus());
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::ListServers(
    Context* context, const v1::ListServersRequest* request, v1::ListServersResponse* response) {
  Violations violations;
  const std::string filters = absl::StrCat("servers\n", request->backend());
  const rpc::Page page =
      rpc::ParsePage(request->page_size(), request->page_token(), filters, violations);
  const auto view = core_.snapshot();
  if (!violations.empty() || !view->status.ok()) {
    return Answer(context, violations.empty() ? view->status : violations.ToStatus());
  }
  if (!request->backend().empty() && FindBackend(view->backends, request->backend()) == nullptr) {
    return Answer(context, NoServer(*view, request->backend(), ""));
  }
  std::string last;
  for (const BackendInfo& backend : view->backends) {
    if (!request->backend().empty() && backend.name != request->backend()) {
      continue;
    }
    for (const ServerInfo& server : backend.servers) {
      const std::string place = PlaceOf({backend.name, server.name});
      if (place <= page.after) {
        continue;
      }
      if (static_cast<size_t>(response->servers_size()) == page.size) {
        response->set_next_page_token(rpc::MakePageToken(last, filters));
        return Answer(context, absl::OkStatus());
      }
      *response->add_servers() = ToWire(*view, backend.name, server);
      last = place;
    }
  }
  return Answer(context, absl::OkStatus());
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::GetServer(Context* context,
                                                             const v1::GetServerRequest* request,
                                                             v1::GetServerResponse* response) {
  Violations violations;
  RequireNotEmpty(violations, "backend", request->backend());
  RequireNotEmpty(violations, "server", request->server());
  const auto view = core_.snapshot();
  if (!violations.empty() || !view->status.ok()) {
    return Answer(context, violations.empty() ? view->status : violations.ToStatus());
  }
  const ServerInfo* server = FindServer(view->backends, {request->backend(), request->server()});
  if (server == nullptr) {
    return Answer(context, NoServer(*view, request->backend(), request->server()));
  }
  *response->mutable_server() = ToWire(*view, request->backend(), *server);
  return Answer(context, absl::OkStatus());
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::GetStats(Context* context,
                                                            const v1::GetStatsRequest* request,
                                                            v1::GetStatsResponse* response) {
  return AnswerOnEngine(context, engine_, [this, request, response] {
    return core_.Do([&](BalancerControl& control) -> absl::Status {
      CS_RETURN_IF_ERROR(control.Poll(core_.Now()));
      const auto view = control.view();
      if (!request->backend().empty() &&
          FindBackend(view->backends, request->backend()) == nullptr) {
        return NoServer(*view, request->backend(), "");
      }
      for (const BackendInfo& backend : view->backends) {
        if (request->backend().empty() || backend.name == request->backend()) {
          *response->add_backends() = ToWire(*view, backend);
        }
      }
      *response->mutable_sample_time() = ToProto(view->polled_at);
      return absl::OkStatus();
    });
  });
}

grpc::ServerWriteReactor<v1::WatchStatsResponse>* BalancerServiceImpl::WatchStats(
    Context*, const v1::WatchStatsRequest* request) {
  Violations violations;
  rpc::WatchOptions options = rpc::ParseWatch(*request, violations);
  Check(*request, violations);
  if (!violations.empty()) {
    return new rpc::RefusedStream<v1::WatchStatsResponse>(violations.ToStatus());
  }
  const absl::Duration period =
      request->has_period() ? FromProto(request->period()) : absl::Seconds(1);
  // Polls are the grid; half a poll of room keeps a period of one poll from skipping every other.
  options.min_period = period - poll_period_ / 2;
  return hub_->Open<v1::WatchStatsResponse>(
      std::move(options), {},
      [backend = request->backend()](const v1::WatchStatsResponse& message,
                                     v1::WatchStatsResponse* out) {
        if (backend.empty()) {
          *out = message;
          return;
        }
        *out->mutable_sample_time() = message.sample_time();
        for (const auto& candidate : message.backends()) {
          if (candidate.name() == backend) {
            *out->add_backends() = candidate;
          }
        }
      });
}

BalancerServiceImpl::Reactor* BalancerServiceImpl::ListDrift(Context* context,
                                                             const v1::ListDriftRequest* request,
                                                             v1::ListDriftResponse* response) {
  Violations violations;
  const rpc::Page page =
      rpc::ParsePage(request->page_size(), request->page_token(), "drift", violations);
  const auto view = core_.snapshot();
  if (!violations.empty() || !view->status.ok()) {
    return Answer(context, violations.empty() ? view->status : violations.ToStatus());
  }
  std::string last;
  for (const NoticedDrift& drift : view->drifts) {
    const std::string key = absl::StrCat(PlaceOf(drift.drift.key), "\n", drift.drift.field);
    if (key <= page.after) {
      continue;
    }
    if (static_cast<size_t>(response->drifts_size()) == page.size) {
      response->set_next_page_token(rpc::MakePageToken(last, "drift"));
      break;
    }
    *response->add_drifts() = ToWire(drift);
    last = key;
  }
  return Answer(context, absl::OkStatus());
}

}  // namespace cloudscale::lbctl
