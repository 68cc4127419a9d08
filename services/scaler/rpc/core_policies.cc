// Policies, mode, pause, boosts and reservations.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/scaler/rpc/convert.h"
#include "services/scaler/rpc/request_checks.h"
#include "services/scaler/rpc/scaler_core.h"

namespace cloudscale::scaler {
namespace {

constexpr int kMaxBoosts = 100;

v1::PauseState PauseOf(const v1::Policy& policy) { return policy.pause(); }

}  // namespace

void ScalerCore::PoliciesChanged() {
  gate_.WithdrawAll();  // decided under the old ones
  engine_.SetPolicies(policies_->set());
  PublishSnapshot();
}

// P7: what is guaranteed must be there. Judged for the VMs that are known to run here.
absl::Status ScalerCore::CheckGuarantees(const PolicySet& set) const {
  if (observation_ == nullptr) {
    return absl::OkStatus();
  }
  std::array<double, 2> sum{};
  for (const VmObservation& vm : observation_->vms) {
    const EffectivePolicy p = Resolve(set.LayersFor(vm.uuid), clock_.WallNow());
    for (const Resource r : kResources) {
      const double most = VmMaximum(vm, r).value_or(p.of(r).guaranteed);
      sum[Index(r)] += std::min(p.of(r).guaranteed, most);
    }
  }
  const double free = 1 - config_.engine.host_reserve_ratio;
  const std::array<double, 2> capacity = {observation_->cpu_capacity_cores * free,
                                          observation_->memory_capacity_bytes * free};
  for (const Resource r : kResources) {
    if (capacity[Index(r)] > 0 && sum[Index(r)] > capacity[Index(r)] * (1 + 1e-9)) {
      return absl::FailedPreconditionError(
          absl::StrFormat("the guaranteed %s of all VMs would be %.6g, the host can guarantee %.6g",
                          ResourceName(r), sum[Index(r)], capacity[Index(r)]));
    }
  }
  return absl::OkStatus();
}

absl::Status ScalerCore::ListPolicies(const v1::ListPoliciesRequest& in,
                                      v1::ListPoliciesResponse* out) {
  Violations v;
  const int64_t size = PageSize(in.page_size(), v);
  CS_RETURN_IF_ERROR(v.ToStatus());
  // The token is the last uuid given out, after a mark because the host's is empty.
  const auto& stored = policies_->stored();
  auto it =
      in.page_token().empty() ? stored.begin() : stored.upper_bound(in.page_token().substr(1));
  for (; it != stored.end(); ++it) {
    if (out->policies_size() == size) {
      out->set_next_page_token(absl::StrCat(">", std::prev(it)->first));
      break;
    }
    *out->add_policies() = it->second;
  }
  return absl::OkStatus();
}

absl::Status ScalerCore::GetPolicy(const v1::GetPolicyRequest& in, v1::GetPolicyResponse* out) {
  *out->mutable_policy() =
      in.is_effective() ? policies_->Effective(in.vm_uuid()) : policies_->Stored(in.vm_uuid());
  return absl::OkStatus();
}

absl::Status ScalerCore::UpdatePolicy(const v1::UpdatePolicyRequest& in,
                                      v1::UpdatePolicyResponse* out) {
  const google::protobuf::FieldMask* mask = in.has_update_mask() ? &in.update_mask() : nullptr;
  CS_ASSIGN_OR_RETURN(const v1::Policy next,
                      policies_->Update(in.policy(), mask, "operator", /*validate_only=*/true));
  CS_ASSIGN_OR_RETURN(const auto preview, policies_->Preview(next));
  CS_RETURN_IF_ERROR(CheckGuarantees(*preview));
  *out->mutable_policy() = next;
  if (in.validate_only()) {
    *out->mutable_effective() =
        ToProto(Resolve(preview->LayersFor(next.vm_uuid()), clock_.WallNow()));
    return absl::OkStatus();
  }
  CS_ASSIGN_OR_RETURN(*out->mutable_policy(),
                      policies_->Update(in.policy(), mask, "operator", false));
  PoliciesChanged();
  *out->mutable_effective() = policies_->Effective(next.vm_uuid());
  return absl::OkStatus();
}

absl::Status ScalerCore::DeletePolicy(const v1::DeletePolicyRequest& in,
                                      v1::DeletePolicyResponse* out) {
  CS_RETURN_IF_ERROR(policies_->Delete(in.vm_uuid(), in.etag(), /*validate_only=*/true));
  CS_RETURN_IF_ERROR(CheckGuarantees(*policies_->PreviewDelete(in.vm_uuid())));
  if (in.validate_only()) {
    *out->mutable_effective() = policies_->EffectiveWithout(in.vm_uuid());
    return absl::OkStatus();
  }
  CS_RETURN_IF_ERROR(policies_->Delete(in.vm_uuid(), in.etag(), /*validate_only=*/false));
  PoliciesChanged();
  *out->mutable_effective() = policies_->Effective(in.vm_uuid());
  return absl::OkStatus();
}

absl::Status ScalerCore::SetMode(const v1::SetModeRequest& in, v1::SetModeResponse* out) {
  if (in.mode() == v1::MODE_UNSPECIFIED || !v1::Mode_IsValid(in.mode())) {
    Violations v;
    v.Add("mode", absl::StrCat(static_cast<int>(in.mode())), "OBSERVE, RECOMMEND, CANARY, AUTO");
    return v.ToStatus();
  }
  if (in.vm_uuid().empty()) {
    out->set_previous_mode(static_cast<v1::Mode>(policies_->host_mode()));
    if (!in.validate_only()) {
      CS_RETURN_IF_ERROR(policies_->SetHostMode(static_cast<Mode>(in.mode())));
      PoliciesChanged();
    }
    out->set_effective_mode(in.mode());
  } else {
    out->set_previous_mode(policies_->Effective(in.vm_uuid()).mode());
    v1::Policy change;
    change.set_vm_uuid(in.vm_uuid());
    change.set_mode(in.mode());
    CS_RETURN_IF_ERROR(policies_->Update(change, nullptr, "operator", in.validate_only()).status());
    if (!in.validate_only()) {
      PoliciesChanged();
    }
    out->set_effective_mode(std::min(in.mode(), static_cast<v1::Mode>(policies_->host_mode())));
  }
  out->set_mode(in.mode());
  return absl::OkStatus();
}

absl::Status ScalerCore::SetPause(const v1::SetPauseRequest& in, v1::SetPauseResponse* out) {
  v1::Policy change;
  if (in.vm_uuid().empty()) {
    change.set_host_id(config_.host_id);
  } else {
    change.set_vm_uuid(in.vm_uuid());
  }
  if (!in.pause().has_pause_grow() && !in.pause().has_pause_shrink() &&
      !in.pause().has_pause_migrate()) {
    Violations v;
    v.Add("pause", "", "at least one direction");
    return v.ToStatus();
  }
  // The end and the reason belong to this pause, not to the one before.
  *change.mutable_pause() = policies_->Stored(in.vm_uuid()).pause();
  change.mutable_pause()->clear_paused_until();
  change.mutable_pause()->clear_reason();
  change.mutable_pause()->MergeFrom(in.pause());
  google::protobuf::FieldMask mask;
  mask.add_paths("pause");
  CS_ASSIGN_OR_RETURN(const v1::Policy next,
                      policies_->Update(change, &mask, "operator", in.validate_only()));
  if (!in.validate_only()) {
    PoliciesChanged();
  }
  *out->mutable_pause() = PauseOf(next);
  *out->mutable_effective() = policies_->Effective(in.vm_uuid()).pause();
  return absl::OkStatus();
}

absl::Status ScalerCore::RequestBoost(const v1::RequestBoostRequest& in,
                                      v1::RequestBoostResponse* out) {
  Violations v;
  if (in.boosts_size() < 1 || in.boosts_size() > kMaxBoosts) {
    v.Add("boosts", absl::StrCat(in.boosts_size(), " boosts"), "1 to 100");
  }
  for (int i = 0; i < in.boosts_size(); ++i) {
    const v1::BoostRequest& b = in.boosts(i);
    const std::string at = absl::StrCat("boosts[", i, "].");
    RequireNotEmpty(v, absl::StrCat(at, "vm_uuid"), b.vm_uuid());
    RequireNotEmpty(v, absl::StrCat(at, "objective_id"), b.objective_id());
    if (b.has_factor() && !(b.factor() > 1 && b.factor() <= 2)) {
      v.Add(absl::StrCat(at, "factor"), absl::StrCat(b.factor()), "1 < x <= 2");
    }
    const absl::Duration d = rpc::FromProto(b.duration());
    if (b.has_duration() && (d < absl::Seconds(1) || d > absl::Hours(1))) {
      v.Add(absl::StrCat(at, "duration"), absl::FormatDuration(d), "1s to 1h");
    }
  }
  CS_RETURN_IF_ERROR(v.ToStatus());
  for (const v1::BoostRequest& b : in.boosts()) {
    const Resource resource = FromProto(b.resource(), Resource::kCpu);
    const absl::Duration duration =
        b.has_duration() ? rpc::FromProto(b.duration()) : absl::Seconds(60);
    v1::Boost* boost = out->add_boosts();
    boost->set_vm_uuid(b.vm_uuid());
    boost->set_resource(ToProto(resource));
    boost->set_factor(b.has_factor() ? b.factor() : 1.25);
    boost->set_objective_id(b.objective_id());
    boost->set_violation_id(b.violation_id());
    *boost->mutable_expires_at() = rpc::ToProto(clock_.WallNow() + duration);
    const EffectivePolicy policy =
        Resolve(policies_->set()->LayersFor(b.vm_uuid()), clock_.WallNow());
    if (engine_.vms().count(b.vm_uuid()) == 0) {
      boost->set_reason("the VM is not known on this host");
    } else if (!policy.of(resource).is_managed) {
      boost->set_reason("the policy leaves this resource alone");
    } else if (policy.pause_grow) {
      boost->set_reason("growing is paused");
    } else if (policy.mode == Mode::kObserve) {
      boost->set_reason("mode is observe");
    } else {
      boost->set_is_granted(true);
      if (!in.validate_only()) {
        engine_.SetBoost(
            b.vm_uuid(), resource,
            {boost->factor(), clock_.MonoNow() + duration, b.objective_id(), b.violation_id()});
      }
    }
    if (!in.validate_only() && engine_.vms().count(b.vm_uuid()) > 0) {
      ++violation_count_;
      ++violations_[b.vm_uuid()];
    }
  }
  return absl::OkStatus();
}

namespace {

v1::Reservation ToProto(const Reservation& r, const std::string& host_id) {
  v1::Reservation out;
  out.set_reservation_id(r.reservation_id);
  out.set_migration_id(r.migration_id);
  out.set_vm_uuid(r.vm_uuid);
  out.set_source_host_id(r.source_host_id);
  out.set_target_host_id(host_id);
  out.set_cpu_cores(r.cpu_cores);
  out.set_memory_bytes(static_cast<int64_t>(r.memory_bytes));
  out.set_state(static_cast<v1::ReservationState>(r.state));
  *out.mutable_expires_at() = rpc::ToProto(r.expires_at);
  *out.mutable_lease() = rpc::ToProto(r.lease);
  out.set_fencing_token(r.fencing_token);
  *out.mutable_created_at() = rpc::ToProto(r.created_at);
  return out;
}

}  // namespace

// Capacity minus what is granted; an uncapped VM counts with what it really uses.
ReservationBook::Room ScalerCore::FreeRoom() const {
  ReservationBook::Room room;
  if (observation_ == nullptr) {
    return room;
  }
  const double share = 1 - config_.engine.host_reserve_ratio;
  room = {observation_->cpu_capacity_cores * share, observation_->memory_capacity_bytes * share};
  for (const VmObservation& vm : observation_->vms) {
    const double cpu = PresentAllocation(vm, Resource::kCpu).value_or(0);
    room.cpu_cores -= vm.cpu_cap ? cpu : std::min(cpu, DemandOf(vm, Resource::kCpu).value_or(cpu));
    room.memory_bytes -= std::max(PresentAllocation(vm, Resource::kMemory).value_or(0),
                                  vm.memory_allocated.value_or(0));
  }
  return room;
}

absl::Status ScalerCore::Reserve(const v1::ReserveRequest& in, v1::ReserveResponse* out) {
  Violations v;
  RequireNotEmpty(v, "migration_id", in.migration_id());
  RequireNotEmpty(v, "vm_uuid", in.vm_uuid());
  RequireNotEmpty(v, "source_host_id", in.source_host_id());
  RequirePositive(v, "cpu_cores", in.cpu_cores());
  RequirePositive(v, "memory_bytes", static_cast<double>(in.memory_bytes()));
  const absl::Duration lease = in.has_lease() ? rpc::FromProto(in.lease()) : absl::Seconds(60);
  if (lease < absl::Seconds(5) || lease > absl::Minutes(30)) {
    v.Add("lease", absl::FormatDuration(lease), "5s to 30m");
  }
  CS_RETURN_IF_ERROR(v.ToStatus());
  const auto& pinned = in.placement().pinned_host_ids();
  const auto& excluded = in.placement().excluded_host_ids();
  if ((!pinned.empty() &&
       std::find(pinned.begin(), pinned.end(), config_.host_id) == pinned.end()) ||
      std::find(excluded.begin(), excluded.end(), config_.host_id) != excluded.end()) {
    return absl::FailedPreconditionError("the placement rules exclude this host");
  }
  if (!engine_.is_warm()) {
    return absl::UnavailableError("the host has no warm data of its VMs yet");
  }
  const ReservationBook::Wish wish{in.migration_id(),
                                   in.vm_uuid(),
                                   in.source_host_id(),
                                   in.cpu_cores(),
                                   static_cast<double>(in.memory_bytes()),
                                   lease};
  if (!in.validate_only()) {
    // The token is durable before it is given out, so it never repeats.
    CS_RETURN_IF_ERROR(
        journal_->PutState({{"reservation_token", absl::StrCat(reservations_->next_token() + 1)}}));
  }
  CS_ASSIGN_OR_RETURN(const Reservation r,
                      reservations_->Reserve(wish, FreeRoom(), clock_.MonoNow(), clock_.WallNow(),
                                             in.validate_only()));
  *out->mutable_reservation() = ToProto(r, config_.host_id);
  return absl::OkStatus();
}

absl::Status ScalerCore::Renew(const v1::RenewRequest& in, v1::RenewResponse* out) {
  const absl::Duration lease = in.has_lease() ? rpc::FromProto(in.lease()) : absl::ZeroDuration();
  if (in.has_lease() && (lease < absl::Seconds(5) || lease > absl::Minutes(30))) {
    Violations v;
    v.Add("lease", absl::FormatDuration(lease), "5s to 30m");
    return v.ToStatus();
  }
  CS_ASSIGN_OR_RETURN(const Reservation r,
                      reservations_->Renew(in.reservation_id(), in.fencing_token(), lease,
                                           clock_.MonoNow(), clock_.WallNow()));
  *out->mutable_reservation() = ToProto(r, config_.host_id);
  return absl::OkStatus();
}

absl::Status ScalerCore::Commit(const v1::CommitRequest& in, v1::CommitResponse* out) {
  std::optional<v1::Policy> policy;
  if (in.has_policy()) {
    policy = in.policy();
    policy->clear_etag();
    CS_RETURN_IF_ERROR(policies_->Update(*policy, nullptr, "migration", true).status());
  }
  CS_ASSIGN_OR_RETURN(
      const Reservation r,
      reservations_->Commit(in.reservation_id(), in.fencing_token(), clock_.MonoNow()));
  if (policy) {
    CS_RETURN_IF_ERROR(policies_->Update(*policy, nullptr, "migration", false).status());
    PoliciesChanged();
  }
  *out->mutable_reservation() = ToProto(r, config_.host_id);
  return absl::OkStatus();
}

absl::Status ScalerCore::Release(const v1::ReleaseRequest& in, v1::ReleaseResponse* out) {
  CS_ASSIGN_OR_RETURN(
      const bool was_held,
      reservations_->Release(in.reservation_id(), in.fencing_token(), clock_.MonoNow()));
  out->set_was_held(was_held);
  return absl::OkStatus();
}

absl::Status ScalerCore::ListReservations(const v1::ListReservationsRequest& in,
                                          v1::ListReservationsResponse* out) {
  Violations v;
  const int64_t size = PageSize(in.page_size(), v);
  const int64_t after = NumberToken(in.page_token(), v);
  CS_RETURN_IF_ERROR(v.ToStatus());
  reservations_->Expire(clock_.MonoNow());
  for (const Reservation& r : reservations_->List()) {
    if (r.fencing_token <= after) {
      continue;
    }
    if (out->reservations_size() == size) {
      const auto& last = out->reservations(out->reservations_size() - 1);
      out->set_next_page_token(absl::StrCat(last.fencing_token()));
      break;
    }
    *out->add_reservations() = ToProto(r, config_.host_id);
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::scaler
