#include "services/lbctl/reconcile.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace cloudscale::lbctl {
namespace {

std::string TextOf(int weight) { return absl::StrCat(weight); }
std::string TextOf(ServerState state) { return std::string(NameOf(state)); }
std::string TextOf(const Endpoint& e) { return absl::StrCat(e.address, " port ", e.port); }

template <typename T>
DriftCause CauseOf(const Wanted<T>& wanted, const std::string& epoch) {
  if (wanted.confirmed_epoch.empty()) {
    return DriftCause::kPending;
  }
  return wanted.confirmed_epoch == epoch ? DriftCause::kForeignChange : DriftCause::kReload;
}

// Collects the findings about one server.
class ServerComparison {
 public:
  ServerComparison(const ServerKey& key, const std::string& epoch, bool is_forced,
                   Reconciliation& out)
      : key_(key), epoch_(epoch), is_forced_(is_forced), out_(out) {}

  template <typename T, typename CommandType>
  void Compare(absl::string_view field, std::optional<Wanted<T>>& wanted, const T& actual,
               CommandType command) {
    if (!wanted.has_value()) {
      return;
    }
    if (wanted->value == actual) {
      wanted->confirmed_epoch = epoch_;
      return;
    }
    Differs(field, TextOf(wanted->value), TextOf(actual), CauseOf(*wanted, epoch_),
            std::move(command));
  }

  template <typename CommandType>
  void Differs(absl::string_view field, std::string desired, std::string actual, DriftCause cause,
               CommandType command) {
    Report(field, std::move(desired), std::move(actual), cause);
    if (cause != DriftCause::kForeignChange || is_forced_) {
      out_.commands.push_back({.key = key_, .what = std::move(command)});
    }
  }

  void Report(absl::string_view field, std::string desired, std::string actual, DriftCause cause) {
    out_.drifts.push_back({.key = key_,
                           .field = std::string(field),
                           .desired = std::move(desired),
                           .actual = std::move(actual),
                           .cause = cause});
  }

 private:
  const ServerKey& key_;
  const std::string& epoch_;
  const bool is_forced_;
  Reconciliation& out_;
};

void CompareAbsent(DesiredServer& wanted, const std::string& epoch, ServerComparison& comparison) {
  if (!wanted.presence.has_value()) {
    comparison.Report("presence", "present", "absent", DriftCause::kForeignChange);
    return;
  }
  NewServer server = wanted.presence->value;
  if (wanted.endpoint.has_value()) {
    server.endpoint = wanted.endpoint->value;
  }
  if (wanted.weight.has_value() && wanted.weight->value > 0) {
    server.weight = wanted.weight->value;
  }
  comparison.Differs("presence", "present", "absent", CauseOf(*wanted.presence, epoch),
                     AddServerCommand{server});
}

void ComparePresent(DesiredServer& wanted, const ServerInfo& actual, const std::string& epoch,
                    ServerComparison& comparison) {
  if (wanted.presence.has_value()) {
    wanted.presence->confirmed_epoch = epoch;
  }
  if (wanted.endpoint.has_value()) {
    comparison.Compare("address", wanted.endpoint, actual.endpoint,
                       SetAddressCommand{wanted.endpoint->value});
  }
  if (wanted.state.has_value()) {
    comparison.Compare("state", wanted.state, actual.state, SetStateCommand{wanted.state->value});
  }
  if (wanted.weight.has_value()) {
    comparison.Compare("weight", wanted.weight, actual.weight,
                       SetWeightCommand{wanted.weight->value});
  }
}

}  // namespace

absl::string_view NameOf(ServerState state) {
  switch (state) {
    case ServerState::kReady:
      return "ready";
    case ServerState::kDrain:
      return "drain";
    case ServerState::kMaint:
      return "maint";
  }
  return "unknown";
}

const BackendInfo* FindBackend(const std::vector<BackendInfo>& backends, const std::string& name) {
  for (const BackendInfo& backend : backends) {
    if (backend.name == name) {
      return &backend;
    }
  }
  return nullptr;
}

const ServerInfo* FindServer(const std::vector<BackendInfo>& backends, const ServerKey& key) {
  const BackendInfo* backend = FindBackend(backends, key.backend);
  if (backend == nullptr) {
    return nullptr;
  }
  for (const ServerInfo& server : backend->servers) {
    if (server.name == key.server) {
      return &server;
    }
  }
  return nullptr;
}

Reconciliation Reconcile(const DesiredState& desired, const std::vector<BackendInfo>& actual,
                         const std::string& epoch, const std::optional<Scope>& force) {
  Reconciliation out;
  out.desired = desired;
  for (auto& [key, wanted] : out.desired) {
    ServerComparison comparison(key, epoch, force.has_value() && force->Contains(key), out);
    const ServerInfo* server = FindServer(actual, key);
    if (server == nullptr) {
      CompareAbsent(wanted, epoch, comparison);
    } else {
      ComparePresent(wanted, *server, epoch, comparison);
    }
  }
  return out;
}

DesiredState AcceptActual(const DesiredState& desired, const std::vector<BackendInfo>& actual,
                          const std::string& epoch, const Scope& scope) {
  Reconciliation found = Reconcile(desired, actual, epoch);
  for (const Drift& drift : found.drifts) {
    if (!scope.Contains(drift.key)) {
      continue;
    }
    DesiredServer& wanted = found.desired[drift.key];
    if (drift.field == "weight") {
      wanted.weight.reset();
      wanted.follows_capacity = false;
    } else if (drift.field == "state") {
      wanted.state.reset();
    } else if (drift.field == "address") {
      wanted.endpoint.reset();
    } else {
      wanted = DesiredServer();
    }
  }
  std::erase_if(found.desired, [](const auto& entry) { return entry.second.is_empty(); });
  return found.desired;
}

}  // namespace cloudscale::lbctl
