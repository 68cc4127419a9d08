#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cloudscale/config/v1/common.pb.h"
#include "common/rpc/component.h"
#include "common/status/violations.h"
#include "common/time/clock.h"
#include "google/protobuf/message.h"

namespace cloudscale::rpc {

inline constexpr char kVersion[] = "0.1.0";

// The machine's host name; "localhost" when it has none.
[[nodiscard]] std::string HostName();

// What differs between the server processes; `RunMain` does the rest.
struct Process {
  std::string name;         // "cloudscale-monitor"
  std::string description;  // one sentence for --help
  // Filled from --config; holds the defaults before.
  google::protobuf::Message* config = nullptr;
  // The part of `config` that the bootstrap uses; `mutable_server` lets flags win over the file.
  std::function<config::v1::ServerConfig*()> mutable_server;
  // TLS for calls to peers; may be null.
  std::function<const config::v1::TlsConfig*()> client_tls;
  // Optional. Completes `config` after file and flags were read, before validation; adds faults of
  // flags of its own.
  std::function<void(Violations*)> prepare;
  // Adds all faults of `config`, by field path. Must have no effect: `--check-config` calls only
  // this.
  std::function<void(Violations*)> validate;
  // Called once, after validation.
  std::function<absl::StatusOr<std::vector<std::unique_ptr<Component>>>(const Environment&)> build;
  // Optional. Default: the real clock.
  std::function<std::unique_ptr<Clock>()> make_clock;
  uint64_t seed = 1;
};

// Flags: --config FILE, --listen ADDRESS, --admin ADDRESS, --log-level LEVEL, --port-file FILE
// (where the bound address is written once ready to serve), --check-config, --version, --help.
// Flags win over the file, the file over defaults.
//
// Runs until SIGTERM or SIGINT, then drains: not serving → components stop → running calls end →
// exit. Returns the exit code: 0 done, 1 could not start, 2 bad flags or configuration (nothing was
// started).
int RunMain(int argc, char** argv, Process process);

}  // namespace cloudscale::rpc
