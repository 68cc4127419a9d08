#include "agents/guest/transport/channel_transport.h"

#include <string>

#include "agents/guest/testing/pseudo_channel.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::cloudscale::testing::TempDir;

TEST(FindDeviceTest, APathStaysAndANameIsLookedUp) {
  const TempDir sys;
  EXPECT_THAT(FindDevice("/dev/hvc1", sys.path(), "/dev"), IsOkAndHolds("/dev/hvc1"));
  EXPECT_THAT(FindDevice("org.cloudscale.agent.0", sys.path(), "/dev"),
              StatusIs(absl::StatusCode::kNotFound));
  sys.Write("class/virtio-ports/vport1p1/name", "org.qemu.guest_agent.0\n");
  sys.Write("class/virtio-ports/vport1p2/name", "org.cloudscale.agent.0\n");
  sys.Write("class/virtio-ports/vport1p3/other", "");
  EXPECT_THAT(FindDevice("org.cloudscale.agent.0", sys.path(), "/dev"),
              IsOkAndHolds("/dev/vport1p2"));
}

TEST(ChannelTransportTest, ADeviceThatIsNotThereOrHasNoHostIsUnavailable) {
  const TempDir folder;
  testing::PseudoChannel channel(folder.File("channel"));
  ChannelTransport transport(Rng(1), {.device = channel.path(), .vm_uuid = "uuid"});
  transport.Open();
  EXPECT_THAT(transport.Exchange({Report()}), StatusIs(absl::StatusCode::kUnavailable));
  transport.Close();
  channel.OpenHostSide();
  channel.CloseHostSide();
  transport.Open();
  EXPECT_THAT(transport.Exchange({Report()}), StatusIs(absl::StatusCode::kUnavailable));
  transport.Close();
}

TEST(ChannelTransportTest, AWaitEndsWhenCancelled) {
  const TempDir folder;
  testing::PseudoChannel channel(folder.File("channel"));
  channel.OpenHostSide();
  ChannelTransport transport(Rng(1), {.device = channel.path(), .vm_uuid = "uuid"});
  transport.Open();
  transport.Cancel();
  EXPECT_THAT(transport.Exchange({Report()}), StatusIs(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace cloudscale::guest
