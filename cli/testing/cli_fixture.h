#pragma once

#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cli/cli.h"
#include "cli/testing/fake_services.h"
#include "common/rpc/server.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {

// A server with fake services, its own reflection and health, on a port of its own.
class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config::v1::ServerConfig config;
    config.set_listen_address("127.0.0.1:0");
    auto server = rpc::Server::Create(config, &metrics_);
    CS_ASSERT_OK(server);
    server_ = *std::move(server);
    server_->Register(&monitor_);
    server_->Register(&predictor_);
    server_->Register(&scaler_);
    server_->Register(&sla_);
    CS_ASSERT_OK(server_->Start());
  }
  void TearDown() override { server_->Shutdown(); }

  // Runs the tool against the server and returns its exit code.
  int Run(std::vector<std::string> args, const std::string& input = "", bool is_terminal = false) {
    args.insert(args.begin(), {"--address", server_->address(), "--timeout", "20s"});
    return RunAlone(args, input, is_terminal);
  }

  int RunAlone(const std::vector<std::string>& args, const std::string& input = "",
               bool is_terminal = false) {
    std::istringstream in(input);
    std::ostringstream out;
    std::ostringstream err;
    Io io{.in = in, .out = out, .err = err, .is_in_terminal = is_terminal};
    const int code = RunCli(args, io, *clock_, Rng(1));
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  nlohmann::json Json() const { return nlohmann::json::parse(out_, nullptr, false); }
  std::vector<std::string> Lines() const { return absl::StrSplit(out_, '\n', absl::SkipEmpty()); }

  NullMetricSink metrics_;
  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  testing::FakeMonitor monitor_;
  testing::FakePredictor predictor_;
  testing::FakeScaler scaler_;
  testing::FakeSla sla_;
  std::unique_ptr<rpc::Server> server_;
  std::string out_;
  std::string err_;
};

}  // namespace cloudscale::cli
