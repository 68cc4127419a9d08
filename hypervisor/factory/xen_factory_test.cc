#include "hypervisor/factory/xen_factory.h"

#include <filesystem>

#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::hypervisor {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::StatusIs;

TEST(XenFactoryTest, P14ChecksTheReserve) {
  config::v1::HypervisorConfig config;
  config.mutable_xen()->set_reserve_bytes(-1);
  Violations violations;
  ValidateHypervisorConfig(config, "hypervisor", true, &violations);
  ASSERT_THAT(violations.kept(), SizeIs(1));
  EXPECT_EQ(violations.kept()[0].field, "hypervisor.xen.reserve_bytes");

  config.mutable_xen()->set_reserve_bytes(0);
  config.mutable_xen()->set_pool("vms");
  Violations none;
  ValidateHypervisorConfig(config, "hypervisor", true, &none);
  EXPECT_THAT(none.kept(), SizeIs(0));
}

TEST(XenFactoryTest, OutsideADom0IsUnavailable) {
  if (std::filesystem::exists("/proc/xen/capabilities")) {
    GTEST_SKIP() << "this is a domain of Xen";
  }
  SimClock clock;
  config::v1::HypervisorConfig config;
  config.mutable_xen();
  auto backend = MakeBackend(config, "host-x", clock);
  CS_ASSERT_OK(backend);
  // Whether or not the module is there.
  EXPECT_THAT((*backend)->MakeReader(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("Xen")));
  EXPECT_THAT((*backend)->MakeActuator(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("Xen")));
}

}  // namespace
}  // namespace cloudscale::hypervisor
