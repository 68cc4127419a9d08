#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/status/violations.h"

namespace cloudscale::rpc {

// One page of a List… call: up to `size` items after the one named `after` (empty: from the start).
struct Page {
  size_t size = 100;
  std::string after;
};

// Reads page_size (0: 100; larger than 1000: 1000; negative: a fault) and page_token. `filters` is
// the text of all other fields: a token of another query is a fault, since its place means nothing
// here.
[[nodiscard]] Page ParsePage(int32_t page_size, const std::string& page_token,
                             absl::string_view filters, Violations& violations);

// The token that continues after `last`. Opaque to clients.
[[nodiscard]] std::string MakePageToken(absl::string_view last, absl::string_view filters);

// A fault unless `value` is a UUID in its usual text form.
void RequireUuid(Violations& violations, absl::string_view field, absl::string_view value);

// A fault when `reason` is longer than 500 characters.
void RequireReason(Violations& violations, absl::string_view reason);

}  // namespace cloudscale::rpc
