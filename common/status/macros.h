#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#define CS_STATUS_CONCAT_INNER(a, b) a##b
#define CS_STATUS_CONCAT(a, b) CS_STATUS_CONCAT_INNER(a, b)

#define CS_RETURN_IF_ERROR(expr)                              \
  do {                                                        \
    if (::absl::Status cs_status = (expr); !cs_status.ok()) { \
      return cs_status;                                       \
    }                                                         \
  } while (false)

#define CS_ASSIGN_OR_RETURN(lhs, expr) \
  CS_ASSIGN_OR_RETURN_INNER(CS_STATUS_CONCAT(cs_status_or_, __LINE__), lhs, expr)
#define CS_ASSIGN_OR_RETURN_INNER(name, lhs, expr) \
  auto name = (expr);                              \
  if (!name.ok()) {                                \
    return std::move(name).status();               \
  }                                                \
  lhs = std::move(name).value()

namespace cloudscale {

// Puts `context` in front of the message of an error, keeping code and payloads: "apply cap to vm
// 12: <message>".
[[nodiscard]] inline absl::Status WithContext(absl::string_view context,
                                              const absl::Status& status) {
  if (status.ok()) {
    return status;
  }
  absl::Status result(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { result.SetPayload(url, payload); });
  return result;
}

}  // namespace cloudscale
