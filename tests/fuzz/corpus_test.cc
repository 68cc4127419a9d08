// Plays the corpus of a fuzz target, and damaged copies of it, where there is no libFuzzer.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "common/random/rng.h"
#include "gtest/gtest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

TEST(FuzzCorpusTest, CorpusAndItsDamagedCopiesPass) {
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
