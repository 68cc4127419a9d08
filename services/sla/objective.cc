#include "services/sla/objective.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cloudscale::sla {
namespace {

constexpr size_t kMaxNameLength = 64;
constexpr size_t kMaxUuidLength = 64;
constexpr int64_t kMaxMinRequests = 1000000000;
constexpr double kMaxSlowPerSecond = 100000;

void CheckDuration(Violations& v, absl::string_view field, absl::Duration value, absl::Duration low,
                   absl::Duration high) {
  if (value < low || value > high) {
    v.Add(field, absl::FormatDuration(value),
          absl::StrCat(absl::FormatDuration(low), " to ", absl::FormatDuration(high)));
  }
}

bool IsIdentifier(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxNameLength &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

// Printable and of bounded length; names end up in logs and labels.
bool IsName(absl::string_view text, size_t max_length) {
  return !text.empty() && text.size() <= max_length &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
}

struct IndicatorValidator {
  const std::string& at;
  Violations& v;

  void operator()(std::monostate) const {
    v.Add(absl::StrCat(at, "terms.indicator"), "", "one of latency, errors, slow_rate");
  }
  void operator()(const LatencyIndicator& latency) const {
    if (latency.threshold <= absl::ZeroDuration() || latency.threshold > absl::Minutes(10)) {
      v.Add(absl::StrCat(at, "terms.latency.threshold"), absl::FormatDuration(latency.threshold),
            "above 0, at most 10m");
    }
    if (!(latency.percentile_ratio > 0.0 && latency.percentile_ratio <= 1.0)) {
      v.Add(absl::StrCat(at, "terms.latency.percentile_ratio"),
            absl::StrCat(latency.percentile_ratio), "above 0, at most 1");
    }
  }
  void operator()(const ErrorIndicator& errors) const {
    if (!(errors.max_error_ratio >= 0.0 && errors.max_error_ratio < 1.0)) {
      v.Add(absl::StrCat(at, "terms.errors.max_error_ratio"), absl::StrCat(errors.max_error_ratio),
            "0 or more, below 1");
    }
  }
  void operator()(const SlowRateIndicator& rate) const {
    RequireInRange(v, absl::StrCat(at, "terms.slow_rate.max_per_second"), rate.max_per_second, 0.0,
                   kMaxSlowPerSecond);
  }
};

void ValidateTerms(const Objective& o, const std::string& at, Violations& v) {
  std::visit(IndicatorValidator{at, v}, o.indicator);
  CheckDuration(v, absl::StrCat(at, "terms.window"), o.window, absl::Seconds(1), absl::Hours(1));
  const bool target_ok = o.target_ratio > 0.0 && o.target_ratio < 1.0;
  if (!target_ok) {
    v.Add(absl::StrCat(at, "terms.target_ratio"), absl::StrCat(o.target_ratio), "above 0, below 1");
  }
  CheckDuration(v, absl::StrCat(at, "terms.period"), o.period, absl::Hours(1),
                absl::Hours(24 * 90));
  if (o.min_request_count < 1 || o.min_request_count > kMaxMinRequests) {
    v.Add(absl::StrCat(at, "terms.min_request_count"), absl::StrCat(o.min_request_count),
          absl::StrCat("1 to ", kMaxMinRequests));
  }
  if (target_ok && o.period >= absl::Hours(1) && o.window >= absl::Seconds(1) &&
      o.period * (1.0 - o.target_ratio) < o.window) {
    v.Add(absl::StrCat(at, "terms.target_ratio"), absl::StrCat(o.target_ratio),
          absl::StrCat("at most ", 1.0 - absl::FDivDuration(o.window, o.period),
                       " for this window and period, else one bad window spends the whole budget"));
  }
}

void ValidateMembers(const Objective& o, const std::string& at, Violations& v) {
  if (o.members.size() > kMaxMembers) {
    v.Add(absl::StrCat(at, "members"), absl::StrCat(o.members.size(), " members"),
          absl::StrCat("at most ", kMaxMembers));
    return;
  }
  std::set<std::pair<std::string, std::pair<std::string, std::string>>> seen;
  for (size_t i = 0; i < o.members.size(); ++i) {
    const Member& member = o.members[i];
    const std::string path = absl::StrCat(at, "members[", i, "]");
    if (!IsName(member.vm_uuid, kMaxUuidLength)) {
      v.Add(absl::StrCat(path, ".vm_uuid"), member.vm_uuid, "a VM's UUID, 1 to 64 characters");
    }
    if (member.backend.empty() != member.server.empty()) {
      v.Add(absl::StrCat(path, ".backend"), member.backend, "set together with server, or neither");
    }
    if (!seen.insert({member.vm_uuid, {member.backend, member.server}}).second) {
      v.Add(path, member.vm_uuid, "each member once");
    }
  }
}

void ValidateBoost(const BoostTerms& boost, const std::string& at, Violations& v) {
  if (!(boost.factor > 1.0 && boost.factor <= 2.0)) {
    v.Add(absl::StrCat(at, "boost.factor"), absl::StrCat(boost.factor), "above 1, at most 2");
  }
  CheckDuration(v, absl::StrCat(at, "boost.duration"), boost.duration, absl::Seconds(1),
                absl::Hours(1));
  CheckDuration(v, absl::StrCat(at, "boost.retrain_interval"), boost.retrain_interval,
                absl::ZeroDuration(), absl::Hours(24 * 90));
}

}  // namespace

void ValidateObjective(const Objective& o, absl::string_view prefix, Violations& v) {
  const std::string at = prefix.empty() ? std::string() : absl::StrCat(prefix, ".");
  if (!IsIdentifier(o.id)) {
    v.Add(absl::StrCat(at, "objective_id"), o.id, "1 to 64 characters of a-z0-9-");
  }
  if (!IsName(o.application, kMaxNameLength)) {
    v.Add(absl::StrCat(at, "application"), o.application,
          "1 to 64 characters without blanks and control characters");
  }
  ValidateTerms(o, at, v);
  ValidateMembers(o, at, v);
  ValidateBoost(o.boost, at, v);
}

bool Overlap(const Objective& a, const Objective& b) {
  if (a.application != b.application || a.window != b.window ||
      a.indicator.index() != b.indicator.index()) {
    return false;
  }
  const auto* latency_a = std::get_if<LatencyIndicator>(&a.indicator);
  const auto* latency_b = std::get_if<LatencyIndicator>(&b.indicator);
  return latency_a == nullptr || latency_b == nullptr ||
         latency_a->percentile_ratio == latency_b->percentile_ratio;
}

double ThresholdOf(const Objective& o) {
  if (const auto* latency = std::get_if<LatencyIndicator>(&o.indicator)) {
    return absl::ToDoubleSeconds(latency->threshold);
  }
  if (const auto* errors = std::get_if<ErrorIndicator>(&o.indicator)) {
    return errors->max_error_ratio;
  }
  if (const auto* rate = std::get_if<SlowRateIndicator>(&o.indicator)) {
    return rate->max_per_second;
  }
  return 0.0;
}

bool SameJudgement(const Objective& a, const Objective& b) {
  return a.application == b.application && a.indicator == b.indicator && a.window == b.window;
}

}  // namespace cloudscale::sla
