#include "sim/backtest/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "common/check/check.h"

namespace cloudscale::backtest {
namespace {

constexpr double kDaySeconds = 86400;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kMinLogViolation = 1e-6;

// Piecewise linear through points of ascending x, constant beyond the ends.
double Interpolate(const std::vector<double>& x, const std::vector<double>& y, double at) {
  const auto after = std::upper_bound(x.begin(), x.end(), at);
  if (after == x.begin()) {
    return y.front();
  }
  if (after == x.end()) {
    return y.back();
  }
  const auto i = static_cast<size_t>(after - x.begin()) - 1;
  return y[i] + (y[i + 1] - y[i]) * (at - x[i]) / (x[i + 1] - x[i]);
}

}  // namespace

double Percentile(std::vector<double> values, double percent) {
  if (values.empty()) {
    return kNaN;
  }
  std::sort(values.begin(), values.end());
  const double place = percent / 100 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(place);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (place - static_cast<double>(low));
}

TraceBasis BasisOf(const DemandTrace& trace) {
  const auto steps = static_cast<int64_t>(trace.demand.size());
  const auto steps_a_day =
      std::max<int64_t>(2, static_cast<int64_t>(kDaySeconds / trace.step_seconds + 1e-9));
  TraceBasis basis;
  basis.warm_up_steps = (std::min(steps_a_day, steps / 4) + 5) / 6 * 6;
  std::vector<double> known;
  double sum = 0;
  for (int64_t t = 0; t < steps; ++t) {
    const double d = trace.demand[static_cast<size_t>(t)] / trace.capacity;
    if (std::isnan(d)) {
      continue;
    }
    known.push_back(d);
    if (t >= basis.warm_up_steps) {
      sum += d;
      ++basis.scored_steps;
    }
  }
  basis.mean_demand = basis.scored_steps == 0 ? 0 : sum / static_cast<double>(basis.scored_steps);
  const double p99 = Percentile(std::move(known), 99);
  basis.scale = p99 > kMinScale ? p99 : kMinScale;
  return basis;
}

void TraceScorer::Add(int64_t t, double demand, double cap) {
  if (t < basis_.warm_up_steps || std::isnan(demand)) {
    return;
  }
  const double excess = demand - cap;
  sum_.mean_cap += cap;
  (excess > 0 ? sum_.mean_under : sum_.mean_over) += std::abs(excess);
  if (excess > kTieTolerance) {
    ++violations_;
    sum_.depths.push_back(static_cast<float>(excess / demand));
  }
}

TraceScore TraceScorer::Finish() {
  TraceScore score = std::move(sum_);
  const double steps = static_cast<double>(std::max<int64_t>(1, basis_.scored_steps));
  score.violation_ratio = static_cast<double>(violations_) / steps;
  score.mean_cap /= steps;
  score.mean_under /= steps;
  score.mean_over /= steps;
  score.depths.shrink_to_fit();
  return score;
}

namespace {

double DepthP95(absl::Span<const TraceBasis> bases, absl::Span<const TraceScore> scores) {
  std::vector<std::pair<float, double>> weighted;  // depth, weight
  for (size_t i = 0; i < scores.size(); ++i) {
    const double weight = 1 / static_cast<double>(std::max<int64_t>(1, bases[i].scored_steps));
    for (const float depth : scores[i].depths) {
      weighted.emplace_back(depth, weight);
    }
  }
  if (weighted.empty()) {
    return 0;
  }
  std::sort(weighted.begin(), weighted.end());
  double total = 0;
  for (const auto& [depth, weight] : weighted) {
    total += weight;
  }
  double sum = 0;
  for (const auto& [depth, weight] : weighted) {
    sum += weight;
    if (sum >= 0.95 * total) {
      return static_cast<double>(depth);
    }
  }
  return static_cast<double>(weighted.back().first);
}

}  // namespace

Aggregate AggregateOf(double knob, absl::Span<const TraceBasis> bases,
                      absl::Span<const TraceScore> scores) {
  CS_CHECK(bases.size() == scores.size() && !bases.empty());
  Aggregate result{.knob = knob};
  std::vector<double> violations;
  double caps = 0, demand = 0, scaled_caps = 0, scaled_demand = 0, under = 0, over = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double scale = bases[i].scale;
    violations.push_back(scores[i].violation_ratio);
    caps += scores[i].mean_cap;
    demand += bases[i].mean_demand;
    scaled_caps += scores[i].mean_cap / scale;
    scaled_demand += bases[i].mean_demand / scale;
    under += scores[i].mean_under / scale;
    over += scores[i].mean_over / scale;
  }
  const double n = static_cast<double>(scores.size());
  result.violation_ratio = std::accumulate(violations.begin(), violations.end(), 0.0) / n;
  result.over_allocation = scaled_demand > 0 ? scaled_caps / scaled_demand : kNaN;
  result.fleet = demand > 0 ? caps / demand : kNaN;
  result.violation_p90 = Percentile(std::move(violations), 90);
  result.depth_p95 = DepthP95(bases, scores);
  result.pinball_95 = 100 * (0.95 * under + 0.05 * over) / n;
  result.pinball_99 = 100 * (0.99 * under + 0.01 * over) / n;
  return result;
}

std::optional<double> AtViolation(absl::Span<const double> violation_ratios,
                                  absl::Span<const double> values, double target) {
  CS_CHECK(violation_ratios.size() == values.size());
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return violation_ratios[a] < violation_ratios[b]; });
  if (order.empty() || violation_ratios[order.front()] > target ||
      violation_ratios[order.back()] < target) {
    return std::nullopt;
  }
  std::vector<double> x;
  std::vector<double> y;
  for (const size_t i : order) {
    x.push_back(std::log(std::max(violation_ratios[i], kMinLogViolation)));
    y.push_back(values[i]);
  }
  const double value = Interpolate(x, y, std::log(target));
  return std::isnan(value) ? std::nullopt : std::optional<double>(value);
}

TargetPoint AtTarget(absl::Span<const Aggregate> sweep, double target) {
  std::vector<double> violations;
  for (const Aggregate& point : sweep) {
    violations.push_back(point.violation_ratio);
  }
  const auto at = [&](double Aggregate::* member) {
    std::vector<double> values;
    for (const Aggregate& point : sweep) {
      values.push_back(point.*member);
    }
    return AtViolation(violations, values, target);
  };
  return {.target = target,
          .knob = at(&Aggregate::knob),
          .over_allocation = at(&Aggregate::over_allocation),
          .fleet = at(&Aggregate::fleet),
          .violation_p90 = at(&Aggregate::violation_p90),
          .depth_p95 = at(&Aggregate::depth_p95)};
}

PerTracePoint PerTraceAtTarget(absl::Span<const TraceBasis> bases,
                               absl::Span<const std::vector<TraceScore>> scores, double target) {
  double caps = 0;
  double demand = 0;
  int64_t reached = 0;
  for (size_t i = 0; i < bases.size(); ++i) {
    std::map<double, double> least_cap;  // by violation ratio
    for (const std::vector<TraceScore>& setting : scores) {
      const TraceScore& score = setting[i];
      const auto [it, is_new] = least_cap.emplace(score.violation_ratio, score.mean_cap);
      it->second = std::min(it->second, score.mean_cap);
    }
    std::vector<double> x;
    std::vector<double> y;
    for (const auto& [violation, cap] : least_cap) {
      x.push_back(violation);
      y.push_back(y.empty() ? cap : std::min(cap, y.back()));  // lower envelope
    }
    const bool is_reached = !x.empty() && x.front() <= target;
    reached += is_reached ? 1 : 0;
    caps += (is_reached ? Interpolate(x, y, target) : 1) / bases[i].scale;
    demand += bases[i].mean_demand / bases[i].scale;
  }
  return {.over_allocation = demand > 0 ? caps / demand : kNaN,
          .reached_ratio = bases.empty()
                               ? kNaN
                               : static_cast<double>(reached) / static_cast<double>(bases.size())};
}

}  // namespace cloudscale::backtest
