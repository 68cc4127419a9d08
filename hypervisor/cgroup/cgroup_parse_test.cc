#include "hypervisor/cgroup/cgroup_parse.h"

#include <string>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

TEST(ParseCountTest, TakesANumberWithOrWithoutNewline) {
  EXPECT_THAT(ParseCount("12\n"), IsOkAndHolds(12));
  EXPECT_THAT(ParseCount("0"), IsOkAndHolds(0));
  EXPECT_THAT(ParseCount("9223372036854775807\n"), IsOkAndHolds(INT64_MAX));
}

TEST(ParseCountTest, RefusesWhatIsNoCountAndQuotesIt) {
  for (const char* text : {"", "\n", "-1\n", "+1", "1 2", "1.5", "abc", "9223372036854775808"}) {
    EXPECT_THAT(ParseCount(text), StatusIs(kInvalid)) << text;
  }
  EXPECT_THAT(ParseCount("bro\x01ken\n"), StatusIs(kInvalid, HasSubstr("\"bro\\001ken\\n\"")));
  EXPECT_LT(ParseCount(std::string(100000, 'x')).status().message().size(), 200U);
}

TEST(ParseLimitTest, BothVersionsNoLimitIsNone) {
  EXPECT_THAT(ParseLimit("max\n"), IsOkAndHolds(std::nullopt));
  EXPECT_THAT(ParseLimit("9223372036854771712\n"), IsOkAndHolds(std::nullopt));
  EXPECT_THAT(ParseLimit("134217728\n"), IsOkAndHolds(134217728));
  EXPECT_THAT(ParseLimit("maximum"), StatusIs(kInvalid));
  EXPECT_THAT(ParseLimit("-1"), StatusIs(kInvalid));
}

TEST(ParseFlatKeyedTest, ReadsAllLines) {
  EXPECT_THAT(
      ParseFlatKeyed("nr_periods 3\nthrottled_time 123456789\n"),
      IsOkAndHolds(UnorderedElementsAre(Pair("nr_periods", 3), Pair("throttled_time", 123456789))));
  EXPECT_THAT(ParseFlatKeyed(""), IsOkAndHolds(::testing::IsEmpty()));
}

TEST(ParseFlatKeyedTest, RefusesBrokenLines) {
  for (const char* text : {"a\n", "a b\n", "a 1 2\n", " 1\n", "a -1\n", "a 1\na 2\n", "a  1\n"}) {
    EXPECT_THAT(ParseFlatKeyed(text), StatusIs(kInvalid)) << text;
  }
}

TEST(ParseCpuMaxTest, QuotaAndPeriodGiveCores) {
  const auto capped = ParseCpuMax("150000 100000\n");
  ASSERT_TRUE(capped.ok());
  EXPECT_EQ(capped->cores(), 1.5);
  const auto free = ParseCpuMax("max 50000\n");
  ASSERT_TRUE(free.ok());
  EXPECT_EQ(free->cores(), std::nullopt);
  EXPECT_EQ(free->period_us, 50000);
  for (const char* text : {"", "max", "max 0", "0 100000", "-1 100000", "1 2 3", "x 100000"}) {
    EXPECT_THAT(ParseCpuMax(text), StatusIs(kInvalid)) << text;
  }
}

TEST(ParseCfsQuotaTest, MinusOneIsNoCap) {
  const auto free = ParseCfsQuota("-1\n", "100000\n");
  ASSERT_TRUE(free.ok());
  EXPECT_EQ(free->cores(), std::nullopt);
  const auto capped = ParseCfsQuota("25000\n", "50000\n");
  ASSERT_TRUE(capped.ok());
  EXPECT_EQ(capped->cores(), 0.5);
  EXPECT_THAT(ParseCfsQuota("-2", "100000"), StatusIs(kInvalid));
  EXPECT_THAT(ParseCfsQuota("0", "100000"), StatusIs(kInvalid));
  EXPECT_THAT(ParseCfsQuota("1000", "0"), StatusIs(kInvalid));
  EXPECT_THAT(ParseCfsQuota("1000", ""), StatusIs(kInvalid));
}

TEST(ParsePressureSomeTest, GivesARatio) {
  EXPECT_THAT(ParsePressureSome("some avg10=12.50 avg60=0.07 avg300=0.07 total=2743199\n"
                                "full avg10=99.00 avg60=0.07 avg300=0.06 total=2550198\n"),
              IsOkAndHolds(0.125));
  for (const char* text :
       {"", "full avg10=1.00 total=1\n", "some avg60=1.00\n", "some avg10=x avg60=1\n",
        "some avg10=nan\n", "some avg10=-1.00\n", "some avg10=101.00\n"}) {
    EXPECT_THAT(ParsePressureSome(text), StatusIs(kInvalid)) << text;
  }
}

TEST(WeightTest, NormalIsNormalAndEveryWeightSurvivesTheRoundTrip) {
  EXPECT_EQ(SharesFromWeight(100), 1024);
  EXPECT_EQ(WeightFromShares(1024), 100);
  for (int64_t weight = 1; weight <= 10000; ++weight) {
    ASSERT_EQ(WeightFromShares(SharesFromWeight(weight)), weight);
  }
  EXPECT_EQ(WeightFromShares(2), 1);
  EXPECT_EQ(WeightFromShares(INT64_MAX), 10000);
}

TEST(QuotaFromCoresTest, RoundsUpToMicrosecondsAndTheKernelsLeast) {
  EXPECT_EQ(QuotaFromCores(0.3, 100000), 30000);
  EXPECT_EQ(QuotaFromCores(0.1 + 0.2, 100000), 30000);  // 0.30000000000000004
  EXPECT_EQ(QuotaFromCores(0.300001, 100000), 30001);
  EXPECT_EQ(QuotaFromCores(1e-9, 100000), 1000);
  EXPECT_EQ(QuotaFromCores(64, 100000), 6400000);
}

TEST(UuidFromNameTest, IsStableAndTellsNamesApart) {
  const std::string uuid = UuidFromName("host-1", "cloudscale/web");
  EXPECT_TRUE(IsUuid(uuid)) << uuid;
  EXPECT_EQ(uuid, UuidFromName("host-1", "cloudscale/web"));
  EXPECT_EQ(uuid, "80084c46-4c67-810d-8fb3-d53d07c36688");  // computed by another program
  EXPECT_EQ(uuid[14], '8');                                 // version
  EXPECT_THAT("89ab", HasSubstr(uuid.substr(19, 1)));       // variant
  EXPECT_NE(uuid, UuidFromName("host-2", "cloudscale/web"));
  EXPECT_NE(uuid, UuidFromName("host-1", "cloudscale/we"));
  EXPECT_NE(UuidFromName("ab", "c"), UuidFromName("a", "bc"));
}

TEST(IsUuidTest, ChecksTheForm) {
  EXPECT_TRUE(IsUuid("9f8d5740-ca74-36de-a9d3-19b1732fe4d6"));
  EXPECT_FALSE(IsUuid("9f8d5740-ca74-36de-a9d3-19b1732fe4d"));
  EXPECT_FALSE(IsUuid("9f8d5740xca74-36de-a9d3-19b1732fe4d6"));
  EXPECT_FALSE(IsUuid("gf8d5740-ca74-36de-a9d3-19b1732fe4d6"));
}

}  // namespace
}  // namespace cloudscale::hypervisor::cgroup
