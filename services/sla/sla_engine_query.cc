// The reading half of SlaEngine.
#include <algorithm>
#include <array>
#include <set>

#include "absl/strings/str_cat.h"
#include "services/sla/sla_engine.h"

namespace cloudscale::sla {
namespace {

constexpr std::array<absl::Duration, 4> kBurnWindows = {absl::Minutes(5), absl::Hours(1),
                                                        absl::Hours(6), absl::Hours(72)};

bool Matches(const ViolationFilter& filter, const Violation& v) {
  return (filter.application.empty() || v.application == filter.application) &&
         (filter.objective_id.empty() || v.objective_id == filter.objective_id) &&
         v.started_at >= filter.start && v.started_at < filter.end &&
         (v.is_open || !filter.open_only);
}

}  // namespace

std::vector<Objective> SlaEngine::List(const std::string& application, const std::string& after_id,
                                       size_t limit) const {
  std::vector<Objective> out;
  for (auto it = objectives_.upper_bound(after_id); it != objectives_.end() && out.size() < limit;
       ++it) {
    if (application.empty() || it->second.objective.application == application) {
      out.push_back(it->second.objective);
    }
  }
  return out;
}

std::vector<Violation> SlaEngine::ListViolations(const ViolationFilter& filter) const {
  std::vector<Violation> out;
  auto it =
      filter.before_number > 0 ? violations_.lower_bound(filter.before_number) : violations_.end();
  while (it != violations_.begin() && out.size() < filter.limit) {
    --it;
    if (Matches(filter, it->second)) {
      out.push_back(it->second);
    }
  }
  return out;
}

std::vector<Compliance> SlaEngine::GetCompliance(const std::string& application,
                                                 const std::string& objective_id, absl::Time start,
                                                 absl::Time end) const {
  std::vector<Compliance> out;
  for (const auto& [id, state] : objectives_) {
    if ((!application.empty() && state.objective.application != application) ||
        (!objective_id.empty() && id != objective_id)) {
      continue;
    }
    out.push_back(ComplianceOf(
        state, start == absl::InfinitePast() ? end - state.objective.period : start, end));
  }
  return out;
}

absl::StatusOr<ComplianceSeries> SlaEngine::GetComplianceSeries(const std::string& id,
                                                                absl::Time start, absl::Time end,
                                                                int64_t max_buckets) const {
  const auto it = objectives_.find(id);
  if (it == objectives_.end()) {
    return absl::NotFoundError(absl::StrCat("no objective '", id, "'"));
  }
  const State& state = it->second;
  ComplianceSeries out;
  out.objective = state.objective;
  // Older buckets than those of the period are not kept.
  const absl::Time oldest = end - state.objective.period - absl::Hours(1);
  out.buckets = state.log.Series(
      start == absl::InfinitePast() ? end - state.objective.period : std::max(start, oldest), end,
      max_buckets, &out.bucket_length);
  return out;
}

Compliance SlaEngine::ComplianceOf(const State& state, absl::Time start, absl::Time end) const {
  const Objective& objective = state.objective;
  const double budget_ratio = 1.0 - objective.target_ratio;
  Compliance c;
  c.objective_id = objective.id;
  c.application = objective.application;
  c.start = start;
  c.end = end;
  c.totals = state.log.Sum(start, end);
  c.target_ratio = objective.target_ratio;
  const auto judged = static_cast<double>(c.totals.window_count);
  const auto bad = static_cast<double>(c.totals.window_count - c.totals.good_window_count);
  c.compliance_ratio = judged > 0 ? 1.0 - bad / judged : 1.0;
  const double budget_windows =
      absl::FDivDuration(end - start, state.window.slice()) * budget_ratio;
  c.budget_remaining_ratio = budget_windows > 0 ? 1.0 - bad / budget_windows : 1.0;
  for (const absl::Duration window : kBurnWindows) {
    if (window <= objective.period) {
      c.burn_rates.push_back(
          {.window = window, .rate = state.log.BadRatio(end - window, end) / budget_ratio});
    }
  }
  for (const auto& [number, v] : violations_) {
    if (v.objective_id != objective.id) {
      continue;
    }
    const absl::Time from = std::max(v.started_at, start);
    const absl::Time to = std::min(v.ended_at.value_or(end), end);
    c.violation_time += std::max(to - from, absl::ZeroDuration());
    c.violation_count += v.started_at >= start && v.started_at < end ? 1 : 0;
  }
  return c;
}

std::vector<ApplicationView> SlaEngine::ListApplications(const std::string& after_name,
                                                         size_t limit) const {
  std::vector<ApplicationView> out;
  for (auto it = applications_.upper_bound(after_name);
       it != applications_.end() && out.size() < limit; ++it) {
    ApplicationView view;
    view.name = it->first;
    view.last_report_at = it->second.last_report_at;
    view.refused_report_count = it->second.refused_reports;
    for (const auto& [id, state] : objectives_) {
      if (state.objective.application != it->first) {
        continue;
      }
      view.objective_ids.push_back(id);
      view.is_violated = view.is_violated || state.open_number != 0;
      for (const Member& member : state.objective.members) {
        if (std::find(view.members.begin(), view.members.end(), member) == view.members.end()) {
          view.members.push_back(member);
        }
      }
    }
    out.push_back(std::move(view));
  }
  return out;
}

}  // namespace cloudscale::sla
