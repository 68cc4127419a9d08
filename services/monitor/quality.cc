#include "services/monitor/quality.h"

namespace cloudscale::monitor {

absl::string_view QualityName(Quality quality) {
  switch (quality) {
    case Quality::kFresh:
      return "fresh";
    case Quality::kLate:
      return "late";
    case Quality::kMissing:
      return "missing";
    case Quality::kStale:
      return "stale";
    case Quality::kRepeated:
      return "repeated";
    case Quality::kStuck:
      return "stuck";
    case Quality::kImpossible:
      return "impossible";
    case Quality::kReset:
      return "reset";
    case Quality::kSkewed:
      return "skewed";
    case Quality::kWarming:
      return "warming";
  }
  return "unknown";
}

}  // namespace cloudscale::monitor
