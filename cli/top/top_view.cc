#include "cli/top/top_view.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/render/format.h"
#include "cli/render/spark.h"
#include "cli/render/table.h"

namespace cloudscale::cli {
namespace {

constexpr int kBarWidth = 12;
constexpr int kSparkWidth = 16;
constexpr int kReasonMinWidth = 16;

// `width` 0 is no limit.
std::string Limited(const std::string& text, int width) {
  return width > 0 ? Truncate(text, width) : text;
}

Colour ModeColour(const std::string& mode, bool is_paused) {
  if (is_paused) {
    return Colour::kYellow;
  }
  return mode == "AUTO" ? Colour::kGreen : mode == "CANARY" ? Colour::kCyan : Colour::kNone;
}

std::string ModeText(const std::string& mode, bool is_paused) {
  return is_paused ? absl::StrCat(mode, " paused") : mode;
}

std::string TitleLine(const TopFrame& frame, const LiveSample* sample, const Style& style) {
  std::string line = style.Paint(Colour::kBold, "CloudScale");
  if (sample != nullptr) {
    absl::StrAppend(&line, "  host ", Printable(sample->host_id), "  mode ",
                    style.Paint(ModeColour(sample->mode, sample->is_paused),
                                ModeText(sample->mode, sample->is_paused)),
                    "  ", sample->is_warm ? "warm" : style.Paint(Colour::kYellow, "warming up"));
  }
  absl::StrAppend(&line, "  ", ClockText(frame.now), " UTC");
  if (frame.remaining != absl::InfiniteDuration()) {
    absl::StrAppend(&line, "  ends in ", DurationText(frame.remaining));
  }
  return line;
}

std::string CpuLine(const LiveTotals& t, const Style& style) {
  return absl::StrCat(
      "CPU      demand ", FormatCores(t.demand_cores), "  usage ", FormatCores(t.usage_cores),
      "  granted ", FormatCores(t.granted_cores), "  headroom ",
      style.Paint(t.headroom_cores < 0 ? Colour::kRed : Colour::kNone,
                  FormatCores(t.headroom_cores)),
      "  of ", FormatCores(t.capacity_cores), " cores",
      t.reserved_cores > 0 ? absl::StrCat("  reserved ", FormatCores(t.reserved_cores)) : "");
}

std::string MemoryLine(const LiveTotals& t, const Style& style) {
  const auto bytes = [](int64_t v) { return FormatBytes(static_cast<double>(v)); };
  return absl::StrCat("Memory   granted ", bytes(t.granted_memory_bytes), "  headroom ",
                      style.Paint(t.memory_headroom_bytes < 0 ? Colour::kRed : Colour::kNone,
                                  bytes(t.memory_headroom_bytes)),
                      "  of ", bytes(t.memory_capacity_bytes));
}

std::string SavingsLine(const LiveTotals& t, const Style& style) {
  const std::optional<double> saved = RatioOf(t.saved_core_seconds, t.granted_core_seconds);
  return absl::StrCat("Savings  ", style.Paint(Colour::kGreen, FormatPercent(saved)),
                      " against static peak (", FormatCores(t.static_peak_cores), " cores), ",
                      FormatCoreTime(t.saved_core_seconds), " so far");
}

std::string CountsLine(const LiveSample& sample, const Style& style) {
  const LiveTotals& t = sample.totals;
  const double steps = static_cast<double>(t.step_count);
  const std::optional<double> ratio =
      steps > 0 ? std::optional(static_cast<double>(t.under_estimate_count) / steps) : std::nullopt;
  std::string line = absl::StrCat("So far   under-estimates ", t.under_estimate_count, " of ",
                                  t.step_count, " (", FormatPercent(ratio), ")  violations ",
                                  style.Paint(t.violation_count > 0 ? Colour::kRed : Colour::kNone,
                                              absl::StrCat(t.violation_count)),
                                  "  actions ", t.action_count);
  if (t.failed_action_count > 0) {
    absl::StrAppend(&line, " (",
                    style.Paint(Colour::kRed, absl::StrCat(t.failed_action_count, " failed")), ")");
  }
  if (sample.pending_action_count > 0) {
    absl::StrAppend(&line, "  pending ", sample.pending_action_count);
  }
  return line;
}

std::string LinksLine(const LiveSample& sample, const Style& style) {
  std::vector<std::string> parts;
  for (const LiveLink& link : sample.links) {
    const bool is_up = link.health == "UP";
    std::string part =
        absl::StrCat(Printable(link.peer), " ",
                     style.Paint(is_up ? Colour::kGreen : Colour::kYellow, Printable(link.health)));
    if (!is_up && !link.detail.empty()) {
      absl::StrAppend(&part, " (", Truncate(Printable(link.detail), 60), ")");
    }
    parts.push_back(std::move(part));
  }
  return absl::StrCat("Links    ", parts.empty() ? "-" : absl::StrJoin(parts, "  "));
}

bool HasManagedMemory(const LiveSample& sample) {
  return std::any_of(sample.vms.begin(), sample.vms.end(), [](const LiveVm& vm) {
    return vm.memory.allocation.has_value() || vm.memory.demand.has_value();
  });
}

Colour QualityColour(const LiveVm& vm) {
  return vm.cpu.quality == "FRESH" || vm.cpu.quality == "SKEWED" ? Colour::kNone : Colour::kYellow;
}

std::vector<Cell> VmRow(const LiveVm& vm, const DemandHistory& history, bool with_memory) {
  const LiveResource& cpu = vm.cpu;
  const double demand = cpu.demand.value_or(cpu.usage.value_or(0.0));
  const double cap = cpu.allocation.value_or(0.0);
  const double top = std::max({cpu.static_peak, cap, demand});
  const bool is_short = cpu.allocation.has_value() && demand > cap;
  std::vector<Cell> row = {
      {vm.name.empty() ? vm.uuid : vm.name, Colour::kBold},
      {FormatCores(cpu.demand), is_short ? Colour::kRed : Colour::kNone},
      {FormatCores(cpu.usage), Colour::kNone},
      {FormatCores(cpu.forecast), cpu.is_warm ? Colour::kNone : Colour::kDim},
      {cpu.allocation.has_value() ? FormatCores(cpu.allocation) : "none", Colour::kYellow},
      {FormatCores(cpu.padding), Colour::kNone},
      {LoadBar(demand, cpu.allocation.value_or(top), top, kBarWidth),
       is_short ? Colour::kRed : Colour::kCyan},
      {Sparkline(history.Of(vm.uuid), top, kSparkWidth), Colour::kCyan}};
  if (with_memory) {
    row.push_back(
        {absl::StrCat(FormatBytes(vm.memory.demand), " / ", FormatBytes(vm.memory.allocation)),
         Colour::kNone});
  }
  row.push_back({ModeText(vm.mode, vm.is_paused), ModeColour(vm.mode, vm.is_paused)});
  row.push_back({cpu.quality, QualityColour(vm)});
  row.push_back({absl::StrCat(vm.is_migrating ? "migrating; " : "", vm.reason), Colour::kNone});
  return row;
}

Table VmTable(const LiveSample& sample, const DemandHistory& history) {
  const bool with_memory = HasManagedMemory(sample);
  std::vector<Column> columns = {{.title = "VM", .min_width = 8},
                                 {.title = "DEMAND", .align = Align::kRight},
                                 {.title = "USAGE", .align = Align::kRight, .drop_order = 5},
                                 {.title = "FORECAST", .align = Align::kRight, .drop_order = 1},
                                 {.title = "CAP", .align = Align::kRight},
                                 {.title = "PADDING", .align = Align::kRight, .drop_order = 2},
                                 {.title = "LOAD", .drop_order = 4},
                                 {.title = "TREND", .drop_order = 8}};
  if (with_memory) {
    columns.push_back({.title = "MEMORY", .align = Align::kRight, .drop_order = 6});
  }
  columns.push_back({.title = "MODE"});
  columns.push_back({.title = "DATA", .drop_order = 7});
  columns.push_back({.title = "LAST REASON", .drop_order = 3, .min_width = kReasonMinWidth});
  Table table(std::move(columns));
  for (const LiveVm& vm : sample.vms) {
    table.AddRow(VmRow(vm, history, with_memory));
  }
  return table;
}

}  // namespace

void DemandHistory::Add(const LiveSample& sample) {
  std::map<std::string, std::vector<double>> kept;
  for (const LiveVm& vm : sample.vms) {
    std::vector<double>& values = kept[vm.uuid];
    if (auto it = values_.find(vm.uuid); it != values_.end()) {
      values = std::move(it->second);
    }
    if (values.size() == kMaxValues) {
      values.erase(values.begin());
    }
    values.push_back(vm.cpu.demand.value_or(std::numeric_limits<double>::quiet_NaN()));
  }
  values_ = std::move(kept);
}

const std::vector<double>& DemandHistory::Of(const std::string& vm_uuid) const {
  static const std::vector<double>& empty = *new std::vector<double>();
  const auto it = values_.find(vm_uuid);
  return it == values_.end() ? empty : it->second;
}

std::vector<std::string> RenderTop(const TopFrame& frame, const LiveSample* sample,
                                   const DemandHistory& history, TopSize size, const Style& style) {
  std::vector<std::string> lines = {TitleLine(frame, sample, style)};
  if (!frame.error.empty()) {
    lines.push_back(style.Paint(
        Colour::kRed,
        Limited(absl::StrCat(frame.address, ": ", Printable(frame.error)), size.width)));
  }
  if (sample == nullptr) {
    return lines;
  }
  if (!sample->fail_static_reason.empty()) {
    lines.push_back(style.Paint(
        Colour::kRed,
        Limited(absl::StrCat("Nothing is changed: ", Printable(sample->fail_static_reason)),
                size.width)));
  }
  lines.push_back(CpuLine(sample->totals, style));
  if (sample->totals.memory_capacity_bytes > 0) {
    lines.push_back(MemoryLine(sample->totals, style));
  }
  lines.push_back(SavingsLine(sample->totals, style));
  lines.push_back(CountsLine(*sample, style));
  lines.push_back(LinksLine(*sample, style));
  lines.push_back("");
  const std::vector<std::string> rows = VmTable(*sample, history).Lines(style, size.width);
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool is_last_line = size.height > 0 && static_cast<int>(lines.size()) + 1 >= size.height;
    if (is_last_line && i + 1 < rows.size()) {
      lines.push_back(absl::StrCat(
          "… ", FormatCount(static_cast<int64_t>(rows.size() - i), "more VM", "more VMs")));
      break;
    }
    lines.push_back(rows[i]);
  }
  if (sample->vms.empty()) {
    lines.push_back("no VMs yet");
  }
  return lines;
}

std::string RenderTopLine(const TopFrame& frame, const LiveSample* sample) {
  if (sample == nullptr || !frame.error.empty()) {
    return absl::StrCat(ClockText(frame.now), " ", frame.address, ": ",
                        frame.error.empty() ? "no sample yet" : Printable(frame.error));
  }
  const LiveTotals& t = sample->totals;
  std::string line = absl::StrCat(
      ClockText(frame.now), " ", Printable(sample->host_id), " ", sample->mode, " demand ",
      FormatCores(t.demand_cores), " granted ", FormatCores(t.granted_cores), " headroom ",
      FormatCores(t.headroom_cores), " saved ",
      FormatPercent(RatioOf(t.saved_core_seconds, t.granted_core_seconds)), " under-estimates ",
      t.under_estimate_count, " violations ", t.violation_count, " |");
  for (const LiveVm& vm : sample->vms) {
    absl::StrAppend(&line, " ", Printable(vm.name.empty() ? vm.uuid : vm.name), " ",
                    FormatCores(vm.cpu.demand), "/",
                    vm.cpu.allocation.has_value() ? FormatCores(vm.cpu.allocation) : "none");
  }
  return line;
}

}  // namespace cloudscale::cli
