#include "services/monitor/rpc/guest_handlers.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/status_conversion.h"
#include "services/monitor/rpc/convert.h"

namespace cloudscale::monitor {

using guest::v1::StreamReportsRequest;
using guest::v1::StreamReportsResponse;

// One agent's stream: read, answer, read. Ends itself.
class GuestStream final
    : public grpc::ServerBidiReactor<StreamReportsRequest, StreamReportsResponse> {
 public:
  GuestStream(GuestHandlers& handlers, std::optional<std::vector<std::string>> peer_names)
      : state_(handlers.state_),
        intake_(handlers.intake_),
        metrics_(handlers.metrics_),
        registry_(handlers.registry_),
        peer_names_(std::move(peer_names)) {}

  // Takes up work, or refuses the stream.
  void Start() {
    absl::Status status;
    {
      MutexLock lock(&registry_->mutex);
      if (registry_->is_closed) {
        status = absl::UnavailableError("the monitor is stopping");
      } else if (!state_.config().takes_guest_reports) {
        status = absl::FailedPreconditionError("guest reports are switched off");
      } else if (static_cast<int64_t>(registry_->open.size()) >=
                 state_.config().max_guest_streams) {
        status = absl::ResourceExhaustedError(
            absl::StrCat("already ", registry_->open.size(), " guest streams"));
      } else {
        registry_->open[this] = this;
        CountStreams();
      }
    }
    if (!status.ok()) {
      End(status);
      return;
    }
    MutexLock lock(&mutex_);
    StartRead(&request_);
  }

  // Ends the stream once the write under way is out. Idempotent.
  void End(const absl::Status& status) {
    MutexLock lock(&mutex_);
    if (!end_.has_value()) {
      end_ = rpc::ToGrpcStatus(status);
    }
    FinishIfIdle();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(absl::OkStatus());
      return;
    }
    if (absl::Status status = TakeAll(); !status.ok()) {
      End(status);
      return;
    }
    MutexLock lock(&mutex_);
    if (!end_.has_value()) {
      is_writing_ = true;
      StartWrite(&response_);
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      End(absl::CancelledError("agent went away"));
    }
    MutexLock lock(&mutex_);
    is_writing_ = false;
    if (end_.has_value()) {
      FinishIfIdle();
    } else {
      StartRead(&request_);
    }
  }

  void OnCancel() override { End(absl::CancelledError("cancelled")); }

  void OnDone() override {
    {
      MutexLock lock(&registry_->mutex);
      registry_->open.erase(this);
      const auto it = registry_->by_vm.find(vm_uuid_);
      if (it != registry_->by_vm.end() && it->second == this) {
        registry_->by_vm.erase(it);
      }
      CountStreams();
    }
    delete this;
  }

 private:
  void FinishIfIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!is_writing_ && !is_finished_) {
      is_finished_ = true;
      Finish(*end_);
    }
  }

  void CountStreams() ABSL_EXCLUSIVE_LOCKS_REQUIRED(registry_->mutex) {
    metrics_.Set("cloudscale_monitor_guest_streams", {},
                 static_cast<double>(registry_->open.size()));
  }

  // Makes the stream that of the VM named by its first report.
  absl::Status Bind(const guest::v1::GuestReport& first) {
    if (!IsUuid(first.vm_uuid())) {
      return ValidateGuestReport(FromWire(first));
    }
    if (peer_names_.has_value()) {
      if (absl::Status status = CheckGuestIdentity(*peer_names_, first.vm_uuid()); !status.ok()) {
        metrics_.Count("cloudscale_monitor_guest_refusals_total", {{"reason", "other_vm"}}, 1);
        return status;
      }
    }
    MutexLock lock(&registry_->mutex);
    vm_uuid_ = first.vm_uuid();
    GuestStream*& owner = registry_->by_vm[vm_uuid_];
    if (owner != nullptr) {
      owner->End(absl::AbortedError("another stream of this VM has taken over"));
    }
    owner = this;
    return absl::OkStatus();
  }

  // A status other than OK ends the stream.
  absl::Status TakeAll() {
    if (vm_uuid_.empty() && request_.reports_size() > 0) {
      if (absl::Status status = Bind(request_.reports(0)); !status.ok()) {
        return status;
      }
    }
    return intake_.Take(vm_uuid_, request_, progress_, &response_);
  }

  MonitorState& state_;
  ReportIntake& intake_;
  MetricSink& metrics_;
  const std::shared_ptr<GuestHandlers::Registry> registry_;
  // Names in the peer's certificate; absent without TLS.
  const std::optional<std::vector<std::string>> peer_names_;

  // Touched by the reactions only, which never overlap.
  StreamReportsRequest request_;
  StreamReportsResponse response_;
  std::string vm_uuid_;
  ReportIntake::Progress progress_;

  Mutex mutex_;
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
};

absl::Status CheckGuestIdentity(const std::vector<std::string>& peer_names,
                                absl::string_view vm_uuid) {
  const std::string suffix = absl::StrCat("/vm/", vm_uuid);
  const bool is_own = std::ranges::any_of(peer_names, [&](const std::string& name) {
    return name == vm_uuid || absl::EndsWith(name, suffix);
  });
  if (is_own) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      absl::StrCat("the peer's certificate does not name vm ", vm_uuid));
}

GuestHandlers::GuestHandlers(MonitorState& state, ReportIntake& intake, MetricSink& metrics)
    : state_(state), intake_(intake), metrics_(metrics), registry_(std::make_shared<Registry>()) {}

GuestHandlers::~GuestHandlers() = default;

grpc::ServerBidiReactor<StreamReportsRequest, StreamReportsResponse>* GuestHandlers::StreamReports(
    grpc::CallbackServerContext* context) {
  std::optional<std::vector<std::string>> names;
  const auto auth = context->auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    names.emplace();
    for (const char* property : {"x509_subject_alternative_name", "x509_common_name"}) {
      for (const grpc::string_ref& value : auth->FindPropertyValues(property)) {
        names->emplace_back(value.data(), value.size());
      }
    }
  }
  auto* stream = new GuestStream(*this, std::move(names));
  stream->Start();
  return stream;
}

void GuestHandlers::CloseAll() {
  MutexLock lock(&registry_->mutex);
  registry_->is_closed = true;
  for (auto& [key, stream] : registry_->open) {
    stream->End(absl::UnavailableError("the monitor is stopping"));
  }
}

}  // namespace cloudscale::monitor
