#include "services/lbctl/main/lbctl_component.h"

#include <atomic>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/lbctl/backends/fake/fake_balancer.h"
#include "services/lbctl/backends/haproxy/haproxy_balancer.h"
#include "services/lbctl/rpc/balancer_service.h"
#include "services/lbctl/rpc/lbctl_core.h"

namespace cloudscale::lbctl {
namespace {

constexpr size_t kMailbox = 1024;
constexpr int kMaxServersPerBackend = 256;

absl::Duration PollPeriodOf(const config::v1::LbctlConfig& config) {
  return config.has_poll_period() ? rpc::FromProto(config.poll_period()) : absl::Seconds(1);
}

std::vector<FakeBalancer::BackendSpec> FakeBackendsOf(const config::v1::FakeBalancerConfig& fake) {
  std::vector<FakeBalancer::BackendSpec> specs;
  for (const auto& backend : fake.backends()) {
    FakeBalancer::BackendSpec spec;
    spec.name = backend.name();
    spec.servers.assign(backend.servers().begin(), backend.servers().end());
    if (!backend.algorithm().empty()) {
      spec.algorithm = backend.algorithm();
    }
    specs.push_back(std::move(spec));
  }
  if (specs.empty()) {
    FakeBalancer::BackendSpec web;
    web.name = "web";
    web.servers = {"web-1", "web-2"};
    specs.push_back(std::move(web));
  }
  return specs;
}

LbctlCore::Options OptionsOf(const config::v1::LbctlConfig& config) {
  LbctlCore::Options options;
  options.state_path = config.state_path();
  options.poll_period = PollPeriodOf(config);
  for (const auto& mapping : config.servers()) {
    options.vm_uuids[{mapping.backend(), mapping.server()}] = mapping.vm_uuid();
  }
  return options;
}

class LbctlComponent final : public rpc::Component {
 public:
  LbctlComponent(const config::v1::LbctlConfig& config, const rpc::Environment& environment)
      : environment_(environment),
        engine_(environment.clock, kMailbox),
        hub_(BalancerServiceImpl::Hub::Create(
            {.kept = 64,
             .queue_length =
                 config.server().limits().max_watch_queue_length() > 0
                     ? static_cast<size_t>(config.server().limits().max_watch_queue_length())
                     : 64})) {}
  ~LbctlComponent() override { Stop(); }

  absl::Status Open(const config::v1::LbctlConfig& config, std::unique_ptr<Balancer> balancer) {
    CS_ASSIGN_OR_RETURN(core_,
                        LbctlCore::Open(OptionsOf(config), std::move(balancer), environment_));
    core_->set_on_polled([this](const BalancerView& view) {
      hub_->Publish(BalancerServiceImpl::ToMessage(view), environment_.clock.MonoNow());
    });
    service_ = std::make_unique<BalancerServiceImpl>(
        *core_, engine_, hub_, PollPeriodOf(config),
        config.has_haproxy() ? config.haproxy().socket_path() : "simulated");
    return absl::OkStatus();
  }

  absl::string_view name() const override { return "lbctl"; }
  std::vector<grpc::Service*> services() override { return {service_.get()}; }
  std::vector<std::string> service_names() const override {
    return {"cloudscale.lbctl.v1.BalancerService"};
  }

  absl::Status Start() override {
    engine_.Start([this] { return core_->TickPeriod(); },
                  [this] {
                    core_->Tick();
                    hub_->Beat(environment_.clock.MonoNow());
                  });
    is_running_ = true;
    return absl::OkStatus();
  }

  void Stop() override {
    if (!is_running_.exchange(false)) {
      return;
    }
    hub_->Close();
    engine_.Stop();
    core_->EndDrains();
  }

  absl::Status Readiness() const override {
    return is_running_ ? core_->snapshot()->status : absl::UnavailableError("not running");
  }

 private:
  const rpc::Environment& environment_;
  EngineThread engine_;
  const std::shared_ptr<BalancerServiceImpl::Hub> hub_;
  std::unique_ptr<LbctlCore> core_;
  std::unique_ptr<BalancerServiceImpl> service_;
  std::atomic<bool> is_running_ = false;
};

void ValidateFake(const config::v1::FakeBalancerConfig& fake, Violations& v) {
  std::set<std::string> names;
  for (int i = 0; i < fake.backends_size(); ++i) {
    const auto& backend = fake.backends(i);
    const std::string at = absl::StrCat("fake.backends[", i, "]");
    RequireNotEmpty(v, absl::StrCat(at, ".name"), backend.name());
    if (!names.insert(backend.name()).second) {
      v.Add(absl::StrCat(at, ".name"), backend.name(), "each name once");
    }
    if (backend.servers_size() < 1 || backend.servers_size() > kMaxServersPerBackend) {
      v.Add(absl::StrCat(at, ".servers"), absl::StrCat(backend.servers_size(), " servers"),
            absl::StrCat("1 to ", kMaxServersPerBackend));
    }
    std::set<std::string> servers;
    for (int s = 0; s < backend.servers_size(); ++s) {
      if (backend.servers(s).empty() || !servers.insert(backend.servers(s)).second) {
        v.Add(absl::StrCat(at, ".servers[", s, "]"), backend.servers(s),
              "not empty, each name once");
      }
    }
  }
}

}  // namespace

void ValidateLbctlConfig(const config::v1::LbctlConfig& config, Violations* violations) {
  Violations& v = *violations;
  switch (config.backend_case()) {
    case config::v1::LbctlConfig::kFake:
      ValidateFake(config.fake(), v);
      break;
    case config::v1::LbctlConfig::kHaproxy:
      RequireNotEmpty(v, "haproxy.socket_path", config.haproxy().socket_path());
      if (config.haproxy().has_timeout()) {
        RequireInRange(v, "haproxy.timeout",
                       absl::ToDoubleSeconds(rpc::FromProto(config.haproxy().timeout())), 0.1,
                       60.0);
      }
      break;
    case config::v1::LbctlConfig::BACKEND_NOT_SET:
      v.Add("backend", "", "one of fake, haproxy");
      break;
  }
  if (config.has_poll_period()) {
    RequireInRange(v, "poll_period", absl::ToDoubleSeconds(rpc::FromProto(config.poll_period())),
                   0.1, 60.0);
  }
  std::set<ServerKey> mapped;
  for (int i = 0; i < config.servers_size(); ++i) {
    const auto& mapping = config.servers(i);
    const std::string at = absl::StrCat("servers[", i, "]");
    RequireNotEmpty(v, absl::StrCat(at, ".backend"), mapping.backend());
    RequireNotEmpty(v, absl::StrCat(at, ".server"), mapping.server());
    RequireNotEmpty(v, absl::StrCat(at, ".vm_uuid"), mapping.vm_uuid());
    if (!mapped.insert({mapping.backend(), mapping.server()}).second) {
      v.Add(at, absl::StrCat(mapping.backend(), "/", mapping.server()), "each server once");
    }
  }
}

absl::StatusOr<std::unique_ptr<rpc::Component>> MakeLbctlComponent(
    const config::v1::LbctlConfig& config, const rpc::Environment& environment) {
  Violations violations;
  ValidateLbctlConfig(config, &violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  if (config.has_haproxy()) {
    const absl::Duration timeout = config.haproxy().has_timeout()
                                       ? rpc::FromProto(config.haproxy().timeout())
                                       : absl::Seconds(2);
    return MakeLbctlComponent(
        config,
        std::make_unique<HaproxyBalancer>(RuntimeSocket(config.haproxy().socket_path(), timeout)),
        environment);
  }
  return MakeLbctlComponent(
      config, std::make_unique<FakeBalancer>(environment.clock, FakeBackendsOf(config.fake())),
      environment);
}

absl::StatusOr<std::unique_ptr<rpc::Component>> MakeLbctlComponent(
    const config::v1::LbctlConfig& config, std::unique_ptr<Balancer> balancer,
    const rpc::Environment& environment) {
  auto component = std::make_unique<LbctlComponent>(config, environment);
  CS_RETURN_IF_ERROR(component->Open(config, std::move(balancer)));
  return component;
}

}  // namespace cloudscale::lbctl
