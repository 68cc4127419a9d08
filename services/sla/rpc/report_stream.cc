#include "services/sla/rpc/report_stream.h"

#include "absl/strings/str_cat.h"
#include "common/rpc/status_conversion.h"
#include "services/sla/rpc/convert.h"

namespace cloudscale::sla {
namespace {

constexpr int kMaxReportsPerMessage = 100;
constexpr int kMaxFaults = 20;

}  // namespace

void ReportStream::FinishWith(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    if (is_finished_) {
      return;
    }
    if (is_busy_) {
      ending_ = status;  // the answer is being written by the engine
      return;
    }
    is_finished_ = true;
  }
  Finish(rpc::ToGrpcStatus(status));
}

void ReportStream::Close() { FinishWith(absl::UnavailableError("the service is stopping")); }

void ReportStream::OnCancel() { FinishWith(absl::CancelledError("cancelled")); }

void ReportStream::OnDone() {
  service_.Forget(this);
  delete this;
}

void ReportStream::OnReadDone(bool ok) {
  if (!ok) {
    FinishWith(absl::OkStatus());
    return;
  }
  if (request_.reports_size() < 1 || request_.reports_size() > kMaxReportsPerMessage) {
    Violations violations;
    violations.Add("reports", absl::StrCat(request_.reports_size(), " reports"),
                   absl::StrCat("1 to ", kMaxReportsPerMessage));
    FinishWith(violations.ToStatus());
    return;
  }
  {
    MutexLock lock(&mutex_);
    if (is_finished_) {
      return;
    }
    is_busy_ = true;
  }
  if (!service_.engine_.Post([this] { Take(); })) {
    {
      MutexLock lock(&mutex_);
      is_busy_ = false;
    }
    FinishWith(absl::UnavailableError("the service is stopping or overloaded; try again"));
  }
}

void ReportStream::Take() {
  for (int i = 0; i < request_.reports_size(); ++i) {
    TakeOne(request_.reports(i), i);
  }
  std::optional<absl::Status> ending;
  {
    MutexLock lock(&mutex_);
    is_busy_ = false;
    ending = ending_;
    if (!ending.has_value()) {
      // Under the lock: once it is free a Close may end the stream and delete this.
      StartRead(&request_);
    }
  }
  if (ending.has_value()) {
    FinishWith(*ending);
  }
}

void ReportStream::Refuse(const FieldViolation& fault) {
  if (response_->violations_size() >= kMaxFaults) {
    return;
  }
  auto* added = response_->add_violations();
  added->set_field(fault.field);
  added->set_value(fault.value);
  added->set_allowed(fault.allowed);
  added->set_description(absl::StrCat(fault.field, " is '", fault.value, "'"));
}

void ReportStream::TakeOne(const v1::LatencyReport& wire, int index) {
  const std::string path = absl::StrCat("reports[", index, "]");
  const LatencyReport report = FromWire(wire);
  Violations violations;
  ValidateReport(report, path, violations);
  if (!violations.empty()) {
    response_->set_refused_count(response_->refused_count() + 1);
    service_.core_.CountInvalid(kSourceClient);
    for (const FieldViolation& fault : violations.kept()) {
      Refuse(fault);
    }
    return;
  }
  const absl::Time now = service_.core_.Now();
  const ReportOutcome outcome = service_.core_.Take(report, kSourceClient, now);
  switch (outcome) {
    case ReportOutcome::kAccepted:
      response_->set_accepted_count(response_->accepted_count() + 1);
      return;
    case ReportOutcome::kDuplicate:
      response_->set_duplicate_count(response_->duplicate_count() + 1);
      return;
    case ReportOutcome::kLate:
      response_->set_late_count(response_->late_count() + 1);
      Refuse({.field = path + ".start_time",
              .value = absl::FormatTime(report.start),
              .allowed = "ended at most 1 h ago"});
      break;
    case ReportOutcome::kAhead:
      Refuse({.field = path + ".start_time",
              .value = absl::FormatTime(report.start),
              .allowed = "ends at most 5 s in the future"});
      break;
    case ReportOutcome::kSuperseded:
    case ReportOutcome::kUnknownApplication:
      Refuse({.field = path + ".application",
              .value = report.application,
              .allowed = "an application that an objective names"});
      break;
  }
  response_->set_refused_count(response_->refused_count() + 1);
}

}  // namespace cloudscale::sla
