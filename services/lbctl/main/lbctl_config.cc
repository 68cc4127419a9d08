#include "services/lbctl/main/lbctl_config.h"

#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/time_conversion.h"
#include "services/lbctl/main/lbctl_component.h"
#include "services/lbctl/rpc/request_checks.h"

namespace cloudscale::lbctl {
namespace {

constexpr int kMaxServersPerBackend = 256;
constexpr int kMaxAgentListeners = 256;
constexpr int kMaxMessages = 64;
constexpr size_t kMaxMessageText = 256;
constexpr int kMaxSources = 64;
constexpr int kMaxMessagesPerMinute = 6000;
constexpr int kDefaultMessagesPerMinute = 60;

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

void ValidateFollows(const config::v1::LbctlConfig& config, Violations& v) {
  std::set<std::string> names;
  for (int i = 0; i < config.follow_capacity_size(); ++i) {
    const auto& follow = config.follow_capacity(i);
    const std::string at = absl::StrCat("follow_capacity[", i, "]");
    RequireNotEmpty(v, absl::StrCat(at, ".backend"), follow.backend());
    if (!names.insert(follow.backend()).second) {
      v.Add(absl::StrCat(at, ".backend"), follow.backend(), "each backend once");
    }
    RequireInRange(v, absl::StrCat(at, ".dead_band_ratio"), follow.dead_band_ratio(), 0, 1);
    RequireInRange(v, absl::StrCat(at, ".min_weight_ratio"), follow.min_weight_ratio(), 0, 1);
    RequireInRange(v, absl::StrCat(at, ".min_interval"),
                   absl::ToDoubleSeconds(rpc::FromProto(follow.min_interval())), 0, 3600);
  }
}

void RequireSocketAddress(Violations& v, const std::string& field, const std::string& address) {
  if (!ParseSocketAddress(address).ok()) {
    v.Add(field, address, "an IP address with port, such as 127.0.0.1:18090 or [::1]:18090");
  }
}

void ValidateAgentCheck(const config::v1::AgentCheckConfig& agent, Violations& v) {
  if (agent.listeners_size() > kMaxAgentListeners) {
    v.Add("agent_check.listeners", absl::StrCat(agent.listeners_size(), " listeners"),
          absl::StrCat("at most ", kMaxAgentListeners));
  }
  for (int i = 0; i < agent.listeners_size(); ++i) {
    const auto& listener = agent.listeners(i);
    const std::string at = absl::StrCat("agent_check.listeners[", i, "]");
    RequireSocketAddress(v, absl::StrCat(at, ".listen_address"), listener.listen_address());
    if (listener.backend().empty() != listener.server().empty()) {
      v.Add(at, absl::StrCat(listener.backend(), "/", listener.server()),
            "backend and server, or neither");
    }
  }
}

void ValidateMessage(const config::v1::PlanMessage& message, const std::string& at, Violations& v) {
  if (message.text().empty() || message.text().size() > kMaxMessageText ||
      absl::StripAsciiWhitespace(message.text()) != message.text()) {
    v.Add(absl::StrCat(at, ".text"), message.text(),
          absl::StrCat("1 to ", kMaxMessageText, " bytes without white space around them"));
  }
  RequireNotEmpty(v, absl::StrCat(at, ".backend"), message.backend());
  if (message.plan() != v1::PLAN_SHIFT_AWAY && message.plan() != v1::PLAN_BALANCE) {
    v.Add(absl::StrCat(at, ".plan"), v1::Plan_Name(message.plan()),
          "PLAN_SHIFT_AWAY or PLAN_BALANCE");
  }
  if ((message.plan() == v1::PLAN_SHIFT_AWAY) == message.server().empty()) {
    v.Add(absl::StrCat(at, ".server"), message.server(), "set for PLAN_SHIFT_AWAY, else empty");
  }
  RequireInRange(v, absl::StrCat(at, ".remaining_ratio"), message.remaining_ratio(), 0, 1);
}

void ValidateMessages(const config::v1::LbctlConfig& config, Violations& v) {
  if (!config.has_messages()) {
    return;
  }
  const config::v1::MessageConfig& messages = config.messages();
  RequireSocketAddress(v, "messages.listen_address", messages.listen_address());
  if (messages.messages_size() < 1 || messages.messages_size() > kMaxMessages) {
    v.Add("messages.messages", absl::StrCat(messages.messages_size(), " messages"),
          absl::StrCat("1 to ", kMaxMessages));
  }
  std::set<std::string> texts;
  for (int i = 0; i < messages.messages_size(); ++i) {
    const std::string at = absl::StrCat("messages.messages[", i, "]");
    ValidateMessage(messages.messages(i), at, v);
    if (!texts.insert(messages.messages(i).text()).second) {
      v.Add(absl::StrCat(at, ".text"), messages.messages(i).text(), "each text once");
    }
  }
  if (messages.allowed_sources_size() > kMaxSources) {
    v.Add("messages.allowed_sources", absl::StrCat(messages.allowed_sources_size(), " addresses"),
          absl::StrCat("at most ", kMaxSources));
  }
  for (int i = 0; i < messages.allowed_sources_size(); ++i) {
    if (NormalAddress(messages.allowed_sources(i)).empty()) {
      v.Add(absl::StrCat("messages.allowed_sources[", i, "]"), messages.allowed_sources(i),
            "an IPv4 or IPv6 address");
    }
  }
  if (messages.max_messages_per_minute() != 0) {
    RequireInRange(v, "messages.max_messages_per_minute", messages.max_messages_per_minute(), 1,
                   kMaxMessagesPerMinute);
  }
}

}  // namespace

absl::Duration PollPeriodOf(const config::v1::LbctlConfig& config) {
  return config.has_poll_period() ? rpc::FromProto(config.poll_period()) : absl::Seconds(1);
}

LbctlCore::Options OptionsOf(const config::v1::LbctlConfig& config) {
  LbctlCore::Options options;
  options.state_path = config.state_path();
  options.poll_period = PollPeriodOf(config);
  for (const auto& mapping : config.servers()) {
    options.vm_uuids[{mapping.backend(), mapping.server()}] = mapping.vm_uuid();
  }
  for (const auto& follow : config.follow_capacity()) {
    if (follow.has_is_enabled() && !follow.is_enabled()) {
      continue;
    }
    FollowPolicy& policy = options.follows[follow.backend()];
    if (follow.has_dead_band_ratio()) {
      policy.dead_band_ratio = follow.dead_band_ratio();
    }
    if (follow.has_min_interval()) {
      policy.min_interval = rpc::FromProto(follow.min_interval());
    }
    if (follow.has_min_weight_ratio()) {
      policy.min_weight_ratio = follow.min_weight_ratio();
    }
  }
  return options;
}

std::vector<AgentListener::Port> AgentPortsOf(const config::v1::LbctlConfig& config) {
  std::vector<AgentListener::Port> ports;
  for (const auto& listener : config.agent_check().listeners()) {
    ports.push_back({.listen_address = listener.listen_address(),
                     .key = {listener.backend(), listener.server()}});
  }
  return ports;
}

std::optional<MessageListener::Options> MessagesOf(const config::v1::LbctlConfig& config) {
  if (!config.has_messages()) {
    return std::nullopt;
  }
  const config::v1::MessageConfig& in = config.messages();
  MessageListener::Options out;
  out.listen_address = in.listen_address();
  out.max_per_minute =
      in.max_messages_per_minute() == 0 ? kDefaultMessagesPerMinute : in.max_messages_per_minute();
  for (const std::string& source : in.allowed_sources()) {
    out.allowed_sources.insert(NormalAddress(source));
  }
  for (const config::v1::PlanMessage& message : in.messages()) {
    PlanOrder& order = out.plans[message.text()];
    order.kind = message.plan() == v1::PLAN_SHIFT_AWAY ? PlanKind::kShiftAway : PlanKind::kBalance;
    order.backend = message.backend();
    order.server = message.server();
    if (message.has_remaining_ratio()) {
      order.remaining_ratio = message.remaining_ratio();
    }
  }
  return out;
}

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
  ValidateFollows(config, v);
  ValidateAgentCheck(config.agent_check(), v);
  ValidateMessages(config, v);
}

}  // namespace cloudscale::lbctl
