#include "cli/top/top_summary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/render/format.h"
#include "cli/render/table.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using Json = nlohmann::ordered_json;

std::optional<double> Ratio(double part, int64_t whole) {
  return whole > 0 ? std::optional(part / static_cast<double>(whole)) : std::nullopt;
}

double Mean(double sum, int64_t count) {
  return count > 0 ? sum / static_cast<double>(count) : 0.0;
}

Json OrNull(const std::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

Json PartToJson(const SummaryPart& part) {
  return {
      {"sample_count", part.sample_count},
      {"mean_demand_cores", part.mean_demand_cores},
      {"mean_cap_cores", part.capped_sample_count > 0 ? Json(part.mean_cap_cores) : Json(nullptr)},
      {"static_peak_cores", part.static_peak_cores},
      {"saved_core_seconds", part.saved_core_seconds},
      {"saved_ratio", OrNull(part.saved_ratio)},
      {"violation_count", part.violation_count},
      {"violation_ratio", OrNull(part.violation_ratio)},
      {"under_estimate_count", part.under_estimate_count},
      {"under_estimate_ratio", OrNull(part.under_estimate_ratio)},
      {"step_count", part.step_count}};
}

std::vector<Cell> SummaryRow(const SummaryPart& part, Colour colour) {
  return {{part.name.empty() ? part.vm_uuid : part.name, colour},
          {absl::StrCat(part.sample_count)},
          {FormatCores(part.mean_demand_cores)},
          {part.capped_sample_count > 0 ? FormatCores(part.mean_cap_cores) : "none"},
          {FormatCores(part.static_peak_cores)},
          {FormatPercent(part.saved_ratio), Colour::kGreen},
          {absl::StrCat(part.under_estimate_count)},
          {FormatPercent(part.under_estimate_ratio)},
          {absl::StrCat(part.violation_count),
           part.violation_count > 0 ? Colour::kRed : Colour::kNone}};
}

std::string ActionsText(const TopSummary& summary) {
  std::vector<std::string> kinds;
  for (const auto& [kind, counts] : summary.actions) {
    kinds.push_back(absl::StrCat(
        kind, " ", counts.count,
        counts.failed_count > 0 ? absl::StrCat(" (", counts.failed_count, " failed)") : ""));
  }
  return absl::StrCat("Actions  ", kinds.empty() ? "none" : absl::StrJoin(kinds, ", "),
                      summary.are_actions_complete ? "" : ", and more that were not read", "\n");
}

}  // namespace

template <typename T>
void SummaryBuilder::Counter<T>::See(T value, bool is_restarted) {
  if (is_seen) {
    added += value - (is_restarted ? T{} : last);
  }
  last = value;
  is_seen = true;
}

void SummaryBuilder::Part::See(const LiveVm& vm) {
  name = vm.name;
  ++samples;
  demand_sum += vm.cpu.demand.value_or(vm.cpu.usage.value_or(0.0));
  if (vm.cpu.allocation.has_value()) {
    ++capped_samples;
    cap_sum += *vm.cpu.allocation;
  }
  static_peak = std::max(static_peak, vm.cpu.static_peak);
  const bool is_restarted = vm.cpu.step_count < steps.last;
  violations.See(vm.violation_count, is_restarted);
  under_estimates.See(vm.cpu.under_estimate_count, is_restarted);
  steps.See(vm.cpu.step_count, is_restarted);
}

void SummaryBuilder::Part::See(const LiveTotals& totals) {
  ++samples;
  ++capped_samples;
  demand_sum += totals.demand_cores;
  cap_sum += totals.granted_cores;
  static_peak = std::max(static_peak, totals.static_peak_cores);
  const bool is_restarted =
      totals.step_count < steps.last || totals.granted_core_seconds < granted.last;
  granted.See(totals.granted_core_seconds, is_restarted);
  violations.See(totals.violation_count, is_restarted);
  under_estimates.See(totals.under_estimate_count, is_restarted);
  steps.See(totals.step_count, is_restarted);
}

void SummaryBuilder::Part::StartAtZero() {
  violations.is_seen = under_estimates.is_seen = steps.is_seen = true;
}

void SummaryBuilder::Add(const LiveSample& sample) {
  if (has_sample_ && sample.sequence == last_sequence_) {
    return;
  }
  const bool is_first = !std::exchange(has_sample_, true);
  last_sequence_ = sample.sequence;
  host_id_ = sample.host_id;
  capacity_cores_ = sample.totals.capacity_cores;
  if (sample.step_time.has_value()) {
    first_step_time_ = first_step_time_.value_or(*sample.step_time);
    last_step_time_ = sample.step_time;
  }
  totals_.See(sample.totals);
  for (const LiveVm& vm : sample.vms) {
    auto it = vms_.find(vm.uuid);
    if (it == vms_.end()) {
      if (vms_.size() == kMaxVms) {
        continue;
      }
      it = vms_.emplace(vm.uuid, Part()).first;
      if (!is_first) {
        it->second.StartAtZero();  // it came while we looked
      }
    }
    it->second.See(vm);
  }
}

SummaryPart SummaryBuilder::ToSummary(const std::string& uuid, const Part& part) {
  SummaryPart result;
  result.vm_uuid = uuid;
  result.name = part.name;
  result.sample_count = part.samples;
  result.mean_demand_cores = Mean(part.demand_sum, part.samples);
  result.mean_cap_cores = Mean(part.cap_sum, part.capped_samples);
  result.capped_sample_count = part.capped_samples;
  result.static_peak_cores = part.static_peak;
  result.violation_count = part.violations.added;
  result.under_estimate_count = part.under_estimates.added;
  result.step_count = part.steps.added;
  result.violation_ratio = Ratio(static_cast<double>(result.violation_count), result.step_count);
  result.under_estimate_ratio =
      Ratio(static_cast<double>(result.under_estimate_count), result.step_count);
  return result;
}

TopSummary SummaryBuilder::Build(absl::Duration real_duration) const {
  TopSummary summary;
  summary.host_id = host_id_;
  summary.real_duration = real_duration;
  if (first_step_time_.has_value() && last_step_time_.has_value()) {
    summary.scaler_duration = std::max(absl::ZeroDuration(), *last_step_time_ - *first_step_time_);
  }
  summary.failed_look_count = failed_looks_;
  summary.capacity_cores = capacity_cores_;
  summary.granted_core_seconds = totals_.granted.added;
  summary.totals = ToSummary("", totals_);
  // Only what happened while we looked: the scaler's own sum changes for all of the past when a
  // new peak is seen.
  const double seconds = absl::ToDoubleSeconds(summary.scaler_duration);
  summary.totals.saved_core_seconds =
      summary.totals.static_peak_cores * seconds - totals_.granted.added;
  summary.totals.saved_ratio = RatioOf(summary.totals.saved_core_seconds, totals_.granted.added);
  for (const auto& [uuid, part] : vms_) {
    SummaryPart vm = ToSummary(uuid, part);
    // What was granted to a VM is not reported as a sum; mean cap times the time with a cap stands
    // for it.
    const double capped_seconds =
        seconds * Mean(static_cast<double>(vm.capped_sample_count), vm.sample_count);
    const double granted = vm.mean_cap_cores * capped_seconds;
    vm.saved_core_seconds = vm.static_peak_cores * capped_seconds - granted;
    if (capped_seconds > 0.0) {
      vm.saved_ratio = RatioOf(vm.saved_core_seconds, granted);
    }
    summary.vms.push_back(std::move(vm));
  }
  return summary;
}

std::string RenderSummary(const TopSummary& summary, int width, const Style& style) {
  const SummaryPart& totals = summary.totals;
  std::string text = absl::StrCat(
      style.Paint(Colour::kBold, "Summary"), "  host ", Printable(summary.host_id), "  ",
      DurationText(summary.real_duration), " watched, ", DurationText(summary.scaler_duration),
      " of the scaler's time, ", FormatCount(totals.sample_count, "sample", "samples"),
      summary.failed_look_count > 0
          ? absl::StrCat(", ", FormatCount(summary.failed_look_count, "look", "looks"),
                         " without an answer")
          : "",
      "\n");
  Table table({{.title = "VM", .min_width = 8},
               {.title = "SAMPLES", .align = Align::kRight, .drop_order = 3},
               {.title = "MEAN DEMAND", .align = Align::kRight},
               {.title = "MEAN CAP", .align = Align::kRight},
               {.title = "STATIC PEAK", .align = Align::kRight, .drop_order = 1},
               {.title = "SAVED", .align = Align::kRight},
               {.title = "UNDER-ESTIMATES", .align = Align::kRight, .drop_order = 2},
               {.title = "RATIO", .align = Align::kRight},
               {.title = "VIOLATIONS", .align = Align::kRight}});
  for (const SummaryPart& vm : summary.vms) {
    table.AddRow(SummaryRow(vm, Colour::kNone));
  }
  SummaryPart all = totals;
  all.name = "all";
  table.AddRow(SummaryRow(all, Colour::kBold));
  absl::StrAppend(&text, table.Render(style, width), ActionsText(summary), "Saved    ",
                  FormatCoreTime(totals.saved_core_seconds), ", ",
                  FormatPercent(totals.saved_ratio), " of static peak\n");
  return text;
}

std::string SummaryToJson(const TopSummary& summary) {
  Json vms = Json::array();
  for (const SummaryPart& vm : summary.vms) {
    Json entry = {{"vm_uuid", vm.vm_uuid}, {"name", vm.name}};
    entry.update(PartToJson(vm));
    vms.push_back(std::move(entry));
  }
  Json actions = Json::object();
  for (const auto& [kind, counts] : summary.actions) {
    actions[kind] = {{"count", counts.count}, {"failed_count", counts.failed_count}};
  }
  Json totals = PartToJson(summary.totals);
  totals["capacity_cores"] = summary.capacity_cores;
  totals["granted_core_seconds"] = summary.granted_core_seconds;
  const Json json = {{"host_id", summary.host_id},
                     {"duration_seconds", absl::ToDoubleSeconds(summary.real_duration)},
                     {"scaler_duration_seconds", absl::ToDoubleSeconds(summary.scaler_duration)},
                     {"failed_look_count", summary.failed_look_count},
                     {"totals", std::move(totals)},
                     {"vms", std::move(vms)},
                     {"actions", std::move(actions)},
                     {"actions_complete", summary.are_actions_complete}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cloudscale::cli
