#pragma once

#include <memory>

#include "absl/time/time.h"
#include "common/trace/trace.h"

namespace cloudscale::workload {

// What the work inside a VM wants of one resource over time, whatever it is given. A pure function
// of time, so that any moment can be asked in any order. Thread safety: thread-safe.
class DemandSource {
 public:
  virtual ~DemandSource() = default;

  // Fraction of the VM's full size, finite and >= 0; above 1 the VM is overloaded at any size.
  // Times before the start count as the start.
  [[nodiscard]] virtual double FractionAt(absl::Duration since_start) const = 0;
};

// Always `fraction`; must be finite and >= 0.
[[nodiscard]] std::shared_ptr<const DemandSource> MakeConstantDemand(double fraction);

struct PlaybackOptions {
  absl::Duration offset;  // begins this far into the trace; may be longer than it
  double scale = 1;       // multiplies the values; finite and >= 0
};

// Plays a trace with its own period, each value held for one period, again from the beginning
// after its end. The trace must not be empty and its period must be > 0.
[[nodiscard]] std::shared_ptr<const DemandSource> MakeTraceDemand(
    trace::Trace trace, const PlaybackOptions& options = {});

}  // namespace cloudscale::workload
