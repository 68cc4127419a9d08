#include "common/rpc/config_loader.h"

#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gtest/gtest.h"

namespace cloudscale::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

TEST(ConfigLoaderTest, ReadsNestedFieldsDurationsBytesAndChoices) {
  config::v1::ScalerConfig config;
  ASSERT_THAT(ParseYaml(R"(
server: {listen_address: "127.0.0.1:0", log_level: debug}
step: 250ms
mode: auto
memory: {guest_reserve_bytes: 64MiB}
hypervisor:
  cgroup: {parent_group: demo}
)",
                        &config),
              IsOk());
  EXPECT_EQ(config.server().listen_address(), "127.0.0.1:0");
  EXPECT_EQ(config.server().log_level(), config::v1::LOG_LEVEL_DEBUG);
  EXPECT_EQ(FromProto(config.step()), absl::Milliseconds(250));
  EXPECT_EQ(config.mode(), scaler::v1::MODE_AUTO);
  EXPECT_EQ(config.memory().guest_reserve_bytes(), 64 << 20);
  EXPECT_EQ(config.hypervisor().cgroup().parent_group(), "demo");
}

TEST(ConfigLoaderTest, P14ReportsAllFaultsAtOnceWithPathAndLine) {
  config::v1::ScalerConfig config;
  config.set_host_id("kept");
  const absl::Status status = ParseYaml(
      "host_id: x\n"
      "stepp: 10s\n"
      "step: soon\n"
      "limits:\n"
      "  max_actions_per_minute: many\n"
      "mode: sometimes\n"
      "peers: 3\n",
      &config);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("stepp (line 2): got 'unknown field'"),
                                     HasSubstr("step (line 3): got 'soon'"),
                                     HasSubstr("limits.max_actions_per_minute (line 5)"),
                                     HasSubstr("mode (line 6)"), HasSubstr("MODE_AUTO"),
                                     HasSubstr("peers (line 7)"))));
  EXPECT_EQ(config.host_id(), "kept") << "a refused file must change nothing";
}

TEST(ConfigLoaderTest, P14RefusesTwoAlternativesAndRepeatedKeys) {
  config::v1::HypervisorConfig config;
  EXPECT_THAT(ParseYaml("fake: {}\ncgroup: {}\n", &config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("backend")));
  config::v1::ServerConfig server;
  EXPECT_THAT(ParseYaml("listen_address: a:1\nlisten_address: b:2\n", &server),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ConfigLoaderTest, RefusesWhatIsNotYaml) {
  config::v1::ServerConfig config;
  EXPECT_THAT(ParseYaml("a: [1, 2\nb: }", &config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line")));
  EXPECT_THAT(ParseYaml("just text", &config), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseYaml("a: 1\n---\nb: 2\n", &config),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseYaml("", &config), IsOk()) << "an empty file means all defaults";
}

TEST(ConfigLoaderTest, RefusesNumbersThatDoNotFit) {
  config::v1::FakeConfig config;
  EXPECT_THAT(ParseYaml("cpu_capacity_cores: nan", &config),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseYaml("cpu_capacity_cores: inf", &config),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseYaml("seed: 99999999999999999999", &config),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseYaml("seed: 1.5", &config), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ConfigLoaderTest, NamesAFileThatIsMissing) {
  config::v1::ServerConfig config;
  EXPECT_THAT(LoadYaml("/nonexistent/x.yaml", &config),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/x.yaml")));
  testing::TempDir dir;
  EXPECT_THAT(LoadYaml(dir.Write("a.yaml", "listen_address: \"127.0.0.1:1\"\n"), &config), IsOk());
}

}  // namespace
}  // namespace cloudscale::rpc
