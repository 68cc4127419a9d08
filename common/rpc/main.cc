#include "common/rpc/main.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "common/logging/log.h"
#include "common/rpc/admin_server.h"
#include "common/rpc/channel.h"
#include "common/rpc/config_loader.h"
#include "common/rpc/metrics_registry.h"
#include "common/rpc/server.h"
#include "common/sync/mutex.h"
#include "grpcpp/impl/service_type.h"

ABSL_FLAG(std::string, config, "", "YAML configuration file; without it the defaults hold");
ABSL_FLAG(std::string, listen, "", "address to serve gRPC on, host:port or unix:path");
ABSL_FLAG(std::string, admin, "", "loopback host:port for /metrics, /livez and /readyz");
ABSL_FLAG(std::string, log_level, "", "debug, info, warning or error");
ABSL_FLAG(std::string, port_file, "", "file that receives the bound address once calls are served");
ABSL_FLAG(bool, check_config, false, "check the configuration, say what is wrong, start nothing");

namespace cloudscale::rpc {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr absl::Duration kReadinessPeriod = absl::Milliseconds(100);

int Refuse(const absl::Status& status, absl::string_view what) {
  std::fprintf(stderr, "%s:\n%s\n", std::string(what).c_str(),
               std::string(status.message()).c_str());
  return kExitUsage;
}

// Environment channels: one per address, made when first asked for.
class Channels {
 public:
  explicit Channels(const config::v1::TlsConfig* tls) : tls_(tls) {}
  void set_server(Server* server) { server_ = server; }

  std::shared_ptr<grpc::Channel> Get(const std::string& address) {
    MutexLock lock(&mutex_);
    auto& channel = channels_[address];
    if (channel == nullptr) {
      if (address == kInProcessAddress) {
        CS_CHECK(server_ != nullptr);  // components ask in Start or later
        channel = server_->InProcessChannel();
      } else {
        auto made = MakeChannel(address, tls_);
        if (!made.ok()) {
          LogLine(LogLevel::kError, "peer_address_refused")
              .Field("address", address)
              .Field("error", made.status());
          // An address that nothing can answer: calls fail with UNAVAILABLE and the reason is in
          // the log.
          made = MakeChannel("unix:/nonexistent", nullptr);
        }
        channel = *made;
      }
    }
    return channel;
  }

 private:
  const config::v1::TlsConfig* const tls_;
  Server* server_ = nullptr;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mutex_);
};

void ApplyFlags(config::v1::ServerConfig* server, Violations* violations) {
  if (const std::string listen = absl::GetFlag(FLAGS_listen); !listen.empty()) {
    server->set_listen_address(listen);
  }
  if (const std::string admin = absl::GetFlag(FLAGS_admin); !admin.empty()) {
    server->set_admin_address(admin);
  }
  LogLevel level = LogLevel::kInfo;
  const std::string text = absl::GetFlag(FLAGS_log_level);
  if (!text.empty()) {
    if (!ParseLogLevel(text, &level)) {
      violations->Add("--log_level", text, "debug, info, warning, error");
    }
    SetLogLevel(level);
    return;
  }
  switch (server->log_level()) {
    case config::v1::LOG_LEVEL_DEBUG:
      SetLogLevel(LogLevel::kDebug);
      break;
    case config::v1::LOG_LEVEL_WARNING:
      SetLogLevel(LogLevel::kWarning);
      break;
    case config::v1::LOG_LEVEL_ERROR:
      SetLogLevel(LogLevel::kError);
      break;
    default:
      SetLogLevel(LogLevel::kInfo);
  }
}

absl::Status WritePortFile(const std::string& path, const std::string& address) {
  // Renamed into place, so that a reader never sees half an address.
  const std::string temporary = path + ".new";
  {
    std::ofstream file(temporary, std::ios::trunc);
    file << address << "\n";
    if (!file.good()) {
      return absl::UnavailableError(absl::StrCat("cannot write ", temporary));
    }
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("rename to ", path));
  }
  return absl::OkStatus();
}

class Running {
 public:
  Running(Process process, Clock* clock) : process_(std::move(process)), clock_(clock) {}

  int Run() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    // Whoever starts us with INT ignored wants it to pass us by; a blocked signal would still be
    // queued.
    struct sigaction interrupt{};
    if (sigaction(SIGINT, nullptr, &interrupt) == 0 && interrupt.sa_handler != SIG_IGN) {
      sigaddset(&signals, SIGINT);
    }
    // Before any thread starts, so that all inherit the mask and only the loop below takes the
    // signals.
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    if (absl::Status status = Start(); !status.ok()) {
      std::fprintf(stderr, "%s: cannot start: %s\n", process_.name.c_str(),
                   std::string(status.message()).c_str());
      Stop();
      return kExitFailed;
    }
    const timespec period = absl::ToTimespec(kReadinessPeriod);
    int signal = -1;
    while (signal < 0) {
      UpdateHealth();
      signal = sigtimedwait(&signals, nullptr, &period);
    }
    LogLine(LogLevel::kInfo, "stopping").Field("signal", signal);
    Stop();
    LogLine(LogLevel::kInfo, "stopped").Field("process", process_.name);
    return kExitOk;
  }

 private:
  absl::Status Start() {
    const config::v1::ServerConfig& config = *process_.mutable_server();
    const config::v1::TlsConfig* tls = process_.client_tls ? process_.client_tls() : nullptr;
    channels_ = std::make_unique<Channels>(tls);
    environment_ = std::make_unique<Environment>(
        Environment{*clock_, metrics_, process_.seed,
                    [this](const std::string& address) { return channels_->Get(address); }});
    metrics_.Set("cloudscale_build_info", {{"version", kVersion}, {"process", process_.name}}, 1);
    auto server = Server::Create(config, &metrics_);
    if (!server.ok()) {
      return server.status();
    }
    server_ = std::move(*server);
    auto components = process_.build(*environment_);
    if (!components.ok()) {
      return components.status();
    }
    components_ = std::move(*components);
    for (const auto& component : components_) {
      for (grpc::Service* service : component->services()) {
        server_->Register(service);
      }
    }
    if (absl::Status status = server_->Start(); !status.ok()) {
      return status;
    }
    channels_->set_server(server_.get());
    // Everything that can be refused comes before the components, which may act at once.
    if (!config.admin_address().empty()) {
      auto admin =
          AdminServer::Start(config.admin_address(), &metrics_, [this] { return Readiness(); });
      if (!admin.ok()) {
        return admin.status();
      }
      admin_ = std::move(*admin);
    }
    for (const auto& component : components_) {
      if (absl::Status status = component->Start(); !status.ok()) {
        return absl::Status(status.code(), absl::StrCat(component->name(), ": ", status.message()));
      }
    }
    LogLine(LogLevel::kInfo, "serving")
        .Field("process", process_.name)
        .Field("version", kVersion)
        .Field("address", server_->address())
        .Field("admin", admin_ == nullptr ? "off" : admin_->address())
        .Field("tls", config.has_tls() ? "mutual" : "off (loopback only)");
    if (const std::string path = absl::GetFlag(FLAGS_port_file); !path.empty()) {
      return WritePortFile(path, server_->address());
    }
    return absl::OkStatus();
  }

  absl::Status Readiness() const {
    std::string reasons;
    for (const auto& component : components_) {
      if (absl::Status status = component->Readiness(); !status.ok()) {
        absl::StrAppend(&reasons, reasons.empty() ? "" : "; ", component->name(), ": ",
                        status.message());
      }
    }
    return reasons.empty() ? absl::OkStatus() : absl::UnavailableError(reasons);
  }

  void UpdateHealth() {
    bool all_ready = true;
    for (const auto& component : components_) {
      const absl::Status ready = component->Readiness();
      all_ready &= ready.ok();
      auto& last = last_ready_[std::string(component->name())];
      if (!last.has_value() || *last != ready.ok()) {
        last = ready.ok();
        LogLine(LogLevel::kInfo, "health_changed")
            .Field("component", component->name())
            .Field("serving", ready.ok())
            .Field("reason", ready.ok() ? "" : ready.message());
        metrics_.Set("cloudscale_component_ready", {{"component", std::string(component->name())}},
                     ready.ok() ? 1 : 0);
        for (const std::string& service : component->service_names()) {
          server_->SetServing(service, ready.ok());
        }
      }
    }
    if (all_ready != overall_) {
      overall_ = all_ready;
      server_->SetServing("", all_ready);
    }
  }

  // In the order of the contract: nobody new comes in, then the components end, then running calls
  // drain.
  void Stop() {
    if (server_ != nullptr) {
      server_->StopServing();
    }
    for (auto it = components_.rbegin(); it != components_.rend(); ++it) {
      (*it)->Stop();
    }
    if (server_ != nullptr) {
      server_->Shutdown();
    }
    admin_.reset();
  }

  Process process_;
  Clock* const clock_;
  MetricsRegistry metrics_;
  std::unique_ptr<Channels> channels_;
  std::unique_ptr<Environment> environment_;
  std::vector<std::unique_ptr<Component>> components_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<AdminServer> admin_;
  std::map<std::string, std::optional<bool>> last_ready_;
  bool overall_ = false;
};

}  // namespace

std::string HostName() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data()
                                                                           : "localhost";
}

int RunMain(int argc, char** argv, Process process) {
  absl::SetProgramUsageMessage(
      absl::StrCat(process.description, "\n\n  ", process.name,
                   " [--config FILE] [--listen ADDRESS] [--check_config]"));
  absl::FlagsUsageConfig usage;
  usage.version_string = [name = process.name] { return absl::StrCat(name, " ", kVersion, "\n"); };
  usage.contains_helpshort_flags = usage.contains_help_flags = [](absl::string_view file) {
    return absl::StrContains(file, "common/rpc/main.cc") || absl::EndsWith(file, "_main.cc");
  };
  absl::SetFlagsUsageConfig(usage);
  // Dashes are what people type; the flag library knows only underscores.
  std::vector<std::string> arguments(argv, argv + argc);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) {
    if (absl::StartsWith(argument, "--")) {
      const size_t end = std::min(argument.find('='), argument.size());
      std::replace(argument.begin() + 2, argument.begin() + static_cast<std::ptrdiff_t>(end), '-',
                   '_');
    }
    pointers.push_back(argument.data());
  }
  const std::vector<char*> rest =
      absl::ParseCommandLine(static_cast<int>(pointers.size()), pointers.data());
  if (rest.size() > 1) {
    std::fprintf(stderr, "%s: unexpected argument '%s'; try --help\n", process.name.c_str(),
                 rest[1]);
    return kExitUsage;
  }
  if (const std::string path = absl::GetFlag(FLAGS_config); !path.empty()) {
    if (absl::Status status = LoadYaml(path, process.config); !status.ok()) {
      return Refuse(status, absl::StrCat(process.name, ": configuration ", path, " refused"));
    }
  }
  Violations violations;
  ApplyFlags(process.mutable_server(), &violations);
  if (process.prepare) {
    process.prepare(&violations);
  }
  ValidateServerConfig(*process.mutable_server(), "server", &violations);
  process.validate(&violations);
  if (absl::Status status = violations.ToStatus(); !status.ok()) {
    return Refuse(status, absl::StrCat(process.name, ": configuration refused"));
  }
  if (absl::GetFlag(FLAGS_check_config)) {
    std::printf("%s: configuration is good\n", process.name.c_str());
    return kExitOk;
  }
  const std::unique_ptr<Clock> clock = process.make_clock ? process.make_clock() : MakeRealClock();
  return Running(std::move(process), clock.get()).Run();
}

}  // namespace cloudscale::rpc
