#include "services/sla/rpc/sla_service.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/main.h"
#include "common/rpc/serving/engine_call.h"
#include "common/rpc/serving/pagination.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "google/protobuf/util/field_mask_util.h"
#include "services/sla/rpc/convert.h"
#include "services/sla/rpc/report_stream.h"

namespace cloudscale::sla {
namespace {

using google::protobuf::util::FieldMaskUtil;
using rpc::Answer;
using rpc::AnswerOnEngine;
using rpc::FromProto;
using rpc::ToProto;

constexpr int64_t kDefaultBuckets = 240;
constexpr int64_t kMaxBuckets = 2200;  // 90 days in hours

void CheckObjective(const v1::Objective& objective, Violations& violations) {
  ValidateObjective(FromWire(objective), "objective", violations);
}

void CheckMask(const google::protobuf::FieldMask& mask, Violations& violations) {
  for (const std::string& path : mask.paths()) {
    const std::string root = path.substr(0, path.find('.'));
    if (!FieldMaskUtil::IsValidPath<v1::Objective>(path) || root == "objective_id" ||
        root == "etag" || root == "updated_at") {
      violations.Add("update_mask", path,
                     "fields below application, terms, members, is_disabled, boost");
    }
  }
}

// The objective as it will be; everything when no mask is given.
v1::Objective Merge(const v1::UpdateObjectiveRequest& request, const Objective& current) {
  if (request.update_mask().paths().empty()) {
    return request.objective();
  }
  v1::Objective merged = ToWire(current);
  FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  FieldMaskUtil::MergeMessageTo(request.objective(), request.update_mask(), options, &merged);
  return merged;
}

}  // namespace

SlaServiceImpl::SlaServiceImpl(SlaCore& core, EngineThread& engine, std::shared_ptr<Hub> hub,
                               CorrectionSender& corrections, const rpc::Environment& environment)
    : core_(core),
      engine_(engine),
      hub_(std::move(hub)),
      corrections_(corrections),
      environment_(environment),
      started_at_(environment.clock.WallNow()) {}

SlaServiceImpl::Reactor* SlaServiceImpl::GetStatus(Context* context, const v1::GetStatusRequest*,
                                                   v1::GetStatusResponse* response) {
  return AnswerOnEngine(context, engine_, [this, response] {
    auto* build = response->mutable_build();
    build->set_service("cloudscale-sla");
    build->set_version(rpc::kVersion);
    *build->mutable_started_at() = ToProto(started_at_);
    response->set_is_serving(true);
    const SlaEngine& engine = core_.engine();
    response->set_objective_count(static_cast<int64_t>(engine.objective_count()));
    response->set_open_violation_count(engine.open_violation_count());
    response->set_report_count(engine.accepted_report_count());
    response->set_refused_report_count(engine.refused_report_count());
    response->set_duplicate_report_count(engine.duplicate_report_count());
    for (auto& link : corrections_.links()) {
      *response->add_links() = std::move(link);
    }
    for (auto& link : core_.inputs()->links()) {
      *response->add_links() = std::move(link);
    }
    for (auto& state : core_.inputs()->states()) {
      *response->add_inputs() = std::move(state);
    }
    return absl::OkStatus();
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::CreateObjective(Context* context,
                                                         const v1::CreateObjectiveRequest* request,
                                                         v1::CreateObjectiveResponse* response) {
  Violations violations;
  CheckObjective(request->objective(), violations);
  rpc::RequireUuid(violations, "request_id", request->request_id());
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response] {
    return rpc::Once(core_.requests(), core_.Now(), *request, response, [&]() -> absl::Status {
      CS_ASSIGN_OR_RETURN(const Objective created,
                          core_.engine().Create(FromWire(request->objective()), core_.Now(),
                                                request->validate_only()));
      if (!request->validate_only()) {
        CS_RETURN_IF_ERROR(core_.store().SaveObjective(created));
      }
      *response->mutable_objective() = ToWire(created);
      return absl::OkStatus();
    });
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::GetObjective(Context* context,
                                                      const v1::GetObjectiveRequest* request,
                                                      v1::GetObjectiveResponse* response) {
  Violations violations;
  RequireNotEmpty(violations, "objective_id", request->objective_id());
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response]() -> absl::Status {
    CS_ASSIGN_OR_RETURN(const Objective objective, core_.engine().Get(request->objective_id()));
    *response->mutable_objective() = ToWire(objective);
    return absl::OkStatus();
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::ListObjectives(Context* context,
                                                        const v1::ListObjectivesRequest* request,
                                                        v1::ListObjectivesResponse* response) {
  Violations violations;
  const std::string filters = absl::StrCat("objectives\n", request->application());
  const rpc::Page page =
      rpc::ParsePage(request->page_size(), request->page_token(), filters, violations);
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response, page, filters] {
    const auto found = core_.engine().List(request->application(), page.after, page.size + 1);
    for (size_t i = 0; i < std::min(found.size(), page.size); ++i) {
      *response->add_objectives() = ToWire(found[i]);
    }
    if (found.size() > page.size) {
      response->set_next_page_token(rpc::MakePageToken(found[page.size - 1].id, filters));
    }
    return absl::OkStatus();
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::UpdateObjective(Context* context,
                                                         const v1::UpdateObjectiveRequest* request,
                                                         v1::UpdateObjectiveResponse* response) {
  Violations violations;
  RequireNotEmpty(violations, "objective.objective_id", request->objective().objective_id());
  CheckMask(request->update_mask(), violations);
  if (request->update_mask().paths().empty()) {
    CheckObjective(request->objective(), violations);
  }
  rpc::RequireUuid(violations, "request_id", request->request_id());
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response] {
    return rpc::Once(core_.requests(), core_.Now(), *request, response, [&]() -> absl::Status {
      CS_ASSIGN_OR_RETURN(const Objective current,
                          core_.engine().Get(request->objective().objective_id()));
      CS_ASSIGN_OR_RETURN(const Objective updated,
                          core_.engine().Update(FromWire(Merge(*request, current)),
                                                RevisionOf(request->objective().etag()),
                                                core_.Now(), request->validate_only()));
      if (!request->validate_only()) {
        CS_RETURN_IF_ERROR(core_.store().SaveObjective(updated));
      }
      *response->mutable_objective() = ToWire(updated);
      return absl::OkStatus();
    });
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::DeleteObjective(Context* context,
                                                         const v1::DeleteObjectiveRequest* request,
                                                         v1::DeleteObjectiveResponse* response) {
  Violations violations;
  RequireNotEmpty(violations, "objective_id", request->objective_id());
  rpc::RequireUuid(violations, "request_id", request->request_id());
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response] {
    return rpc::Once(core_.requests(), core_.Now(), *request, response, [&]() -> absl::Status {
      CS_RETURN_IF_ERROR(core_.engine().Delete(request->objective_id(), RevisionOf(request->etag()),
                                               core_.Now(), request->validate_only()));
      return request->validate_only() ? absl::OkStatus()
                                      : core_.store().DeleteObjective(request->objective_id());
    });
  });
}

grpc::ServerReadReactor<v1::ReportLatenciesRequest>* SlaServiceImpl::ReportLatencies(
    Context*, v1::ReportLatenciesResponse* response) {
  auto* stream = new ReportStream(*this, response);
  bool is_closed = false;
  {
    MutexLock lock(&mutex_);
    is_closed = is_closed_;
    streams_.insert(stream);
  }
  if (is_closed) {
    stream->Close();
  } else {
    stream->Begin();
  }
  return stream;
}

void SlaServiceImpl::Forget(ReportStream* stream) {
  MutexLock lock(&mutex_);
  streams_.erase(stream);
}

void SlaServiceImpl::CloseStreams() {
  MutexLock lock(&mutex_);
  is_closed_ = true;
  for (ReportStream* stream : streams_) {
    stream->Close();
  }
}

grpc::ServerWriteReactor<v1::WatchViolationsResponse>* SlaServiceImpl::WatchViolations(
    Context*, const v1::WatchViolationsRequest* request) {
  Violations violations;
  rpc::WatchOptions options = rpc::ParseWatch(*request, violations);
  if (!violations.empty()) {
    return new rpc::RefusedStream<v1::WatchViolationsResponse>(violations.ToStatus());
  }
  return hub_->Open(std::move(options), [application = request->application()](
                                            const v1::WatchViolationsResponse& message) {
    return application.empty() || message.violation().application() == application;
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::ListViolations(Context* context,
                                                        const v1::ListViolationsRequest* request,
                                                        v1::ListViolationsResponse* response) {
  Violations violations;
  v1::ListViolationsRequest rest = *request;
  rest.clear_page_size();
  rest.clear_page_token();
  const std::string filters = absl::StrCat("violations\n", rest.SerializeAsString());
  const rpc::Page page =
      rpc::ParsePage(request->page_size(), request->page_token(), filters, violations);
  ViolationFilter filter;
  filter.application = request->application();
  filter.objective_id = request->objective_id();
  filter.open_only = request->open_only();
  filter.limit = page.size + 1;
  if (request->has_start_time()) {
    filter.start = FromProto(request->start_time());
  }
  if (request->has_end_time()) {
    filter.end = FromProto(request->end_time());
    if (filter.end <= filter.start) {
      violations.Add("end_time", absl::FormatTime(filter.end), "after start_time");
    }
  }
  if (!page.after.empty() && !absl::SimpleAtoi(page.after, &filter.before_number)) {
    violations.Add("page_token", request->page_token(), "the next_page_token of the answer before");
  }
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, response, page, filter, filters] {
    const auto found = core_.engine().ListViolations(filter);
    for (size_t i = 0; i < std::min(found.size(), page.size); ++i) {
      *response->add_violations() = ToWire(found[i]);
    }
    if (found.size() > page.size) {
      response->set_next_page_token(
          rpc::MakePageToken(absl::StrCat(found[page.size - 1].number), filters));
    }
    return absl::OkStatus();
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::GetCompliance(Context* context,
                                                       const v1::GetComplianceRequest* request,
                                                       v1::GetComplianceResponse* response) {
  Violations violations;
  if (request->has_start_time() && request->has_end_time() &&
      FromProto(request->end_time()) <= FromProto(request->start_time())) {
    violations.Add("end_time", absl::FormatTime(FromProto(request->end_time())),
                   "after start_time");
  }
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response]() -> absl::Status {
    if (!request->objective_id().empty()) {
      CS_RETURN_IF_ERROR(core_.engine().Get(request->objective_id()).status());
    }
    const absl::Time end = request->has_end_time() ? FromProto(request->end_time()) : core_.Now();
    const absl::Time start =
        request->has_start_time() ? FromProto(request->start_time()) : absl::InfinitePast();
    for (const Compliance& compliance : core_.engine().GetCompliance(
             request->application(), request->objective_id(), start, end)) {
      *response->add_compliances() = ToWire(compliance);
    }
    return absl::OkStatus();
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::GetComplianceSeries(
    Context* context, const v1::GetComplianceSeriesRequest* request,
    v1::GetComplianceSeriesResponse* response) {
  Violations violations;
  RequireNotEmpty(violations, "objective_id", request->objective_id());
  if (request->max_buckets() < 0) {
    violations.Add("max_buckets", absl::StrCat(request->max_buckets()), "1 to 2200");
  }
  if (request->has_start_time() && request->has_end_time() &&
      FromProto(request->end_time()) <= FromProto(request->start_time())) {
    violations.Add("end_time", absl::FormatTime(FromProto(request->end_time())),
                   "after start_time");
  }
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, request, response]() -> absl::Status {
    const int64_t max_buckets = request->max_buckets() == 0
                                    ? kDefaultBuckets
                                    : std::min<int64_t>(request->max_buckets(), kMaxBuckets);
    CS_ASSIGN_OR_RETURN(
        const ComplianceSeries series,
        core_.engine().GetComplianceSeries(
            request->objective_id(),
            request->has_start_time() ? FromProto(request->start_time()) : absl::InfinitePast(),
            request->has_end_time() ? FromProto(request->end_time()) : core_.Now(), max_buckets));
    *response->mutable_objective() = ToWire(series.objective);
    *response->mutable_bucket_duration() = ToProto(series.bucket_length);
    for (const auto& [start, bucket] : series.buckets) {
      *response->add_buckets() = ToWire(start, bucket, series.objective);
    }
    return absl::OkStatus();
  });
}

SlaServiceImpl::Reactor* SlaServiceImpl::ListApplications(
    Context* context, const v1::ListApplicationsRequest* request,
    v1::ListApplicationsResponse* response) {
  Violations violations;
  const std::string filters = "applications";
  const rpc::Page page =
      rpc::ParsePage(request->page_size(), request->page_token(), filters, violations);
  if (!violations.empty()) {
    return Answer(context, violations.ToStatus());
  }
  return AnswerOnEngine(context, engine_, [this, response, page, filters] {
    const auto found = core_.engine().ListApplications(page.after, page.size + 1);
    for (size_t i = 0; i < std::min(found.size(), page.size); ++i) {
      *response->add_applications() = ToWire(found[i]);
    }
    if (found.size() > page.size) {
      response->set_next_page_token(rpc::MakePageToken(found[page.size - 1].name, filters));
    }
    return absl::OkStatus();
  });
}

}  // namespace cloudscale::sla
