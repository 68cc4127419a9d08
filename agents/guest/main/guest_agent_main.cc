#include <algorithm>
#include <csignal>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agents/guest/main/guest_agent.h"
#include "agents/guest/transport/report_wire.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/logging/log.h"
#include "common/metrics/metric_sink.h"
#include "common/rpc/channel.h"
#include "common/rpc/config_loader.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "common/time/clock.h"

// Not `rpc::RunMain`: that opens a server, and a guest should open no port for its agent.
namespace cloudscale::guest {
namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kBadInput = 2;

constexpr char kUsage[] =
    "cloudscale-guest-agent: reports this machine's memory and pressure to the monitor.\n"
    "  --config FILE       YAML configuration (GuestAgentConfig)\n"
    "  --monitor ADDRESS   host:port or unix:path of the monitor; wins over the file\n"
    "  --vm-uuid UUID      this VM's identity; wins over the file\n"
    "  --log-level LEVEL   debug, info, warning or error\n"
    "  --check-config      check the configuration, say what is wrong, start nothing\n"
    "  --version, --help\n";

struct Arguments {
  std::string config;
  std::string monitor;
  std::string vm_uuid;
  std::string log_level;
  bool is_check = false;
  bool is_version = false;
  bool is_help = false;
};

absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& given) {
  Arguments result;
  const std::map<std::string, std::string*> texts = {{"--config", &result.config},
                                                     {"--monitor", &result.monitor},
                                                     {"--vm-uuid", &result.vm_uuid},
                                                     {"--log-level", &result.log_level}};
  const std::map<std::string, bool*> switches = {{"--check-config", &result.is_check},
                                                 {"--version", &result.is_version},
                                                 {"--help", &result.is_help}};
  Violations violations;
  for (size_t i = 0; i < given.size(); ++i) {
    const size_t equals = given[i].find('=');
    std::string name = given[i].substr(0, equals);
    // As in the other processes, "_" does for "-".
    std::replace(name.begin(), name.end(), '_', '-');
    if (const auto it = switches.find(name); it != switches.end()) {
      *it->second = true;
    } else if (const auto text = texts.find(name); text == texts.end()) {
      violations.Add(name, "", "a known flag; see --help");
    } else if (equals != std::string::npos) {
      *text->second = given[i].substr(equals + 1);
    } else if (i + 1 < given.size()) {
      *text->second = given[++i];
    } else {
      violations.Add(name, "", "a value");
    }
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  return result;
}

absl::StatusOr<config::v1::GuestAgentConfig> LoadConfig(const Arguments& arguments) {
  config::v1::GuestAgentConfig config;
  if (!arguments.config.empty()) {
    CS_RETURN_IF_ERROR(rpc::LoadYaml(arguments.config, &config));
  }
  if (!arguments.monitor.empty()) {
    config.set_monitor_address(arguments.monitor);
  }
  if (!arguments.vm_uuid.empty()) {
    config.set_vm_uuid(arguments.vm_uuid);
  }
  Violations violations;
  ValidateGuestAgentConfig(config, &violations);
  LogLevel level = LogLevel::kInfo;
  if (!arguments.log_level.empty() && !ParseLogLevel(arguments.log_level, &level)) {
    violations.Add("--log-level", arguments.log_level, "debug, info, warning, error");
  } else if (arguments.log_level.empty()) {
    switch (config.log_level()) {
      case config::v1::LOG_LEVEL_DEBUG:
        level = LogLevel::kDebug;
        break;
      case config::v1::LOG_LEVEL_WARNING:
        level = LogLevel::kWarning;
        break;
      case config::v1::LOG_LEVEL_ERROR:
        level = LogLevel::kError;
        break;
      default:
        break;
    }
  }
  SetLogLevel(level);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  return config;
}

int Fail(int code, const absl::Status& status) {
  std::fputs(absl::StrCat("cloudscale-guest-agent:\n", status.message(), "\n").c_str(), stderr);
  return code;
}

int Main(const std::vector<std::string>& given) {
  const absl::StatusOr<Arguments> arguments = ParseArguments(given);
  if (!arguments.ok()) {
    return Fail(kBadInput, arguments.status());
  }
  if (arguments->is_help || arguments->is_version) {
    std::fputs(arguments->is_help
                   ? kUsage
                   : absl::StrCat("cloudscale-guest-agent ", kAgentVersion, "\n").c_str(),
               stdout);
    return kDone;
  }
  const absl::StatusOr<config::v1::GuestAgentConfig> config = LoadConfig(*arguments);
  if (!config.ok()) {
    return Fail(kBadInput, config.status());
  }
  if (arguments->is_check) {
    std::fputs("configuration is valid\n", stdout);
    return kDone;
  }
  // Before any thread starts, so that all inherit the mask and only the wait below takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const std::unique_ptr<Clock> clock = MakeRealClock();
  NullMetricSink metrics;
  const auto channel =
      rpc::MakeChannel(config->monitor_address(), config->has_tls() ? &config->tls() : nullptr);
  if (!channel.ok()) {
    return Fail(kBadInput, channel.status());
  }
  const rpc::Environment environment{
      .clock = *clock,
      .metrics = metrics,
      // Agents that start together must not reconnect together; the VM's UUID is mixed in later.
      .seed = static_cast<uint64_t>(absl::ToUnixNanos(clock->WallNow())),
      .channel = [&channel](const std::string&) { return *channel; }};
  const auto agent = GuestAgent::Create(*config, environment, "/sys");
  if (!agent.ok()) {
    return Fail(kBadInput, agent.status());
  }
  if (const absl::Status status = (*agent)->Start(); !status.ok()) {
    return Fail(kFailed, status);
  }
  LogLine(LogLevel::kInfo, "started").Field("monitor", config->monitor_address());
  int signal = 0;
  sigwait(&signals, &signal);
  LogLine(LogLevel::kInfo, "stopping").Field("signal", signal);
  (*agent)->Stop();
  return kDone;
}

}  // namespace
}  // namespace cloudscale::guest

int main(int argc, char** argv) {
  return cloudscale::guest::Main(std::vector<std::string>(argv + 1, argv + argc));
}
