#include "services/lbctl/backends/fake/fake_balancer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::lbctl {
namespace {

constexpr int kInitialWeight = 100;
constexpr int64_t kBytesPerSession = 16384;

bool TakesWeights(const std::string& algorithm) {
  return algorithm != "static-rr" && algorithm != "source";
}

}  // namespace

FakeBalancer::FakeBalancer(Clock& clock, std::vector<BackendSpec> backends)
    : clock_(clock), specs_(std::move(backends)) {
  MutexLock lock(&mutex_);
  Reset();
}

void FakeBalancer::Reset() {
  ++starts_;
  started_at_ = clock_.WallNow();
  elapsed_until_ = clock_.MonoNow();
  backends_.clear();
  for (const BackendSpec& spec : specs_) {
    Backend backend{.spec = spec, .servers = {}};
    int number = 0;
    for (const std::string& name : spec.servers) {
      Server server;
      server.info.name = name;
      server.info.endpoint = {.address = absl::StrCat("127.0.0.", ++number % 250 + 1),
                              .port = 8080};
      server.info.weight = kInitialWeight;
      server.info.initial_weight = kInitialWeight;
      backend.servers.emplace(name, std::move(server));
    }
    ElapseBackend(backend, elapsed_until_, absl::ZeroDuration());
    backends_.emplace(spec.name, std::move(backend));
  }
}

void FakeBalancer::ElapseBackend(Backend& backend, MonoTime now, absl::Duration passed) {
  int64_t total_weight = 0;
  for (const auto& [name, server] : backend.servers) {
    total_weight += server.info.state == ServerState::kReady ? server.info.weight : 0;
  }
  const double length = absl::ToDoubleSeconds(backend.spec.session_length);
  for (auto& [name, server] : backend.servers) {
    ServerStats& stats = server.info.stats;
    const bool takes = server.info.state == ServerState::kReady && server.info.weight > 0;
    if (!takes) {
      if (!server.is_leaving) {
        server.is_leaving = true;
        server.leaving_sessions = stats.current_sessions;
        server.leaving_since = now;
      }
      const double gone =
          absl::FDivDuration(now - server.leaving_since, backend.spec.session_length);
      stats.current_sessions = static_cast<int64_t>(std::ceil(
          static_cast<double>(server.leaving_sessions) * std::max(0.0, 1.0 - gone) - 1e-9));
      stats.request_rate = 0.0;
      continue;
    }
    server.is_leaving = false;
    const double share =
        static_cast<double>(server.info.weight) / static_cast<double>(total_weight);
    const double sessions = static_cast<double>(backend.spec.offered_sessions) * share;
    stats.current_sessions = std::lround(sessions);
    stats.request_rate = sessions / length;
    server.served += stats.request_rate * absl::ToDoubleSeconds(passed);
    stats.total_sessions = static_cast<int64_t>(server.served);
    stats.received_bytes = stats.total_sessions * kBytesPerSession / 16;
    stats.transmitted_bytes = stats.total_sessions * kBytesPerSession;
    stats.connect_time = absl::Milliseconds(1);
    stats.response_time = absl::Milliseconds(20);
    stats.total_time = absl::Milliseconds(25);
  }
}

void FakeBalancer::Elapse() {
  const MonoTime now = clock_.MonoNow();
  for (auto& [name, backend] : backends_) {
    ElapseBackend(backend, now, now - elapsed_until_);
  }
  elapsed_until_ = now;
}

absl::Status FakeBalancer::Admit() {
  if (!is_reachable_) {
    return absl::UnavailableError("fake balancer is not reachable");
  }
  if (refusals_left_ > 0) {
    --refusals_left_;
    return refusal_;
  }
  Elapse();
  return absl::OkStatus();
}

absl::StatusOr<FakeBalancer::Server*> FakeBalancer::Find(const ServerKey& key) {
  const auto backend = backends_.find(key.backend);
  if (backend == backends_.end()) {
    return absl::NotFoundError(absl::StrCat("no backend '", key.backend, "'"));
  }
  const auto server = backend->second.servers.find(key.server);
  if (server == backend->second.servers.end()) {
    return absl::NotFoundError(absl::StrCat("no server '", key.ToString(), "'"));
  }
  return &server->second;
}

BackendInfo FakeBalancer::Describe(const Backend& backend) {
  BackendInfo out;
  out.name = backend.spec.name;
  out.algorithm = backend.spec.algorithm;
  out.has_dynamic_weights = TakesWeights(backend.spec.algorithm);
  out.status = "DOWN";
  for (const auto& [name, server] : backend.servers) {
    out.servers.push_back(server.info);
    out.servers.back().is_up = server.info.state != ServerState::kMaint;
    if (out.servers.back().is_up) {
      out.status = "UP";
    }
  }
  return out;
}

absl::StatusOr<BalancerState> FakeBalancer::Read() {
  MutexLock lock(&mutex_);
  if (!is_reachable_) {
    return absl::UnavailableError("fake balancer is not reachable");
  }
  Elapse();
  BalancerState out{.info = {.version = "fake-1",
                             .epoch = absl::StrCat(absl::ToUnixNanos(started_at_), "-", starts_),
                             .started_at = started_at_,
                             .capabilities = {"dynamic_servers", "end_sessions"}},
                    .backends = {}};
  for (const auto& [name, backend] : backends_) {
    out.backends.push_back(Describe(backend));
  }
  return out;
}

absl::Status FakeBalancer::SetWeight(const ServerKey& key, int weight) {
  MutexLock lock(&mutex_);
  CS_RETURN_IF_ERROR(Admit());
  CS_ASSIGN_OR_RETURN(Server * server, Find(key));
  if (weight < 0 || weight > kMaxWeight) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight ", weight, " is not within 0 and ", kMaxWeight));
  }
  if (!TakesWeights(backends_.at(key.backend).spec.algorithm)) {
    return absl::FailedPreconditionError(
        absl::StrCat("backend '", key.backend, "' has a static algorithm"));
  }
  server->info.weight = weight;
  ++changes_;
  Elapse();
  return absl::OkStatus();
}

absl::Status FakeBalancer::SetState(const ServerKey& key, ServerState state) {
  MutexLock lock(&mutex_);
  CS_RETURN_IF_ERROR(Admit());
  CS_ASSIGN_OR_RETURN(Server * server, Find(key));
  server->info.state = state;
  ++changes_;
  Elapse();
  return absl::OkStatus();
}

absl::Status FakeBalancer::SetAddress(const ServerKey& key, const Endpoint& endpoint) {
  MutexLock lock(&mutex_);
  CS_RETURN_IF_ERROR(Admit());
  CS_ASSIGN_OR_RETURN(Server * server, Find(key));
  server->info.endpoint.address = endpoint.address;
  if (endpoint.port != 0) {
    server->info.endpoint.port = endpoint.port;
  }
  ++changes_;
  return absl::OkStatus();
}

absl::Status FakeBalancer::AddServer(const NewServer& added) {
  MutexLock lock(&mutex_);
  CS_RETURN_IF_ERROR(Admit());
  const auto backend = backends_.find(added.key.backend);
  if (backend == backends_.end()) {
    return absl::NotFoundError(absl::StrCat("no backend '", added.key.backend, "'"));
  }
  if (added.weight < 1 || added.weight > kMaxWeight) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight ", added.weight, " is not within 1 and ", kMaxWeight));
  }
  Server server;
  server.info.name = added.key.server;
  server.info.endpoint = added.endpoint;
  server.info.weight = added.weight;
  server.info.initial_weight = added.weight;
  server.info.is_dynamic = true;
  if (!backend->second.servers.emplace(added.key.server, std::move(server)).second) {
    return absl::AlreadyExistsError(absl::StrCat("server '", added.key.ToString(), "' exists"));
  }
  ++changes_;
  Elapse();
  return absl::OkStatus();
}

absl::Status FakeBalancer::RemoveServer(const ServerKey& key) {
  MutexLock lock(&mutex_);
  CS_RETURN_IF_ERROR(Admit());
  CS_ASSIGN_OR_RETURN(Server * server, Find(key));
  if (server->info.state != ServerState::kMaint || server->info.stats.current_sessions > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("server '", key.ToString(), "' must be in maint without sessions"));
  }
  backends_.at(key.backend).servers.erase(key.server);
  ++changes_;
  return absl::OkStatus();
}

absl::Status FakeBalancer::EndSessions(const ServerKey& key) {
  MutexLock lock(&mutex_);
  CS_RETURN_IF_ERROR(Admit());
  CS_ASSIGN_OR_RETURN(Server * server, Find(key));
  server->leaving_sessions = 0;
  server->info.stats.current_sessions = 0;
  ++changes_;
  Elapse();
  return absl::OkStatus();
}

void FakeBalancer::Restart() {
  MutexLock lock(&mutex_);
  Reset();
}

void FakeBalancer::Refuse(absl::Status status, int count) {
  MutexLock lock(&mutex_);
  refusal_ = std::move(status);
  refusals_left_ = count;
}

void FakeBalancer::SetReachable(bool is_reachable) {
  MutexLock lock(&mutex_);
  is_reachable_ = is_reachable;
}

int64_t FakeBalancer::change_count() const {
  MutexLock lock(&mutex_);
  return changes_;
}

}  // namespace cloudscale::lbctl
