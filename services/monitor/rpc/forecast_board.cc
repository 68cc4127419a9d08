#include "services/monitor/rpc/forecast_board.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "common/rpc/time_conversion.h"

namespace cloudscale::monitor {
namespace {

bool IsAmount(double value) { return std::isfinite(value) && value >= 0; }

void AddAged(const common::v1::Forecast& forecast, int64_t sequence, absl::Duration period,
             v1::AgedForecast* out) {
  *out->mutable_forecast() = forecast;
  const int64_t periods = std::max<int64_t>(0, sequence - forecast.based_on_sequence());
  *out->mutable_age() = cloudscale::rpc::ToProto(period * periods);
}

// Sequence first: the wall clock may have been set in between.
auto Order(const common::v1::Forecast& forecast) {
  return std::make_tuple(forecast.based_on_sequence(), forecast.made_at().seconds(),
                         forecast.made_at().nanos());
}

}  // namespace

bool IsSaneForecast(const common::v1::Forecast& forecast) {
  if (forecast.resource() != common::v1::RESOURCE_CPU &&
      forecast.resource() != common::v1::RESOURCE_MEMORY) {
    return false;
  }
  if (forecast.horizons_size() < 1 || forecast.horizons_size() > 8) {
    return false;
  }
  for (const common::v1::HorizonForecast& horizon : forecast.horizons()) {
    if (!IsAmount(horizon.expected()) || horizon.quantiles_size() > 16) {
      return false;
    }
    for (const common::v1::QuantileValue& quantile : horizon.quantiles()) {
      if (!IsAmount(quantile.value()) || !(quantile.ratio() >= 0 && quantile.ratio() <= 1)) {
        return false;
      }
    }
  }
  for (const common::v1::PaddingPart& part : forecast.padding().parts()) {
    if (!IsAmount(part.value())) {
      return false;
    }
  }
  return IsAmount(forecast.padding().total()) && IsAmount(forecast.advised_allocation());
}

void ForecastBoard::Take(const std::string& key, const common::v1::Forecast& forecast) {
  if (!IsSaneForecast(forecast)) {
    ++refused_;
    return;
  }
  const auto [it, is_new] = forecasts_.try_emplace({key, forecast.resource()}, forecast);
  if (!is_new && Order(it->second) <= Order(forecast)) {
    it->second = forecast;
  }
  ++taken_;
}

void ForecastBoard::Update(const std::string& host_id,
                           const std::vector<common::v1::Forecast>& forecasts,
                           const std::vector<common::v1::Forecast>& host_forecasts) {
  MutexLock lock(&mutex_);
  for (const common::v1::Forecast& forecast : forecasts) {
    // A VM that went away while its forecast was made is no fault.
    if (known_.contains(forecast.vm_uuid())) {
      Take(forecast.vm_uuid(), forecast);
    }
  }
  for (const common::v1::Forecast& forecast : host_forecasts) {
    if (forecast.host_id().empty() || forecast.host_id() == host_id) {
      Take("", forecast);
    } else {
      ++refused_;
    }
  }
}

void ForecastBoard::KeepOnly(std::set<std::string> uuids) {
  MutexLock lock(&mutex_);
  known_ = std::move(uuids);
  for (auto it = forecasts_.begin(); it != forecasts_.end();) {
    const std::string& uuid = it->first.first;
    it = !uuid.empty() && !known_.contains(uuid) ? forecasts_.erase(it) : std::next(it);
  }
}

void ForecastBoard::AddTo(int64_t sequence, absl::Duration period,
                          v1::ObservationBatch* out) const {
  MutexLock lock(&mutex_);
  for (const auto& [key, forecast] : forecasts_) {
    AddAged(forecast, sequence, period,
            key.first.empty() ? out->add_host_forecasts() : out->add_forecasts());
  }
}

void ForecastBoard::AddTo(const std::string& uuid, int64_t sequence, absl::Duration period,
                          v1::Vm* out) const {
  MutexLock lock(&mutex_);
  for (auto it = forecasts_.lower_bound({uuid, 0});
       it != forecasts_.end() && it->first.first == uuid; ++it) {
    AddAged(it->second, sequence, period, out->add_forecasts());
  }
}

int64_t ForecastBoard::refused_count() const {
  MutexLock lock(&mutex_);
  return refused_;
}

int64_t ForecastBoard::taken_count() const {
  MutexLock lock(&mutex_);
  return taken_;
}

}  // namespace cloudscale::monitor
