#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cloudscale::cli {

// Values as people type them. All return INVALID_ARGUMENT with what is allowed; none says which
// option it was, that is the caller's to add.

// `90s`, `1m30s`, `500ms`, or a plain number of seconds; above zero.
[[nodiscard]] absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);
// As above, but zero is allowed.
[[nodiscard]] absl::StatusOr<absl::Duration> ParseDurationOrZero(absl::string_view text);

// `4GiB`, `512Mi`, `1.5G` (1000-based), `1048576`; not negative.
[[nodiscard]] absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

// A finite number.
[[nodiscard]] absl::StatusOr<double> ParseNumber(absl::string_view text);

// `true`, `false`, `yes`, `no`, `on`, `off`, `1`, `0`.
[[nodiscard]] absl::StatusOr<bool> ParseBool(absl::string_view text);

// True for the canonical 8-4-4-4-12 form, in either case.
[[nodiscard]] bool IsUuid(absl::string_view text);

}  // namespace cloudscale::cli
