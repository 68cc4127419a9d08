#include "hypervisor/xen/xen_module.h"

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::hypervisor::xen {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;

TEST(XenModuleTest, SaysWhichPathsWereTriedAndWhatToInstall) {
  EXPECT_THAT(OpenXen({"/nonexistent/libcloudscale_xen.so"}),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("/nonexistent/libcloudscale_xen.so"),
                             HasSubstr("libxen-dev"), HasSubstr("libxenmisc4.17"))));
}

TEST(XenModuleTest, TellsWhyAModuleDoesNotLoad) {
  testing::TempDir directory;
  const std::string path = directory.Write("libcloudscale_xen.so", "no library");
  EXPECT_THAT(OpenXen({path}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("too short")));
}

TEST(XenModuleTest, RefusesALibraryThatIsNoModule) {
  EXPECT_THAT(OpenXen({"libm.so.6"}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another version")));
}

}  // namespace
}  // namespace cloudscale::hypervisor::xen
