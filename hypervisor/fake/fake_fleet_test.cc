#include "hypervisor/fake/fake_fleet.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "hypervisor/fake/fake_test_host.h"

namespace cloudscale::hypervisor::fake {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

trace::Trace SomeTrace(const std::string& name, const std::string& resource) {
  return {.name = name,
          .resource = resource,
          .period = absl::Minutes(5),
          .values = {0.25, 0.75},
          .note = ""};
}

TEST(MakeVmUuidTest, DependsOnSeedAndNameOnly) {
  EXPECT_EQ(MakeVmUuid(1, "a"), MakeVmUuid(1, "a"));
  EXPECT_NE(MakeVmUuid(1, "a"), MakeVmUuid(2, "a"));
  EXPECT_NE(MakeVmUuid(1, "a"), MakeVmUuid(1, "b"));
  for (uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_THAT(MakeVmUuid(seed, "a"),
                MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
                             "[0-9a-f]{12}"));
  }
}

TEST(DefaultFleetTest, FitsADefaultHostAndIsDifferentPerVm) {
  const auto fleet = DefaultFleet(1);
  ASSERT_THAT(fleet, SizeIs(5));
  SimClock clock;
  FakeHost host({}, clock.MonoNow());
  std::set<std::string> uuids;
  for (const FakeVmSpec& spec : fleet) {
    uuids.insert(spec.uuid);
    CS_ASSERT_OK(host.AddVm(spec));
  }
  EXPECT_THAT(uuids, SizeIs(5));
  clock.Advance(absl::Minutes(2));
  host.AdvanceTo(clock.MonoNow());
  std::set<double> work;
  for (const auto& [uuid, truth] : host.AllTruth()) {
    work.insert(truth.granted_core_seconds);
    EXPECT_GT(truth.demand_core_seconds, 10);
    EXPECT_LT(truth.lost_core_seconds, 0.05 * truth.demand_core_seconds) << uuid;
  }
  EXPECT_THAT(work, SizeIs(5));
}

TEST(FleetFromTracesTest, TraceDrivesCpuOrMemoryByItsKind) {
  const auto fleet = FleetFromTraces({SomeTrace("x", "cpu"), SomeTrace("y", "mem"),
                                      SomeTrace("z_mem", "value"), SomeTrace("w", "value")},
                                     {});
  CS_ASSERT_OK(fleet);
  ASSERT_THAT(*fleet, SizeIs(4));
  const absl::Duration later = absl::Minutes(6);
  EXPECT_DOUBLE_EQ((*fleet)[0].cpu_demand->FractionAt(later), 0.75);
  EXPECT_DOUBLE_EQ((*fleet)[1].memory_demand->FractionAt(later), 0.75);
  EXPECT_DOUBLE_EQ((*fleet)[2].memory_demand->FractionAt(later), 0.75);
  EXPECT_DOUBLE_EQ((*fleet)[3].cpu_demand->FractionAt(later), 0.75);
  EXPECT_LT((*fleet)[1].cpu_demand->FractionAt(later), 0.2);
  EXPECT_EQ((*fleet)[0].name, "x");
}

TEST(FleetFromTracesTest, RefusesNoneAndTwins) {
  EXPECT_THAT(FleetFromTraces({}, {}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(FleetFromTraces({SomeTrace("x", "cpu"), SomeTrace("x", "cpu")}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'x'")));
}

}  // namespace
}  // namespace cloudscale::hypervisor::fake
