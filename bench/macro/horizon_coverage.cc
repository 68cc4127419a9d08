// Whether the quantiles of the largest demand within each horizon hold what they say on recorded
// traces: every trace is played, open loop, through the predictor's own forecaster; at every step
// the largest demand of the horizon is compared with each quantile, made monotone as the predictor
// publishes them. For each horizon and quantile:
//
//   asked, got   miss ratio: share of steps at which that demand was above; mean over traces
//   p90          of the trace at the 90th percentile
//   loss, peer   mean pinball loss over the trace's scale (sim/backtest/metrics.h) x 100, and that
//                of a plain peer: the same quantile of all largest demands of ended horizons so far
//   peer_got     the peer's miss ratio
//
// once for all steps but the warm-up of sim/backtest/metrics.h, and once for young series: their
// first kYoungSteps. A trace counts for a horizon when four of it fit into its scored steps.
//
// horizon_coverage [DIR] [--horizons 1,6,36,144,3h,12h] [--half all|even|odd] [--large N]
//                  [--jobs N] [--json | --format markdown]
//
// DIR as for forecast_quality. A horizon is a number of steps or of hours; `--half` takes every
// other trace.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "bench/macro/settings.h"
#include "bench/macro/trace_set.h"
#include "common/status/macros.h"
#include "common/sync/mutex.h"
#include "services/predictor/portfolio_forecaster.h"
#include "sim/backtest/metrics.h"

namespace cloudscale::bench {
namespace {

using backtest::DemandTrace;

constexpr char kUsage[] =
    "horizon_coverage [DIR] [--horizons 1,6,36,144,3h,12h] [--half all|even|odd] [--large N]\n"
    "                 [--jobs N] [--json | --format markdown]\n";
constexpr double kRatios[] = {0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999};
constexpr size_t kRatioCount = std::size(kRatios);
constexpr int64_t kYoungSteps = 200;
constexpr int64_t kLeastHorizons = 4;  // that a trace must hold
constexpr int kMaxSteps = 10000;

// A horizon as it was asked for.
struct Horizon {
  std::string name;
  int steps = 0;
  double hours = 0;  // instead of steps

  [[nodiscard]] int StepsOf(const DemandTrace& trace) const {
    return hours > 0 ? static_cast<int>(std::lround(hours * 3600 / trace.step_seconds)) : steps;
  }
};

// One quantile on one trace.
struct Sums {
  double misses = 0;
  double loss = 0;
  double peer_misses = 0;
  double peer_loss = 0;
};

// One horizon on one trace.
struct Score {
  int64_t count = 0;
  Sums sums[kRatioCount];
};

struct TraceScores {
  std::vector<Score> scored;  // of each horizon
  std::vector<Score> young;
};

// Largest of the `steps` values after each; kUnknown where one of them is not known or not there.
std::vector<double> LargestAfter(const std::vector<double>& demand, int steps) {
  const auto count = static_cast<int64_t>(demand.size());
  std::vector<double> largest(demand.size(), DemandTrace::kUnknown);
  std::vector<int64_t> falling;  // places, newest last, that may yet be the largest
  size_t front = 0;
  int64_t unknown = -1;  // last place that is not known
  for (int64_t t = 0; t < count; ++t) {
    const double value = demand[static_cast<size_t>(t)];
    if (std::isnan(value)) {
      unknown = t;
    }
    while (falling.size() > front && !(demand[static_cast<size_t>(falling.back())] > value)) {
      falling.pop_back();
    }
    falling.push_back(t);
    const int64_t before = t - steps;
    while (falling[front] <= before) {
      ++front;
    }
    if (before >= 0 && unknown <= before) {
      largest[static_cast<size_t>(before)] = demand[static_cast<size_t>(falling[front])];
    }
  }
  return largest;
}

double Loss(double value, double quantile, double ratio) {
  return value > quantile ? ratio * (value - quantile) : (1 - ratio) * (quantile - value);
}

// All that is known of one horizon while a trace is played.
struct Play {
  size_t index = 0;  // in the forecaster's list
  int steps = 0;
  bool is_scored = false;
  std::vector<double> largest;
  std::vector<double> ended;  // sorted
};

TraceScores PlayTrace(const DemandTrace& trace, const std::vector<Horizon>& horizons) {
  const auto count = static_cast<int64_t>(trace.demand.size());
  const backtest::TraceBasis basis = backtest::BasisOf(trace);
  TraceScores scores{.scored = std::vector<Score>(horizons.size()),
                     .young = std::vector<Score>(horizons.size())};
  std::vector<Play> plays(horizons.size());
  std::vector<int> steps;
  for (size_t h = 0; h < horizons.size(); ++h) {
    plays[h].steps = horizons[h].StepsOf(trace);
    plays[h].is_scored =
        plays[h].steps >= 1 && plays[h].steps <= kMaxSteps &&
        count - basis.warm_up_steps >= (kLeastHorizons + 1) * int64_t{plays[h].steps};
    if (plays[h].is_scored) {
      plays[h].largest = LargestAfter(trace.demand, plays[h].steps);
      steps.push_back(plays[h].steps);
    }
  }
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  if (steps.empty()) {
    return scores;
  }
  for (Play& play : plays) {
    play.index = static_cast<size_t>(std::lower_bound(steps.begin(), steps.end(), play.steps) -
                                     steps.begin());
  }
  predictor::PortfolioForecaster forecaster({.resource = trace.resource,
                                             .step = absl::Seconds(trace.step_seconds),
                                             .horizons = steps,
                                             .ratios = {std::begin(kRatios), std::end(kRatios)}});
  forecaster.SetCapacity(trace.capacity);
  predictor::ModelOutput output;
  const double unit = 1 / (trace.capacity * basis.scale);
  double largest_so_far = 0;
  bool has_begun = false;
  for (int64_t t = 0; t < count; ++t) {
    const double demand = trace.demand[static_cast<size_t>(t)];
    if (std::isnan(demand)) {
      forecaster.Skip(1);
      continue;
    }
    forecaster.Observe({.demand = demand});
    forecaster.Forecast(output);
    has_begun = true;
    for (size_t i = kRatioCount; i < output.quantiles.size(); ++i) {
      output.quantiles[i] = std::max(output.quantiles[i], output.quantiles[i - kRatioCount]);
    }
    largest_so_far = std::max(largest_so_far, demand);
    for (size_t h = 0; h < plays.size(); ++h) {
      Play& play = plays[h];
      if (!play.is_scored) {
        continue;
      }
      if (t >= play.steps) {
        const double newest = play.largest[static_cast<size_t>(t - play.steps)];
        if (!std::isnan(newest)) {
          play.ended.insert(std::upper_bound(play.ended.begin(), play.ended.end(), newest), newest);
        }
      }
      const double largest = play.largest[static_cast<size_t>(t)];
      if (std::isnan(largest)) {
        continue;
      }
      for (std::vector<Score>* group : {&scores.scored, &scores.young}) {
        if (group == &scores.scored ? t < basis.warm_up_steps : t >= kYoungSteps) {
          continue;
        }
        Score& score = (*group)[h];
        ++score.count;
        for (size_t r = 0; r < kRatioCount; ++r) {
          const double quantile = output.quantiles[play.index * kRatioCount + r];
          const auto rank = static_cast<size_t>(
              std::ceil(kRatios[r] * static_cast<double>(play.ended.size() + 1)));
          const double peer = play.ended.empty()
                                  ? largest_so_far
                                  : play.ended[std::min(rank, play.ended.size()) - 1];
          const double tie = backtest::kTieTolerance * trace.capacity;
          score.sums[r].misses += largest > quantile + tie ? 1 : 0;
          score.sums[r].loss += unit * Loss(largest, quantile, kRatios[r]);
          score.sums[r].peer_misses += largest > peer + tie ? 1 : 0;
          score.sums[r].peer_loss += unit * Loss(largest, peer, kRatios[r]);
        }
      }
    }
  }
  return has_begun ? scores : TraceScores{};
}

std::vector<TraceScores> PlayAll(const Traces& traces, const std::vector<Horizon>& horizons,
                                 int jobs) {
  std::vector<TraceScores> scores(traces.size());
  std::atomic<size_t> next = 0;
  std::atomic<size_t> done = 0;
  Mutex mutex;  // of the progress
  const bool is_watched = isatty(STDERR_FILENO) == 1;
  const auto work = [&] {
    for (size_t i = next++; i < traces.size(); i = next++) {
      scores[i] = PlayTrace(traces[i], horizons);
      const size_t played = ++done;
      if (is_watched) {
        const MutexLock lock(&mutex);
        std::fprintf(stderr, "\r%zu of %zu traces", played, traces.size());
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int j = 1; j < jobs; ++j) {
      threads.emplace_back(work);
    }
    work();
  }
  return scores;
}

struct Printer {
  bool is_markdown = false;
  RowPrinter rows;

  void Print(const std::vector<std::pair<std::string, std::string>>& row, bool is_first) {
    if (!is_markdown) {
      rows.Print(row);
      return;
    }
    std::string names = "|";
    std::string rule = "|";
    std::string values = "|";
    for (const auto& [name, value] : row) {
      absl::StrAppend(&names, " ", name, " |");
      absl::StrAppend(&rule, " --- |");
      absl::StrAppend(&values, " ", value, " |");
    }
    if (is_first) {
      std::printf("%s\n%s\n", names.c_str(), rule.c_str());
    }
    std::printf("%s\n", values.c_str());
  }
};

void Report(const std::vector<TraceScores>& scores, const std::vector<Horizon>& horizons,
            Printer& printer) {
  bool is_first = true;
  for (const bool is_young : {false, true}) {
    for (size_t h = 0; h < horizons.size(); ++h) {
      for (size_t r = 0; r < kRatioCount; ++r) {
        Sums mean;
        std::vector<double> misses;
        for (const TraceScores& trace : scores) {
          const std::vector<Score>& group = is_young ? trace.young : trace.scored;
          if (group.empty() || group[h].count == 0) {
            continue;
          }
          const auto count = static_cast<double>(group[h].count);
          const Sums& sums = group[h].sums[r];
          misses.push_back(sums.misses / count);
          mean.misses += sums.misses / count;
          mean.loss += sums.loss / count;
          mean.peer_misses += sums.peer_misses / count;
          mean.peer_loss += sums.peer_loss / count;
        }
        if (misses.empty()) {
          continue;
        }
        const auto traces = static_cast<double>(misses.size());
        printer.Print({{"steps", is_young ? "young" : "scored"},
                       {"horizon", horizons[h].name},
                       {"traces", absl::StrCat(misses.size())},
                       {"asked", absl::StrFormat("%.4f", 1 - kRatios[r])},
                       {"got", absl::StrFormat("%.4f", mean.misses / traces)},
                       {"p90", absl::StrFormat("%.4f", backtest::Percentile(misses, 90))},
                       {"peer_got", absl::StrFormat("%.4f", mean.peer_misses / traces)},
                       {"loss", absl::StrFormat("%.4f", 100 * mean.loss / traces)},
                       {"of_peer", absl::StrFormat("%.3f", mean.loss / mean.peer_loss)}},
                      is_first);
        is_first = false;
      }
    }
  }
}

absl::StatusOr<std::vector<Horizon>> ParseHorizons(const std::string& text) {
  std::vector<Horizon> horizons;
  for (const absl::string_view word : absl::StrSplit(text, ',')) {
    Horizon horizon{.name = std::string(word)};
    absl::string_view number = word;
    const bool is_hours = absl::ConsumeSuffix(&number, "h");
    if (is_hours ? !absl::SimpleAtod(number, &horizon.hours) || !(horizon.hours > 0)
                 : !absl::SimpleAtoi(number, &horizon.steps) || horizon.steps < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--horizons has '", word, "', allowed: steps, or hours as 3h"));
    }
    horizons.push_back(std::move(horizon));
  }
  return horizons;
}

absl::Status Run(int argc, char** argv) {
  std::string directory = DefaultTraceDirectory();
  std::vector<char*> rest = {argv[0]};
  for (int i = 1; i < argc; ++i) {
    const absl::string_view word = argv[i];
    if (word == "--help") {
      std::fputs(kUsage, stdout);
      return absl::OkStatus();
    }
    if (i == 1 && word.substr(0, 2) != "--") {
      directory = std::string(word);
    } else {
      rest.push_back(argv[i]);
    }
  }
  Settings settings({{"horizons", "1,6,36,144,3h,12h"},
                     {"half", "all"},
                     {"large", "0"},
                     {"format", "text"},
                     {"jobs", absl::StrCat(std::max(1U, std::thread::hardware_concurrency()))}});
  CS_RETURN_IF_ERROR(settings.Parse(static_cast<int>(rest.size()), rest.data()));
  const std::string& format = settings.Text("format");
  const std::string& half = settings.Text("half");
  if ((format != "text" && format != "markdown") ||
      (half != "all" && half != "even" && half != "odd")) {
    return absl::InvalidArgumentError(absl::StrCat("usage: ", kUsage));
  }
  CS_ASSIGN_OR_RETURN(const std::vector<Horizon> horizons,
                      ParseHorizons(settings.Text("horizons")));
  CS_ASSIGN_OR_RETURN(Traces traces,
                      ReadTraceSet(directory, static_cast<int64_t>(settings.Number("large"))));
  if (half != "all") {
    Traces kept;
    for (size_t i = half == "odd" ? 1 : 0; i < traces.size(); i += 2) {
      kept.push_back(std::move(traces[i]));
    }
    traces = std::move(kept);
  }
  const bool is_markdown = format == "markdown";
  if (!is_markdown) {  // its lines would be headings there
    settings.PrintHeader("quantiles of the largest demand within horizons on recorded traces");
  }
  Printer printer{.is_markdown = is_markdown && !settings.is_json(),
                  .rows = RowPrinter(settings.is_json())};
  Report(PlayAll(traces, horizons, static_cast<int>(settings.Number("jobs"))), horizons, printer);
  return absl::OkStatus();
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) {
  const absl::Status status = cloudscale::bench::Run(argc, argv);
  if (!status.ok()) {
    std::fprintf(stderr, "horizon_coverage: %s\n", std::string(status.message()).c_str());
    return 2;
  }
  return 0;
}
