#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rpc/metrics_registry.h"

namespace cloudscale::rpc {

// The HTTP port for machines that watch: `/metrics` (Prometheus text), `/livez` (200 while the
// process runs) and
// `/readyz` (200 when ready, else 503 with the reasons). Loopback only. Thread safety: thread-safe.
class AdminServer {
 public:
  // `address` is host:port; port 0 lets the system choose. `readiness` is called on HTTP threads.
  // UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(
      const std::string& address, const MetricsRegistry* metrics,
      std::function<absl::Status()> readiness);
  ~AdminServer();

  [[nodiscard]] const std::string& address() const;

 private:
  struct Impl;
  explicit AdminServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloudscale::rpc
