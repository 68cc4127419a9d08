#include "common/status/violations.h"

#include <limits>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace cloudscale {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

TEST(ViolationsTest, EmptyIsOk) { EXPECT_THAT(Violations().ToStatus(), IsOk()); }

TEST(ViolationsTest, NamesEveryFieldValueAndRangeAtOnce) {
  Violations v;
  RequireInRange(v, "cpu.min_cores", -1, 0, 64);
  RequireNotEmpty(v, "host_id", "");
  const absl::Status status = v.ToStatus();
  EXPECT_THAT(status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cpu.min_cores: got '-1'")));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("host_id")));
  const std::vector<FieldViolation> back = Violations::FromStatus(status);
  ASSERT_THAT(back, SizeIs(2));
  EXPECT_EQ(back[0].field, "cpu.min_cores");
  EXPECT_EQ(back[0].value, "-1");
  EXPECT_EQ(back[0].allowed, "0 to 64");
}

TEST(ViolationsTest, NotANumberIsNeverInRange) {
  Violations v;
  EXPECT_FALSE(RequireInRange(v, "x", std::numeric_limits<double>::quiet_NaN(), 0, 1));
  EXPECT_FALSE(RequirePositive(v, "x", std::numeric_limits<double>::quiet_NaN()));
}

TEST(ViolationsTest, IsBoundedAndSaysHowManyMore) {
  Violations v;
  for (int i = 0; i < 100; ++i) {
    v.Add("f", "x", "y");
  }
  EXPECT_THAT(v.kept(), SizeIs(Violations::kMaxKept));
  EXPECT_THAT(v.ToStatus(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("and 36 more")));
}

TEST(ViolationsTest, PrefixesNestedFields) {
  Violations inner;
  inner.Add("cores", "x", "y");
  Violations outer;
  outer.AddAll("vms[3]", inner);
  EXPECT_EQ(outer.kept()[0].field, "vms[3].cores");
}

}  // namespace
}  // namespace cloudscale
