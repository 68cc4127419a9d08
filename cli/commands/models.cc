#include <map>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

using predictor::v1::PredictorService;

class AccuracyCommand : public Command {
 public:
  CommandInfo info() const override {
    return {
        "accuracy",
        "Forecasting",
        "how good the forecasts were, per VM, model and horizon",
        {"accuracy --league", "accuracy web-1 --resource cpu", "accuracy --model markov --json"}};
  }

  void Register(CLI::App& app) override {
    AddVm(app, "vm", &vm_, "only this VM");
    AddChoice(app, "--resource,-r", &resource_, {"cpu", "memory"}, "only this one");
    app.add_option("--model,-m", model_, "only this model")->type_name("NAME");
    app.add_flag("--league", is_league_, "one line per model and horizon, over all series");
  }

  absl::Status Run(Session& session) override {
    predictor::v1::ListAccuracyResponse all;
    if (vm_.empty()) {
      predictor::v1::ListAccuracyRequest request;
      request.set_model(model_);
      request.set_resource(ResourceOf(resource_));
      CS_RETURN_IF_ERROR(session.CallAllPages(
          Peer::kPredictor, &PredictorService::Stub::ListAccuracy, request, &all));
    } else {
      CS_RETURN_IF_ERROR(ReadOne(session, &all));
    }
    if (session.options().is_json) {
      session.PrintJson(all);
    } else if (is_league_) {
      PrintLeague(session, all);
    } else {
      Print(session, all);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadOne(Session& session, predictor::v1::ListAccuracyResponse* all) const {
    CS_ASSIGN_OR_RETURN(const VmRef vm, ResolveVm(session, vm_));
    predictor::v1::GetAccuracyRequest request;
    request.set_vm_uuid(vm.uuid);
    request.set_resource(ResourceOf(resource_));
    predictor::v1::GetAccuracyResponse one;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kPredictor, &PredictorService::Stub::GetAccuracy, request, &one));
    for (const auto& accuracy : one.accuracies()) {
      if (model_.empty() || accuracy.model() == model_) {
        *all->add_accuracies() = accuracy;
      }
    }
    return absl::OkStatus();
  }

  // A shadow's advantage is told where it is measured.
  static std::string ModelText(const predictor::v1::Accuracy& a) {
    return absl::StrCat(a.model(), !a.is_shadow() ? ""
                                   : a.has_advantage()
                                       ? absl::StrFormat(" (shadow, %+.1f s.e.)", a.advantage())
                                       : " (shadow)");
  }

  static void Print(Session& session, const predictor::v1::ListAccuracyResponse& all) {
    Table table({{.title = "SERIES", .min_width = 8},
                 {.title = "RESOURCE"},
                 {.title = "MODEL", .min_width = 8},
                 {.title = "HORIZON", .align = Align::kRight},
                 {.title = "STEPS", .align = Align::kRight},
                 {.title = "MAE", .align = Align::kRight},
                 {.title = "BIAS", .align = Align::kRight, .drop_order = 2},
                 {.title = "PINBALL", .align = Align::kRight, .drop_order = 3},
                 {.title = "UNDER", .align = Align::kRight},
                 {.title = "OVER", .align = Align::kRight},
                 {.title = "COVERAGE", .drop_order = 1, .min_width = 16}});
    for (const auto& a : all.accuracies()) {
      const Unit unit = UnitOf(a.resource());
      std::vector<std::string> coverage;
      for (const auto& c : a.coverage()) {
        coverage.push_back(
            absl::StrFormat("p%g:%.0f%%", c.ratio() * 100.0, c.observed_ratio() * 100.0));
      }
      table.AddRow({{a.vm_uuid().empty() ? absl::StrCat("host ", a.host_id()) : a.vm_uuid()},
                    {EnumText(a.resource())},
                    {ModelText(a)},
                    {DurationText(rpc::FromProto(a.horizon()))},
                    {absl::StrCat(a.step_count())},
                    {FormatValue(unit, a.mean_absolute_error())},
                    {FormatValue(unit, a.bias())},
                    {FormatValue(unit, a.pinball_loss())},
                    {FormatPercent(a.under_estimate_ratio())},
                    {absl::StrFormat("x%.2f", a.over_allocation_ratio())},
                    {absl::StrJoin(coverage, " ")}});
    }
    session.io().out << (table.empty() ? "nothing was judged yet\n"
                                       : table.Render(session.style(), session.width()));
  }

  // Means over the series, each counting alike. The best are those with the least allocation that
  // stay within the target.
  static void PrintLeague(Session& session, const predictor::v1::ListAccuracyResponse& all) {
    struct Line {
      int64_t series = 0;
      int64_t steps = 0;
      double under = 0;
      double depth = 0;
      double over = 0;
      double target = 0;
    };
    std::map<std::tuple<int, absl::Duration, std::string>, Line> lines;
    for (const auto& a : all.accuracies()) {
      if (a.step_count() == 0) {
        continue;
      }
      Line& line = lines[{a.resource(), rpc::FromProto(a.horizon()), a.model()}];
      ++line.series;
      line.steps += a.step_count();
      line.under += a.under_estimate_ratio();
      line.depth += a.under_estimate_depth_ratio();
      line.over += a.over_allocation_ratio();
      line.target += a.target_violation_ratio();
    }
    Table table({{.title = "RESOURCE"},
                 {.title = "HORIZON", .align = Align::kRight},
                 {.title = "MODEL", .min_width = 8},
                 {.title = "SERIES", .align = Align::kRight},
                 {.title = "STEPS", .align = Align::kRight, .drop_order = 2},
                 {.title = "UNDER", .align = Align::kRight},
                 {.title = "TARGET", .align = Align::kRight},
                 {.title = "DEPTH", .align = Align::kRight, .drop_order = 1},
                 {.title = "OVER", .align = Align::kRight}});
    for (const auto& [key, line] : lines) {
      const auto series = static_cast<double>(line.series);
      table.AddRow({{EnumText(static_cast<common::v1::Resource>(std::get<0>(key)))},
                    {DurationText(std::get<1>(key))},
                    {std::get<2>(key), Colour::kBold},
                    {absl::StrCat(line.series)},
                    {absl::StrCat(line.steps)},
                    {FormatPercent(line.under / series)},
                    {FormatPercent(line.target / series)},
                    {FormatPercent(line.depth / series)},
                    {absl::StrFormat("x%.2f", line.over / series)}});
    }
    session.io().out << (table.empty() ? "nothing was judged yet\n"
                                       : table.Render(session.style(), session.width()));
  }

  std::string vm_;
  std::string resource_;
  std::string model_;
  bool is_league_ = false;
};

class ModelsCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"models", "Forecasting", "forecast models that can be chosen", {"models"}};
  }
  void Register(CLI::App&) override {}

  absl::Status Run(Session& session) override {
    predictor::v1::ListModelsResponse all;
    CS_RETURN_IF_ERROR(session.CallAllPages(Peer::kPredictor, &PredictorService::Stub::ListModels,
                                            predictor::v1::ListModelsRequest(), &all));
    if (session.options().is_json) {
      session.PrintJson(all);
      return absl::OkStatus();
    }
    Table table({{.title = "MODEL"},
                 {.title = "SERIES", .align = Align::kRight},
                 {.title = "DESCRIPTION", .min_width = 30},
                 {.title = "SOURCE", .drop_order = 1, .min_width = 16}});
    for (const auto& model : all.models()) {
      table.AddRow(
          {{absl::StrCat(model.name(), model.is_default() ? " (default)" : ""), Colour::kBold},
           {absl::StrCat(model.series_count())},
           {model.description()},
           {model.source()}});
    }
    session.io().out << table.Render(session.style(), session.width());
    return absl::OkStatus();
  }
};

class RetrainCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"retrain",
            "Forecasting",
            "train the models of VMs anew from their history",
            {"retrain web-1", "retrain web-1 db-1 --resource cpu --detail 'new release'"}};
  }

  void Register(CLI::App& app) override {
    app.add_option("vms", vms_, "the VMs")->type_name(kVmType)->required();
    AddChoice(app, "--resource,-r", &resource_, {"cpu", "memory"}, "only this one");
    app.add_option("--detail", detail_, "why, for the log");
    app.add_flag("--dry-run", is_dry_run_, "let the server check it and change nothing");
  }

  absl::Status Run(Session& session) override {
    predictor::v1::RetrainRequest request;
    for (const std::string& vm : vms_) {
      CS_ASSIGN_OR_RETURN(const VmRef ref, ResolveVm(session, vm));
      request.add_vm_uuids(ref.uuid);
    }
    request.set_resource(ResourceOf(resource_));
    request.set_reason(predictor::v1::RETRAIN_REASON_OPERATOR);
    request.set_detail(detail_);
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run_);
    predictor::v1::RetrainResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kPredictor, &PredictorService::Stub::Retrain, request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    session.io().out << FormatCount(response.series_count(), "series", "series")
                     << (is_dry_run_ ? " would be" : "") << " taken up, "
                     << response.skipped_count()
                     << " left alone (not known, or trained only just now)\n";
    return absl::OkStatus();
  }

 private:
  std::vector<std::string> vms_;
  std::string resource_;
  std::string detail_;
  bool is_dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeAccuracyCommand() { return std::make_unique<AccuracyCommand>(); }
std::unique_ptr<Command> MakeModelsCommand() { return std::make_unique<ModelsCommand>(); }
std::unique_ptr<Command> MakeRetrainCommand() { return std::make_unique<RetrainCommand>(); }

}  // namespace cloudscale::cli
