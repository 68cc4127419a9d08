#include "services/lbctl/rpc/convert.h"

#include "common/rpc/time_conversion.h"

namespace cloudscale::lbctl {

using rpc::ToProto;

v1::ServerState ToWire(ServerState state) {
  switch (state) {
    case ServerState::kReady:
      return v1::SERVER_STATE_READY;
    case ServerState::kDrain:
      return v1::SERVER_STATE_DRAIN;
    case ServerState::kMaint:
      return v1::SERVER_STATE_MAINT;
  }
  return v1::SERVER_STATE_UNSPECIFIED;
}

bool FromWire(v1::ServerState in, ServerState* out) {
  switch (in) {
    case v1::SERVER_STATE_READY:
      *out = ServerState::kReady;
      return true;
    case v1::SERVER_STATE_DRAIN:
      *out = ServerState::kDrain;
      return true;
    case v1::SERVER_STATE_MAINT:
      *out = ServerState::kMaint;
      return true;
    default:
      return false;
  }
}

v1::Server ToWire(const BalancerView& view, const std::string& backend, const ServerInfo& in) {
  v1::Server out;
  out.set_backend(backend);
  out.set_name(in.name);
  out.set_address(in.endpoint.address);
  out.set_port(in.endpoint.port);
  out.set_state(ToWire(in.state));
  out.set_weight(in.weight);
  out.set_initial_weight(in.initial_weight);
  out.set_is_up(in.is_up);
  out.set_is_dynamic(in.is_dynamic);
  const ServerKey key{backend, in.name};
  const auto wanted = view.desired.find(key);
  if (wanted != view.desired.end() && !wanted->second.is_empty()) {
    v1::DesiredServer& desired = *out.mutable_desired();
    if (wanted->second.weight.has_value()) {
      desired.set_weight(wanted->second.weight->value);
    }
    if (wanted->second.state.has_value()) {
      desired.set_state(ToWire(wanted->second.state->value));
    }
    if (wanted->second.endpoint.has_value()) {
      desired.set_address(wanted->second.endpoint->value.address);
      desired.set_port(wanted->second.endpoint->value.port);
    }
    desired.set_reason(wanted->second.reason);
    *desired.mutable_set_at() = ToProto(wanted->second.set_at);
  }
  const auto vm = view.vm_uuids.find(key);
  if (vm != view.vm_uuids.end()) {
    out.set_vm_uuid(vm->second);
  }
  v1::ServerStats& stats = *out.mutable_stats();
  stats.set_current_sessions(in.stats.current_sessions);
  stats.set_queued_requests(in.stats.queued_requests);
  stats.set_total_sessions(in.stats.total_sessions);
  stats.set_error_count(in.stats.error_count);
  stats.set_received_bytes(in.stats.received_bytes);
  stats.set_transmitted_bytes(in.stats.transmitted_bytes);
  *stats.mutable_queue_time() = ToProto(in.stats.queue_time);
  *stats.mutable_connect_time() = ToProto(in.stats.connect_time);
  *stats.mutable_response_time() = ToProto(in.stats.response_time);
  *stats.mutable_total_time() = ToProto(in.stats.total_time);
  stats.set_request_rate(in.stats.request_rate);
  stats.set_is_reset(view.is_reset);
  return out;
}

v1::Backend ToWire(const BalancerView& view, const BackendInfo& in) {
  v1::Backend out;
  out.set_name(in.name);
  out.set_algorithm(in.algorithm);
  out.set_has_dynamic_weights(in.has_dynamic_weights);
  out.set_status(in.status);
  for (const ServerInfo& server : in.servers) {
    *out.add_servers() = ToWire(view, in.name, server);
  }
  return out;
}

v1::Drift ToWire(const NoticedDrift& in) {
  v1::Drift out;
  out.set_backend(in.drift.key.backend);
  out.set_server(in.drift.key.server);
  out.set_field(in.drift.field);
  out.set_desired(in.drift.desired);
  out.set_actual(in.drift.actual);
  switch (in.drift.cause) {
    case DriftCause::kReload:
      out.set_cause(v1::DRIFT_CAUSE_RELOAD);
      break;
    case DriftCause::kForeignChange:
      out.set_cause(v1::DRIFT_CAUSE_FOREIGN_CHANGE);
      break;
    case DriftCause::kPending:
      out.set_cause(v1::DRIFT_CAUSE_PENDING);
      break;
  }
  *out.mutable_noticed_at() = ToProto(in.noticed_at);
  return out;
}

v1::CapacityFollow ToWire(const std::string& backend, const FollowState& in) {
  v1::CapacityFollow out;
  out.set_backend(backend);
  out.set_outcome(static_cast<v1::FollowOutcome>(in.outcome));
  out.set_detail(in.detail);
  if (in.changed_at) {
    *out.mutable_changed_at() = ToProto(*in.changed_at);
  }
  return out;
}

v1::ServerChange ToWire(const WeightChange& in) {
  v1::ServerChange out;
  out.set_backend(in.key.backend);
  out.set_server(in.key.server);
  out.set_weight_before(in.before);
  out.set_weight_after(in.after);
  out.set_state_before(ToWire(in.state));
  out.set_state_after(ToWire(in.state));
  return out;
}

v1::ServerChange ToWire(const ServerChange& in) {
  v1::ServerChange out;
  out.set_backend(in.key.backend);
  out.set_server(in.key.server);
  out.set_weight_before(in.before.weight);
  out.set_weight_after(in.after.weight);
  out.set_state_before(ToWire(in.before.state));
  out.set_state_after(ToWire(in.after.state));
  return out;
}

}  // namespace cloudscale::lbctl
