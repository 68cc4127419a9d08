#include "services/scaler/observation.h"

namespace cloudscale::scaler {

absl::string_view ResourceName(Resource resource) {
  return resource == Resource::kCpu ? "cpu" : "memory";
}

absl::string_view QualityName(SampleQuality quality) {
  switch (quality) {
    case SampleQuality::kUnknown:
      return "unknown";
    case SampleQuality::kFresh:
      return "fresh";
    case SampleQuality::kLate:
      return "late";
    case SampleQuality::kMissing:
      return "missing";
    case SampleQuality::kStale:
      return "stale";
    case SampleQuality::kRepeated:
      return "repeated";
    case SampleQuality::kStuck:
      return "stuck";
    case SampleQuality::kImpossible:
      return "impossible";
    case SampleQuality::kReset:
      return "reset";
    case SampleQuality::kSkewed:
      return "skewed";
    case SampleQuality::kWarming:
      return "warming";
  }
  return "unknown";
}

}  // namespace cloudscale::scaler
