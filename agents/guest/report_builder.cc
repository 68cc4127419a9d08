#include "agents/guest/report_builder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::guest {
namespace {

template <typename Parse>
auto ParseRequired(const char* file, const std::optional<std::string>& text, Parse parse)
    -> decltype(parse(absl::string_view())) {
  if (!text.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(file, " cannot be read"));
  }
  auto result = parse(*text);
  if (!result.ok()) {
    return WithContext(file, result.status());
  }
  return result;
}

// Sets `field` when there is a text that makes sense.
template <typename Field, typename Parse>
void ParseOptional(const char* file, const std::optional<std::string>& text, Parse parse,
                   Field& field, std::vector<std::string>& faults) {
  if (!text.has_value()) {
    return;
  }
  auto result = parse(*text);
  if (result.ok()) {
    field = *std::move(result);
  } else {
    faults.push_back(absl::StrCat(file, ": ", result.status().message()));
  }
}

std::optional<double> StealRatio(const CpuTicks& before, const CpuTicks& now) {
  const int64_t total = now.total - before.total;
  const int64_t steal = now.steal - before.steal;
  // A kernel may correct steal downwards; and CPUs that go offline take their ticks with them.
  if (total <= 0 || steal < 0 || steal > total) {
    return std::nullopt;
  }
  return static_cast<double>(steal) / static_cast<double>(total);
}

}  // namespace

absl::StatusOr<ReportBuilder::Built> ReportBuilder::Build(const ProcTexts& texts, absl::Time now) {
  Built built;
  Report& report = built.report;
  CS_ASSIGN_OR_RETURN(report.boot_id, ParseRequired("boot_id", texts.boot_id, ParseUuid));
  CS_ASSIGN_OR_RETURN(report.uptime, ParseRequired("uptime", texts.uptime, ParseUptime));
  CS_ASSIGN_OR_RETURN(report.memory, ParseRequired("meminfo", texts.meminfo, ParseMeminfo));
  report.sample_time = now;

  std::vector<std::string>& faults = built.faults;
  ParseOptional(
      "vmstat", texts.vmstat,
      [&](absl::string_view text) { return ParseVmstat(text, texts.page_bytes); }, report.paging,
      faults);
  ParseOptional("pressure/cpu", texts.pressure_cpu, ParsePressure, report.cpu_pressure, faults);
  ParseOptional("pressure/memory", texts.pressure_memory, ParsePressure, report.memory_pressure,
                faults);
  ParseOptional("pressure/io", texts.pressure_io, ParsePressure, report.io_pressure, faults);
  ParseOptional("loadavg", texts.loadavg, ParseLoadavg, report.load, faults);
  std::optional<CpuTicks> ticks;
  ParseOptional("stat", texts.stat, ParseStat, ticks, faults);
  if (ticks.has_value()) {
    report.vcpu_count = ticks->cpu_count;
    if (last_ticks_.has_value() && last_boot_id_ == report.boot_id) {
      report.cpu_steal_ratio = StealRatio(*last_ticks_, *ticks);
    }
  }
  last_ticks_ = ticks;
  last_boot_id_ = report.boot_id;
  report.sequence = next_sequence_++;
  return built;
}

}  // namespace cloudscale::guest
