#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cloudscale {

// One fault of an input: which field, what it held, what is allowed.
struct FieldViolation {
  std::string field;    // path from the root, e.g. "scaler.defaults.cpu.min_cores"
  std::string value;    // as given
  std::string allowed;  // e.g. "0 < x <= 64"
  friend bool operator==(const FieldViolation&, const FieldViolation&) = default;
};

// Collects every fault of an input before refusing it, so that the author mends all at once.
// Thread safety: thread-compatible.
class Violations {
 public:
  // At most this many are kept; a hostile input must not buy unbounded memory. Further ones are
  // only counted.
  static constexpr size_t kMaxKept = 64;

  void Add(absl::string_view field, absl::string_view value, absl::string_view allowed);
  // Adds all of `other` with `prefix.` in front of each field.
  void AddAll(absl::string_view prefix, const Violations& other);

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] const std::vector<FieldViolation>& kept() const { return kept_; }

  // OK when empty; else INVALID_ARGUMENT whose message has one line a fault and whose payload
  // (`kPayloadUrl`, the text form) lets the RPC layer attach structured details.
  [[nodiscard]] absl::Status ToStatus() const;

  // The violations in a status made by `ToStatus`; empty when there are none.
  [[nodiscard]] static std::vector<FieldViolation> FromStatus(const absl::Status& status);

  static constexpr absl::string_view kPayloadUrl = "cloudscale/field-violations";

 private:
  std::vector<FieldViolation> kept_;
  size_t count_ = 0;
};

// Shorthands for the usual rules. Each adds a violation and returns false when the rule does not
// hold; NaN never holds.
bool RequireInRange(Violations& v, absl::string_view field, double value, double low, double high);
bool RequirePositive(Violations& v, absl::string_view field, double value);
bool RequireNotEmpty(Violations& v, absl::string_view field, absl::string_view value);

}  // namespace cloudscale
