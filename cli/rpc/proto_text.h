#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/render/format.h"
#include "cloudscale/common/v1/forecast.pb.h"
#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/scaler/v1/action.pb.h"
#include "cloudscale/scaler/v1/decision.pb.h"
#include "cloudscale/scaler/v1/policy.pb.h"
#include "cloudscale/sla/v1/sla.pb.h"
#include "google/protobuf/descriptor.h"

namespace cloudscale::cli {

// `AUTO` for MODE_AUTO, `-` for the unset value, the number for one that this build does not know.
[[nodiscard]] std::string EnumText(const google::protobuf::EnumDescriptor* type, int value);
template <typename Enum>
[[nodiscard]] std::string EnumText(Enum value) {
  return EnumText(google::protobuf::GetEnumDescriptor<Enum>(), static_cast<int>(value));
}

[[nodiscard]] Unit UnitOf(common::v1::Resource resource);
// Of "cpu" or "memory"; any other word leaves it open.
[[nodiscard]] common::v1::Resource ResourceOf(absl::string_view word);

// `forecast 1.20 …`: the most important reason, code and sentence; `-` without one.
[[nodiscard]] std::string ReasonText(const scaler::v1::Reason& reason);

// `grow, shrink paused until …: why`; empty when nothing is paused.
[[nodiscard]] std::string PauseText(const scaler::v1::PauseState& pause);
[[nodiscard]] bool IsPaused(const scaler::v1::PauseState& pause);

// `1.50 cores`, `2.0 GiB`, `host-b`; `-` when absent.
[[nodiscard]] std::string ActionValueText(const scaler::v1::ActionValue& value);

// `95.0 % of requests within 200ms, in 99.0 % of 10s windows`.
[[nodiscard]] std::string PromiseText(const sla::v1::ObjectiveTerms& terms);

// Value of an optional proto field: `OPTIONAL(message, field)`.
#define CLOUDSCALE_CLI_OPTIONAL(message, field)                                            \
  ((message).has_##field() ? std::optional<double>(static_cast<double>((message).field())) \
                           : std::nullopt)

}  // namespace cloudscale::cli
