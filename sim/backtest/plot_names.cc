#include "sim/backtest/plot_names.h"

#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::backtest {
namespace {

constexpr size_t kMaxWordBytes = 80;

// How often each word occurs where case does not count, as in some file systems.
std::map<std::string, int> Counts(const std::vector<std::string>& words) {
  std::map<std::string, int> counts;
  for (const std::string& word : words) {
    ++counts[absl::AsciiStrToLower(word)];
  }
  return counts;
}

}  // namespace

std::string FileWord(absl::string_view text) {
  std::string word;
  for (const char c : text.substr(0, kMaxWordBytes)) {
    word += absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' ? c : '_';
  }
  return word.empty() ? "_" : word;
}

std::vector<std::string> PlotWords(const std::vector<DemandTrace>& traces) {
  std::vector<std::string> words;
  for (const DemandTrace& trace : traces) {
    words.push_back(FileWord(trace.name));
  }
  std::map<std::string, int> counts = Counts(words);
  for (size_t i = 0; i < words.size(); ++i) {
    if (counts.at(absl::AsciiStrToLower(words[i])) > 1 && !traces[i].file.empty()) {
      words[i] = absl::StrCat(FileWord(traces[i].file), "-", words[i]);
    }
  }
  // Words that are alone keep their form; the others take the first number that is free.
  counts = Counts(words);
  std::set<std::string> taken;
  for (const auto& [word, count] : counts) {
    if (count == 1) {
      taken.insert(word);
    }
  }
  for (std::string& word : words) {
    if (counts.at(absl::AsciiStrToLower(word)) == 1) {
      continue;
    }
    std::string numbered;
    int number = 1;
    do {
      numbered = absl::StrCat(word, "-", number++);
    } while (!taken.insert(absl::AsciiStrToLower(numbered)).second);
    word = numbered;
  }
  return words;
}

}  // namespace cloudscale::backtest
