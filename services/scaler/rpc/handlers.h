#pragma once

#include <list>
#include <map>
#include <string>

#include "cloudscale/scaler/v1/migration_service.grpc.pb.h"
#include "cloudscale/scaler/v1/reservation_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "services/scaler/rpc/runtime.h"

namespace cloudscale::scaler {

// First answers of changing requests by method and request id, for one hour, so that a repeat
// returns the same and changes nothing. At most `kMaxKept`, the oldest give way. Confined to the
// engine thread.
class AnswerLog {
 public:
  static constexpr size_t kMaxKept = 10'000;
  static constexpr absl::Duration kKeep = absl::Hours(1);

  // Null when not known.
  const std::string* Find(const std::string& key, MonoTime now);
  void Keep(const std::string& key, std::string answer, MonoTime now);

 private:
  struct Entry {
    std::string key;
    std::string answer;
    MonoTime at;
  };
  std::list<Entry> entries_;  // oldest first
  std::map<std::string, std::list<Entry>::iterator> by_key_;
};

// scaler.v1.ScalerService. Handlers never block: what needs state goes through the mailbox, what
// only reads the last step takes the snapshot. Thread safety: thread-safe.
class ScalerHandlers final : public v1::ScalerService::CallbackService {
 public:
  explicit ScalerHandlers(Runtime& runtime) : runtime_(runtime) {}

#define CS_UNARY(Method)                                                                     \
  grpc::ServerUnaryReactor* Method(grpc::CallbackServerContext* context,                     \
                                   const v1::Method##Request* in, v1::Method##Response* out) \
      override;
  CS_UNARY(GetStatus)
  CS_UNARY(ListVmStates)
  CS_UNARY(ExplainVm)
  CS_UNARY(ListPolicies)
  CS_UNARY(GetPolicy)
  CS_UNARY(UpdatePolicy)
  CS_UNARY(DeletePolicy)
  CS_UNARY(SetMode)
  CS_UNARY(SetPause)
  CS_UNARY(ListDecisions)
  CS_UNARY(ListActions)
  CS_UNARY(GetAction)
  CS_UNARY(ApproveAction)
  CS_UNARY(SkipAction)
  CS_UNARY(UndoAction)
  CS_UNARY(RestoreOriginals)
  CS_UNARY(RequestBoost)
  CS_UNARY(ListConflicts)
  CS_UNARY(GetCapacity)

  grpc::ServerWriteReactor<v1::WatchStatusResponse>* WatchStatus(
      grpc::CallbackServerContext* context, const v1::WatchStatusRequest* in) override;
  grpc::ServerWriteReactor<v1::WatchDecisionsResponse>* WatchDecisions(
      grpc::CallbackServerContext* context, const v1::WatchDecisionsRequest* in) override;
  grpc::ServerWriteReactor<v1::WatchActionsResponse>* WatchActions(
      grpc::CallbackServerContext* context, const v1::WatchActionsRequest* in) override;

 private:
  Runtime& runtime_;
  AnswerLog answers_;
};

// scaler.v1.ReservationService: leases on this host's room.
class ReservationHandlers final : public v1::ReservationService::CallbackService {
 public:
  explicit ReservationHandlers(Runtime& runtime) : runtime_(runtime) {}
  CS_UNARY(Reserve)
  CS_UNARY(Renew)
  CS_UNARY(Commit)
  CS_UNARY(Release)
  CS_UNARY(ListReservations)

 private:
  Runtime& runtime_;
  AnswerLog answers_;
};

// scaler.v1.MigrationService: lists are empty and changes are UNIMPLEMENTED where the hypervisor
// backend has no `live_migration`.
class MigrationHandlers final : public v1::MigrationService::CallbackService {
 public:
  explicit MigrationHandlers(Runtime& runtime) : runtime_(runtime) {}
  CS_UNARY(PlanMigration)
  CS_UNARY(StartMigration)
  CS_UNARY(GetMigration)
  CS_UNARY(ListMigrations)
  CS_UNARY(CancelMigration)
  CS_UNARY(EvacuateHost)
  CS_UNARY(LeaveMaintenance)
  grpc::ServerWriteReactor<v1::WatchMigrationsResponse>* WatchMigrations(
      grpc::CallbackServerContext* context, const v1::WatchMigrationsRequest* in) override;

 private:
  Runtime& runtime_;
};
#undef CS_UNARY

}  // namespace cloudscale::scaler
