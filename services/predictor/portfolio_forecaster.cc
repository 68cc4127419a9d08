#include "services/predictor/portfolio_forecaster.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "common/check/check.h"
#include "services/predictor/sizing/state_archive.h"

namespace cloudscale::predictor {
namespace {

// Smallest scale where the capacity is not known.
constexpr double kLeastScale[kResourceCount] = {1.0 / 16, 16.0 * 1024 * 1024};
constexpr double kMedian = 0.5;
// Room above the largest demand, so that sizes above it can be told: to start with, and later.
constexpr double kFirstRoom = 4;
constexpr double kRoom = 2;
// Times what is wanted; the grid of sizes ends at 1 % of the scale.
constexpr double kFarTooLarge = 16;
constexpr int64_t kScalePeriod = 256;  // steps between looks at it
constexpr size_t kJudgedAnew = 128;    // steps that are forecast and judged after starting anew
// A series is young for so many steps, but for the first, of which nobody expects anything.
constexpr int32_t kYouthFirst = 2;
constexpr int32_t kYouthSteps = 48;
constexpr double kYouthHalfLife = 48;  // in which the price of youth halves
constexpr int32_t kLargestAge = 600;   // from which on it is one
constexpr double kLargestYouthPrice = 30;
constexpr int kMaxHorizonSteps = 10000;
// Below any real one, and above any.
constexpr double kSmallestScale = 1e-12;
constexpr double kLargestScale = 1e30;

}  // namespace

PortfolioForecaster::PortfolioForecaster(const OnlineTraits& traits)
    : traits_(traits), ratios_(traits.ratios), target_(traits.target_violation_ratio) {
  const auto at = std::lower_bound(ratios_.begin(), ratios_.end(), kMedian);
  if (at == ratios_.end() || *at != kMedian) {
    ratios_.insert(at, kMedian);
  }
}

std::vector<int> PortfolioForecaster::LongHorizons() const {
  std::vector<int> steps;
  std::copy_if(traits_.horizons.begin(), traits_.horizons.end(), std::back_inserter(steps),
               [](int horizon) { return horizon > 1; });
  return steps;
}

void PortfolioForecaster::Start(double scale, absl::Span<const int> long_horizons) {
  scale_ = std::clamp(scale, kSmallestScale, kLargestScale);
  portfolio_ = std::make_unique<Portfolio>(
      SeriesTraits{.resource = traits_.resource, .step = traits_.step, .capacity = scale_}, target_,
      long_horizons);
  ApplyPrice();
}

void PortfolioForecaster::SetCapacity(double capacity) { capacity_ = capacity; }

void PortfolioForecaster::SetTarget(double ratio, double price_factor) {
  target_ = ratio;
  price_factor_ = price_factor;
}

double PortfolioForecaster::WantedScale(double least, double demand, double room) const {
  if (capacity_ > 0) {
    return capacity_;
  }
  double wanted = std::max(least, kLeastScale[static_cast<size_t>(traits_.resource)]);
  const double needed = std::min(demand * room, kLargestScale);
  while (wanted < needed) {
    wanted *= 2;
  }
  return wanted;
}

void PortfolioForecaster::ShrinkIfFarTooLarge() {
  const size_t known = portfolio_->known_steps();
  float largest = 0;
  for (size_t age = 0; age < known; ++age) {
    largest = std::max(largest, portfolio_->DemandAtAge(age));
  }
  const double wanted = WantedScale(0, static_cast<double>(largest) * scale_, kFirstRoom);
  if (scale_ <= kFarTooLarge * wanted) {
    return;
  }
  const std::vector<double> demands = RecentDemand(known);
  Start(wanted, LongHorizons());
  for (size_t i = 0; i < demands.size(); ++i) {
    portfolio_->Observe({.demand = demands[i], .is_judged = i + kJudgedAnew >= demands.size()});
  }
}

void PortfolioForecaster::Widen(double demand) {
  const double wanted = WantedScale(scale_, demand, portfolio_ == nullptr ? kFirstRoom : kRoom);
  if (portfolio_ == nullptr) {
    Start(wanted, LongHorizons());
    if (shapes_ != nullptr) {
      portfolio_->StartWith(*shapes_);
      shapes_.reset();
    }
  } else if (wanted > scale_) {
    scale_ = std::min(wanted, kLargestScale);
    portfolio_->GrowCapacity(scale_);
  }
}

void PortfolioForecaster::Observe(const StepDemand& step) {
  JudgeYouth(step);
  Widen(step.demand);
  ApplyPrice();
  portfolio_->Observe(step);
  // An outlier is forgotten when the whole memory lies after it.
  if (portfolio_->known_steps() == AnalogMemory::kMoments &&
      portfolio_->passed_steps() % kScalePeriod == 0) {
    ShrinkIfFarTooLarge();
  }
}

void PortfolioForecaster::Skip(int64_t steps) {
  if (portfolio_ != nullptr) {
    portfolio_->Skip(steps);
  }
}

void PortfolioForecaster::Forecast(ModelOutput& output) {
  CS_CHECK(portfolio_ != nullptr);
  ApplyPrice();
  // The scale outlives a VM that lost vCPUs; what it cannot consume it does not need.
  const double limit = capacity_ > 0 ? capacity_ : scale_;
  const auto in_units = [&](double ratio) { return std::min(limit, ratio * scale_); };
  output.path.clear();
  output.expected.clear();
  output.quantiles.clear();
  output.advised = std::min(limit, portfolio_->Size(1));
  advised_ = output.advised;
  output.violation_price = portfolio_->price();
  output.reason = {.kind = ModelReason::Kind::kPortfolio};
  const auto& shares = portfolio_->shares();
  std::array<int, Portfolio::kExperts> order;
  std::iota(order.begin(), order.end(), 0);
  const auto share = [&](int expert) { return shares[static_cast<size_t>(expert)]; };
  std::partial_sort(order.begin(), order.begin() + 2, order.end(),
                    [&](int a, int b) { return share(a) > share(b); });
  for (size_t i = 0; i < 2; ++i) {
    output.reason.experts[i] = order[i];
    output.reason.expert_shares[i] = static_cast<double>(share(order[i]));
  }
  std::vector<double>& values = output.path;  // as scratch: of the next step, then of the longer
  const size_t count = ratios_.size();
  const size_t unasked = traits_.horizons.front() == 1 ? 0 : 1;
  values.resize((traits_.horizons.size() + unasked) * count);
  portfolio_->QuantileRatios(ratios_, absl::MakeSpan(values));
  for (size_t h = unasked; h < traits_.horizons.size() + unasked; ++h) {
    for (size_t r = 0, own = 0; r < count; ++r) {
      const double value = in_units(values[h * count + r]);
      if (ratios_[r] == kMedian) {
        output.expected.push_back(value);
      }
      if (own < traits_.ratios.size() && ratios_[r] == traits_.ratios[own]) {
        output.quantiles.push_back(value);
        ++own;
      }
    }
  }
  values.clear();
}

void PortfolioForecaster::Retrain() {
  if (portfolio_ != nullptr) {
    portfolio_->Retrain();
    ShrinkIfFarTooLarge();
  }
}

std::vector<double> PortfolioForecaster::RecentDemand(size_t count) const {
  std::vector<double> oldest_first;
  if (portfolio_ != nullptr) {
    for (size_t age = std::min(count, portfolio_->known_steps()); age-- > 0;) {
      oldest_first.push_back(static_cast<double>(portfolio_->DemandAtAge(age)) * scale_);
    }
  }
  return oldest_first;
}

std::vector<float> PortfolioForecaster::GetShapes() const {
  if (portfolio_ == nullptr) {
    return {};
  }
  const Portfolio::Shapes shapes = portfolio_->GetShapes();
  return {shapes.begin(), shapes.end()};
}

void PortfolioForecaster::StartWith(const Experience& experience) {
  if (portfolio_ != nullptr) {
    return;
  }
  youth_price_factor_ = std::clamp(experience.price_factor, 1.0, kLargestYouthPrice);
  if (experience.shapes.size() == Portfolio::Shapes().size()) {
    shapes_ = std::make_unique<Portfolio::Shapes>();
    std::copy(experience.shapes.begin(), experience.shapes.end(), shapes_->begin());
  }
}

std::optional<YouthOutcome> PortfolioForecaster::TakeYouthOutcome() {
  if (age_ < kYouthSteps || youth_.expected <= 0) {
    return std::nullopt;
  }
  return std::exchange(youth_, {});
}

void PortfolioForecaster::JudgeYouth(const StepDemand& step) {
  if (age_ >= kYouthFirst && age_ < kYouthSteps && advised_ && step.is_complete) {
    if (!IsWithheld(step.is_censored, step.demand, step.allocation, *advised_)) {
      youth_.violations += step.is_censored || step.demand > *advised_ ? 1 : 0;
      youth_.expected += target_;
    }
  }
  age_ = std::min(age_ + 1, kLargestAge);
}

void PortfolioForecaster::ApplyPrice() {
  if (portfolio_ != nullptr) {
    const double youth =
        age_ >= kLargestAge ? 1 : 1 + (youth_price_factor_ - 1) * std::exp2(-age_ / kYouthHalfLife);
    portfolio_->SetTarget(target_, price_factor_ * youth);
  }
}

std::string PortfolioForecaster::Save() const {
  std::string bytes;
  StateWriter writer(&bytes);
  writer(scale_, capacity_, youth_price_factor_, age_, advised_, youth_.violations,
         youth_.expected);
  writer.List(LongHorizons(), kMaxHorizons);
  if (portfolio_ != nullptr) {
    writer(*portfolio_);
  }
  return bytes;
}

bool PortfolioForecaster::Load(absl::string_view bytes) {
  // The forms differ in length, so that at most one of them fits.
  for (int32_t format = kStateFormatVersion; format >= kFirstWithPortfolio; --format) {
    if (LoadFormat(bytes, format)) {
      return true;
    }
  }
  return false;
}

bool PortfolioForecaster::LoadFormat(absl::string_view bytes, int32_t format) {
  PortfolioForecaster loaded(traits_);
  loaded.SetTarget(target_, price_factor_);
  StateReader reader(bytes, format);
  double scale = 0;
  std::vector<int> horizons;  // the list may be another now
  reader(scale, loaded.capacity_, loaded.youth_price_factor_, loaded.age_, loaded.advised_,
         loaded.youth_.violations, loaded.youth_.expected);
  reader.List(horizons, kMaxHorizons);
  reader.Require(loaded.youth_price_factor_ >= 1 &&
                 loaded.youth_price_factor_ <= kLargestYouthPrice && loaded.age_ >= 0 &&
                 loaded.age_ <= kLargestAge && loaded.youth_.violations >= 0 &&
                 loaded.youth_.violations <= kYouthSteps && loaded.youth_.expected >= 0 &&
                 loaded.youth_.expected <= kYouthSteps);
  reader.Require(scale >= 0 && scale <= kLargestScale && loaded.capacity_ >= 0 &&
                 (scale == 0 || scale >= kSmallestScale) &&
                 std::all_of(horizons.begin(), horizons.end(),
                             [](int steps) { return steps > 1 && steps <= kMaxHorizonSteps; }));
  if (reader.ok() && scale > 0) {
    loaded.Start(scale, horizons);
    reader(*loaded.portfolio_);
    reader.Require(loaded.portfolio_->capacity() == scale);
  }
  if (!reader.ok() || !reader.at_end()) {
    return false;
  }
  if (loaded.portfolio_ != nullptr) {
    loaded.portfolio_->SetHorizons(LongHorizons());
  }
  capacity_ = loaded.capacity_;
  scale_ = loaded.scale_;
  youth_price_factor_ = loaded.youth_price_factor_;
  age_ = loaded.age_;
  advised_ = loaded.advised_;
  youth_ = loaded.youth_;
  portfolio_ = std::move(loaded.portfolio_);
  return true;
}

size_t PortfolioForecaster::bytes() const {
  return sizeof(*this) + (portfolio_ != nullptr ? portfolio_->bytes() : 0);
}

namespace {

class PortfolioModel final : public ForecastModel {
 public:
  absl::string_view name() const override { return "portfolio"; }
  absl::string_view description() const override {
    return "Mixes cheap experts by what they were worth lately; advises the size that costs least "
           "at a price that keeps the target violation ratio.";
  }
  absl::string_view source() const override { return "CloudScale, docs/design/forecaster.md"; }
  std::unique_ptr<OnlineForecaster> Start(const OnlineTraits& traits) const override {
    return std::make_unique<PortfolioForecaster>(traits);
  }
  // Replays the history.
  void Forecast(const ModelInput& input, Workspace&, ModelOutput& output) const override {
    PortfolioForecaster forecaster({.step = input.step,
                                    .horizons = {input.horizons.begin(), input.horizons.end()},
                                    .ratios = {input.ratios.begin(), input.ratios.end()}});
    forecaster.SetCapacity(std::max(
        kSmallestScale, 2 * *std::max_element(input.history.begin(), input.history.end())));
    for (const double demand : input.history) {
      forecaster.Observe({.demand = demand});
    }
    forecaster.Forecast(output);
    output.path.assign(static_cast<size_t>(input.horizons.back()), output.expected.front());
  }
};

}  // namespace

std::unique_ptr<ForecastModel> MakePortfolioModel() { return std::make_unique<PortfolioModel>(); }

}  // namespace cloudscale::predictor
