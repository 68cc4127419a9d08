#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

SizingRegistry::SizingRegistry() = default;

const SizingMethod* SizingRegistry::Find(absl::string_view name) const {
  for (const auto& method : methods_) {
    if (method->name() == name) {
      return method.get();
    }
  }
  return nullptr;
}

}  // namespace cloudscale::predictor
