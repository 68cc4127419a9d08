#include "common/rpc/call_guard.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "grpcpp/server_context.h"

namespace cloudscale::rpc {
namespace {

// How late a call may be cancelled; one scan of the running calls a period.
constexpr absl::Duration kScanPeriod = absl::Milliseconds(50);

// Waiting for connections to end is what this call is for.
bool IsExempt(absl::string_view method) { return absl::StrContains(method, "/Drain"); }

class Interceptor final : public grpc::experimental::Interceptor {
 public:
  Interceptor(CallGuard* guard, Clock* clock, grpc::experimental::ServerRpcInfo* info)
      : guard_(guard),
        clock_(clock),
        info_(info),
        method_(info->method()),
        start_(clock->MonoNow()) {}

  ~Interceptor() override {
    guard_->End(ticket_);
    // gRPC treats calls to methods that nobody serves as streams. Their names are the callers', of
    // which there may be any number, so they share one label.
    const bool is_unknown =
        code_ == grpc::StatusCode::UNIMPLEMENTED &&
        info_->type() == grpc::experimental::ServerRpcInfo::Type::BIDI_STREAMING;
    guard_->CountCall(is_unknown ? "unknown" : method_, code_, clock_->MonoNow() - start_);
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_INITIAL_METADATA) &&
        info_->type() == grpc::experimental::ServerRpcInfo::Type::UNARY && !IsExempt(method_)) {
      ticket_ = guard_->Begin(info_->server_context());
    }
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = methods->GetSendStatus().error_code();
      guard_->End(ticket_);
      ticket_ = 0;
    }
    methods->Proceed();
  }

 private:
  CallGuard* const guard_;
  Clock* const clock_;
  grpc::experimental::ServerRpcInfo* const info_;
  // A copy: of a call to an unknown method gRPC frees the name before this object.
  const std::string method_;
  const MonoTime start_;
  CallGuard::Ticket ticket_ = 0;
  grpc::StatusCode code_ = grpc::StatusCode::CANCELLED;  // unless a status is sent
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(CallGuard* guard) : guard_(guard), clock_(MakeRealClock()) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    return new Interceptor(guard_, clock_.get(), info);  // gRPC owns it
  }

 private:
  CallGuard* const guard_;
  const std::unique_ptr<Clock> clock_;
};

}  // namespace

CallGuard::CallGuard(Config config, MetricSink* metrics)
    : config_(config),
      metrics_(metrics),
      clock_(MakeRealClock()),
      watcher_([this](std::stop_token stop) { Watch(stop); }) {}

CallGuard::~CallGuard() = default;

CallGuard::Ticket CallGuard::Begin(grpc::ServerContextBase* context) {
  const absl::Duration asked =
      absl::FromChrono(context->deadline() - std::chrono::system_clock::now());
  // A call without a deadline carries one in the far future.
  const absl::Duration bound = asked > absl::Hours(24 * 365)
                                   ? config_.default_deadline
                                   : std::min(asked, config_.max_deadline);
  MutexLock lock(&mutex_);
  const Ticket ticket = next_++;
  running_[ticket] = {clock_->MonoNow() + bound, context};
  return ticket;
}

void CallGuard::End(Ticket ticket) {
  MutexLock lock(&mutex_);
  running_.erase(ticket);
}

void CallGuard::CountCall(const std::string& method, grpc::StatusCode code, absl::Duration took) {
  if (metrics_ == nullptr) {
    return;
  }
  metrics_->Count("cloudscale_rpc_handled_total",
                  {{"method", method}, {"code", absl::StrCat(static_cast<int>(code))}}, 1);
  metrics_->ObserveSeconds("cloudscale_rpc_duration_seconds", {{"method", method}},
                           absl::ToDoubleSeconds(took));
}

void CallGuard::Watch(std::stop_token stop) {
  MutexLock lock(&mutex_);
  while (changed_.WaitFor(&mutex_, kScanPeriod, stop)) {
    const MonoTime now = clock_->MonoNow();
    for (auto it = running_.begin(); it != running_.end();) {
      if (it->second.expires <= now) {
        // Under the lock on purpose: End() waits for it, so the context is still alive.
        it->second.context->TryCancel();
        it = running_.erase(it);
      } else {
        ++it;
      }
    }
  }
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
MakeCallGuardInterceptorFactory(CallGuard* guard) {
  return std::make_unique<Factory>(guard);
}

}  // namespace cloudscale::rpc
