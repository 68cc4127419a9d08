#include "agents/guest/linux/proc_reader.h"

#include <string>

#include "agents/guest/report_builder.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;

TEST(ProcReaderTest, ReadsFilesUnderItsRootAndLeavesMissingOnesAbsent) {
  const testing::TempDir root;
  root.Write("meminfo", "MemTotal: 1 kB\n");
  root.Write("pressure/memory", "some …\n");
  root.Write("sys/kernel/random/boot_id", "id\n");
  const ProcTexts texts = ProcReader(root.path()).Read();
  EXPECT_EQ(texts.meminfo, "MemTotal: 1 kB\n");
  EXPECT_EQ(texts.pressure_memory, "some …\n");
  EXPECT_EQ(texts.boot_id, "id\n");
  EXPECT_EQ(texts.vmstat, std::nullopt);
  EXPECT_EQ(texts.pressure_cpu, std::nullopt);
  EXPECT_GT(texts.page_bytes, 0);
}

TEST(ProcReaderTest, HugeFilesAreCutAndDirectoriesAreNotRead) {
  const testing::TempDir root;
  root.Write("stat", std::string(3 << 20, 'x'));
  root.Write("vmstat/file", "");
  const ProcTexts texts = ProcReader(root.path()).Read();
  ASSERT_TRUE(texts.stat.has_value());
  EXPECT_LE(texts.stat->size(), 300U * 1024);
  EXPECT_EQ(texts.vmstat, std::nullopt);
}

TEST(ProcReaderTest, ThisMachineCanBeReported) {
  ReportBuilder builder;
  const auto built = builder.Build(ProcReader("/proc").Read(), absl::UnixEpoch());
  CS_ASSERT_OK(built);
  EXPECT_GT(built->report.memory.total_bytes, 0);
  EXPECT_GT(built->report.vcpu_count.value_or(0), 0);
  EXPECT_THAT(built->faults, ::testing::IsEmpty());
}

TEST(ReadMachineUuidTest, PrefersDmiThenXen) {
  const testing::TempDir sys;
  EXPECT_THAT(ReadMachineUuid(sys.path()), StatusIs(absl::StatusCode::kNotFound));
  sys.Write("hypervisor/uuid", "11111111-ca74-36de-a9d3-19b1732fe4d6\n");
  EXPECT_THAT(ReadMachineUuid(sys.path()), IsOkAndHolds("11111111-ca74-36de-a9d3-19b1732fe4d6"));
  sys.Write("class/dmi/id/product_uuid", "9F8D5740-CA74-36DE-A9D3-19B1732FE4D6\n");
  EXPECT_THAT(ReadMachineUuid(sys.path()), IsOkAndHolds("9f8d5740-ca74-36de-a9d3-19b1732fe4d6"));
  sys.Write("class/dmi/id/product_uuid", "Not Settable\n");
  EXPECT_THAT(ReadMachineUuid(sys.path()), IsOkAndHolds("11111111-ca74-36de-a9d3-19b1732fe4d6"));
}

}  // namespace
}  // namespace cloudscale::guest
