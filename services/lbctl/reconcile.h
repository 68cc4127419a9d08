#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {

// One thing that is wanted of a server. `confirmed_epoch` is the balancer's epoch in which it was
// last seen to be so; empty when it never was.
template <typename T>
struct Wanted {
  T value;
  std::string confirmed_epoch;
  friend bool operator==(const Wanted&, const Wanted&) = default;
};

// What CloudScale wants of a server; what is not set is left alone.
struct DesiredServer {
  std::optional<Wanted<int>> weight;
  std::optional<Wanted<ServerState>> state;
  std::optional<Wanted<Endpoint>> endpoint;
  std::optional<Wanted<NewServer>> presence;  // of a server that was added at run time
  std::string reason;
  absl::Time set_at = absl::UnixEpoch();
  bool follows_capacity = false;  // the weight was set so, and not by an operator or a plan
  std::string vm_uuid;            // behind a server that was added; empty when not known

  [[nodiscard]] bool is_empty() const { return !weight && !state && !endpoint && !presence; }
  friend bool operator==(const DesiredServer&, const DesiredServer&) = default;
};

using DesiredState = std::map<ServerKey, DesiredServer>;

enum class DriftCause { kReload, kForeignChange, kPending };

struct Drift {
  ServerKey key;
  std::string field;  // `weight`, `state`, `address` or `presence`
  std::string desired;
  std::string actual;
  DriftCause cause = DriftCause::kPending;
};

struct SetWeightCommand {
  int weight = 0;
};
struct SetStateCommand {
  ServerState state = ServerState::kReady;
};
struct SetAddressCommand {
  Endpoint endpoint;
};
struct AddServerCommand {
  NewServer server;
};
// One call to the balancer.
struct Command {
  ServerKey key;
  std::variant<SetWeightCommand, SetStateCommand, SetAddressCommand, AddServerCommand> what;
};

// Which servers are meant; empty means all.
struct Scope {
  std::string backend;
  std::string server;
  [[nodiscard]] bool Contains(const ServerKey& key) const {
    return (backend.empty() || backend == key.backend) && (server.empty() || server == key.server);
  }
};

struct Reconciliation {
  std::vector<Command> commands;  // in order of server; safe to repeat
  std::vector<Drift> drifts;      // in order of server and field
  DesiredState desired;           // with what was confirmed now
};

// Compares what is wanted with what is. For each thing that differs:
//  - never seen to be so: pending, a command applies it;
//  - seen to be so before the balancer started anew: lost by the reload, a command applies it
//  again;
//  - seen to be so since then: somebody else changed it. That is reported and left alone, because
//    two controllers that fight over a weight are worse than either (promise P19) — unless `force`
//    is given and contains the server.
// A wanted server that is absent and was not added by us is reported only: the configuration
// changed. Pure.
[[nodiscard]] Reconciliation Reconcile(const DesiredState& desired,
                                       const std::vector<BackendInfo>& actual,
                                       const std::string& epoch,
                                       const std::optional<Scope>& force = std::nullopt);

// Gives up what differs within `scope`, in favour of what is. Pure.
[[nodiscard]] DesiredState AcceptActual(const DesiredState& desired,
                                        const std::vector<BackendInfo>& actual,
                                        const std::string& epoch, const Scope& scope);

// The server in a list of backends; null when there is none.
[[nodiscard]] const ServerInfo* FindServer(const std::vector<BackendInfo>& backends,
                                           const ServerKey& key);
[[nodiscard]] const BackendInfo* FindBackend(const std::vector<BackendInfo>& backends,
                                             const std::string& name);

}  // namespace cloudscale::lbctl
