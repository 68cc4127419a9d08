#include "services/scaler/decision.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace cloudscale::scaler {
namespace {

// 17 digits bring back the same double.
std::string Exact(double x) { return absl::StrFormat("%.17g", x); }
std::string Exact(const std::optional<double>& x) { return x ? Exact(*x) : "-"; }

}  // namespace

std::string ToReceiptText(const Decision& d) {
  std::string out = absl::StrCat(
      d.decision_id, " at=", absl::ToUnixNanos(d.decided_at), " mode=", static_cast<int>(d.mode),
      " outcome=", static_cast<int>(d.outcome), " usage=", Exact(d.usage),
      " demand=", Exact(d.demand), " quality=", QualityName(d.quality));
  absl::StrAppend(
      &out, " forecast=", Exact(d.forecast), "@", Exact(d.forecast_quantile_ratio), " ", d.model,
      " age=", d.forecast_age ? absl::FormatDuration(*d.forecast_age) : std::string("-"),
      " pad=", Exact(d.padding.total));
  for (const PaddingPart& part : d.padding.parts) {
    absl::StrAppend(&out, ",", static_cast<int>(part.kind), ":", Exact(part.value));
  }
  absl::StrAppend(&out, " wish=", Exact(d.raw_wish));
  for (const ClampStep& c : d.clamps) {
    absl::StrAppend(&out, " clamp", static_cast<int>(c.kind), "[", Exact(c.before), "->",
                    Exact(c.after), " ", c.detail, "]");
  }
  absl::StrAppend(&out, " target=", Exact(d.target), " previous=", Exact(d.previous),
                  " change=", d.wants_change_, " alpha=", Exact(d.alpha),
                  " streak=", d.under_estimate_streak, " reactive=", d.is_reactive,
                  " fast=", d.is_fast_correction);
  for (const Reason& r : d.reasons) {
    absl::StrAppend(&out, " reason", static_cast<int>(r.code), "[", r.text, "]");
  }
  for (const FiringCounter& c : d.counters) {
    absl::StrAppend(&out, " counter[", c.rule, " ", c.current, "/", c.required, "]");
  }
  return out;
}

}  // namespace cloudscale::scaler
