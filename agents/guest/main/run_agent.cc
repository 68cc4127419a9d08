#include "agents/guest/main/run_agent.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agents/guest/main/guest_agent.h"
#include "agents/guest/transport/channel_transport.h"
#include "agents/guest/transport/report_codec.h"
#include "common/logging/log.h"
#include "common/random/rng.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "common/time/clock.h"

namespace cloudscale::guest {
namespace {

constexpr int kDone = 0;
constexpr int kBadInput = 2;

constexpr char kUsage[] =
    ": reports this machine's memory and pressure to the monitor.\n"
    "  --config FILE       configuration (GuestAgentConfig)\n"
    "  --monitor ADDRESS   host:port or unix:path of the monitor; wins over the file\n"
    "  --device DEVICE     serial channel to the host instead: a path, or the name of a virtio\n"
    "                      port such as org.cloudscale.agent.0; wins over the file\n"
    "  --vm-uuid UUID      this VM's identity; wins over the file\n"
    "  --log-level LEVEL   debug, info, warning or error\n"
    "  --check-config      check the configuration, say what is wrong, start nothing\n"
    "  --version, --help\n";

struct Arguments {
  std::string config;
  std::string monitor;
  std::string device;
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
                                                     {"--device", &result.device},
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

absl::StatusOr<AgentConfig> LoadConfig(const Arguments& arguments, bool has_tls) {
  AgentConfig config;
  if (!arguments.config.empty()) {
    CS_ASSIGN_OR_RETURN(config, LoadAgentConfig(arguments.config));
  }
  // One way to the host wins over the other.
  if (!arguments.monitor.empty()) {
    config.monitor_address = arguments.monitor;
    config.device.clear();
  }
  if (!arguments.device.empty()) {
    config.device = arguments.device;
    config.monitor_address = arguments.monitor;
  }
  if (!arguments.vm_uuid.empty()) {
    config.vm_uuid = arguments.vm_uuid;
  }
  Violations violations;
  ValidateAgentConfig(config, has_tls, violations);
  if (!arguments.log_level.empty() && !ParseLogLevel(arguments.log_level, &config.log_level)) {
    violations.Add("--log-level", arguments.log_level, "debug, info, warning, error");
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  return config;
}

int Fail(const AgentProgram& program, const absl::Status& status) {
  std::fputs(absl::StrCat(program.name, ":\n", status.message(), "\n").c_str(), stderr);
  return kBadInput;
}

// Until a signal asks for the end.
void RunUntilSignal(const AgentConfig& config, GuestAgent& agent, const sigset_t& signals) {
  agent.Start();
  LogLine(LogLevel::kInfo, "started")
      .Field("monitor", config.device.empty() ? config.monitor_address : config.device);
  int signal = 0;
  sigwait(&signals, &signal);
  LogLine(LogLevel::kInfo, "stopping").Field("signal", signal);
  agent.Stop();
}

absl::StatusOr<std::unique_ptr<ReportTransport>> MakeTransport(const AgentProgram& program,
                                                               const AgentConfig& config,
                                                               const std::string& vm_uuid,
                                                               uint64_t seed) {
  if (config.device.empty()) {
    return program.connect(config, vm_uuid);
  }
  return std::make_unique<ChannelTransport>(
      Rng(seed).Fork("channel"),
      ChannelTransport::Config{.device = config.device, .vm_uuid = vm_uuid});
}

}  // namespace

int RunAgent(const AgentProgram& program, const std::vector<std::string>& given) {
  const absl::StatusOr<Arguments> arguments = ParseArguments(given);
  if (!arguments.ok()) {
    return Fail(program, arguments.status());
  }
  if (arguments->is_help || arguments->is_version) {
    std::fputs((arguments->is_help ? absl::StrCat(program.name, kUsage, program.notes)
                                   : absl::StrCat(program.name, " ", kAgentVersion, "\n"))
                   .c_str(),
               stdout);
    return kDone;
  }
  const absl::StatusOr<AgentConfig> config = LoadConfig(*arguments, program.has_tls);
  if (!config.ok()) {
    return Fail(program, config.status());
  }
  if (arguments->is_check) {
    std::fputs("configuration is valid\n", stdout);
    return kDone;
  }
  SetLogLevel(config->log_level);
  // Before any thread starts, so that all inherit the mask and only the wait takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const std::unique_ptr<Clock> clock = MakeRealClock();
  const absl::StatusOr<std::string> uuid = FindVmUuid(*config, "/sys");
  if (!uuid.ok()) {
    return Fail(program, uuid.status());
  }
  // Agents that start together must not reconnect together; the VM's UUID is mixed in later.
  const auto seed = static_cast<uint64_t>(absl::ToUnixNanos(clock->WallNow()));
  auto transport = MakeTransport(program, *config, *uuid, seed);
  if (!transport.ok()) {
    return Fail(program, transport.status());
  }
  GuestAgent agent(*config, *uuid, *clock, seed, *std::move(transport));
  RunUntilSignal(*config, agent, signals);
  return kDone;
}

}  // namespace cloudscale::guest
