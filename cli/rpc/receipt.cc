#include "cli/rpc/receipt.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::cli {
namespace {

constexpr int kDefaultWidth = 100;
constexpr int kRecentShown = 5;
constexpr int kLabelWidth = 12;

std::string Line(absl::string_view label, absl::string_view text) {
  return absl::StrCat("  ", Fit(label, kLabelWidth), text, "\n");
}

std::string Percentile(double ratio) { return absl::StrFormat("p%g", ratio * 100.0); }

std::string Inputs(const scaler::v1::Decision& d, Unit unit) {
  std::string text = Line(
      "inputs",
      absl::StrCat("usage ", FormatQuantity(unit, CLOUDSCALE_CLI_OPTIONAL(d, usage)), ", demand ",
                   FormatQuantity(unit, CLOUDSCALE_CLI_OPTIONAL(d, demand)), ", sample ",
                   EnumText(d.sample_quality()), " (number ", d.header().sequence(), ")"));
  if (d.under_estimate_streak() > 0 || d.alpha() > 1.0) {
    absl::StrAppend(
        &text, Line("correction",
                    absl::StrCat("factor ", FormatCores(d.alpha()), " after ",
                                 FormatCount(d.under_estimate_streak(), "under-estimate in a row",
                                             "under-estimates in a row"))));
  }
  return text;
}

const common::v1::Forecast* ForecastOf(const scaler::v1::ExplainVmResponse& response,
                                       common::v1::Resource resource) {
  for (const auto& forecast : response.forecasts()) {
    if (forecast.resource() == resource) {
      return &forecast;
    }
  }
  return nullptr;
}

std::string ForecastText(const scaler::v1::Decision& d, const common::v1::Forecast* forecast,
                         Unit unit) {
  if (!d.has_forecast()) {
    return Line("forecast", d.is_reactive() ? "none usable: reacts to what it sees" : "none used");
  }
  std::string text = FormatQuantity(unit, d.forecast());
  if (d.forecast_quantile_ratio() > 0.0) {
    absl::StrAppend(&text, " = ", Percentile(d.forecast_quantile_ratio()));
  }
  if (!d.model().empty()) {
    absl::StrAppend(&text, " of model ", Printable(d.model()));
  }
  if (d.has_forecast_age()) {
    absl::StrAppend(&text, ", ", DurationText(rpc::FromProto(d.forecast_age())), " old");
  }
  std::string result = Line("forecast", text);
  if (forecast == nullptr) {
    return result;
  }
  for (const auto& horizon : forecast->horizons()) {
    std::vector<std::string> quantiles;
    for (const auto& q : horizon.quantiles()) {
      quantiles.push_back(absl::StrCat(Percentile(q.ratio()), " ", FormatValue(unit, q.value())));
    }
    absl::StrAppend(
        &result, Line("", absl::StrCat("within ", DurationText(rpc::FromProto(horizon.horizon())),
                                       ": ", absl::StrJoin(quantiles, "  "), "  expected ",
                                       FormatValue(unit, horizon.expected()))));
  }
  if (!forecast->reason().empty()) {
    absl::StrAppend(&result,
                    Line("", absl::StrCat("chosen because ", Printable(forecast->reason()))));
  }
  return result;
}

std::string PaddingText(const scaler::v1::Decision& d, Unit unit) {
  std::vector<std::string> parts;
  for (const auto& part : d.padding().parts()) {
    parts.push_back(absl::StrCat(EnumText(part.kind()), " ", FormatValue(unit, part.value())));
  }
  return Line("padding", absl::StrCat(FormatQuantity(unit, d.padding().total()),
                                      parts.empty() ? "" : ": ", absl::StrJoin(parts, ", ")));
}

std::string ClampsText(const scaler::v1::Decision& d, Unit unit) {
  std::string text = Line("raw wish", FormatQuantity(unit, d.raw_wish()));
  int number = 0;
  for (const auto& clamp : d.clamps()) {
    absl::StrAppend(
        &text, Line(absl::StrCat("clamp ", ++number),
                    absl::StrCat(FormatValue(unit, clamp.before()), " -> ",
                                 FormatValue(unit, clamp.after()), "  ", EnumText(clamp.kind()),
                                 clamp.detail().empty() ? "" : ": ", Printable(clamp.detail()))));
  }
  return text;
}

std::string TargetText(const scaler::v1::Decision& d, Unit unit, const Style& style) {
  std::string text = style.Paint(Colour::kBold, FormatQuantity(unit, d.target()));
  if (d.has_previous()) {
    absl::StrAppend(&text, ", was ", FormatQuantity(unit, d.previous()));
    if (d.previous() > 0.0 && std::isfinite(d.target())) {
      absl::StrAppend(&text,
                      absl::StrFormat(" (%+.1f %%)", (d.target() / d.previous() - 1.0) * 100.0));
    }
  } else {
    absl::StrAppend(&text, ", was uncapped or not known");
  }
  return Line("target", text);
}

std::string CounterText(const scaler::v1::FiringCounter& counter) {
  std::string text =
      absl::StrCat(Printable(counter.rule()), " ", counter.current(), " of ", counter.required());
  if (counter.has_remaining()) {
    absl::StrAppend(&text, ", ", DurationText(rpc::FromProto(counter.remaining())), " left");
  }
  return text;
}

std::string DecisionText(const scaler::v1::ExplainVmResponse& response,
                         const scaler::v1::Decision& d, const Style& style, int width) {
  const Unit unit = UnitOf(d.resource());
  std::string text = absl::StrCat(style.Paint(Colour::kBold, EnumText(d.resource())), "  ",
                                  EnumText(d.outcome()), "  mode ", EnumText(d.mode()),
                                  "  decided ", TimeText(rpc::FromProto(d.decided_at())), "\n");
  absl::StrAppend(&text, Inputs(d, unit), ForecastText(d, ForecastOf(response, d.resource()), unit),
                  PaddingText(d, unit), ClampsText(d, unit), TargetText(d, unit, style));
  const int text_width = (width > 0 ? width : kDefaultWidth) - kLabelWidth - 2;
  for (int i = 0; i < d.reasons_size(); ++i) {
    const std::string wrapped =
        Wrap(Printable(ReasonText(d.reasons(i))), text_width, Repeat(" ", kLabelWidth + 2));
    absl::StrAppend(&text, "  ", Fit(i == 0 ? "because" : "", kLabelWidth),
                    wrapped.substr(static_cast<size_t>(kLabelWidth) + 2));
  }
  for (int i = 0; i < d.counters_size(); ++i) {
    absl::StrAppend(&text, Line(i == 0 ? "waiting" : "", CounterText(d.counters(i))));
  }
  for (int i = 0; i < d.alternatives_size(); ++i) {
    const auto& a = d.alternatives(i);
    absl::StrAppend(
        &text, Line(i == 0 ? "other ways" : "",
                    absl::StrCat(a.is_chosen() ? "* " : "  ", Printable(a.description()),
                                 "  price ", FormatCores(a.price()), "  ", Printable(a.reason()))));
  }
  absl::StrAppend(&text, Line("receipt", absl::StrCat(Printable(d.decision_id()),
                                                      d.action_id().empty() ? "" : "  action ",
                                                      Printable(d.action_id()))));
  return text;
}

std::string RecentText(const scaler::v1::ExplainVmResponse& response) {
  std::string text;
  for (int i = 0; i < response.recent_actions_size() && i < kRecentShown; ++i) {
    const auto& a = response.recent_actions(i);
    absl::StrAppend(&text, "  ", TimeText(rpc::FromProto(a.created_at())), "  ", EnumText(a.kind()),
                    " ", ActionValueText(a.before()), " -> ", ActionValueText(a.target()), "  ",
                    EnumText(a.state()), a.error().empty() ? "" : ": ", Printable(a.error()), "\n");
  }
  return text.empty() ? "" : absl::StrCat("recent actions\n", text);
}

std::string BoostsText(const scaler::v1::ExplainVmResponse& response) {
  std::string text;
  for (const auto& boost : response.boosts()) {
    absl::StrAppend(&text, "boost ", EnumText(boost.resource()), " x", FormatCores(boost.factor()),
                    " until ", TimeText(rpc::FromProto(boost.expires_at())), " for objective ",
                    Printable(boost.objective_id()), "\n");
  }
  for (const auto& conflict : response.conflicts()) {
    absl::StrAppend(&text, "conflict ", Printable(conflict.conflict_id()), " ",
                    EnumText(conflict.resource()), " ", EnumText(conflict.state()), ", short by ",
                    FormatQuantity(UnitOf(conflict.resource()), conflict.degree()), "\n");
  }
  return text;
}

}  // namespace

std::string RenderReceipt(const scaler::v1::ExplainVmResponse& response, const Style& style,
                          int width) {
  const auto& status = response.status();
  std::string text = absl::StrCat(style.Paint(Colour::kBold, Printable(status.name())), "  ",
                                  Printable(status.vm_uuid()), "  mode ", EnumText(status.mode()),
                                  "  class ", EnumText(status.service_class()), "\n");
  if (const std::string pause = PauseText(status.pause()); !pause.empty()) {
    absl::StrAppend(&text, style.Paint(Colour::kYellow, Printable(pause)), "\n");
  }
  for (const auto& decision : response.decisions()) {
    absl::StrAppend(&text, "\n", DecisionText(response, decision, style, width));
  }
  if (response.decisions().empty()) {
    absl::StrAppend(&text, "\nno decision yet\n");
  }
  const std::string rest = absl::StrCat(BoostsText(response), RecentText(response));
  return rest.empty() ? text : absl::StrCat(text, "\n", rest);
}

}  // namespace cloudscale::cli
