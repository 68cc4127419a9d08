#include "common/sqlite/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"

namespace cloudscale::sqlite {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::SizeIs;

const std::vector<std::string> kSchema = {"CREATE TABLE t(k BLOB PRIMARY KEY, n INTEGER, x REAL)"};

TEST(DatabaseTest, KeepsValuesOverAReopen) {
  testing::TempDir dir;
  const std::string bytes("a\0b", 3);
  {
    auto db = Database::Open(dir.File("s.db"), kSchema);
    ASSERT_THAT(db, IsOk());
    ASSERT_THAT((*db)->Execute("INSERT INTO t VALUES(?,?,?)", {bytes, int64_t{7}, 0.5}), IsOk());
    ASSERT_THAT((*db)->Execute("INSERT INTO t VALUES(?,?,?)", {std::string(), Value(), 2.0}),
                IsOk());
  }
  auto db = Database::Open(dir.File("s.db"), kSchema);
  ASSERT_THAT(db, IsOk());
  const auto rows = (*db)->Query("SELECT k,n,x FROM t ORDER BY n DESC");
  ASSERT_THAT(rows, IsOk());
  ASSERT_THAT(*rows, SizeIs(2));
  EXPECT_EQ(TextOf((*rows)[0][0]), bytes);
  EXPECT_EQ(IntOf((*rows)[0][1]), 7);
  EXPECT_EQ(DoubleOf((*rows)[0][2]), 0.5);
  EXPECT_EQ(TextOf((*rows)[1][0]), "");
}

TEST(DatabaseTest, ATransactionIsKeptAsAWholeOrNotAtAll) {
  auto db = Database::Open("", kSchema);
  ASSERT_THAT(db, IsOk());
  EXPECT_FALSE((*db)
                   ->Transaction([&] {
                     EXPECT_THAT((*db)->Execute("INSERT INTO t(n) VALUES(1)"), IsOk());
                     return absl::AbortedError("no");
                   })
                   .ok());
  EXPECT_THAT(*(*db)->Query("SELECT * FROM t"), SizeIs(0));
}

TEST(DatabaseTest, P20MigratesForwardAndRefusesNewerFiles) {
  testing::TempDir dir;
  const std::string path = dir.File("s.db");
  ASSERT_THAT(Database::Open(path, kSchema), IsOk());
  std::vector<std::string> newer = kSchema;
  newer.push_back("ALTER TABLE t ADD COLUMN y TEXT");
  ASSERT_THAT(Database::Open(path, newer), IsOk());
  EXPECT_THAT(Database::Open(path, kSchema), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(DatabaseTest, DamagedAndUnreachableFilesAreErrors) {
  testing::TempDir dir;
  EXPECT_THAT(Database::Open(dir.Write("bad.db", std::string(4096, 'x')), kSchema),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Database::Open(dir.File("none/s.db"), kSchema),
              StatusIs(absl::StatusCode::kUnavailable));
  auto db = Database::Open("", kSchema);
  EXPECT_THAT((*db)->Execute("SELECT nonsense"), StatusIs(absl::StatusCode::kInternal));
}

}  // namespace
}  // namespace cloudscale::sqlite
