#pragma once

#include <memory>
#include <optional>

#include "services/predictor/model.h"
#include "services/predictor/online_forecaster.h"
#include "services/predictor/sizing/portfolio.h"

namespace cloudscale::predictor {

// The portfolio (sizing/portfolio.h) as a forecaster of real series, whose capacity may be unknown
// or grow. It computes in parts of a scale: the capacity where that is known, else a power of two
// of cores or bytes with room above the largest demand so far. Thread safety: thread-compatible.
class PortfolioForecaster final : public OnlineForecaster {
 public:
  explicit PortfolioForecaster(const OnlineTraits& traits);

  void SetCapacity(double capacity) override;
  void SetTarget(double ratio, double price_factor) override;
  void Observe(const StepDemand& step) override;
  void Skip(int64_t steps) override;
  void Forecast(ModelOutput& output) override;
  void Retrain() override;
  [[nodiscard]] std::vector<double> RecentDemand(size_t count) const override;
  [[nodiscard]] std::vector<float> GetShapes() const override;
  void StartWith(const Experience& experience) override;
  [[nodiscard]] std::optional<YouthOutcome> TakeYouthOutcome() override;
  [[nodiscard]] std::string Save() const override;
  [[nodiscard]] bool Load(absl::string_view bytes) override;
  [[nodiscard]] size_t bytes() const override;

 private:
  [[nodiscard]] bool LoadFormat(absl::string_view bytes, int32_t format);
  void Start(double scale, absl::Span<const int> long_horizons);
  void ApplyPrice();
  void JudgeYouth(const StepDemand& step);
  // Starts anew, with the demand that is remembered, where the scale is far too large: an outlier
  // made it so, or a wrong number of vCPUs.
  void ShrinkIfFarTooLarge();
  // Scale of a series of this largest demand.
  [[nodiscard]] double WantedScale(double least, double demand, double room) const;
  // Makes room for this demand.
  void Widen(double demand);

  // Those of the next step stand in the portfolio itself.
  [[nodiscard]] std::vector<int> LongHorizons() const;

  const OnlineTraits traits_;
  std::vector<double> ratios_;  // with the median
  double target_;
  double price_factor_ = 1;
  double capacity_ = 0;                        // 0: not known
  double scale_ = 0;                           // 0: nothing observed yet
  std::unique_ptr<Portfolio::Shapes> shapes_;  // of others, until the first step
  double youth_price_factor_ = 1;
  int32_t age_ = 0;  // steps, as long as that matters
  std::optional<double> advised_;
  YouthOutcome youth_;
  std::unique_ptr<Portfolio> portfolio_;
};

// The model "portfolio".
[[nodiscard]] std::unique_ptr<ForecastModel> MakePortfolioModel();

}  // namespace cloudscale::predictor
