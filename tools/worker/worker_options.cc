#include "tools/worker/worker_options.h"

#include <functional>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/random/rng.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "common/trace/trace_reader.h"
#include "common/workload/pattern.h"

namespace cloudscale::worker {
namespace {

using Setter = std::function<bool(const std::string&)>;

Setter Text(std::string* target) {
  return [target](const std::string& value) {
    *target = value;
    return !value.empty();
  };
}
Setter Number(double* target, double low, double high) {
  return [=](const std::string& value) {
    return absl::SimpleAtod(value, target) && *target >= low && *target <= high;
  };
}
Setter Integer(int64_t* target, int64_t low, int64_t high) {
  return [=](const std::string& value) {
    return absl::SimpleAtoi(value, target) && *target >= low && *target <= high;
  };
}

struct Flag {
  Setter set;
  std::string allowed;
};

std::map<std::string, Flag> Flags(WorkerOptions* options, double* period_seconds) {
  return {
      {"--pattern",
       {[options](const std::string& value) {
          options->pattern = value;
          return value == "trace" || workload::ParsePattern(value).ok();
        },
        "the name of a pattern (web, batch, bursty, flat, sine, …) or \"trace\""}},
      {"--trace", {Text(&options->trace_file), "a file"}},
      {"--trace-series", {Text(&options->trace_series), "the name of a series"}},
      {"--mean", {Number(&options->mean, 0, 1), "0 <= x <= 1"}},
      {"--amplitude", {Number(&options->amplitude, 0, 1), "0 <= x <= 1"}},
      {"--period-seconds", {Number(period_seconds, 2, 1e6), "2 <= x <= 1000000"}},
      {"--peak-cores", {Number(&options->peak_cores, 0.001, 1024), "0.001 <= x <= 1024"}},
      {"--memory-mib", {Integer(&options->memory_mib, 0, 1048576), "0 <= x <= 1048576"}},
      {"--seed", {Integer(&options->seed, 0, INT64_MAX), "x >= 0"}},
      {"--speed", {Number(&options->speed, 0.001, 10000), "0.001 <= x <= 10000"}},
      {"--report", {Text(&options->report_file), "a file"}},
  };
}

}  // namespace

absl::StatusOr<WorkerOptions> ParseWorkerOptions(const std::vector<std::string>& arguments) {
  WorkerOptions options;
  double period_seconds = absl::ToDoubleSeconds(options.period);
  const std::map<std::string, Flag> flags = Flags(&options, &period_seconds);
  Violations violations;
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string name = arguments[i];
    if (name == "--help") {
      options.is_help = true;
      continue;
    }
    std::string value;
    const size_t equals = name.find('=');
    const bool has_value = equals != std::string::npos;
    if (has_value) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const auto flag = flags.find(name);
    if (flag == flags.end()) {
      violations.Add(name, value, "a known flag; see --help");
      continue;
    }
    if (!has_value && i + 1 < arguments.size()) {
      value = arguments[++i];
    }
    if (!flag->second.set(value)) {
      violations.Add(name, value, flag->second.allowed);
    }
  }
  if (options.pattern == "trace" && options.trace_file.empty()) {
    violations.Add("--trace", "", "a file, with --pattern trace");
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  options.period = absl::Seconds(period_seconds);
  return options;
}

absl::string_view WorkerUsage() {
  return "cloudscale-worker: a real, changing CPU load with a backlog, for demonstrations.\n"
         "  --pattern NAME         web (default), batch, bursty, flat, sine, … or trace\n"
         "  --trace FILE           recorded trace, with --pattern trace\n"
         "  --trace-series NAME    series of the file; default the first\n"
         "  --mean X               mean of the pattern as a share of the peak (0.4)\n"
         "  --amplitude X          amplitude of the pattern as a share of the peak (0.3)\n"
         "  --period-seconds X     period of the pattern (60)\n"
         "  --peak-cores X         demand in cores at the pattern's 1.0 (1)\n"
         "  --memory-mib N         memory that is held (16)\n"
         "  --seed N               same seed, same pattern (1)\n"
         "  --speed X              how fast the pattern passes (1)\n"
         "  --report FILE          one JSON object per second; default standard output\n"
         "Ends on SIGTERM, SIGINT, or when the process that started it ends.\n";
}

absl::StatusOr<std::shared_ptr<const workload::DemandSource>> MakeDemand(
    const WorkerOptions& options) {
  if (options.pattern == "trace") {
    trace::ReadOptions read;
    read.max_traces = 1;
    if (!options.trace_series.empty()) {
      read.names = {options.trace_series};
    }
    CS_ASSIGN_OR_RETURN(std::vector<trace::Trace> traces,
                        trace::ReadTraces(options.trace_file, read));
    if (traces.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(options.trace_file, " has no series"));
    }
    return workload::MakeTraceDemand(std::move(traces.front()));
  }
  workload::PatternSpec spec;
  CS_ASSIGN_OR_RETURN(spec.pattern, workload::ParsePattern(options.pattern));
  spec.mean = options.mean;
  spec.amplitude = options.amplitude;
  spec.period = options.period;
  CS_ASSIGN_OR_RETURN(
      trace::Trace trace,
      workload::GeneratePattern(options.pattern, spec,
                                Rng(static_cast<uint64_t>(options.seed)).Fork("pattern")));
  return workload::MakeTraceDemand(std::move(trace));
}

}  // namespace cloudscale::worker
