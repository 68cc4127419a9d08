#pragma once

#include <string>

#include "cli/render/text.h"
#include "cloudscale/scaler/v1/scaler_service.pb.h"

namespace cloudscale::cli {

// The receipt of `why` for people: what was known, what was forecast, how the wish became the
// target, and how close rules that wait are to acting. `width` 0: no limit.
[[nodiscard]] std::string RenderReceipt(const scaler::v1::ExplainVmResponse& response,
                                        const Style& style, int width);

}  // namespace cloudscale::cli
