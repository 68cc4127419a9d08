#include "bench/macro/settings.h"

#include <cstdio>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace cloudscale::bench {

absl::Status Settings::Parse(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    absl::string_view name = argv[i];
    if (name == "--json") {
      is_json_ = true;
      continue;
    }
    const bool is_flag = absl::ConsumePrefix(&name, "--");
    const auto it = values_.find(std::string(name));
    if (!is_flag || it == values_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown argument '", argv[i], "'"));
    }
    if (i + 1 == argc) {
      return absl::InvalidArgumentError(absl::StrCat("--", it->first, " needs a value"));
    }
    const std::string value = argv[++i];
    double number = 0;
    if (absl::SimpleAtod(it->second, &number) &&
        !(absl::SimpleAtod(value, &number) && number > 0 && number <= 1e6)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", it->first, " is '", value, "', allowed: above 0 to 1000000"));
    }
    it->second = value;
  }
  return absl::OkStatus();
}

double Settings::Number(const std::string& name) const {
  double number = 0;
  return absl::SimpleAtod(values_.at(name), &number) ? number : 0;
}

void Settings::PrintHeader(const std::string& what) const {
  if (is_json_) {
    return;
  }
  std::printf("# %s\n", what.c_str());
  for (const auto& [name, value] : values_) {
    std::printf("# %s=%s\n", name.c_str(), value.c_str());
  }
}

void RowPrinter::Print(const std::vector<std::pair<std::string, std::string>>& row) {
  std::vector<std::string> names;
  std::vector<std::string> values;
  std::vector<std::string> members;
  for (const auto& [name, value] : row) {
    double number = 0;
    names.push_back(name);
    values.push_back(value);
    members.push_back(absl::SimpleAtod(value, &number)
                          ? absl::StrCat("\"", name, "\":", value)
                          : absl::StrCat("\"", name, "\":\"", value, "\""));
  }
  if (is_json_) {
    std::printf("{%s}\n", absl::StrJoin(members, ",").c_str());
  } else {
    if (names != names_) {
      std::printf("%s\n", absl::StrJoin(names, ",").c_str());
      names_ = names;
    }
    std::printf("%s\n", absl::StrJoin(values, ",").c_str());
  }
  std::fflush(stdout);
}

}  // namespace cloudscale::bench
