#include "services/lbctl/main/lbctl_component.h"

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/lbctl/agent_answer.h"
#include "services/lbctl/backends/fake/fake_balancer.h"
#include "services/lbctl/backends/haproxy/haproxy_balancer.h"
#include "services/lbctl/main/lbctl_config.h"
#include "services/lbctl/rpc/balancer_service.h"
#include "services/lbctl/rpc/lbctl_core.h"
#include "services/lbctl/transport/agent_listener.h"
#include "services/lbctl/transport/message_listener.h"

namespace cloudscale::lbctl {
namespace {

constexpr size_t kMailbox = 1024;

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

  void AddListeners(const config::v1::LbctlConfig& config) {
    agent_ports_ = AgentPortsOf(config);
    std::optional<MessageListener::Options> messages = MessagesOf(config);
    if (messages) {
      messages_.emplace(*socket_clock_, environment_.metrics, *std::move(messages),
                        [this](const PlanOrder& order, const std::string& text) {
                          return engine_.Post([this, order, text] { ApplyByMessage(order, text); });
                        });
    }
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
    return StartListeners();
  }

  void Stop() override {
    if (!is_running_.exchange(false)) {
      return;
    }
    agents_.Stop();
    if (messages_) {
      messages_->Stop();
    }
    hub_->Close();
    engine_.Stop();
    core_->EndDrains();
  }

  absl::Status Readiness() const override {
    return is_running_ ? core_->snapshot()->status : absl::UnavailableError("not running");
  }

 private:
  absl::Status StartListeners() {
    if (!agent_ports_.empty()) {
      CS_RETURN_IF_ERROR(WithContext("agent_check", agents_.Start(agent_ports_)));
      const std::vector<int> bound = agents_.bound_ports();
      for (size_t i = 0; i < bound.size(); ++i) {
        LogLine(LogLevel::kInfo, "agent_check_listens")
            .Field("server",
                   agent_ports_[i].key.server.empty() ? "by name" : agent_ports_[i].key.ToString())
            .Field("port", bound[i]);
      }
    }
    if (messages_) {
      CS_RETURN_IF_ERROR(WithContext("messages", messages_->Start()));
      LogLine(LogLevel::kInfo, "messages_listen").Field("port", messages_->bound_port());
    }
    return absl::OkStatus();
  }

  void ApplyByMessage(const PlanOrder& order, const std::string& text) {
    const absl::Status status = core_->Do([&](BalancerControl& control) {
      return control.ApplyPlan(order, absl::StrCat("message '", text, "'"), core_->Now(), false)
          .status();
    });
    environment_.metrics.Count("cloudscale_lbctl_message_plans_total",
                               {{"result", status.ok() ? "done" : "failed"}}, 1);
    if (!status.ok()) {
      LogLine(LogLevel::kWarning, "plan_by_message_failed")
          .Field("text", text)
          .Field("status", status);
    }
  }

  const rpc::Environment& environment_;
  const std::unique_ptr<Clock> socket_clock_ = MakeRealClock();
  EngineThread engine_;
  const std::shared_ptr<BalancerServiceImpl::Hub> hub_;
  std::unique_ptr<LbctlCore> core_;
  std::unique_ptr<BalancerServiceImpl> service_;
  std::vector<AgentListener::Port> agent_ports_;
  AgentListener agents_{*socket_clock_, environment_.metrics, [this](const ServerKey& key) {
                          return AgentAnswer(*core_->snapshot(), key);
                        }};
  std::optional<MessageListener> messages_;
  std::atomic<bool> is_running_ = false;
};

}  // namespace

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
  component->AddListeners(config);
  return component;
}

}  // namespace cloudscale::lbctl
