#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cloudscale/config/v1/config.pb.h"

namespace cloudscale::cloudscaled {

struct ReplayOptions {
  std::string file;                 // recorded trace, see common/trace/trace_reader.h
  std::vector<std::string> series;  // names of a long-form file; empty = the first `max_vms`
  int max_vms = 6;                  // 1 to 64
  double speed = 0;                 // 0 = one recorded point each 50 ms of real time
};

// A simulated host whose VMs replay the traces of a file: one VM of 4 vCPUs per series, on a host
// that holds all of them at full size, so that every violation is the scaler's own. One recorded
// point is one sampling period; the step is 10 s or one point, whichever is longer, and all ages
// and cool-downs grow with it (docs/adr/0002).
//
// INVALID_ARGUMENT: a fault of the file (with line), series with different periods, or a speed at
// which less than 5 ms of real time remain for a point.
[[nodiscard]] absl::StatusOr<config::v1::CloudscaledConfig> ReplayConfig(
    const ReplayOptions& options);

}  // namespace cloudscale::cloudscaled
