#include "bench/macro/trace_set.h"

#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/status/macros.h"
#include "common/trace/line_source.h"
#include "sim/backtest/metrics.h"
#include "sim/backtest/trace_csv.h"

namespace cloudscale::bench {
namespace {

using backtest::DemandTrace;

constexpr char kDirectoryVariable[] = "CLOUDSCALE_TRACES";
constexpr int64_t kMaxBytes = int64_t{4} << 30;
// Idle VMs of the large set are left out: P99 below 3 % of the VM.
constexpr double kMinPeak = 0.03;

// The resource of each trace by the manifest's first and third column.
absl::Status SetResources(const std::string& directory, Traces& traces) {
  const std::string path = directory + "/manifest.csv";
  if (!std::filesystem::exists(path)) {
    return absl::OkStatus();
  }
  CS_ASSIGN_OR_RETURN(trace::LineSource source, trace::LineSource::Open(path, kMaxBytes));
  std::map<std::string, bool> is_memory;
  absl::string_view line;
  while (true) {
    CS_ASSIGN_OR_RETURN(const bool has_line, source.Next(line));
    if (!has_line) {
      break;
    }
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(',', 3));
    if (fields.size() < 3) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", source.line_number(), ": expected trace,pool,resource,…"));
    }
    is_memory[std::string(fields[0])] = fields[2] == "mem";
  }
  for (DemandTrace& trace : traces) {
    trace.resource =
        is_memory[trace.name] ? predictor::Resource::kMemory : predictor::Resource::kCpu;
  }
  return absl::OkStatus();
}

absl::StatusOr<Traces> ReadLarge(const std::string& directory, int64_t every) {
  const std::string path = directory + "/large_planetlab.csv.gz";
  CS_ASSIGN_OR_RETURN(trace::LineSource source, trace::LineSource::Open(path, kMaxBytes));
  Traces traces;
  absl::string_view line;
  CS_RETURN_IF_ERROR(source.Next(line).status());
  for (int64_t row = 0;; ++row) {
    CS_ASSIGN_OR_RETURN(const bool has_line, source.Next(line));
    if (!has_line) {
      return traces;
    }
    if (row % every != 0) {
      continue;
    }
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ',');
    DemandTrace trace{.name = absl::StrCat(fields[0], "/", fields.size() > 1 ? fields[1] : ""),
                      .step_seconds = 300,
                      .demand = {}};
    for (size_t i = 2; i < fields.size(); ++i) {
      double percent = 0;
      if (!absl::SimpleAtod(fields[i], &percent) || !(percent >= 0 && percent <= 100)) {
        return absl::InvalidArgumentError(absl::StrCat(path, ":", source.line_number(), ": column ",
                                                       i + 1, ": found '", fields[i],
                                                       "', expected 0 to 100"));
      }
      trace.demand.push_back(percent / 100);
    }
    if (backtest::Percentile(trace.demand, 99) >= kMinPeak) {
      traces.push_back(std::move(trace));
    }
  }
}

}  // namespace

std::string DefaultTraceDirectory() {
  const char* const variable = std::getenv(kDirectoryVariable);
  return variable == nullptr ? "" : variable;
}

absl::StatusOr<Traces> ReadTraceSet(const std::string& directory, int64_t large) {
  if (directory.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no traces: give a directory with traces.csv.gz, or set $", kDirectoryVariable));
  }
  if (large > 0) {
    return ReadLarge(directory, large);
  }
  CS_ASSIGN_OR_RETURN(Traces traces, backtest::ReadTraceCsv(directory + "/traces.csv.gz"));
  CS_RETURN_IF_ERROR(SetResources(directory, traces));
  return traces;
}

void KeepLong(double days, Traces& traces) {
  std::erase_if(traces, [&](const DemandTrace& trace) {
    return static_cast<double>(trace.demand.size()) * trace.step_seconds < days * 86400;
  });
}

}  // namespace cloudscale::bench
