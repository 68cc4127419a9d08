#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/violations.h"

namespace cloudscale::scaler {

// Pages of 1 to 1000, 100 when not said.
inline int64_t PageSize(int32_t asked, Violations& violations) {
  if (asked < 0) {
    violations.Add("page_size", absl::StrCat(asked), "1 to 1000");
  }
  return asked == 0 ? 100 : std::clamp<int64_t>(asked, 1, 1000);
}

// A page token that is a number; 0 = first page.
inline int64_t NumberToken(const std::string& token, Violations& violations) {
  int64_t value = 0;
  if (!token.empty() && (!absl::SimpleAtoi(token, &value) || value < 0)) {
    violations.Add("page_token", token, "the next_page_token of an answer");
  }
  return value;
}

}  // namespace cloudscale::scaler
