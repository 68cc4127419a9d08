#include "sim/backtest/plot_names.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::backtest {
namespace {

using ::testing::ElementsAre;

std::vector<DemandTrace> Traces(
    const std::vector<std::pair<std::string, std::string>>& files_and_names) {
  std::vector<DemandTrace> traces;
  for (const auto& [file, name] : files_and_names) {
    DemandTrace& trace = traces.emplace_back();
    trace.name = name;
    trace.file = file;
  }
  return traces;
}

TEST(FileWordTest, IsSafeOnEveryFileSystem) {
  EXPECT_EQ(FileWord("web-1_A"), "web-1_A");
  EXPECT_EQ(FileWord("../a/b\\c:d e\n\"f\""), "___a_b_c_d_e__f_");
  EXPECT_EQ(FileWord("\xC3\xA4"), "__");
  EXPECT_EQ(FileWord(""), "_");
  EXPECT_EQ(FileWord(std::string(300, 'x')).size(), 80U);
}

TEST(PlotWordsTest, ANameThatIsAloneStaysAsItIs) {
  EXPECT_THAT(PlotWords(Traces({{"one", "web"}, {"two", "db"}})), ElementsAre("web", "db"));
  EXPECT_THAT(PlotWords({}), ElementsAre());
}

TEST(PlotWordsTest, TheSameNameInTwoFilesIsPrefixedByTheFile) {
  EXPECT_THAT(PlotWords(Traces({{"one", "web"}, {"two", "web"}, {"two", "db"}})),
              ElementsAre("one-web", "two-web", "db"));
  EXPECT_THAT(PlotWords(Traces({{"one", "Web"}, {"two", "web"}})),
              ElementsAre("one-Web", "two-web"));
}

TEST(PlotWordsTest, WhatIsStillTheSameIsNumberedInOrder) {
  EXPECT_THAT(PlotWords(Traces({{"one", "a/b"}, {"one", "a_b"}})),
              ElementsAre("one-a_b-1", "one-a_b-2"));
  EXPECT_THAT(PlotWords(Traces({{"", "a"}, {"", "a"}, {"", "a-1"}})),
              ElementsAre("a-2", "a-3", "a-1"));
}

TEST(PlotWordsTest, LongNamesThatDifferAtTheirEndOnlyStayApart) {
  const std::string name(200, 'x');
  const std::vector<std::string> words = PlotWords(Traces({{"f", name + "1"}, {"f", name + "2"}}));
  EXPECT_NE(words[0], words[1]);
}

}  // namespace
}  // namespace cloudscale::backtest
