// What only reads.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/main.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/predictor/rpc/convert.h"
#include "services/predictor/rpc/predictor_handlers.h"
#include "services/predictor/state_codec.h"

namespace cloudscale::predictor {
namespace {

constexpr int kDefaultPageSize = 100;
constexpr int kMaxPageSize = 1000;
constexpr int kMaxExported = 32;

absl::StatusOr<size_t> PageSize(int page_size) {
  if (page_size < 0) {
    Violations violations;
    violations.Add("page_size", absl::StrCat(page_size), "0 to 1000");
    return violations.ToStatus();
  }
  return static_cast<size_t>(page_size == 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize));
}

// Exactly one of them, or for a VM also its host.
void CheckSeriesName(const std::string& vm_uuid, const std::string& host_id,
                     Violations& violations) {
  if (vm_uuid.empty() && host_id.empty()) {
    violations.Add("vm_uuid", "", "a UUID, or empty together with a host_id");
  }
}

absl::Status UnknownSeries(const std::string& vm_uuid, const std::string& host_id) {
  return absl::NotFoundError(vm_uuid.empty()
                                 ? absl::StrCat("host ", host_id, " has no series of this resource")
                                 : absl::StrCat("VM ", vm_uuid, " has no series of this resource"));
}

bool Matches(const Series& series, const std::string& host_id, std::optional<Resource> resource) {
  return (host_id.empty() || series.id().host_id == host_id) &&
         (!resource || series.id().resource == *resource);
}

}  // namespace

absl::Status PredictorHandlers::Do(const v1::GetStatusRequest&, v1::GetStatusResponse& response) {
  const Runtime::Statistics statistics = runtime_->statistics();
  common::v1::BuildInfo* build = response.mutable_build();
  build->set_service("cloudscale-predictor");
  build->set_version(rpc::kVersion);
  *build->mutable_started_at() = rpc::ToProto(statistics.started_at);
  response.set_is_serving(statistics.is_serving);
  response.set_stream_count(statistics.stream_count);
  response.set_dropped_batch_count(statistics.refused_batch_count);
  if (statistics.checkpointed_at) {
    *response.mutable_checkpointed_at() = rpc::ToProto(*statistics.checkpointed_at);
  }
  runtime_->WithEngine([&response](const PredictorEngine& engine) {
    int64_t warm = 0;
    engine.Visit({}, [&warm](const Series& series) {
      warm += series.is_warm() ? 1 : 0;
      return true;
    });
    response.set_series_count(engine.series_count());
    response.set_warm_series_count(warm);
    response.set_promotion_count(engine.promotion_count());
  });
  return absl::OkStatus();
}

absl::Status PredictorHandlers::Do(const v1::GetForecastRequest& request,
                                   v1::GetForecastResponse& response) {
  Violations violations;
  CheckSeriesName(request.vm_uuid(), request.host_id(), violations);
  const auto resource = ResourceFromProto(request.resource(), "resource", violations);
  if (!resource && violations.empty()) {
    violations.Add("resource", "RESOURCE_UNSPECIFIED", "RESOURCE_CPU or RESOURCE_MEMORY");
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  const absl::Time now = runtime_->clock().WallNow();
  PublishedForecast published;
  CS_RETURN_IF_ERROR(runtime_->WithEngine([&](PredictorEngine& engine) -> absl::Status {
    const Series* series = engine.Find(request.vm_uuid(), request.host_id(), *resource);
    if (series == nullptr) {
      return UnknownSeries(request.vm_uuid(), request.host_id());
    }
    CS_ASSIGN_OR_RETURN(published, engine.ForecastOf(request.vm_uuid(), request.host_id(),
                                                     *resource, request.model(), now));
    return absl::OkStatus();
  }));
  ToProto(runtime_->options(), published, response.mutable_forecast());
  *response.mutable_age() =
      rpc::ToProto(std::max(absl::ZeroDuration(), now - published.forecast.based_on_time));
  return absl::OkStatus();
}

absl::Status PredictorHandlers::Do(const v1::ListForecastsRequest& request,
                                   v1::ListForecastsResponse& response) {
  Violations violations;
  const auto resource = ResourceFromProto(request.resource(), "resource", violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  CS_ASSIGN_OR_RETURN(const size_t page_size, PageSize(request.page_size()));
  CS_ASSIGN_OR_RETURN(PageToken token, DecodePageToken(request.page_token()));
  const absl::Time now = runtime_->clock().WallNow();
  std::vector<PublishedForecast> page;
  bool has_more = false;
  runtime_->WithEngine([&](const PredictorEngine& engine) {
    engine.Visit(token.position, [&](const Series& series) {
      if (!series.forecast() || !Matches(series, request.host_id(), resource)) {
        return true;
      }
      if (page.size() == page_size) {
        has_more = true;
        return false;
      }
      page.push_back(engine.Publish(series, now));
      return true;
    });
  });
  for (const PublishedForecast& published : page) {
    ToProto(runtime_->options(), published, response.add_forecasts());
  }
  if (has_more) {
    response.set_next_page_token(EncodePageToken({.position = PositionOf(page.back().id)}));
  }
  return absl::OkStatus();
}

absl::Status PredictorHandlers::Do(const v1::ListModelsRequest& request,
                                   v1::ListModelsResponse& response) {
  CS_ASSIGN_OR_RETURN(const size_t page_size, PageSize(request.page_size()));
  CS_ASSIGN_OR_RETURN(const PageToken token, DecodePageToken(request.page_token()));
  runtime_->WithEngine([&](const PredictorEngine& engine) {
    std::map<const ForecastModel*, int64_t> users;
    engine.Visit({}, [&users](const Series& series) {
      ++users[series.tracks().front().model()];
      return true;
    });
    const auto& models = engine.registry().models();
    const size_t first = std::min(static_cast<size_t>(token.rows_done), models.size());
    const size_t last = std::min(first + page_size, models.size());
    for (size_t i = first; i < last; ++i) {
      v1::Model* model = response.add_models();
      model->set_name(std::string(models[i]->name()));
      model->set_description(std::string(models[i]->description()));
      model->set_source(std::string(models[i]->source()));
      model->set_is_default(models[i]->name() == engine.default_model(Resource::kCpu));
      model->set_series_count(users[models[i].get()]);
    }
    if (last < models.size()) {
      response.set_next_page_token(
          EncodePageToken({.position = {}, .rows_done = static_cast<int64_t>(last)}));
    }
  });
  return absl::OkStatus();
}

absl::Status PredictorHandlers::Do(const v1::GetAccuracyRequest& request,
                                   v1::GetAccuracyResponse& response) {
  Violations violations;
  CheckSeriesName(request.vm_uuid(), request.host_id(), violations);
  const auto resource = ResourceFromProto(request.resource(), "resource", violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  bool is_known = false;
  runtime_->WithEngine([&](const PredictorEngine& engine) {
    for (const Resource r : {Resource::kCpu, Resource::kMemory}) {
      const Series* series = engine.Find(request.vm_uuid(), request.host_id(), r);
      if (series == nullptr || (resource && *resource != r)) {
        continue;
      }
      is_known = true;
      for (v1::Accuracy& accuracy : AccuraciesOf(engine.options(), *series)) {
        *response.add_accuracies() = std::move(accuracy);
      }
    }
  });
  return is_known ? absl::OkStatus() : UnknownSeries(request.vm_uuid(), request.host_id());
}

absl::Status PredictorHandlers::Do(const v1::ListAccuracyRequest& request,
                                   v1::ListAccuracyResponse& response) {
  Violations violations;
  const auto resource = ResourceFromProto(request.resource(), "resource", violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  CS_ASSIGN_OR_RETURN(const size_t page_size, PageSize(request.page_size()));
  CS_ASSIGN_OR_RETURN(const PageToken token, DecodePageToken(request.page_token()));
  PageToken next = token;
  bool has_more = false;
  runtime_->WithEngine([&](const PredictorEngine& engine) {
    engine.Visit(token.position, [&](const Series& series) {
      if (!Matches(series, request.host_id(), resource)) {
        return true;
      }
      std::vector<v1::Accuracy> rows = AccuraciesOf(engine.options(), series);
      const auto is_other = [&request](const v1::Accuracy& accuracy) {
        return !request.model().empty() && accuracy.model() != request.model();
      };
      std::erase_if(rows, is_other);
      for (size_t i = static_cast<size_t>(next.rows_done); i < rows.size(); ++i) {
        if (static_cast<size_t>(response.accuracies_size()) == page_size) {
          next.rows_done = static_cast<int64_t>(i);
          has_more = true;
          return false;
        }
        *response.add_accuracies() = std::move(rows[i]);
      }
      next = {.position = PositionOf(series.id())};
      return true;
    });
  });
  if (has_more) {
    response.set_next_page_token(EncodePageToken(next));
  }
  return absl::OkStatus();
}

absl::Status PredictorHandlers::Do(const v1::ExportStateRequest& request,
                                   v1::ExportStateResponse& response) {
  if (request.vm_uuids().empty() || request.vm_uuids_size() > kMaxExported) {
    Violations violations;
    violations.Add("vm_uuids", absl::StrCat(request.vm_uuids_size(), " UUIDs"), "1 to 32 UUIDs");
    return violations.ToStatus();
  }
  std::vector<std::string> uuids(request.vm_uuids().begin(), request.vm_uuids().end());
  std::sort(uuids.begin(), uuids.end());
  uuids.erase(std::unique(uuids.begin(), uuids.end()), uuids.end());
  std::vector<std::pair<SeriesId, SeriesState>> states;
  std::string unknown;
  runtime_->WithEngine([&](const PredictorEngine& engine) {
    for (const std::string& uuid : uuids) {
      const size_t before = states.size();
      for (const Resource r : {Resource::kCpu, Resource::kMemory}) {
        if (const Series* series = engine.Find(uuid, "", r); series != nullptr && !uuid.empty()) {
          states.emplace_back(series->id(), series->ToState());
        }
      }
      if (states.size() == before) {
        absl::StrAppend(&unknown, unknown.empty() ? "" : ", ", uuid);
      }
    }
  });
  if (!unknown.empty()) {
    return absl::NotFoundError(absl::StrCat("VMs without state: ", unknown));
  }
  const auto now = rpc::ToProto(runtime_->clock().WallNow());
  for (const auto& [id, state] : states) {
    v1::SeriesState* out = response.add_states();
    out->set_vm_uuid(id.vm_uuid);
    out->set_resource(ToProto(id.resource));
    out->set_model(state.tracks.empty() ? "" : state.tracks.front().model);
    out->set_format_version(kStateFormatVersion);
    out->set_state(EncodeState(state));
    *out->mutable_saved_at() = now;
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::predictor
