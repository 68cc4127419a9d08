#include "common/status/violations.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace cloudscale {
namespace {

// Field, value and allowed range travel in a payload separated by these; control characters in
// values are replaced.
constexpr char kFieldSeparator = '\x1f';
constexpr char kRecordSeparator = '\x1e';
constexpr size_t kMaxValueLength = 256;

std::string Sanitise(absl::string_view text) {
  std::string out;
  out.reserve(std::min(text.size(), kMaxValueLength));
  for (const char c : text.substr(0, kMaxValueLength)) {
    out.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  return out;
}

}  // namespace

void Violations::Add(absl::string_view field, absl::string_view value, absl::string_view allowed) {
  ++count_;
  if (kept_.size() < kMaxKept) {
    kept_.push_back({Sanitise(field), Sanitise(value), Sanitise(allowed)});
  }
}

void Violations::AddAll(absl::string_view prefix, const Violations& other) {
  for (const FieldViolation& v : other.kept_) {
    Add(prefix.empty() ? v.field : absl::StrCat(prefix, ".", v.field), v.value, v.allowed);
  }
  count_ += other.count_ - other.kept_.size();
}

absl::Status Violations::ToStatus() const {
  if (empty()) {
    return absl::OkStatus();
  }
  std::string message;
  std::string payload;
  for (const FieldViolation& v : kept_) {
    absl::StrAppend(&message, message.empty() ? "" : "\n", v.field, ": got '", v.value,
                    "', allowed: ", v.allowed);
    payload.append(v.field).push_back(kFieldSeparator);
    payload.append(v.value).push_back(kFieldSeparator);
    payload.append(v.allowed).push_back(kRecordSeparator);
  }
  if (count_ > kept_.size()) {
    absl::StrAppend(&message, "\nand ", count_ - kept_.size(), " more");
  }
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kPayloadUrl, absl::Cord(payload));
  return status;
}

std::vector<FieldViolation> Violations::FromStatus(const absl::Status& status) {
  std::vector<FieldViolation> result;
  const auto payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) {
    return result;
  }
  const std::string text(*payload);
  for (absl::string_view record : absl::StrSplit(text, kRecordSeparator, absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(record, kFieldSeparator);
    if (parts.size() == 3) {
      result.push_back({parts[0], parts[1], parts[2]});
    }
  }
  return result;
}

bool RequireInRange(Violations& v, absl::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) {
    return true;
  }
  v.Add(field, absl::StrCat(value), absl::StrFormat("%g to %g", low, high));
  return false;
}

bool RequirePositive(Violations& v, absl::string_view field, double value) {
  if (value > 0) {
    return true;
  }
  v.Add(field, absl::StrCat(value), "greater than 0");
  return false;
}

bool RequireNotEmpty(Violations& v, absl::string_view field, absl::string_view value) {
  if (!value.empty()) {
    return true;
  }
  v.Add(field, value, "not empty");
  return false;
}

}  // namespace cloudscale
