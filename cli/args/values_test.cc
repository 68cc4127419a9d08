#include "cli/args/values.h"

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ParseDurationTest, TakesUnitsAndPlainSeconds) {
  EXPECT_THAT(ParseDuration("90s"), IsOkAndHolds(absl::Seconds(90)));
  EXPECT_THAT(ParseDuration("1m30s"), IsOkAndHolds(absl::Seconds(90)));
  EXPECT_THAT(ParseDuration("1.5"), IsOkAndHolds(absl::Milliseconds(1500)));
  EXPECT_THAT(ParseDurationOrZero("0"), IsOkAndHolds(absl::ZeroDuration()));
}

TEST(ParseDurationTest, RefusesWhatIsNoSpanOfTime) {
  for (const char* text : {"", "soon", "0", "-5s", "inf", "nan", "10 apples"}) {
    EXPECT_THAT(ParseDuration(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(ParseBytesTest, TakesBinaryAndDecimalUnits) {
  EXPECT_THAT(ParseBytes("1048576"), IsOkAndHolds(1'048'576));
  EXPECT_THAT(ParseBytes("1GiB"), IsOkAndHolds(1'073'741'824));
  EXPECT_THAT(ParseBytes("512 Mi"), IsOkAndHolds(536'870'912));
  EXPECT_THAT(ParseBytes("1.5G"), IsOkAndHolds(1'500'000'000));
  EXPECT_THAT(ParseBytes("7b"), IsOkAndHolds(7));
}

TEST(ParseBytesTest, RefusesWhatIsNoSize) {
  for (const char* text : {"", "-1", "GiB", "1Xi", "1e300", "nan"}) {
    EXPECT_THAT(ParseBytes(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("size")))
        << text;
  }
}

TEST(ParseBoolTest, TakesTheUsualWords) {
  EXPECT_THAT(ParseBool("Yes"), IsOkAndHolds(true));
  EXPECT_THAT(ParseBool("off"), IsOkAndHolds(false));
  EXPECT_THAT(ParseBool("maybe"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(IsUuidTest, WantsTheCanonicalForm) {
  EXPECT_TRUE(IsUuid("0f8fad5b-d9cb-469f-a165-70867728950e"));
  EXPECT_TRUE(IsUuid("0F8FAD5B-D9CB-469F-A165-70867728950E"));
  EXPECT_FALSE(IsUuid("0f8fad5bd9cb469fa16570867728950e"));
  EXPECT_FALSE(IsUuid("0f8fad5b-d9cb-469f-a165-70867728950g"));
  EXPECT_FALSE(IsUuid("web-1"));
}

}  // namespace
}  // namespace cloudscale::cli
