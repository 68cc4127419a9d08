// The commands of the load balancer.
#include <sstream>

#include "cli/cli.h"
#include "cli/testing/fake_services.h"
#include "common/rpc/server.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
namespace lb = cloudscale::lbctl::v1;

class LbCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config::v1::ServerConfig config;
    config.set_listen_address("127.0.0.1:0");
    auto server = rpc::Server::Create(config, &metrics_);
    CS_ASSERT_OK(server);
    server_ = *std::move(server);
    server_->Register(&lbctl_);
    CS_ASSERT_OK(server_->Start());
  }
  void TearDown() override { server_->Shutdown(); }

  int Run(std::vector<std::string> args) {
    args.insert(args.begin(), {"--address", server_->address(), "lb"});
    std::istringstream in;
    std::ostringstream out;
    std::ostringstream err;
    Io io{.in = in, .out = out, .err = err, .is_in_terminal = false};
    const int code = RunCli(args, io, *clock_, Rng(1));
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  NullMetricSink metrics_;
  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  testing::FakeLbctl lbctl_;
  std::unique_ptr<rpc::Server> server_;
  std::string out_;
  std::string err_;
};

TEST_F(LbCommandTest, WeightsAreAbsoluteOrInPercent) {
  EXPECT_EQ(Run({"weight", "web/web-1", "50"}), 0);
  EXPECT_EQ(lbctl_.weight.backend(), "web");
  EXPECT_EQ(lbctl_.weight.server(), "web-1");
  EXPECT_EQ(lbctl_.weight.absolute(), 50);
  EXPECT_FALSE(lbctl_.weight.request_id().empty());
  EXPECT_THAT(out_, HasSubstr("web/web-1: weight 100 -> 50"));
  EXPECT_EQ(Run({"weight", "web/web-1", "12.5%", "--dry-run"}), 0);
  EXPECT_EQ(lbctl_.weight.initial_percent(), 12.5);
  EXPECT_TRUE(lbctl_.weight.validate_only());
  EXPECT_THAT(out_, HasSubstr("nothing was changed"));
}

TEST_F(LbCommandTest, MistakesOfTheCallerAreExitCode2AndReachNobody) {
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"weight", "web-1", "50"},
                                             {"weight", "web/", "50"},
                                             {"weight", "web/web-1", "1.5"},
                                             {"weight", "web/web-1", "many"},
                                             {"address", "web/web-1", "192.0.2.1:0"},
                                             {"address", "web/web-1", "192.0.2.1:http"},
                                             {"plan", "proportional", "web", "web-1"},
                                             {"plan", "shift-away", "web/web-1", "--keep", "2"},
                                             {"drain", "web/web-1", "--for", "never"},
                                             {"plan"},
                                             {}}) {
    EXPECT_EQ(Run(args), 2) << ::testing::PrintToString(args) << out_ << err_;
  }
  EXPECT_TRUE(lbctl_.weight.request_id().empty());
  EXPECT_TRUE(lbctl_.plan.request_id().empty());
}

TEST_F(LbCommandTest, StatesAndTheServersErrorsHaveTheirExitCodes) {
  EXPECT_EQ(Run({"ready", "web/web-1", "--reason", "back"}), 0);
  EXPECT_EQ(lbctl_.state.state(), lb::SERVER_STATE_READY);
  EXPECT_EQ(lbctl_.state.reason(), "back");
  EXPECT_EQ(Run({"maint", "web/web-1"}), 0);
  EXPECT_EQ(lbctl_.state.state(), lb::SERVER_STATE_MAINT);
  EXPECT_EQ(Run({"maint", "web/none"}), 1);
  EXPECT_THAT(err_, HasSubstr("there are: web-1, web-2"));
  server_->Shutdown();
  EXPECT_EQ(Run({"maint", "web/web-1"}), 3);
}

TEST_F(LbCommandTest, ADrainThatIsNotOverIsBadNews) {
  EXPECT_EQ(Run({"drain", "web/web-1", "--for", "2m", "--force"}), 0);
  EXPECT_EQ(lbctl_.drain.timeout().seconds(), 120);
  EXPECT_TRUE(lbctl_.drain.force());
  lbctl_.sessions_left = 3;
  EXPECT_EQ(Run({"drain", "web/web-1"}), 1);
  EXPECT_THAT(err_, HasSubstr("3 sessions are left"));
  EXPECT_EQ(Run({"drain", "web/web-1", "--dry-run"}), 0);
}

TEST_F(LbCommandTest, AddressesComeWithOrWithoutPort) {
  EXPECT_EQ(Run({"address", "web/web-1", "192.0.2.7"}), 0);
  EXPECT_EQ(lbctl_.address.address(), "192.0.2.7");
  EXPECT_EQ(lbctl_.address.port(), 0);
  EXPECT_EQ(Run({"address", "web/web-1", "192.0.2.7:8080"}), 0);
  EXPECT_EQ(lbctl_.address.port(), 8080);
  EXPECT_EQ(Run({"address", "web/web-1", "2001:db8::1"}), 0);
  EXPECT_EQ(lbctl_.address.address(), "2001:db8::1");
  EXPECT_EQ(Run({"address", "web/web-1", "[2001:db8::1]:81"}), 0);
  EXPECT_EQ(lbctl_.address.address(), "2001:db8::1");
  EXPECT_EQ(lbctl_.address.port(), 81);
}

TEST_F(LbCommandTest, ServersAreAddedAndRemoved) {
  EXPECT_EQ(Run({"add", "web/web-3", "192.0.2.7:80", "--weight", "7", "--vm", "u", "--checked"}),
            0);
  EXPECT_EQ(lbctl_.add.server(), "web-3");
  EXPECT_EQ(lbctl_.add.port(), 80);
  EXPECT_EQ(lbctl_.add.weight(), 7);
  EXPECT_EQ(lbctl_.add.vm_uuid(), "u");
  EXPECT_TRUE(lbctl_.add.is_checked());
  EXPECT_EQ(Run({"remove", "web/web-3", "--dry-run"}), 0);
  EXPECT_TRUE(lbctl_.remove.validate_only());
}

TEST_F(LbCommandTest, PlansAreAppliedAndShown) {
  EXPECT_EQ(Run({"plan", "shift-away", "web/web-1", "--keep", "0.2", "--dry-run"}), 0);
  EXPECT_EQ(lbctl_.plan.plan(), lb::PLAN_SHIFT_AWAY);
  EXPECT_EQ(lbctl_.plan.remaining_ratio(), 0.2);
  EXPECT_TRUE(lbctl_.plan.validate_only());
  EXPECT_THAT(out_, HasSubstr("100 -> 10"));
  EXPECT_EQ(Run({"plan", "balance", "web"}), 0);
  EXPECT_EQ(lbctl_.plan.plan(), lb::PLAN_BALANCE);
  EXPECT_EQ(Run({"plan", "proportional", "web", "web-1=2", "web-2=1.5"}), 0);
  EXPECT_EQ(lbctl_.plan.capacity_cores().at("web-2"), 1.5);
}

TEST_F(LbCommandTest, DriftAndReconcileSayWhenSomethingDiffers) {
  EXPECT_EQ(Run({"drift"}), 0);
  lbctl_.drifts = 2;
  EXPECT_EQ(Run({"drift"}), 1);
  EXPECT_THAT(out_, HasSubstr("FOREIGN_CHANGE"));
  EXPECT_EQ(Run({"reconcile", "apply", "web/web-1"}), 0) << "what is left concerns others";
  EXPECT_EQ(lbctl_.reconcile.server(), "web-1");
  EXPECT_EQ(Run({"reconcile", "accept"}), 1);
  EXPECT_EQ(lbctl_.reconcile.choice(), lb::RECONCILE_CHOICE_ACCEPT_ACTUAL);
  EXPECT_EQ(lbctl_.reconcile.backend(), "");
}

TEST_F(LbCommandTest, StatsAreOneLineAMessage) {
  EXPECT_EQ(Run({"stats", "--json", "--count", "2", "--period", "500ms", "--backend", "web"}), 0);
  EXPECT_EQ(lbctl_.watch.backend(), "web");
  EXPECT_EQ(lbctl_.watch.period().nanos(), 500'000'000);
  std::istringstream lines(out_);
  std::string line;
  int count = 0;
  while (std::getline(lines, line)) {
    EXPECT_EQ(nlohmann::json::parse(line)["sequence"], std::to_string(++count));
  }
  EXPECT_EQ(count, 2);
  EXPECT_EQ(Run({"follow"}), 0);
  EXPECT_THAT(out_, HasSubstr("CAPACITY_MISSING"));
}

}  // namespace
}  // namespace cloudscale::cli
