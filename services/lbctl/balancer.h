#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cloudscale::lbctl {

inline constexpr int kMaxWeight = 256;

enum class ServerState { kReady, kDrain, kMaint };

// `ready`, `drain` or `maint`.
[[nodiscard]] absl::string_view NameOf(ServerState state);

struct ServerKey {
  std::string backend;
  std::string server;
  friend auto operator<=>(const ServerKey&, const ServerKey&) = default;
  friend bool operator==(const ServerKey&, const ServerKey&) = default;
  [[nodiscard]] std::string ToString() const { return backend + "/" + server; }
};

struct Endpoint {
  std::string address;  // IPv4 or IPv6, in the form that the system prints
  int port = 0;         // 0 to 65535; 0 means that of the client
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// Counters are cumulative since the balancer started; times are means over the last requests.
struct ServerStats {
  int64_t current_sessions = 0;
  int64_t queued_requests = 0;
  int64_t total_sessions = 0;
  int64_t error_count = 0;
  int64_t received_bytes = 0;
  int64_t transmitted_bytes = 0;
  absl::Duration queue_time;
  absl::Duration connect_time;
  absl::Duration response_time;
  absl::Duration total_time;
  double request_rate = 0.0;  // per second
};

struct ServerInfo {
  std::string name;
  Endpoint endpoint;
  ServerState state = ServerState::kReady;
  int weight = 0;          // in force, 0 to kMaxWeight
  int initial_weight = 1;  // of the balancer's configuration
  bool is_up = true;
  bool is_dynamic = false;  // added at run time; false when the balancer does not tell
  ServerStats stats;
};

struct BackendInfo {
  std::string name;
  std::string algorithm;
  // False when weights are known to be refused or without effect. The balancer may not tell before
  // it was asked to set one; it then refuses.
  bool has_dynamic_weights = true;
  std::string status;               // the balancer's own word
  std::vector<ServerInfo> servers;  // in order of name
};

struct BalancerInfo {
  std::string version;  // empty when not known
  // Changes when the balancer starts anew and forgets what was set at run time.
  std::string epoch;
  std::optional<absl::Time> started_at;
  std::vector<std::string> capabilities;  // e.g. `dynamic_servers`; sorted
};

// All of a balancer at one instant, told by one process of it.
struct BalancerState {
  BalancerInfo info;
  std::vector<BackendInfo> backends;  // in order of name
};

struct NewServer {
  ServerKey key;
  Endpoint endpoint;  // port 1 to 65535
  int weight = 100;   // 1 to kMaxWeight
  bool is_checked = false;
  friend bool operator==(const NewServer&, const NewServer&) = default;
};

// A load balancer that can be changed while it runs. Nothing here restarts it, and established
// connections survive every call except `EndSessions`.
//
// All calls may block on I/O for a time that the adapter bounds. Common errors: UNAVAILABLE when it
// cannot be reached, DEADLINE_EXCEEDED when it does not answer in time (the outcome is then
// unknown; repeat, all changes are absolute), NOT_FOUND for an unknown backend or server,
// INVALID_ARGUMENT for a value out of range. Every implementation passes
// `conformance/balancer_conformance.h`.
// Thread safety: confined to one thread unless the implementation says more.
class Balancer {
 public:
  virtual ~Balancer() = default;

  // While the balancer is reloaded, two processes may answer for a moment: what is told here is
  // always of one of them, the one that `info.epoch` names.
  virtual absl::StatusOr<BalancerState> Read() = 0;

  // 0 to kMaxWeight; 0 takes no new sessions. FAILED_PRECONDITION when the backend's algorithm
  // cannot.
  virtual absl::Status SetWeight(const ServerKey& key, int weight) = 0;
  virtual absl::Status SetState(const ServerKey& key, ServerState state) = 0;
  // A port of 0 leaves it as it is.
  virtual absl::Status SetAddress(const ServerKey& key, const Endpoint& endpoint) = 0;
  // Ready afterwards. ALREADY_EXISTS; UNIMPLEMENTED without the capability `dynamic_servers`.
  virtual absl::Status AddServer(const NewServer& server) = 0;
  // FAILED_PRECONDITION unless in kMaint and without sessions.
  virtual absl::Status RemoveServer(const ServerKey& key) = 0;
  // Cuts the sessions that the server still has.
  virtual absl::Status EndSessions(const ServerKey& key) = 0;
};

}  // namespace cloudscale::lbctl
