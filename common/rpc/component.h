#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/metrics/metric_sink.h"
#include "common/time/clock.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace cloudscale::rpc {

// The address of peers that live in the same process (`cloudscaled`).
inline constexpr absl::string_view kInProcessAddress = "in-process";

// What a service gets from the process around it. Outlives every component.
struct Environment {
  Clock& clock;
  MetricSink& metrics;
  uint64_t seed = 0;
  // A channel to a peer; the in-process channel for `kInProcessAddress`. Never null; connects
  // lazily. Ask in `Component::Start` or later: before, the in-process server does not exist.
  std::function<std::shared_ptr<grpc::Channel>(const std::string& address)> channel;
};

// One service of the system: its gRPC handlers and its threads. A process runs one
// (`cloudscale-monitor`) or all of them (`cloudscaled`). Thread safety: Start and Stop from one
// thread; the rest from any.
class Component {
 public:
  virtual ~Component() = default;

  [[nodiscard]] virtual absl::string_view name() const = 0;  // "monitor"

  // Owned by the component; registered with the server before it starts.
  virtual std::vector<grpc::Service*> services() = 0;

  // Full names of those services, for the health service ("cloudscale.monitor.v1.MonitorService").
  [[nodiscard]] virtual std::vector<std::string> service_names() const = 0;

  // Called once, after the server listens. Spawns the threads.
  virtual absl::Status Start() = 0;

  // Ends streams and threads and flushes state. Idempotent; returns within a few seconds.
  virtual void Stop() = 0;

  // OK when it serves its purpose; else why not yet. Polled for the health service.
  [[nodiscard]] virtual absl::Status Readiness() const = 0;
};

}  // namespace cloudscale::rpc
