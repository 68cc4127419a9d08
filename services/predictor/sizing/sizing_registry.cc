#include "services/predictor/sizing/agile.h"
#include "services/predictor/sizing/autopilot.h"
#include "services/predictor/sizing/autopilot_ml.h"
#include "services/predictor/sizing/cloudscale_methods.h"
#include "services/predictor/sizing/crane.h"
#include "services/predictor/sizing/ewma.h"
#include "services/predictor/sizing/history_methods.h"
#include "services/predictor/sizing/holt.h"
#include "services/predictor/sizing/portfolio.h"
#include "services/predictor/sizing/seasonal_naive.h"
#include "services/predictor/sizing/sizing_method.h"
#include "services/predictor/sizing/vpa.h"
#include "services/predictor/sizing/window_methods.h"

namespace cloudscale::predictor {
namespace {

// In order of name.
constexpr std::unique_ptr<SizingMethod> (*kFactories[])() = {
    &MakeAgileMethod,          &MakeAutocorrelationMethod,
    &MakeAutopilotMethod,      &MakeAutopilotMlMethod,
    &MakeAutoregressionMethod, &MakeCloudScaleMethod,
    &MakeCraneMethod,          &MakeEwmaMethod,
    &MakeHistogramMethod,      &MakeHoltMethod,
    &MakeHoltWintersMethod,    &MakeLastMethod,
    &MakeMarkovMethod,         &MakeMaxMethod,
    &MakeMax24Method,          &MakeMax6Method,
    &MakeMeanMethod,           &MakePortfolioMethod,
    &MakePressMethod,          &MakeSeasonalNaiveMethod,
    &MakeSignatureMethod,      &MakeVpaMethod,
    &MakeVpaPercentileMethod,
};

}  // namespace

SizingRegistry::SizingRegistry() {
  for (const auto factory : kFactories) {
    methods_.push_back(factory());
  }
}

const SizingMethod* SizingRegistry::Find(absl::string_view name) const {
  for (const auto& method : methods_) {
    if (method->name() == name) {
      return method.get();
    }
  }
  return nullptr;
}

}  // namespace cloudscale::predictor
