#include "cloudscaled/replay.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cloudscaled/compose.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "common/trace/trace_reader.h"

namespace cloudscale::cloudscaled {
namespace {

using rpc::ToProto;

constexpr int kVcpus = 4;
constexpr int kMaxVms = 64;
constexpr absl::Duration kDefaultStep = absl::Seconds(10);
constexpr absl::Duration kDefaultRealPeriod = absl::Milliseconds(50);
constexpr absl::Duration kMinRealPeriod = absl::Milliseconds(5);

absl::StatusOr<double> ChooseSpeed(double asked, absl::Duration period) {
  if (asked == 0) {
    return absl::FDivDuration(period, kDefaultRealPeriod);
  }
  const double fastest = absl::FDivDuration(period, kMinRealPeriod);
  if (!(asked > 0) || asked > fastest) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--speed: got %g, allowed: above 0, at most %g for a trace with a point every %s", asked,
        fastest, absl::FormatDuration(period)));
  }
  return asked;
}

// Everything that is a time grows with the step, so that a coarse trace meets the same behaviour as
// a fine one.
void ScaleTimes(absl::Duration period, absl::Duration step, config::v1::CloudscaledConfig* config) {
  *config->mutable_monitor()->mutable_sampling_period() = ToProto(period);
  auto* predictor = config->mutable_predictor();
  *predictor->mutable_step() = ToProto(step);
  for (const int steps : {1, 10, 60}) {
    *predictor->add_horizons() = ToProto(step * steps);
  }
  auto* scaler = config->mutable_scaler();
  *scaler->mutable_step() = ToProto(step);
  auto* limits = scaler->mutable_limits();
  *limits->mutable_max_forecast_age() = ToProto(step * 6);
  *limits->mutable_max_sample_age() = ToProto(std::max(period * 5, absl::Seconds(5)));
  auto* cpu = scaler->mutable_default_policy()->mutable_cpu();
  *cpu->mutable_cool_down_down() = ToProto(step * 3);
}

}  // namespace

absl::StatusOr<config::v1::CloudscaledConfig> ReplayConfig(const ReplayOptions& options) {
  if (options.max_vms < 1 || options.max_vms > kMaxVms) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max-vms: got ", options.max_vms, ", allowed: 1 to ", kMaxVms));
  }
  trace::ReadOptions read;
  read.names = options.series;
  read.max_traces = options.max_vms;
  CS_ASSIGN_OR_RETURN(const std::vector<trace::Trace> traces,
                      trace::ReadTraces(options.file, read));
  if (traces.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(options.file, ": holds no series"));
  }
  if (traces.size() > kMaxVms) {
    return absl::InvalidArgumentError(
        absl::StrCat("--series: got ", traces.size(), " names, allowed: at most ", kMaxVms));
  }
  const absl::Duration period = traces.front().period;
  for (const trace::Trace& trace : traces) {
    if (trace.period != period) {
      return absl::InvalidArgumentError(absl::StrCat(
          options.file, ": series '", trace.name, "' has a point every ",
          absl::FormatDuration(trace.period), ", '", traces.front().name, "' every ",
          absl::FormatDuration(period), "; choose series of one period with --series"));
    }
  }
  CS_ASSIGN_OR_RETURN(const double speed, ChooseSpeed(options.speed, period));

  config::v1::CloudscaledConfig config = EmbeddedDefault();
  auto* fake = config.mutable_hypervisor()->mutable_fake();
  fake->clear_scenario();
  fake->set_time_factor(speed);
  fake->set_cpu_capacity_cores(kVcpus * static_cast<double>(traces.size()));
  fake->set_memory_bytes(static_cast<int64_t>(traces.size()) * (int64_t{4} << 30));
  for (const trace::Trace& trace : traces) {
    auto* vm = fake->mutable_scenario()->add_vms();
    vm->set_name(trace.name);
    vm->set_vcpu_count(kVcpus);
    vm->set_cpu_trace_file(options.file);
    vm->set_trace_series(trace.name);
  }
  ScaleTimes(period, std::max(period, kDefaultStep), &config);
  return config;
}

}  // namespace cloudscale::cloudscaled
