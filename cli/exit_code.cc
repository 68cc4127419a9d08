#include "cli/exit_code.h"

namespace cloudscale::cli {

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) {
    return ExitCode::kOk;
  }
  if (!status.GetPayload(kAddressPayload).has_value()) {
    return ExitCode::kUsage;
  }
  if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) {
    return ExitCode::kUnreachable;
  }
  return ExitCode::kServerError;
}

}  // namespace cloudscale::cli
