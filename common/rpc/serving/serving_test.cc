#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rpc/serving/pagination.h"
#include "common/rpc/serving/request_log.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"

namespace cloudscale::rpc {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::Optional;
using ::testing::SizeIs;

const absl::Time kNow = absl::FromUnixSeconds(1767225600);
constexpr char kId[] = "6f1c2a52-7a0e-4d0e-9a43-6a1d2f6f4b11";

TEST(PaginationTest, TokensContinueTheSameQueryOnly) {
  Violations v;
  const std::string token = MakePageToken("web:1/ä", "application=web");
  EXPECT_EQ(ParsePage(7, token, "application=web", v).after, "web:1/ä");
  EXPECT_TRUE(v.empty());
  static_cast<void>(ParsePage(7, token, "application=shop", v));
  static_cast<void>(ParsePage(7, "nonsense", "application=web", v));
  EXPECT_THAT(v.kept(), SizeIs(2));
}

TEST(PaginationTest, SizesHaveADefaultAndABound) {
  Violations v;
  EXPECT_EQ(ParsePage(0, "", "", v).size, 100U);
  EXPECT_EQ(ParsePage(5000, "", "", v).size, 1000U);
  EXPECT_EQ(ParsePage(1, "", "", v).size, 1U);
  EXPECT_TRUE(v.empty());
  static_cast<void>(ParsePage(-1, "", "", v));
  EXPECT_THAT(v.kept(), SizeIs(1));
}

TEST(PaginationTest, KnowsUuidsAndLongReasons) {
  Violations v;
  RequireUuid(v, "request_id", kId);
  RequireReason(v, std::string(500, 'x'));
  EXPECT_TRUE(v.empty());
  RequireUuid(v, "request_id", "");
  RequireUuid(v, "request_id", "6f1c2a52-7a0e-4d0e-9a43-6a1d2f6f4b1g");
  RequireUuid(v, "request_id", "6f1c2a52x7a0e-4d0e-9a43-6a1d2f6f4b11");
  RequireReason(v, std::string(501, 'x'));
  EXPECT_THAT(v.kept(), SizeIs(4));
}

TEST(RequestLogTest, AnswersARepeatForOneHourAlsoAfterARestart) {
  testing::TempDir dir;
  {
    auto db = sqlite::Database::Open(dir.File("s.db"), {RequestLog::kSchema});
    ASSERT_THAT(db, IsOk());
    auto log = RequestLog::Load(**db, kNow);
    ASSERT_THAT(log, IsOk());
    EXPECT_EQ(*log->Find(kId, "call", kNow), std::nullopt);
    ASSERT_THAT(log->Remember(kId, "call", "answer", kNow), IsOk());
  }
  auto db = sqlite::Database::Open(dir.File("s.db"), {RequestLog::kSchema});
  auto log = RequestLog::Load(**db, kNow + absl::Minutes(1));
  ASSERT_THAT(log, IsOk());
  EXPECT_THAT(*log->Find(kId, "call", kNow + absl::Minutes(59)), Optional(std::string("answer")));
  EXPECT_THAT(log->Find(kId, "another call", kNow), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(*log->Find(kId, "call", kNow + absl::Minutes(61)), std::nullopt);
}

}  // namespace
}  // namespace cloudscale::rpc
