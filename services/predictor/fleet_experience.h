#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "services/predictor/online_forecaster.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

// What the series of a fleet have learnt that holds for others of their kind, so that a new VM does
// not start from nothing: per resource and class of VMs (those of about the same number of vCPUs,
// within a factor of two; all where no capacity is known, as of memory) the mean shapes of errors,
// and the price that keeps young series near their target. The latter follows how those before did:
// ((violations + c) / (expected + c)) ^ kGain, never below one. While a class is too little known,
// all of the resource stand in. Bounded. Thread safety: thread-compatible.
class FleetExperience {
 public:
  // Fewer contributions say nothing about a class.
  static constexpr double kLeastCount = 3;

  // `capacity` <= 0: not known.
  void AddShapes(Resource resource, double capacity, absl::Span<const float> shapes) {
    for (const int vm_class : {kAll, ClassOf(capacity)}) {
      Known& known = classes_[{resource, vm_class}];
      if (known.shapes.size() != shapes.size()) {
        known.count = 0;
        known.shapes.assign(shapes.size(), 0);
      }
      known.count = std::min(known.count + 1, kMemory);
      for (size_t i = 0; i < shapes.size(); ++i) {
        known.shapes[i] += (shapes[i] - known.shapes[i]) / static_cast<float>(known.count);
      }
    }
  }

  void AddYouth(Resource resource, double capacity, const YouthOutcome& outcome) {
    for (const int vm_class : {kAll, ClassOf(capacity)}) {
      Known& known = classes_[{resource, vm_class}];
      known.youths = known.youths * (1 - 1 / kMemory) + 1;
      known.youth.violations = known.youth.violations * (1 - 1 / kMemory) + outcome.violations;
      known.youth.expected = known.youth.expected * (1 - 1 / kMemory) + outcome.expected;
    }
  }

  [[nodiscard]] Experience Find(Resource resource, double capacity) const {
    Experience experience;
    const auto find = [&](const auto& is_enough) -> const Known* {
      for (const int vm_class : {ClassOf(capacity), kAll}) {
        const auto it = classes_.find({resource, vm_class});
        if (it != classes_.end() && is_enough(it->second)) {
          return &it->second;
        }
      }
      return nullptr;
    };
    if (const Known* known = find([](const Known& k) { return k.count >= kLeastCount; })) {
      experience.shapes = known->shapes;
    }
    if (const Known* known = find([](const Known& k) { return k.youths >= kLeastCount; })) {
      const double ratio = (known->youth.violations + kDoubt) / (known->youth.expected + kDoubt);
      experience.price_factor = std::max(1.0, std::pow(ratio, kGain));
    }
    return experience;
  }

 private:
  using Key = std::pair<Resource, int>;
  struct Known {
    double count = 0;
    std::vector<float> shapes;
    double youths = 0;
    YouthOutcome youth;
  };
  static constexpr int kAll = 1000;
  static constexpr int kUnknown = -1000;
  static constexpr double kMemory = 100;  // contributions, beyond which the oldest fade
  static constexpr double kDoubt = 3;     // violations of benefit of the doubt
  static constexpr double kGain = 2.5;    // as of the price itself

  static int ClassOf(double capacity) {
    // No real VM is beyond; this bounds the number of classes.
    return capacity > 0 ? std::clamp(static_cast<int>(std::lround(std::log2(capacity))), -20, 60)
                        : kUnknown;
  }

  std::map<Key, Known> classes_;
};

}  // namespace cloudscale::predictor
