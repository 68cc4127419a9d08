#include "cli/rpc/proto_text.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::cli {
namespace {

// `SAMPLE_QUALITY_` for the type SampleQuality: what all its values begin with.
std::string PrefixOf(const google::protobuf::EnumDescriptor& type) {
  std::string prefix;
  for (const char c : type.name()) {
    if (absl::ascii_isupper(static_cast<unsigned char>(c)) && !prefix.empty()) {
      prefix.push_back('_');
    }
    prefix.push_back(absl::ascii_toupper(static_cast<unsigned char>(c)));
  }
  return prefix + "_";
}

}  // namespace

std::string EnumText(const google::protobuf::EnumDescriptor* type, int value) {
  if (value == 0) {
    return "-";
  }
  const google::protobuf::EnumValueDescriptor* found = type->FindValueByNumber(value);
  return found == nullptr ? absl::StrCat(value) : ShortEnum(found->name(), PrefixOf(*type));
}

common::v1::Resource ResourceOf(absl::string_view word) {
  return word == "cpu"      ? common::v1::RESOURCE_CPU
         : word == "memory" ? common::v1::RESOURCE_MEMORY
                            : common::v1::RESOURCE_UNSPECIFIED;
}

Unit UnitOf(common::v1::Resource resource) {
  return resource == common::v1::RESOURCE_MEMORY ? Unit::kBytes : Unit::kCores;
}

std::string ReasonText(const scaler::v1::Reason& reason) {
  if (reason.code() == scaler::v1::REASON_CODE_UNSPECIFIED) {
    return reason.text().empty() ? "-" : reason.text();
  }
  const std::string code = EnumText(reason.code());
  return reason.text().empty() ? code : absl::StrCat(code, ": ", reason.text());
}

bool IsPaused(const scaler::v1::PauseState& pause) {
  return pause.pause_grow() || pause.pause_shrink() || pause.pause_migrate();
}

std::string PauseText(const scaler::v1::PauseState& pause) {
  std::vector<std::string> directions;
  if (pause.pause_grow()) {
    directions.push_back("grow");
  }
  if (pause.pause_shrink()) {
    directions.push_back("shrink");
  }
  if (pause.pause_migrate()) {
    directions.push_back("migrate");
  }
  if (directions.empty()) {
    return "";
  }
  std::string text = absl::StrCat(absl::StrJoin(directions, ", "), " paused");
  if (pause.has_paused_until()) {
    absl::StrAppend(&text, " until ", TimeText(rpc::FromProto(pause.paused_until())));
  }
  if (!pause.reason().empty()) {
    absl::StrAppend(&text, ": ", pause.reason());
  }
  return text;
}

std::string ActionValueText(const scaler::v1::ActionValue& value) {
  using Value = scaler::v1::ActionValue;
  switch (value.value_case()) {
    case Value::kCpuCapCores:
      return value.cpu_cap_cores() == 0.0 ? "uncapped"
                                          : FormatQuantity(Unit::kCores, value.cpu_cap_cores());
    case Value::kCpuWeight:
      return absl::StrCat("weight ", FormatCores(value.cpu_weight()));
    case Value::kMemoryTargetBytes:
      return FormatBytes(static_cast<double>(value.memory_target_bytes()));
    case Value::kVcpuCount:
      return FormatCount(value.vcpu_count(), "vCPU", "vCPUs");
    case Value::kHostId:
      return value.host_id();
    case Value::kBalancerWeightRatio:
      return FormatPercent(value.balancer_weight_ratio());
    case Value::kFrequencyRatio:
      return FormatPercent(value.frequency_ratio());
    case Value::VALUE_NOT_SET:
      break;
  }
  return "-";
}

std::string PromiseText(const sla::v1::ObjectiveTerms& terms) {
  std::string text;
  if (terms.has_latency()) {
    text = absl::StrCat(FormatPercent(terms.latency().percentile_ratio()), " of requests within ",
                        DurationText(rpc::FromProto(terms.latency().threshold())));
  } else if (terms.has_errors()) {
    text = absl::StrCat("at most ", FormatPercent(terms.errors().max_error_ratio()), " errors");
  } else if (terms.has_slow_rate()) {
    text = absl::StrCat("at most ", terms.slow_rate().max_per_second(), " slow requests a second");
  }
  return absl::StrCat(text, ", in ", FormatPercent(terms.target_ratio()), " of ",
                      DurationText(rpc::FromProto(terms.window())), " windows");
}

}  // namespace cloudscale::cli
