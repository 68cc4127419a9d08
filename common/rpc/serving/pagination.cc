#include "common/rpc/serving/pagination.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::rpc {
namespace {

constexpr int32_t kDefaultPageSize = 100;
constexpr int32_t kMaxPageSize = 1000;
constexpr size_t kMaxReasonLength = 500;

// FNV-1a; the same in every build, unlike std::hash.
uint64_t Fingerprint(absl::string_view text) {
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  return hash;
}

}  // namespace

Page ParsePage(int32_t page_size, const std::string& page_token, absl::string_view filters,
               Violations& violations) {
  Page page;
  if (page_size < 0) {
    violations.Add("page_size", absl::StrCat(page_size), "0 (for 100) to 1000");
  }
  page.size =
      static_cast<size_t>(page_size <= 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize));
  if (page_token.empty()) {
    return page;
  }
  std::string text;
  const std::string prefix = absl::StrCat(absl::Hex(Fingerprint(filters), absl::kZeroPad16), ":");
  if (!absl::WebSafeBase64Unescape(page_token, &text) || text.rfind(prefix, 0) != 0) {
    violations.Add("page_token", page_token,
                   "the next_page_token of the answer before, with the other fields unchanged");
    return page;
  }
  page.after = text.substr(prefix.size());
  return page;
}

std::string MakePageToken(absl::string_view last, absl::string_view filters) {
  return absl::WebSafeBase64Escape(
      absl::StrCat(absl::Hex(Fingerprint(filters), absl::kZeroPad16), ":", last));
}

void RequireUuid(Violations& violations, absl::string_view field, absl::string_view value) {
  bool is_good = value.size() == 36;
  for (size_t i = 0; is_good && i < value.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    is_good =
        is_dash ? value[i] == '-' : absl::ascii_isxdigit(static_cast<unsigned char>(value[i]));
  }
  if (!is_good) {
    violations.Add(field, value, "a UUID, for example 6f1c2a52-7a0e-4d0e-9a43-6a1d2f6f4b11");
  }
}

void RequireReason(Violations& violations, absl::string_view reason) {
  if (reason.size() > kMaxReasonLength) {
    violations.Add("reason", absl::StrCat(reason.size(), " characters"),
                   absl::StrCat("at most ", kMaxReasonLength, " characters"));
  }
}

}  // namespace cloudscale::rpc
