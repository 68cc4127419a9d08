#pragma once

#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/lbctl/backends/haproxy/runtime_socket.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {

// HAProxy 2.6 or newer over its runtime socket (`stats socket … level admin`). Nothing is written
// to its configuration and it is never restarted. Runtime changes are lost at a reload; lbctl
// applies them again because the epoch changes. Thread safety: thread-compatible.
class HaproxyBalancer final : public Balancer {
 public:
  explicit HaproxyBalancer(RuntimeSocket socket) : socket_(std::move(socket)) {}

  absl::StatusOr<BalancerState> Read() override;
  absl::Status SetWeight(const ServerKey& key, int weight) override;
  absl::Status SetState(const ServerKey& key, ServerState state) override;
  absl::Status SetAddress(const ServerKey& key, const Endpoint& endpoint) override;
  absl::Status AddServer(const NewServer& server) override;
  absl::Status RemoveServer(const ServerKey& key) override;
  absl::Status EndSessions(const ServerKey& key) override;

 private:
  absl::Status Do(const std::string& command);

  const RuntimeSocket socket_;
  std::string epoch_;
  std::set<std::string> static_backends_;  // by a refusal in this epoch
};

}  // namespace cloudscale::lbctl
