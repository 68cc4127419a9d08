#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace cloudscale::trace {

// One recorded demand series on a regular grid: `values[i]` holds from `i * period` to
// `(i + 1) * period`.
struct Trace {
  std::string name;
  std::string resource;        // heading of the value column: "cpu", "mem", "value"
  absl::Duration period;       // > 0
  std::vector<double> values;  // fraction of the VM's full size, 0..1; at least two
  std::string note;            // how the values were scaled; empty when taken as they stand

  [[nodiscard]] absl::Duration length() const {
    return period * static_cast<double>(values.size());
  }
};

}  // namespace cloudscale::trace
