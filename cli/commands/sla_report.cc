#include <cmath>
#include <fstream>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/commands/sla_latencies.h"
#include "cli/render/compliance_plot.h"
#include "cli/render/spark.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using sla::v1::SlaService;

constexpr int kSparkWidth = 24;
constexpr char kSvg[] = ".svg";

std::optional<double> Seconds(bool is_there, const google::protobuf::Duration& duration) {
  return is_there ? std::make_optional(absl::ToDoubleSeconds(rpc::FromProto(duration)))
                  : std::nullopt;
}

std::string LatencyText(bool is_there, const google::protobuf::Duration& duration) {
  return is_there ? DurationText(rpc::FromProto(duration)) : "-";
}

std::optional<double> ComplianceOf(const sla::v1::ComplianceBucket& bucket) {
  return RatioOf(static_cast<double>(bucket.good_window_count()),
                 static_cast<double>(bucket.window_count() - bucket.good_window_count()));
}

// An objective's part of the report.
struct Part {
  sla::v1::Compliance compliance;
  sla::v1::GetComplianceSeriesResponse series;
};

// The share of good windows over the whole time, in `width` parts; not a number where nothing was.
std::vector<double> Shape(const Part& part, int width) {
  std::vector<int64_t> good(static_cast<size_t>(width)), all(good);
  const absl::Time start = rpc::FromProto(part.compliance.start_time());
  const absl::Duration length = rpc::FromProto(part.compliance.end_time()) - start;
  for (const auto& bucket : part.series.buckets()) {
    const double share = absl::FDivDuration(rpc::FromProto(bucket.start_time()) - start, length);
    const auto at =
        static_cast<size_t>(std::clamp(share * width, 0.0, static_cast<double>(width - 1)));
    good[at] += bucket.good_window_count();
    all[at] += bucket.window_count();
  }
  std::vector<double> out;
  for (size_t i = 0; i < good.size(); ++i) {
    out.push_back(all[i] == 0 ? std::nan("")
                              : static_cast<double>(good[i]) / static_cast<double>(all[i]));
  }
  return out;
}

CompliancePlot PlotOf(const Part& part) {
  const sla::v1::Objective& objective = part.series.objective();
  CompliancePlot plot;
  plot.title = absl::StrCat(objective.application(), ": ", PromiseText(objective.terms()));
  plot.subtitle = absl::StrCat(
      objective.objective_id(), ", ", TimeText(rpc::FromProto(part.compliance.start_time())),
      " to ", TimeText(rpc::FromProto(part.compliance.end_time())), ", kept ",
      part.compliance.window_count() == 0 ? "-"
                                          : FormatPercent(part.compliance.compliance_ratio()));
  plot.latency_label = "p95";
  if (objective.terms().has_latency()) {
    const auto& latency = objective.terms().latency();
    plot.latency_label = absl::StrFormat("p%g", 100 * latency.percentile_ratio());
    plot.threshold_seconds = absl::ToDoubleSeconds(rpc::FromProto(latency.threshold()));
  }
  plot.target_ratio = objective.terms().target_ratio();
  plot.start = rpc::FromProto(part.compliance.start_time());
  plot.end = rpc::FromProto(part.compliance.end_time());
  plot.bucket = rpc::FromProto(part.series.bucket_duration());
  for (const auto& bucket : part.series.buckets()) {
    plot.points.push_back(
        {.start = rpc::FromProto(bucket.start_time()),
         .latency_seconds = objective.terms().has_latency()
                                ? Seconds(bucket.has_latency_promised(), bucket.latency_promised())
                                : Seconds(bucket.has_latency_p95(), bucket.latency_p95()),
         .compliance_ratio = ComplianceOf(bucket)});
  }
  return plot;
}

class SlaCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"sla",
            "Objectives",
            "how objectives were kept over time, and reporting of response times",
            {"sla report", "sla report --app shop --since 24h --plot shop.svg",
             "sla report --objective shop-p95 --csv > shop.csv",
             "tail -f times.log | cloudscalectl sla report-latencies --app shop --unit ms"}};
  }

  void Register(CLI::App& app) override {
    app.require_subcommand(1);
    CLI::App* report = app.add_subcommand("report", "how objectives were kept over time");
    report->add_option("--app", application_, "only this application")->type_name("NAME");
    report->add_option("--objective", objective_, "only this objective")->type_name("ID");
    AddDuration(*report, "--since", &since_, "how far back (default: each objective's period)");
    AddDuration(*report, "--until", &until_, "end so long ago (default: now)");
    report->add_option("--buckets", buckets_, "at most so many parts of the time (default 240)")
        ->type_name("COUNT")
        ->check(CLI::Range(1, 2200));
    report->add_flag("--csv", is_csv_, "one line for each part of the time");
    report->add_option("--plot", plot_, "also draw an SVG plot into this file")
        ->type_name("FILE.svg");
    report->parse_complete_callback([this] { action_ = &SlaCommand::Report; });

    CLI::App* latencies = app.add_subcommand(
        "report-latencies",
        "reports response times from standard input, one a line; 'error' for a failed request");
    latencies->add_option("--app", latencies_.application, "application that they are of")
        ->type_name("NAME")
        ->required();
    latencies->add_option("--source", latencies_.source_id, "who measured (default: a new name)")
        ->type_name("NAME");
    latencies->add_option("--vm-uuid", latencies_.vm_uuid, "VM that served them, when known")
        ->type_name("UUID");
    AddChoice(*latencies, "--unit", &latencies_.unit, {"s", "ms"}, "of the numbers (default s)");
    AddDuration(*latencies, "--period", &latencies_.period,
                "what is read in this time is reported together (default 1s)");
    latencies->parse_complete_callback([this] { action_ = &SlaCommand::Latencies; });
  }

  absl::Status Run(Session& session) override { return (this->*action_)(session); }

 private:
  absl::Status Latencies(Session& session) { return ReportLatencies(session, latencies_); }

  absl::StatusOr<std::vector<Part>> Ask(Session& session) const {
    sla::v1::GetComplianceRequest request;
    request.set_application(application_);
    request.set_objective_id(objective_);
    sla::v1::GetComplianceResponse all;
    CS_RETURN_IF_ERROR(session.Call(Peer::kSla, &SlaService::Stub::GetCompliance, request, &all));
    if (all.compliances_size() > 0 &&
        (since_ > absl::ZeroDuration() || until_ > absl::ZeroDuration())) {
      // The server's now: its clock may run faster than ours.
      const absl::Time now = rpc::FromProto(all.compliances(0).end_time());
      if (since_ > absl::ZeroDuration()) {
        *request.mutable_start_time() = rpc::ToProto(now - since_);
      }
      *request.mutable_end_time() = rpc::ToProto(now - until_);
      all.Clear();
      CS_RETURN_IF_ERROR(session.Call(Peer::kSla, &SlaService::Stub::GetCompliance, request, &all));
    }
    std::vector<Part> parts;
    for (auto& compliance : *all.mutable_compliances()) {
      sla::v1::GetComplianceSeriesRequest wanted;
      wanted.set_objective_id(compliance.objective_id());
      *wanted.mutable_start_time() = compliance.start_time();
      *wanted.mutable_end_time() = compliance.end_time();
      wanted.set_max_buckets(buckets_);
      Part& part = parts.emplace_back();
      CS_RETURN_IF_ERROR(
          session.Call(Peer::kSla, &SlaService::Stub::GetComplianceSeries, wanted, &part.series));
      part.compliance = std::move(compliance);
    }
    return parts;
  }

  absl::Status Report(Session& session) {
    if (is_csv_ && session.options().is_json) {
      return absl::InvalidArgumentError("--csv and --json: only one of them is allowed");
    }
    if (since_ > absl::ZeroDuration() && since_ <= until_) {
      return absl::InvalidArgumentError(absl::StrCat("--until is ", DurationText(until_),
                                                     ", allowed: less than --since (",
                                                     DurationText(since_), ")"));
    }
    CS_ASSIGN_OR_RETURN(const std::vector<Part> parts, Ask(session));
    if (session.options().is_json) {
      PrintJson(session, parts);
    } else if (is_csv_) {
      PrintCsv(session, parts);
    } else {
      PrintTable(session, parts);
    }
    return plot_.empty() ? absl::OkStatus() : Plot(session, parts);
  }

  static void PrintJson(Session& session, const std::vector<Part>& parts) {
    nlohmann::ordered_json json = {{"compliances", nlohmann::ordered_json::array()},
                                   {"series", nlohmann::ordered_json::array()}};
    for (const Part& part : parts) {
      json["compliances"].push_back(
          nlohmann::ordered_json::parse(MessageToJson(part.compliance, true), nullptr, false));
      json["series"].push_back(
          nlohmann::ordered_json::parse(MessageToJson(part.series, true), nullptr, false));
    }
    session.io().out << json.dump(2) << "\n";
  }

  static void PrintCsv(Session& session, const std::vector<Part>& parts) {
    std::ostream& out = session.io().out;
    out << "objective,application,start,seconds,windows,good_windows,requests,errors,p50_seconds,"
           "p95_seconds,p99_seconds,promised_percentile_seconds\n";
    const auto number = [](const std::optional<double>& value) {
      return value.has_value() ? absl::StrFormat("%.6g", *value) : std::string();
    };
    for (const Part& part : parts) {
      for (const auto& b : part.series.buckets()) {
        out << CsvField(part.compliance.objective_id()) << ","
            << CsvField(part.compliance.application()) << ","
            << absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", rpc::FromProto(b.start_time()),
                                absl::UTCTimeZone())
            << "," << absl::ToInt64Seconds(rpc::FromProto(part.series.bucket_duration())) << ","
            << b.window_count() << "," << b.good_window_count() << "," << b.request_count() << ","
            << b.error_count() << "," << number(Seconds(b.has_latency_p50(), b.latency_p50()))
            << "," << number(Seconds(b.has_latency_p95(), b.latency_p95())) << ","
            << number(Seconds(b.has_latency_p99(), b.latency_p99())) << ","
            << number(Seconds(b.has_latency_promised(), b.latency_promised())) << "\n";
      }
    }
  }

  static std::string CsvField(const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) {
      return text;
    }
    std::string quoted = "\"";
    for (const char c : text) {
      quoted += c == '"' ? "\"\"" : std::string(1, c);
    }
    return quoted + "\"";
  }

  static void PrintTable(Session& session, const std::vector<Part>& parts) {
    Table table({{.title = "OBJECTIVE"},
                 {.title = "APPLICATION"},
                 {.title = "PROMISED", .align = Align::kRight},
                 {.title = "KEPT", .align = Align::kRight},
                 {.title = "BUDGET LEFT", .align = Align::kRight},
                 {.title = "REQUESTS", .align = Align::kRight, .drop_order = 4},
                 {.title = "ERRORS", .align = Align::kRight, .drop_order = 5},
                 {.title = "P50", .align = Align::kRight, .drop_order = 6},
                 {.title = "P95", .align = Align::kRight, .drop_order = 3},
                 {.title = "P99", .align = Align::kRight, .drop_order = 2},
                 {.title = "VIOLATIONS", .align = Align::kRight, .drop_order = 7},
                 {.title = "FOR", .align = Align::kRight, .drop_order = 8},
                 {.title = "GOOD WINDOWS", .drop_order = 1}});
    for (const Part& part : parts) {
      const sla::v1::Compliance& c = part.compliance;
      const bool is_judged = c.window_count() > 0;
      const bool is_missed = is_judged && c.compliance_ratio() < c.target_ratio();
      const std::vector<double> shape = Shape(part, kSparkWidth);
      table.AddRow({{c.objective_id(), Colour::kBold},
                    {c.application()},
                    {FormatPercent(c.target_ratio())},
                    {is_judged ? FormatPercent(c.compliance_ratio()) : "-",
                     is_missed ? Colour::kRed : Colour::kGreen},
                    {is_judged ? FormatPercent(c.budget_remaining_ratio()) : "-"},
                    {absl::StrCat(c.request_count())},
                    {absl::StrCat(c.error_count())},
                    {LatencyText(c.has_latency_p50(), c.latency_p50())},
                    {LatencyText(c.has_latency_p95(), c.latency_p95())},
                    {LatencyText(c.has_latency_p99(), c.latency_p99())},
                    {absl::StrCat(c.violation_count())},
                    {DurationText(rpc::FromProto(c.violation_time()))},
                    {Sparkline(shape, 1.0, kSparkWidth)}});
    }
    session.io().out << (table.empty() ? "no objectives\n"
                                       : table.Render(session.style(), session.width()));
  }

  // With several objectives each gets a file with its id before the ending.
  absl::Status Plot(Session& session, const std::vector<Part>& parts) const {
    for (const Part& part : parts) {
      const std::string& id = part.compliance.objective_id();
      if (id.find('/') != std::string::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat("objective '", id, "' is no name for a file"));
      }
      const std::string path =
          parts.size() == 1 ? plot_ : absl::StrCat(absl::StripSuffix(plot_, kSvg), "-", id, kSvg);
      std::ofstream file(path, std::ios::binary);
      file << RenderCompliancePlot(PlotOf(part));
      file.close();
      if (!file) {
        return absl::InvalidArgumentError(absl::StrCat("cannot write ", path));
      }
      if (!session.options().is_json && !is_csv_) {
        session.io().out << "plot: " << path << "\n";
      }
    }
    return absl::OkStatus();
  }

  std::string application_;
  std::string objective_;
  absl::Duration since_;
  absl::Duration until_;
  int buckets_ = 240;
  bool is_csv_ = false;
  std::string plot_;
  LatencyInput latencies_;
  absl::Status (SlaCommand::*action_)(Session&) = &SlaCommand::Report;
};

}  // namespace

std::unique_ptr<Command> MakeSlaCommand() { return std::make_unique<SlaCommand>(); }

}  // namespace cloudscale::cli
