#include "agents/guest/main/agent_config.h"

#include <string>

#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/config_loader.h"
#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kAll[] =
    "---\n"
    "# Where and who.\n"
    "vm_uuid: 9f8d5740-ca74-46de-a9d3-19b1732fe4d6  # its own\n"
    "monitor_address: \"host-1:7000\"\n"
    "device: 'org.cloudscale.agent.0'\n"
    "tls:\n"
    "  cert_file: /etc/a.crt\n"
    "  key_file: /etc/a.key\n"
    "  ca_file: /etc/ca#1.crt\n"
    "\n"
    "period: 250ms\n"
    "buffer_reports: 90\n"
    "proc_path: /other/proc\n"
    "log_level: debug\n";

absl::Status Validated(const AgentConfig& config, bool has_tls = false) {
  Violations violations;
  ValidateAgentConfig(config, has_tls, violations);
  return violations.ToStatus();
}

TEST(ParseAgentConfigTest, UnderstandsEveryFieldAsTheYamlReaderDoes) {
  const auto config = ParseAgentConfig(kAll);
  CS_ASSERT_OK(config);
  config::v1::GuestAgentConfig same;
  CS_ASSERT_OK(rpc::ParseYaml(kAll, &same));
  EXPECT_EQ(config->vm_uuid, same.vm_uuid());
  EXPECT_EQ(config->monitor_address, same.monitor_address());
  EXPECT_EQ(config->device, same.device());
  EXPECT_EQ(config->tls.cert_file, same.tls().cert_file());
  EXPECT_EQ(config->tls.key_file, same.tls().key_file());
  EXPECT_EQ(config->tls.ca_file, same.tls().ca_file());
  EXPECT_EQ(config->period, rpc::FromProto(same.period()));
  EXPECT_EQ(config->buffer_reports, same.buffer_reports());
  EXPECT_EQ(config->proc_path, same.proc_path());
  EXPECT_EQ(config->log_level, LogLevel::kDebug);
  EXPECT_EQ(same.log_level(), config::v1::LOG_LEVEL_DEBUG);
  // A field that is new in the schema must not be forgotten here.
  const google::protobuf::Descriptor& all = *config::v1::GuestAgentConfig::descriptor();
  for (int i = 0; i < all.field_count(); ++i) {
    EXPECT_TRUE(same.GetReflection()->HasField(same, all.field(i))) << all.field(i)->name();
  }
}

TEST(ParseAgentConfigTest, DefaultsAreThoseOfTheSchema) {
  const auto config = ParseAgentConfig("monitor_address: 127.0.0.1:7000\n");
  CS_ASSERT_OK(config);
  EXPECT_EQ(config->period, absl::Seconds(1));
  EXPECT_EQ(config->buffer_reports, 60);
  EXPECT_EQ(config->proc_path, "/proc");
  EXPECT_EQ(config->log_level, LogLevel::kInfo);
  CS_EXPECT_OK(Validated(*config));
}

TEST(ParseAgentConfigTest, EveryFaultIsNamedWithItsLine) {
  EXPECT_THAT(
      ParseAgentConfig("perod: 1s\nperiod: soon\nperiod: 1s\nvm_uuid\n  cert_file: x\n"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("perod (line 1)"), HasSubstr("period (line 2)"),
                     HasSubstr("period (line 3)"), HasSubstr("line 4"), HasSubstr("line 5"))));
}

// What is not understood is refused, so that nothing is read otherwise than meant.
TEST(ParseAgentConfigTest, RefusesTheYamlThatItDoesNotRead) {
  for (const char* text :
       {"tls: {cert_file: a}\n", "device: [a]\n", "device: |\n  a\n", "device: &x a\n",
        "device: \"a\\n\"\n", "device: \"a\n", "device: a: b\n", "device:\n", "\tdevice: a\n",
        "tls:\n  cert: a\n", "device: !!str a\n", "? device\n", "- device: a\n"}) {
    EXPECT_THAT(ParseAgentConfig(text), Not(IsOk())) << text;
  }
}

TEST(LoadAgentConfigTest, AFileThatIsNotThereIsNotFound) {
  EXPECT_THAT(LoadAgentConfig("/nonexistent/agent.yaml"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(ValidateAgentConfigTest, OneWayToTheHostAndOneOnly) {
  AgentConfig config;
  EXPECT_THAT(Validated(config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("monitor_address")));
  config.device = "org.cloudscale.agent.0";
  CS_EXPECT_OK(Validated(config));
  config.monitor_address = "127.0.0.1:7000";
  EXPECT_THAT(Validated(config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("monitor_address")));
}

TEST(ValidateAgentConfigTest, InTheClearOnLoopbackOnly) {
  AgentConfig config;
  for (const char* address : {"unix:/run/monitor.sock", "127.3.0.1:1", "[::1]:1", "localhost:1"}) {
    config.monitor_address = address;
    CS_EXPECT_OK(Validated(config));
  }
  for (const char* address : {"10.0.0.1:1", "127.example:1", "[fd00::1]:1", "host-1:1"}) {
    config.monitor_address = address;
    EXPECT_THAT(Validated(config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tls")));
  }
  config.tls = {.cert_file = "a", .key_file = "b", .ca_file = "c"};
  CS_EXPECT_OK(Validated(config, /*has_tls=*/true));
  EXPECT_THAT(Validated(config), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("cloudscale-guest-agent-tls")));
  config.tls.ca_file.clear();
  EXPECT_THAT(Validated(config, /*has_tls=*/true),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tls.ca_file")));
}

TEST(ValidateAgentConfigTest, RangesAreKept) {
  AgentConfig config;
  config.vm_uuid = "nonsense";
  config.monitor_address = "nowhere";
  config.period = absl::Seconds(90);
  config.buffer_reports = 5000;
  EXPECT_THAT(Validated(config), StatusIs(absl::StatusCode::kInvalidArgument,
                                          AllOf(HasSubstr("vm_uuid"), HasSubstr("monitor_address"),
                                                HasSubstr("period"), HasSubstr("buffer_reports"))));
}

}  // namespace
}  // namespace cloudscale::guest
