#include "services/predictor/rpc/predictor_handlers.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/predictor/rpc/convert.h"
#include "services/predictor/rpc/telemetry_stream.h"
#include "services/predictor/state_codec.h"

namespace cloudscale::predictor {
namespace {

constexpr size_t kMaxIdLength = 128;
constexpr int kMaxTargets = 1000;
constexpr int kMaxRetrained = 1000;
constexpr int kMaxImported = 256;
constexpr size_t kMaxDetailLength = 500;

void CheckId(absl::string_view field, const std::string& id, Violations& violations) {
  if (id.empty() || id.size() > kMaxIdLength) {
    violations.Add(field, id.substr(0, kMaxIdLength), "1 to 128 characters");
  }
}

void CheckCount(absl::string_view field, int count, int low, int high, Violations& violations) {
  if (count < low || count > high) {
    violations.Add(field, absl::StrCat(count, " entries"),
                   absl::StrCat(low, " to ", high, " entries"));
  }
}

}  // namespace

grpc::ServerBidiReactor<v1::StreamTelemetryRequest, v1::StreamTelemetryResponse>*
PredictorHandlers::StreamTelemetry(grpc::CallbackServerContext*) {
  return TelemetryStream::Create(runtime_);
}

#define CLOUDSCALE_UNARY(Method)                                                            \
  grpc::ServerUnaryReactor* PredictorHandlers::Method(grpc::CallbackServerContext* context, \
                                                      const v1::Method##Request* request,   \
                                                      v1::Method##Response* response) {     \
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();                    \
    reactor->Finish(rpc::ToGrpcStatus(Do(*request, *response)));                            \
    return reactor;                                                                         \
  }
CLOUDSCALE_UNARY(GetStatus)
CLOUDSCALE_UNARY(GetForecast)
CLOUDSCALE_UNARY(ListForecasts)
CLOUDSCALE_UNARY(ListModels)
CLOUDSCALE_UNARY(SelectModel)
CLOUDSCALE_UNARY(GetAccuracy)
CLOUDSCALE_UNARY(ListAccuracy)
CLOUDSCALE_UNARY(UpdateTargets)
CLOUDSCALE_UNARY(Retrain)
CLOUDSCALE_UNARY(ExportState)
CLOUDSCALE_UNARY(ImportState)
#undef CLOUDSCALE_UNARY

template <typename Request, typename Response, typename Apply>
absl::Status PredictorHandlers::Once(RequestLog<Response>& log, const Request& request,
                                     Response& response, Apply apply) {
  const MonoTime now = runtime_->clock().MonoNow();
  if (auto answer = log.Find(request.request_id(), now)) {
    response = *std::move(answer);
    return absl::OkStatus();
  }
  CS_RETURN_IF_ERROR(apply());
  if (!request.validate_only()) {
    log.Add(request.request_id(), response, now);
  }
  return absl::OkStatus();
}

absl::Status PredictorHandlers::Do(const v1::SelectModelRequest& request,
                                   v1::SelectModelResponse& response) {
  Violations violations;
  CheckId("request_id", request.request_id(), violations);
  const auto resource = ResourceFromProto(request.resource(), "resource", violations);
  if (request.vm_uuid().size() > kMaxIdLength) {
    CheckId("vm_uuid", request.vm_uuid(), violations);
  }
  if (request.may_promote() && !request.is_shadow()) {
    violations.Add("may_promote", "true", "only with is_shadow");
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  MutexLock lock(&changes_mutex_);
  return Once(selections_, request, response, [&]() -> absl::Status {
    CS_ASSIGN_OR_RETURN(const PredictorEngine::Selection selection,
                        runtime_->WithEngine([&](PredictorEngine& engine) {
                          return engine.SelectModel(request.vm_uuid(), resource, request.model(),
                                                    request.is_shadow(), !request.validate_only(),
                                                    request.may_promote());
                        }));
    response.set_model(selection.model);
    response.set_previous_model(selection.previous_model);
    response.set_series_count(selection.series_count);
    if (!request.validate_only()) {
      LogLine(LogLevel::kInfo, "model_selected")
          .Field("vm", request.vm_uuid())
          .Field("model", selection.model)
          .Field("shadow", request.is_shadow())
          .Field("may_promote", request.may_promote())
          .Field("series", selection.series_count);
    }
    return absl::OkStatus();
  });
}

absl::Status PredictorHandlers::Do(const v1::UpdateTargetsRequest& request,
                                   v1::UpdateTargetsResponse& response) {
  Violations violations;
  CheckId("request_id", request.request_id(), violations);
  CheckCount("targets", request.targets_size(), 1, kMaxTargets, violations);
  std::vector<PredictorEngine::Target> targets;
  std::set<std::pair<std::string, int>> seen;
  for (int i = 0; i < request.targets_size() && i < kMaxTargets; ++i) {
    const v1::SeriesTarget& in = request.targets(i);
    const auto field = [i](absl::string_view name) {
      return absl::StrCat("targets[", i, "].", name);
    };
    CheckId(field("vm_uuid"), in.vm_uuid(), violations);
    PredictorEngine::Target& target = targets.emplace_back();
    target.vm_uuid = in.vm_uuid();
    target.resource = ResourceFromProto(in.resource(), field("resource"), violations);
    if (!seen.emplace(in.vm_uuid(), in.resource()).second) {
      violations.Add(field("vm_uuid"), in.vm_uuid(), "each VM and resource once");
    }
    if (in.has_target_violation_ratio()) {
      target.target_violation_ratio = in.target_violation_ratio();
      RequireInRange(violations, field("target_violation_ratio"), in.target_violation_ratio(), 1e-6,
                     0.5);
    }
    if (in.has_price_factor()) {
      target.price_factor = in.price_factor();
      RequireInRange(violations, field("price_factor"), in.price_factor(), 1, 100);
    }
    if (in.has_price_factor_duration()) {
      target.price_factor_duration = rpc::FromProto(in.price_factor_duration());
      RequireInRange(violations, field("price_factor_duration"),
                     absl::ToDoubleSeconds(target.price_factor_duration), 0, 7 * 24 * 3600);
    }
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  MutexLock lock(&changes_mutex_);
  return Once(targets_, request, response, [&] {
    const absl::Time now = runtime_->clock().WallNow();
    int64_t updated = 0;
    runtime_->WithEngine([&](PredictorEngine& engine) {
      for (const PredictorEngine::Target& target : targets) {
        updated += request.validate_only() ? 1 : engine.UpdateTarget(target, now);
      }
    });
    response.set_updated_count(updated);
    return absl::OkStatus();
  });
}

absl::Status PredictorHandlers::Do(const v1::RetrainRequest& request,
                                   v1::RetrainResponse& response) {
  Violations violations;
  CheckId("request_id", request.request_id(), violations);
  CheckCount("vm_uuids", request.vm_uuids_size(), 0, kMaxRetrained, violations);
  const auto resource = ResourceFromProto(request.resource(), "resource", violations);
  if (request.reason() == v1::RETRAIN_REASON_UNSPECIFIED ||
      !v1::RetrainReason_IsValid(request.reason())) {
    violations.Add("reason", absl::StrCat(static_cast<int>(request.reason())), "a RetrainReason");
  }
  if (request.detail().size() > kMaxDetailLength) {
    violations.Add("detail", absl::StrCat(request.detail().size(), " characters"),
                   "at most 500 characters");
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  const std::vector<std::string> uuids(request.vm_uuids().begin(), request.vm_uuids().end());
  MutexLock lock(&changes_mutex_);
  return Once(retrains_, request, response, [&] {
    const absl::Time now = runtime_->clock().WallNow();
    const auto result = runtime_->WithEngine([&](PredictorEngine& engine) {
      return engine.Retrain(uuids, resource, now, !request.validate_only());
    });
    response.set_series_count(result.trained_count);
    response.set_skipped_count(result.skipped_count);
    if (!request.validate_only()) {
      LogLine(LogLevel::kInfo, "retrained")
          .Field("reason", v1::RetrainReason_Name(request.reason()))
          .Field("detail", request.detail())
          .Field("series", result.trained_count)
          .Field("skipped", result.skipped_count);
    }
    return absl::OkStatus();
  });
}

absl::Status PredictorHandlers::Do(const v1::ImportStateRequest& request,
                                   v1::ImportStateResponse& response) {
  Violations violations;
  CheckId("request_id", request.request_id(), violations);
  CheckCount("states", request.states_size(), 1, kMaxImported, violations);
  std::vector<std::pair<SeriesId, SeriesState>> states;
  for (int i = 0; i < request.states_size() && i < kMaxImported; ++i) {
    const v1::SeriesState& in = request.states(i);
    const auto field = [i](absl::string_view name) {
      return absl::StrCat("states[", i, "].", name);
    };
    CheckId(field("vm_uuid"), in.vm_uuid(), violations);
    const auto resource = ResourceFromProto(in.resource(), field("resource"), violations);
    if (!resource) {
      violations.Add(field("resource"), absl::StrCat(static_cast<int>(in.resource())),
                     "RESOURCE_CPU or RESOURCE_MEMORY");
    }
    if (in.format_version() < 1 || in.format_version() > kStateFormatVersion) {
      return absl::FailedPreconditionError(
          absl::StrCat(field("format_version"), " is ", in.format_version(),
                       "; this predictor reads versions 1 to ", kStateFormatVersion));
    }
    absl::StatusOr<SeriesState> state = DecodeState(in.state());
    if (absl::IsFailedPrecondition(state.status())) {
      return WithContext(field("state"), state.status());
    }
    if (!state.ok()) {
      violations.Add(field("state"), state.status().message(), "an exported state");
    }
    if (state.ok() && resource) {
      states.emplace_back(SeriesId{in.vm_uuid(), "", *resource}, *std::move(state));
    }
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  MutexLock lock(&changes_mutex_);
  return Once(imports_, request, response, [&] {
    return runtime_->WithEngine([&](PredictorEngine& engine) -> absl::Status {
      // All or none: everything is checked before the first one is installed.
      CS_RETURN_IF_ERROR(engine.CheckRoomFor(states));
      for (const bool apply : {false, true}) {
        int64_t imported = 0;
        for (const auto& [id, state] : states) {
          CS_ASSIGN_OR_RETURN(const bool is_newer, engine.Import(id, state, apply));
          imported += is_newer ? 1 : 0;
        }
        response.set_imported_count(imported);
        response.set_skipped_count(static_cast<int64_t>(states.size()) - imported);
        if (request.validate_only()) {
          break;
        }
      }
      return absl::OkStatus();
    });
  });
}

}  // namespace cloudscale::predictor
