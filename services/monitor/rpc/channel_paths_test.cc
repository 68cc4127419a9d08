#include "services/monitor/rpc/channel_paths.h"

#include <string>

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::cloudscale::testing::TempDir;

constexpr char kUuid[] = "9f8d5740-ca74-46de-a9d3-19b1732fe4d6";

TEST(ChannelPathsTest, PutsUuidAndNameInAndPrefersOwnPaths) {
  const ChannelPaths paths("/run/{uuid}/{name}.sock", {{"other", "/elsewhere.sock"}});
  EXPECT_EQ(paths.Find(kUuid, "web"), std::string("/run/") + kUuid + "/web.sock");
  EXPECT_EQ(paths.Find("other", "web"), "/elsewhere.sock");
  EXPECT_EQ(ChannelPaths("", {}).Find(kUuid, "web"), std::nullopt);
  EXPECT_TRUE(ChannelPaths("", {}).empty());
}

TEST(ChannelPathsTest, NamesThatCouldLeadElsewhereHaveNone) {
  const ChannelPaths paths("/run/{name}/agent.sock", {});
  for (const std::string& name :
       {std::string(), std::string(".."), std::string("."), std::string("a/b"),
        std::string("{uuid}"), std::string("a\0b", 3), std::string(300, 'x')}) {
    EXPECT_EQ(paths.Find(kUuid, name), std::nullopt) << name;
  }
}

TEST(ChannelPathsTest, FindsTheHighestNumberAndNoLongerName) {
  const TempDir folder;
  folder.Write("domain-9-web/agent", "");
  folder.Write("domain-10-web/agent", "");
  folder.Write("domain-11-old-web/agent", "");
  folder.Write("domain-x12-web/agent", "");
  folder.Write("domain--web/agent", "");
  const ChannelPaths paths(folder.File("domain-{id}-{name}/agent"), {});
  EXPECT_EQ(paths.Find(kUuid, "web"), folder.File("domain-10-web/agent"));
  EXPECT_EQ(paths.Find(kUuid, "old-web"), folder.File("domain-11-old-web/agent"));
  EXPECT_EQ(paths.Find(kUuid, "db"), std::nullopt);
  EXPECT_EQ(ChannelPaths("/nonexistent/{id}-{name}", {}).Find(kUuid, "web"), std::nullopt);
}

TEST(CheckPathTemplateTest, AsksForAPathThatSaysWhoseItIs) {
  CS_EXPECT_OK(CheckPathTemplate("/run/{uuid}.sock"));
  CS_EXPECT_OK(CheckPathTemplate("/run/domain-{id}-{name}/agent"));
  for (const char* bad : {"", "run/{uuid}", "/run/agent.sock", "/run/{id}", "/run/{uuid}/{host}",
                          "/run/*-{name}", "/{id}/{id}/{name}", "/run/{uuid"}) {
    EXPECT_THAT(CheckPathTemplate(bad), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

}  // namespace
}  // namespace cloudscale::monitor
