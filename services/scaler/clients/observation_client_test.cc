#include "services/scaler/clients/observation_client.h"

#include "cloudscale/monitor/v1/monitor_service.pb.h"
#include "gtest/gtest.h"

namespace cloudscale::scaler {
namespace {

namespace mv1 = cloudscale::monitor::v1;

bool HasSecondSource(mv1::GuestSource source, bool has_guest_numbers) {
  mv1::ObservationBatch batch;
  mv1::HostSnapshot& snapshot = *batch.mutable_snapshot();
  snapshot.mutable_header()->set_sequence(1);
  snapshot.mutable_header()->set_boot_id("b");
  mv1::VmSample& vm = *snapshot.add_vms();
  vm.set_vm_uuid("a");
  vm.set_memory_used_bytes(100);
  vm.set_guest_source(source);
  if (has_guest_numbers) {
    vm.set_memory_guest_total_bytes(200);
    vm.set_memory_guest_available_bytes(100);
  }
  const auto observation = FromProto(batch);
  return observation.ok() && observation->vms.at(0).has_guest_report;
}

TEST(ObservationClientTest, P1BalloonStatisticsAreNoSecondSource) {
  EXPECT_FALSE(HasSecondSource(mv1::GUEST_SOURCE_UNSPECIFIED, false));
  EXPECT_FALSE(HasSecondSource(mv1::GUEST_SOURCE_BALLOON, false));
  EXPECT_FALSE(HasSecondSource(mv1::GUEST_SOURCE_AGENT, false));
  EXPECT_TRUE(HasSecondSource(mv1::GUEST_SOURCE_AGENT, true));
  EXPECT_TRUE(HasSecondSource(mv1::GUEST_SOURCE_CGROUP, false)) << "the kernel sees both sides";
}

}  // namespace
}  // namespace cloudscale::scaler
