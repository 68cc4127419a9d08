#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "common/metrics/metric_sink.h"
#include "common/sync/mutex.h"
#include "grpcpp/support/server_interceptor.h"

namespace cloudscale::rpc {

// Cancels unary calls that outlive their bound and counts all calls: a client that names no
// deadline, or one of an hour, must not hold resources that long. Streams and drains are exempt;
// their readers come and go. Thread safety: thread-safe.
class CallGuard {
 public:
  struct Config {
    absl::Duration default_deadline = absl::Seconds(30);  // for unary calls without one
    absl::Duration max_deadline = absl::Seconds(60);      // longer ones are cut to this
  };

  CallGuard(Config config, MetricSink* metrics);
  ~CallGuard();

  // Names a server call while it runs; 0 is none.
  using Ticket = int64_t;
  Ticket Begin(grpc::ServerContextBase* context);
  // After it returns `context` is not touched any more.
  void End(Ticket ticket);

  void CountCall(const std::string& method, grpc::StatusCode code, absl::Duration took);

 private:
  struct Entry {
    MonoTime expires;
    grpc::ServerContextBase* context;
  };
  void Watch(std::stop_token stop);

  const Config config_;
  MetricSink* const metrics_;
  const std::unique_ptr<Clock> clock_;
  Mutex mutex_;
  CondVar changed_;
  std::map<Ticket, Entry> running_ ABSL_GUARDED_BY(mutex_);
  Ticket next_ ABSL_GUARDED_BY(mutex_) = 1;
  std::jthread watcher_;
};

// Attaches a guard to a server; `guard` must outlive it.
[[nodiscard]] std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>
MakeCallGuardInterceptorFactory(CallGuard* guard);

}  // namespace cloudscale::rpc
