#include "services/predictor/rpc/convert.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::predictor {
namespace {

constexpr size_t kMaxIdLength = 128;
constexpr int kMaxSamples = 4096;
constexpr int64_t kMaxUnixSeconds = 7'258'118'400;
constexpr int64_t kMaxUptimeSeconds = 1'577'836'800;
constexpr double kMaxCores = 65536;
constexpr double kMaxBytes = 1.2e18;
// A share of the period below this is noise, not a cap or a lack of memory that held back.
constexpr double kCensoredRatio = 0.02;
// A limit is known to the hypervisor's grain only.
constexpr double kLimitTolerance = 1e-6;
constexpr char kTokenSeparator = '\x1f';

// Whether the limit held the VM back: it wanted more than that. A VM that works in bursts is held
// back within single periods of enforcement and yet got all that it wanted; only where the limit is
// not known does such a sign stand alone.
bool IsCensored(const Observation& o, double held_back_ratio) {
  return o.allocation >= 0 ? o.demand > o.allocation * (1 + kLimitTolerance)
                           : held_back_ratio > kCensoredRatio;
}

bool IsIn(double value, double high) { return value >= 0 && value <= high; }

bool IsUsable(common::v1::SampleQuality quality) {
  return quality == common::v1::SAMPLE_QUALITY_FRESH ||
         quality == common::v1::SAMPLE_QUALITY_SKEWED;
}

void CheckHeader(const common::v1::StreamHeader& header, Violations& violations) {
  const auto check_id = [&](absl::string_view field, const std::string& id) {
    if (id.empty() || id.size() > kMaxIdLength) {
      violations.Add(field, id.substr(0, kMaxIdLength), "1 to 128 characters");
    }
  };
  check_id("batch.header.host_id", header.host_id());
  check_id("batch.header.boot_id", header.boot_id());
  if (header.sequence() < 1) {
    violations.Add("batch.header.sequence", absl::StrCat(header.sequence()), "1 or more");
  }
  if (!header.has_sample_time() || header.sample_time().seconds() <= 0 ||
      header.sample_time().seconds() > kMaxUnixSeconds) {
    violations.Add("batch.header.sample_time", header.sample_time().ShortDebugString(),
                   "a time between 1970 and 2200");
  }
  if (!header.has_monotonic_time() || header.monotonic_time().seconds() < 0 ||
      header.monotonic_time().nanos() < 0 ||
      header.monotonic_time().seconds() > kMaxUptimeSeconds) {
    violations.Add("batch.header.monotonic_time", header.monotonic_time().ShortDebugString(),
                   "0 s to 50 years");
  }
}

void CheckSample(const v1::TelemetrySample& sample, int index, absl::string_view previous_uuid,
                 Violations& violations) {
  const auto field = [index](absl::string_view name) {
    return absl::StrCat("batch.samples[", index, "].", name);
  };
  if (sample.vm_uuid().empty() || sample.vm_uuid().size() > kMaxIdLength) {
    violations.Add(field("vm_uuid"), sample.vm_uuid().substr(0, kMaxIdLength),
                   "1 to 128 characters");
  } else if (sample.vm_uuid() <= previous_uuid) {
    violations.Add(field("vm_uuid"), sample.vm_uuid(), "in order, each once");
  }
  const auto check = [&](bool present, absl::string_view name, double value, double high) {
    if (present && !IsIn(value, high)) {
      violations.Add(field(name), absl::StrCat(value), absl::StrCat("0 <= x <= ", high));
    }
  };
  check(sample.has_cpu_usage_cores(), "cpu_usage_cores", sample.cpu_usage_cores(), kMaxCores);
  check(sample.has_cpu_demand_cores(), "cpu_demand_cores", sample.cpu_demand_cores(), kMaxCores);
  check(sample.has_cpu_limit_cores(), "cpu_limit_cores", sample.cpu_limit_cores(), kMaxCores);
  check(sample.has_cpu_throttled_ratio(), "cpu_throttled_ratio", sample.cpu_throttled_ratio(), 1);
  check(sample.has_memory_usage_bytes(), "memory_usage_bytes",
        static_cast<double>(sample.memory_usage_bytes()), kMaxBytes);
  check(sample.has_memory_demand_bytes(), "memory_demand_bytes",
        static_cast<double>(sample.memory_demand_bytes()), kMaxBytes);
  check(sample.has_memory_limit_bytes(), "memory_limit_bytes",
        static_cast<double>(sample.memory_limit_bytes()), kMaxBytes);
  check(sample.has_memory_pressure_ratio(), "memory_pressure_ratio", sample.memory_pressure_ratio(),
        1);
  if (sample.vcpu_count() < 0 || sample.vcpu_count() > kMaxCores) {
    violations.Add(field("vcpu_count"), absl::StrCat(sample.vcpu_count()),
                   absl::StrCat("0 <= x <= ", kMaxCores));
  }
  if (sample.cpu_quality() == common::v1::SAMPLE_QUALITY_UNSPECIFIED) {
    violations.Add(field("cpu_quality"), "SAMPLE_QUALITY_UNSPECIFIED", "a quality");
  }
  if (sample.memory_quality() == common::v1::SAMPLE_QUALITY_UNSPECIFIED) {
    violations.Add(field("memory_quality"), "SAMPLE_QUALITY_UNSPECIFIED", "a quality");
  }
}

// The same rules without the words; almost every sample passes here.
bool IsGood(const v1::TelemetrySample& s, absl::string_view previous_uuid) {
  return !s.vm_uuid().empty() && s.vm_uuid().size() <= kMaxIdLength &&
         s.vm_uuid() > previous_uuid && IsIn(s.cpu_usage_cores(), kMaxCores) &&
         IsIn(s.cpu_demand_cores(), kMaxCores) && IsIn(s.cpu_limit_cores(), kMaxCores) &&
         IsIn(s.cpu_throttled_ratio(), 1) &&
         IsIn(static_cast<double>(s.memory_usage_bytes()), kMaxBytes) &&
         IsIn(static_cast<double>(s.memory_demand_bytes()), kMaxBytes) &&
         IsIn(static_cast<double>(s.memory_limit_bytes()), kMaxBytes) &&
         IsIn(s.memory_pressure_ratio(), 1) && s.vcpu_count() >= 0 && s.vcpu_count() <= kMaxCores &&
         s.cpu_quality() != common::v1::SAMPLE_QUALITY_UNSPECIFIED &&
         s.memory_quality() != common::v1::SAMPLE_QUALITY_UNSPECIFIED;
}

void ReadSample(const v1::TelemetrySample& sample, VmObservation& vm) {
  vm.vm_uuid = sample.vm_uuid();
  Observation& cpu = vm.resource[static_cast<size_t>(Resource::kCpu)];
  cpu.is_fresh = IsUsable(sample.cpu_quality()) && sample.has_cpu_usage_cores();
  cpu.usage = sample.cpu_usage_cores();
  // Never below what was consumed.
  cpu.demand = std::max(cpu.usage, sample.cpu_demand_cores());
  cpu.allocation = sample.has_cpu_limit_cores() ? sample.cpu_limit_cores() : -1;
  cpu.is_censored = IsCensored(cpu, sample.cpu_throttled_ratio());
  cpu.capacity = sample.vcpu_count();
  Observation& memory = vm.resource[static_cast<size_t>(Resource::kMemory)];
  memory.is_fresh = IsUsable(sample.memory_quality()) && sample.has_memory_usage_bytes();
  memory.usage = static_cast<double>(sample.memory_usage_bytes());
  memory.demand = std::max(memory.usage, static_cast<double>(sample.memory_demand_bytes()));
  memory.allocation =
      sample.has_memory_limit_bytes() ? static_cast<double>(sample.memory_limit_bytes()) : -1;
  // Tasks that wait for memory are held back below the limit too: caches are gone by then.
  memory.is_censored = sample.memory_pressure_ratio() > kCensoredRatio ||
                       IsCensored(memory, sample.memory_pressure_ratio());
}

absl::Status FaultsOf(const v1::TelemetryBatch& batch) {
  Violations violations;
  CheckHeader(batch.header(), violations);
  absl::string_view previous;
  for (int i = 0; i < batch.samples_size(); ++i) {
    CheckSample(batch.samples(i), i, previous, violations);
    previous = batch.samples(i).vm_uuid();
  }
  if (batch.samples_size() > kMaxSamples) {
    violations.Add("batch.samples", absl::StrCat(batch.samples_size(), " samples"),
                   "at most 4096 samples");
  }
  if (batch.has_sampling_period()) {
    const double seconds = absl::ToDoubleSeconds(rpc::FromProto(batch.sampling_period()));
    RequireInRange(violations, "batch.sampling_period", seconds, 0.001, 3600);
  }
  return violations.ToStatus();
}

}  // namespace

absl::StatusOr<ObservationBatch> BatchReader::Read(const v1::TelemetryBatch& batch) {
  const common::v1::StreamHeader& header = batch.header();
  Violations header_faults;
  CheckHeader(header, header_faults);
  bool is_good = header_faults.empty() && batch.samples_size() <= kMaxSamples;
  if (batch.has_sampling_period()) {
    const absl::Duration period = rpc::FromProto(batch.sampling_period());
    is_good = is_good && period >= absl::Milliseconds(1) && period <= absl::Hours(1);
    sampling_period_ = is_good ? period : sampling_period_;
  }
  vms_.resize(static_cast<size_t>(batch.samples_size()));
  absl::string_view previous;
  for (size_t i = 0; i < vms_.size() && is_good; ++i) {
    const v1::TelemetrySample& sample = batch.samples(static_cast<int>(i));
    is_good = IsGood(sample, previous);
    ReadSample(sample, vms_[i]);
    previous = sample.vm_uuid();
  }
  if (!is_good) {
    return FaultsOf(batch);
  }
  return ObservationBatch{.host_id = header.host_id(),
                          .boot_id = header.boot_id(),
                          .sequence = header.sequence(),
                          .time = rpc::FromProto(header.sample_time()),
                          .monotonic_time = rpc::FromProto(header.monotonic_time()),
                          .sampling_period = sampling_period_,
                          .vms = vms_};
}

std::optional<Resource> ResourceFromProto(common::v1::Resource resource, absl::string_view field,
                                          Violations& violations) {
  switch (resource) {
    case common::v1::RESOURCE_UNSPECIFIED:
      return std::nullopt;
    case common::v1::RESOURCE_CPU:
      return Resource::kCpu;
    case common::v1::RESOURCE_MEMORY:
      return Resource::kMemory;
    default:
      violations.Add(field, absl::StrCat(static_cast<int>(resource)),
                     "RESOURCE_CPU or RESOURCE_MEMORY");
      return std::nullopt;
  }
}

common::v1::Resource ToProto(Resource resource) {
  return resource == Resource::kCpu ? common::v1::RESOURCE_CPU : common::v1::RESOURCE_MEMORY;
}

void ToProto(const PredictorOptions& options, const PublishedForecast& published,
             common::v1::Forecast* proto) {
  const SeriesForecast& forecast = published.forecast;
  proto->set_vm_uuid(published.id.vm_uuid);
  proto->set_host_id(published.id.vm_uuid.empty() ? published.id.host_id : "");
  proto->set_resource(ToProto(published.id.resource));
  *proto->mutable_made_at() = rpc::ToProto(forecast.made_at);
  proto->set_based_on_sequence(forecast.based_on_sequence);
  proto->set_model(std::string(forecast.model->name()));
  for (size_t h = 0; h < forecast.expected.size(); ++h) {
    common::v1::HorizonForecast* horizon = proto->add_horizons();
    *horizon->mutable_horizon() = rpc::ToProto(options.horizons[h] * options.step);
    horizon->set_expected(forecast.expected[h]);
    for (size_t r = 0; r < options.ratios.size(); ++r) {
      common::v1::QuantileValue* quantile = horizon->add_quantiles();
      quantile->set_ratio(options.ratios[r]);
      quantile->set_value(forecast.quantiles[h * options.ratios.size() + r]);
    }
  }
  common::v1::Padding* padding = proto->mutable_padding();
  const auto add_part = [padding](common::v1::PaddingKind kind, double value) {
    common::v1::PaddingPart* part = padding->add_parts();
    part->set_kind(kind);
    part->set_value(value);
  };
  add_part(common::v1::PADDING_KIND_BURST, forecast.padding.burst);
  add_part(common::v1::PADDING_KIND_REMEDIAL, forecast.padding.remedial);
  padding->set_total(forecast.padding.total());
  proto->set_is_warm(forecast.is_warm);
  std::string reason = ReasonText(forecast.model->name(), forecast.reason, options.step);
  if (forecast.is_held) {
    reason += "; held up because samples are missing";
  }
  proto->set_reason(std::move(reason));
  *proto->mutable_step() = rpc::ToProto(options.step);
  proto->set_target_violation_ratio(published.target_violation_ratio);
  proto->set_advised_allocation(published.advised_allocation);
  if (forecast.violation_price) {
    proto->set_violation_price(*forecast.violation_price);
  }
}

std::vector<v1::Accuracy> AccuraciesOf(const PredictorOptions& options, const Series& series) {
  std::vector<v1::Accuracy> result;
  for (size_t t = 0; t < series.tracks().size(); ++t) {
    const Track& track = series.tracks()[t];
    for (size_t h = 0; h < options.horizons.size(); ++h) {
      const AccuracySums& sums = track.accuracy(h);
      v1::Accuracy& accuracy = result.emplace_back();
      accuracy.set_vm_uuid(series.id().vm_uuid);
      accuracy.set_host_id(series.id().vm_uuid.empty() ? series.id().host_id : "");
      accuracy.set_resource(ToProto(series.id().resource));
      accuracy.set_model(std::string(track.model()->name()));
      *accuracy.mutable_horizon() = rpc::ToProto(options.horizons[h] * options.step);
      accuracy.set_step_count(sums.step_count);
      accuracy.set_bias(sums.Average(sums.bias));
      accuracy.set_mean_absolute_error(sums.Average(sums.absolute_error));
      accuracy.set_pinball_loss(sums.Average(sums.pinball_loss));
      for (size_t r = 0; r < options.ratios.size(); ++r) {
        v1::QuantileCoverage* coverage = accuracy.add_coverage();
        coverage->set_ratio(options.ratios[r]);
        coverage->set_observed_ratio(sums.Average(sums.covered[r]));
      }
      accuracy.set_under_estimate_ratio(sums.Average(sums.under_estimates));
      accuracy.set_under_estimate_depth_ratio(
          sums.under_estimates > 0 ? sums.under_estimate_depth / sums.under_estimates : 0);
      accuracy.set_over_allocation_ratio(sums.demand > 0 ? sums.allocation / sums.demand : 0);
      accuracy.set_target_violation_ratio(
          series.target_violation_ratio.value_or(options.target_violation_ratio));
      accuracy.set_is_shadow(t > 0);
      if (t > 0 && h == 0 && series.challenge().is_telling()) {
        accuracy.set_advantage(series.challenge().advantage());
      }
    }
  }
  return result;
}

PredictorEngine::Position PositionOf(const SeriesId& id) {
  // A VM is found by its UUID alone.
  return {.vm_uuid = id.vm_uuid,
          .host_id = id.vm_uuid.empty() ? id.host_id : std::string(),
          .resource = static_cast<int>(id.resource)};
}

std::string EncodePageToken(const PageToken& token) {
  return absl::WebSafeBase64Escape(
      absl::StrJoin({absl::StrCat(token.position.resource), absl::StrCat(token.rows_done),
                     token.position.host_id, token.position.vm_uuid},
                    absl::string_view(&kTokenSeparator, 1)));
}

absl::StatusOr<PageToken> DecodePageToken(const std::string& text) {
  PageToken token;
  if (text.empty()) {
    return token;
  }
  std::string plain;
  std::vector<std::string> parts;
  if (text.size() < 1024 && absl::WebSafeBase64Unescape(text, &plain)) {
    parts = absl::StrSplit(plain, kTokenSeparator);
  }
  if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &token.position.resource) ||
      token.position.resource < -1 || token.position.resource >= kResourceCount ||
      !absl::SimpleAtoi(parts[1], &token.rows_done) || token.rows_done < 0) {
    Violations violations;
    violations.Add("page_token", text.substr(0, 100), "a next_page_token of an earlier answer");
    return violations.ToStatus();
  }
  token.position.host_id = parts[2];
  token.position.vm_uuid = parts[3];
  return token;
}

}  // namespace cloudscale::predictor
