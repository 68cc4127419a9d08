// Fuzz target of the reader of recorded demand. With libFuzzer:
//   clang++ -fsanitize=fuzzer,address … ; ./trace_csv_fuzz tests/fuzz/corpus/trace_csv
// Without it (CLOUDSCALE_FUZZ_CORPUS is set) a GoogleTest plays the corpus and many small damages.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "sim/backtest/trace_csv.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace backtest = cloudscale::backtest;
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  for (const double step : {0.0, 30.0}) {
    backtest::TraceCsvOptions options;
    options.step_seconds = step;
    options.max_points = 10'000;
    const auto traces = backtest::ParseTraceCsv(text, "f.csv", options);
    if (!traces.ok()) {
      if (!absl::StartsWith(traces.status().message(), "f.csv:")) {
        std::abort();  // a fault must say where it is
      }
      continue;
    }
    size_t points = 0;
    for (const backtest::DemandTrace& trace : *traces) {
      points += trace.demand.size();
      if (!(trace.step_seconds > 0) || !(trace.capacity > 0) || trace.demand.size() < 2) {
        std::abort();
      }
      for (const double d : trace.demand) {
        if (!std::isnan(d) && !(d >= 0 && d <= backtest::TraceCsvParser::kMaxDemand)) {
          std::abort();
        }
      }
    }
    if (points > 10'000) {
      std::abort();
    }
  }
  return 0;
}

#ifdef CLOUDSCALE_FUZZ_CORPUS
#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/random/rng.h"
#include "gtest/gtest.h"

namespace {

TEST(TraceCsvFuzz, CorpusAndItsDamagedCopiesPass) {
  cloudscale::Rng rng(1);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(CLOUDSCALE_FUZZ_CORPUS)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string good((std::istreambuf_iterator<char>(file)), {});
    ++files;
    for (int round = 0; round < 500; ++round) {
      std::string text = good;
      for (int64_t damage = round == 0 ? 0 : 1 + rng.UniformInt(4); damage > 0 && !text.empty();
           --damage) {
        const auto at = static_cast<size_t>(rng.UniformInt(static_cast<int64_t>(text.size())));
        if (rng.Chance(0.2)) {
          text.erase(at, 1 + static_cast<size_t>(rng.UniformInt(8)));
        } else if (rng.Chance(0.2)) {
          text.insert(at, text.substr(0, 1 + static_cast<size_t>(rng.UniformInt(12))));
        } else {
          text[at] = static_cast<char>(rng.UniformInt(256));
        }
      }
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    }
  }
  EXPECT_GE(files, 5);
}

}  // namespace
#endif
