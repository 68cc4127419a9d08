#include "sim/backtest/backtest.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/rpc/session.h"
#include "common/status/macros.h"
#include "services/predictor/sizing/sizing_method.h"
#include "sim/backtest/plot.h"
#include "sim/backtest/plot_names.h"
#include "sim/backtest/report.h"
#include "sim/backtest/trace_csv.h"

namespace cloudscale::cli {
namespace {

using backtest::BacktestResult;
using backtest::DemandTrace;
using backtest::Loop;

// Without `--trace` so many traces are drawn.
constexpr size_t kMaxTracePlots = 4;

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("cannot write ", path));
}

class BacktestCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"backtest",
            "Understanding",
            "plays sizing methods over recorded demand and compares them; needs no server",
            {"backtest web.csv", "backtest traces.csv.gz --methods all --hold 1,6 --closed-loop",
             "backtest web.csv --step 60s --methods vpa,max24 --plot plots",
             "backtest traces.csv.gz --trace web-1 --methods max24 --knob 1.2 --json"}};
  }

  void Register(CLI::App& app) override {
    app.add_option("file", files_,
                   "recorded demand, CSV or CSV.gz: 'trace,t,value', 't,value' or 'value'")
        ->type_name("FILE")
        ->required();
    app.add_option("--methods,-m", methods_, "by name, or 'all' (default)")
        ->type_name("NAME,...")
        ->delimiter(',')
        ->allow_extra_args(false);
    app.add_option("--hold", holds_, "steps that a cap holds (default 1)")
        ->type_name("STEPS,...")
        ->delimiter(',')
        ->allow_extra_args(false);
    app.add_flag("--closed-loop", is_closed_,
                 "methods see only min(demand, cap), as in production");
    app.add_option("--targets", targets_,
                   "shares of steps with too little (default 0.01,0.02,0.05)")
        ->type_name("RATIO,...")
        ->delimiter(',')
        ->allow_extra_args(false);
    app.add_option("--trace", traces_, "only this trace of the files; repeatable")
        ->type_name("NAME")
        ->allow_extra_args(false);
    app.add_option("--knob", knob_, "one setting for every method instead of its sweep")
        ->type_name("NUMBER");
    AddDuration(app, "--step", &step_, "between rows (default: found from their times)");
    app.add_option("--value", value_column_, "heading of the column with the demand")
        ->type_name("NAME");
    AddChoice(app, "--resource", &resource_, {"cpu", "memory"},
              "what the demand is of (default: by the heading)");
    app.add_option("--capacity", capacity_,
                   "most that a VM can consume (default: 1 if no value is above, else the trace's "
                   "largest)")
        ->type_name("NUMBER");
    app.add_option("--plot", plot_directory_, "also draw SVG plots into this directory")
        ->type_name("DIR");
    app.add_option("--jobs,-j", jobs_, "processors to use (default: all)")
        ->type_name("COUNT")
        ->check(CLI::Range(1, 1024));
  }

  absl::Status Run(Session& session) override {
    const predictor::SizingRegistry registry;
    backtest::BacktestOptions options;
    CS_ASSIGN_OR_RETURN(options.methods, backtest::ChooseMethods(registry, methods_));
    options.holds = holds_;
    options.loops = {is_closed_ ? Loop::kClosed : Loop::kOpen};
    options.targets = targets_;
    options.knob = knob_;
    options.jobs =
        jobs_ > 0 ? jobs_ : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    CS_ASSIGN_OR_RETURN(const std::vector<DemandTrace> traces, ReadAll());
    if (!plot_directory_.empty()) {  // rather before a long run than after it
      std::error_code error;
      std::filesystem::create_directories(plot_directory_, error);
      if (error) {
        return absl::InvalidArgumentError(
            absl::StrCat("cannot make the directory ", plot_directory_, ": ", error.message()));
      }
    }
    std::ostream& err = session.io().err;
    backtest::ProgressCallback progress;
    if (session.io().is_err_terminal) {
      progress = [&err](int64_t done, int64_t total) {
        err << absl::StrFormat("\r%5.1f %% of %.3g steps",
                               100 * static_cast<double>(done) / static_cast<double>(total),
                               static_cast<double>(total))
            << std::flush;
      };
    }
    absl::StatusOr<BacktestResult> result = backtest::RunBacktest(traces, options, progress);
    if (progress) {
      err << "\r\x1b[K" << std::flush;  // the line of progress
    }
    CS_RETURN_IF_ERROR(result.status());
    session.io().out << (session.options().is_json ? backtest::JsonReport(*result)
                                                   : backtest::TableReport(*result));
    return plot_directory_.empty() ? absl::OkStatus() : Plot(session, registry, *result);
  }

 private:
  absl::StatusOr<std::vector<DemandTrace>> ReadAll() const {
    backtest::TraceCsvOptions options;
    options.step_seconds = step_ > absl::ZeroDuration() ? absl::ToDoubleSeconds(step_) : 0;
    options.value_column = value_column_;
    if (!resource_.empty()) {
      options.resource =
          resource_ == "cpu" ? predictor::Resource::kCpu : predictor::Resource::kMemory;
    }
    if (capacity_.has_value() && !(*capacity_ > 0 && std::isfinite(*capacity_))) {
      return absl::InvalidArgumentError(
          absl::StrCat("--capacity is ", *capacity_, ", allowed: a number above 0"));
    }
    std::vector<DemandTrace> all;
    for (const std::string& file : files_) {
      CS_ASSIGN_OR_RETURN(std::vector<DemandTrace> traces, backtest::ReadTraceCsv(file, options));
      for (DemandTrace& trace : traces) {
        if (capacity_.has_value()) {
          trace.capacity = *capacity_;
        }
        if (traces_.empty() ||
            std::find(traces_.begin(), traces_.end(), trace.name) != traces_.end()) {
          all.push_back(std::move(trace));
        }
      }
    }
    // Several files may share the wanted names among them.
    for (const std::string& name : traces_) {
      if (std::none_of(all.begin(), all.end(),
                       [&name](const DemandTrace& trace) { return trace.name == name; })) {
        return absl::NotFoundError(absl::StrCat("no trace '", name, "' in the files"));
      }
    }
    return all;
  }

  // The frontier of each hold, and some traces with the caps of the best method.
  absl::Status Plot(Session& session, const predictor::SizingRegistry& registry,
                    const BacktestResult& result) const {
    std::vector<std::string> written;
    const std::vector<std::string> words = backtest::PlotWords(*result.traces);
    const Loop loop = is_closed_ ? Loop::kClosed : Loop::kOpen;
    const auto write = [&](const std::string& name, const std::string& svg) {
      written.push_back((std::filesystem::path(plot_directory_) / name).string());
      return WriteFile(written.back(), svg);
    };
    for (const int hold : holds_) {
      const std::string suffix = absl::StrCat("-", backtest::LoopName(loop), "-hold", hold, ".svg");
      CS_RETURN_IF_ERROR(write("frontier" + suffix, backtest::FrontierPlot(result, loop, hold)));
      const auto best = std::find_if(
          result.results.begin(), result.results.end(),
          [hold](const backtest::MethodResult& method) { return method.hold == hold; });
      const predictor::SizingMethod& method = *registry.Find(best->method);
      const double knob = best->sweep[best->reference].knob;
      for (size_t i = 0; i < result.traces->size(); ++i) {
        if (traces_.empty() && i >= kMaxTracePlots) {
          break;
        }
        const DemandTrace& trace = (*result.traces)[i];
        std::vector<backtest::PlayedStep> steps;
        CS_RETURN_IF_ERROR(
            backtest::Play(trace, method, knob, hold, loop, /*with_expected=*/true,
                           [&steps](const backtest::PlayedStep& step) { steps.push_back(step); }));
        CS_RETURN_IF_ERROR(write(
            absl::StrCat("trace-", words[i], "-", backtest::FileWord(best->method), suffix),
            backtest::TracePlot(trace, result.bases[i], best->method, knob, hold, loop, steps)));
      }
    }
    if (!session.options().is_json) {
      session.io().out << "\n";
      for (const std::string& path : written) {
        session.io().out << "plot: " << path << "\n";
      }
    }
    return absl::OkStatus();
  }

  std::vector<std::string> files_;
  std::vector<std::string> methods_ = {"all"};
  std::vector<int> holds_ = {1};
  bool is_closed_ = false;
  std::vector<double> targets_ = {0.01, 0.02, 0.05};
  std::vector<std::string> traces_;
  std::optional<double> knob_;
  absl::Duration step_ = absl::ZeroDuration();
  std::string value_column_;
  std::string resource_;
  std::optional<double> capacity_;
  std::string plot_directory_;
  int jobs_ = 0;
};

}  // namespace

std::unique_ptr<Command> MakeBacktestCommand() { return std::make_unique<BacktestCommand>(); }

}  // namespace cloudscale::cli
