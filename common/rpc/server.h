#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cloudscale/config/v1/common.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/status/violations.h"
#include "grpcpp/channel.h"
#include "grpcpp/impl/service_type.h"

namespace cloudscale::rpc {

// All faults of a server configuration, by field path below `prefix`. Refuses a listen address that
// is not on loopback when no certificate files are given.
void ValidateServerConfig(const config::v1::ServerConfig& config, absl::string_view prefix,
                          Violations* violations);

// The one server bootstrap of all processes: mutual TLS when certificate files are configured and
// loopback only when not, message and stream limits, keepalive, reflection, the standard health
// service, a deadline on every unary call, RPC metrics, and a drain at the end.
//
// Order: Create → Register each service → Start → SetServing → Shutdown.
// Thread safety: SetServing from any thread, the rest from one.
class Server {
 public:
  static absl::StatusOr<std::unique_ptr<Server>> Create(const config::v1::ServerConfig& config,
                                                        MetricSink* metrics);
  ~Server();

  // Before Start. `service` must outlive the server.
  void Register(grpc::Service* service);

  // Listens. UNAVAILABLE when the address cannot be bound. Health is NOT_SERVING at first.
  absl::Status Start();

  // "127.0.0.1:50551" with the port really bound; the configured text for unix sockets.
  [[nodiscard]] const std::string& address() const;

  // `service_name` is the full name ("cloudscale.monitor.v1.MonitorService"), "" the process as a
  // whole.
  void SetServing(const std::string& service_name, bool serving);

  // A channel that needs no socket; for components of the same process. Valid after Start.
  std::shared_ptr<grpc::Channel> InProcessChannel();

  // From now on every service reports NOT_SERVING, whatever SetServing says.
  void StopServing();

  // Refuses new calls, lets running ones end within the configured grace, then cancels. Idempotent.
  void Shutdown();

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloudscale::rpc
