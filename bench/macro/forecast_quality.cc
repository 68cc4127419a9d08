// How well each sizing method trades allocation for violations on recorded traces: the frontier of
// every method at 1, 2 and 5 % violations, open loop (the method sees all demand) and closed loop
// (only min(demand, cap)), one step ahead and for a cap held six steps; and for methods whose knob
// is a violation ratio, asked against got. Definitions: sim/backtest/metrics.h.
//
// forecast_quality [DIR] [--methods all|a,b] [--hold 1,6] [--loops open,closed]
//                  [--targets 0.01,0.02,0.05] [--large N] [--days N] [--jobs N]
//                  [--json | --format markdown]
// forecast_quality [DIR] --caps METHOD OUT.csv.gz [--hold 1] [--loops open] [--large N]
//
// DIR (default: $CLOUDSCALE_TRACES) holds `traces.csv.gz` (trace,t,value) and, if there is one,
// `manifest.csv` (trace,pool,resource,…). `--large N` takes every N-th row of
// `large_planetlab.csv.gz` (day,vm,p0,…: per cent of the VM at 5 minutes) instead, `--days N` only
// traces of at least so many days. `--caps` writes
// the caps of one method, a row for each decision and a column for each knob: trace,t,k0,k1,…

#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "bench/macro/settings.h"
#include "bench/macro/trace_set.h"
#include "common/status/macros.h"
#include "services/predictor/sizing/sizing_method.h"
#include "sim/backtest/backtest.h"
#include "sim/backtest/report.h"

namespace cloudscale::bench {
namespace {

using backtest::DemandTrace;

constexpr char kUsage[] =
    "forecast_quality [DIR] [--methods all|a,b] [--hold 1,6] [--loops open,closed]\n"
    "                 [--targets 0.01,0.02,0.05] [--large N] [--days N] [--jobs N]\n"
    "                 [--json | --format markdown]\n"
    "forecast_quality [DIR] --caps METHOD OUT.csv.gz [--hold 1] [--loops open] [--large N]\n";

template <typename T, typename Parse>
absl::StatusOr<std::vector<T>> List(const Settings& settings, const std::string& name,
                                    const Parse& parse) {
  std::vector<T> values;
  for (const absl::string_view word : absl::StrSplit(settings.Text(name), ',')) {
    T value{};
    if (!parse(word, &value)) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, " has '", word, "'"));
    }
    values.push_back(value);
  }
  return values;
}

bool ParseLoop(absl::string_view word, backtest::Loop* loop) {
  *loop = word == "closed" ? backtest::Loop::kClosed : backtest::Loop::kOpen;
  return word == "open" || word == "closed";
}

absl::Status WriteCaps(const Traces& traces, const predictor::SizingMethod& method,
                       const std::string& path, int hold, backtest::Loop loop) {
  gzFile file = gzopen(path.c_str(), "wb6");
  if (file == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("open ", path));
  }
  const std::vector<double>& knobs = method.knob().sweep;
  std::string text = "trace,t";
  for (size_t k = 0; k < knobs.size(); ++k) {
    absl::StrAppend(&text, ",k", k);
  }
  bool is_written = true;
  const auto flush = [&] {
    text += "\n";
    is_written = gzwrite(file, text.data(), static_cast<unsigned>(text.size())) > 0 && is_written;
    text.clear();
  };
  flush();
  absl::Status status;
  for (const DemandTrace& trace : traces) {
    std::vector<std::vector<float>> caps(knobs.size());
    for (size_t k = 0; k < knobs.size() && status.ok(); ++k) {
      status = backtest::Play(trace, method, knobs[k], hold, loop, /*with_expected=*/false,
                              [&](const backtest::PlayedStep& step) {
                                if (step.t % hold == 0) {
                                  caps[k].push_back(static_cast<float>(step.cap));
                                }
                              });
    }
    for (size_t i = 0; status.ok() && i < caps.front().size(); ++i) {
      absl::StrAppendFormat(
          &text, "%s,%.0f", trace.name,
          trace.start_seconds + trace.step_seconds * static_cast<double>(i) * hold);
      for (const std::vector<float>& column : caps) {
        absl::StrAppendFormat(&text, ",%.6g", column[i]);
      }
      flush();
    }
  }
  if (gzclose(file) != Z_OK || !is_written) {
    return absl::DataLossError(absl::StrCat("cannot write ", path));
  }
  return status;
}

absl::Status Run(int argc, char** argv) {
  std::string directory = DefaultTraceDirectory();
  std::string caps_method;
  std::string caps_path;
  std::vector<char*> rest = {argv[0]};
  for (int i = 1; i < argc; ++i) {
    const absl::string_view word = argv[i];
    if (word == "--help") {
      std::fputs(kUsage, stdout);
      return absl::OkStatus();
    }
    if (word == "--caps") {
      if (i + 2 >= argc) {
        return absl::InvalidArgumentError("--caps needs a method and a file");
      }
      caps_method = argv[++i];
      caps_path = argv[++i];
    } else if (i == 1 && word.substr(0, 2) != "--") {
      directory = std::string(word);
    } else {
      rest.push_back(argv[i]);
    }
  }
  Settings settings({{"methods", "all"},
                     {"hold", "1,6"},
                     {"loops", "open,closed"},
                     {"targets", "0.01,0.02,0.05"},
                     {"large", "0"},
                     {"days", "0"},
                     {"format", "text"},
                     {"jobs", absl::StrCat(std::max(1U, std::thread::hardware_concurrency()))}});
  CS_RETURN_IF_ERROR(settings.Parse(static_cast<int>(rest.size()), rest.data()));
  const std::string& format = settings.Text("format");
  if (format != "text" && format != "markdown") {
    return absl::InvalidArgumentError(
        absl::StrCat("--format is '", format, "', allowed: text, markdown"));
  }
  backtest::BacktestOptions options;
  options.jobs = static_cast<int>(settings.Number("jobs"));
  CS_ASSIGN_OR_RETURN(options.holds, List<int>(settings, "hold", absl::SimpleAtoi<int>));
  CS_ASSIGN_OR_RETURN(options.targets, List<double>(settings, "targets", absl::SimpleAtod));
  CS_ASSIGN_OR_RETURN(options.loops, List<backtest::Loop>(settings, "loops", ParseLoop));
  const predictor::SizingRegistry registry;
  CS_ASSIGN_OR_RETURN(options.methods,
                      backtest::ChooseMethods(
                          registry, caps_method.empty() ? std::vector<std::string>(absl::StrSplit(
                                                              settings.Text("methods"), ','))
                                                        : std::vector<std::string>{caps_method}));
  CS_ASSIGN_OR_RETURN(Traces traces,
                      ReadTraceSet(directory, static_cast<int64_t>(settings.Number("large"))));
  KeepLong(settings.Number("days"), traces);
  if (!caps_method.empty()) {
    return WriteCaps(traces, *options.methods.front(), caps_path, options.holds.front(),
                     options.loops.front());
  }
  const bool is_markdown = format == "markdown";
  if (!is_markdown) {  // its lines would be headings there
    settings.PrintHeader("allocation against violations of sizing methods on recorded traces");
  }
  backtest::ProgressCallback progress;
  if (isatty(STDERR_FILENO) == 1) {
    progress = [](int64_t done, int64_t total) {
      std::fprintf(stderr, "\r%5.1f %%",
                   100 * static_cast<double>(done) / static_cast<double>(total));
    };
  }
  CS_ASSIGN_OR_RETURN(const backtest::BacktestResult result,
                      backtest::RunBacktest(traces, options, progress));
  const std::string report = settings.is_json() ? backtest::JsonReport(result)
                             : is_markdown      ? backtest::MarkdownReport(result)
                                                : backtest::TableReport(result);
  std::fputs(report.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) {
  const absl::Status status = cloudscale::bench::Run(argc, argv);
  if (!status.ok()) {
    std::fprintf(stderr, "forecast_quality: %s\n", std::string(status.message()).c_str());
    return 2;
  }
  return 0;
}
