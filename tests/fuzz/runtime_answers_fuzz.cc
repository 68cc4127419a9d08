// Fuzz target of what HAProxy's runtime socket answers; whoever can be behind that socket.
// tests/fuzz/corpus_test.cc plays the corpus in every build; CONTRIBUTING.md says how to fuzz.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "services/lbctl/backends/haproxy/runtime_answers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using cloudscale::lbctl::BackendInfo;
using cloudscale::lbctl::BalancerState;
using cloudscale::lbctl::kMaxWeight;
using cloudscale::lbctl::ServerInfo;

// What is acted on must be in range, whatever was read.
void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void CheckState(const BalancerState& state) {
  Require(!state.info.epoch.empty());
  for (const BackendInfo& backend : state.backends) {
    for (const ServerInfo& server : backend.servers) {
      Require(server.weight >= 0 && server.weight <= kMaxWeight);
      Require(server.initial_weight >= 0 && server.initial_weight <= kMaxWeight);
      Require(server.endpoint.port >= 0 && server.endpoint.port <= 65535);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto state = cloudscale::lbctl::ParseState(text); state.ok()) {
    CheckState(*state);
  }
  const size_t half = text.size() / 2;
  (void)cloudscale::lbctl::ParseBackends(text.substr(0, half), text.substr(half));
  (void)cloudscale::lbctl::ParseInfo(text);
  Require(cloudscale::lbctl::ParseOutcome("command", text).message().size() < 4096);
  return 0;
}
