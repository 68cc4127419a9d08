#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/render/chart.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

constexpr int kDefaultWidth = 80;
constexpr double kMiddleRatio = 0.5;

std::string QuantileName(double ratio) {
  const double percent = ratio * 100.0;
  return percent == std::floor(percent) ? absl::StrCat("p", static_cast<int>(percent))
                                        : absl::StrCat("p", percent);
}

// The quantile next to the median.
const common::v1::QuantileValue* Middle(const common::v1::HorizonForecast& horizon) {
  const common::v1::QuantileValue* best = nullptr;
  for (const auto& q : horizon.quantiles()) {
    if (best == nullptr ||
        std::abs(q.ratio() - kMiddleRatio) < std::abs(best->ratio() - kMiddleRatio)) {
      best = &q;
    }
  }
  return best;
}

class ForecastCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"forecast",
            "Forecasting",
            "forecast of a VM, with a chart of the past and what is expected",
            {"forecast web-1", "forecast web-1 --resource memory --history 30m",
             "forecast web-1 --model markov --json"}};
  }

  void Register(CLI::App& app) override {
    AddVm(app, "vm", &vm_, "the VM")->required();
    AddChoice(app, "--resource,-r", &resource_, {"cpu", "memory"}, "which (default cpu)");
    app.add_option("--model,-m", model_, "of this model instead of the one in use")
        ->type_name("NAME");
    AddDuration(app, "--history", &history_, "how far back the chart goes (default 10m)");
    app.add_option("--width", width_, "of the chart (default: the terminal's)")
        ->check(CLI::Range(40, 500));
    app.add_option("--height", height_, "of the chart (default 12)")->check(CLI::Range(4, 100));
  }

  absl::Status Run(Session& session) override {
    CS_ASSIGN_OR_RETURN(const VmRef vm, ResolveVm(session, vm_));
    const auto resource =
        resource_ == "memory" ? common::v1::RESOURCE_MEMORY : common::v1::RESOURCE_CPU;
    predictor::v1::GetForecastRequest request;
    request.set_vm_uuid(vm.uuid);
    request.set_resource(resource);
    request.set_model(model_);
    predictor::v1::GetForecastResponse response;
    CS_RETURN_IF_ERROR(session.Call(
        Peer::kPredictor, &predictor::v1::PredictorService::Stub::GetForecast, request, &response));
    monitor::v1::ListSamplesResponse samples;
    const absl::Status has_history = ReadHistory(session, vm.uuid, &samples);
    if (session.options().is_json) {
      return PrintJson(session, response, samples);
    }
    if (!has_history.ok()) {
      session.io().err << "cloudscalectl: no history: " << has_history.message() << "\n";
    }
    PrintText(session, vm, resource, response, samples);
    return absl::OkStatus();
  }

 private:
  absl::Status ReadHistory(Session& session, const std::string& uuid,
                           monitor::v1::ListSamplesResponse* samples) const {
    // The window ends at the newest sample, not now: a replay's clock is not ours.
    monitor::v1::GetVmRequest newest_request;
    newest_request.set_vm_uuid(uuid);
    monitor::v1::GetVmResponse newest;
    CS_RETURN_IF_ERROR(session.Call(Peer::kMonitor, &monitor::v1::MonitorService::Stub::GetVm,
                                    newest_request, &newest));
    monitor::v1::ListSamplesRequest request;
    request.set_vm_uuid(uuid);
    *request.mutable_start_time() =
        rpc::ToProto(rpc::FromProto(newest.vm().header().sample_time()) - history_);
    return session.CallAllPages(Peer::kMonitor, &monitor::v1::MonitorService::Stub::ListSamples,
                                request, samples);
  }

  static absl::Status PrintJson(Session& session,
                                const predictor::v1::GetForecastResponse& response,
                                const monitor::v1::ListSamplesResponse& samples) {
    nlohmann::ordered_json json =
        nlohmann::ordered_json::parse(MessageToJson(response, true), nullptr, false);
    json["samples"] =
        nlohmann::ordered_json::parse(MessageToJson(samples, true), nullptr, false)["samples"];
    session.io().out << json.dump(2) << "\n";
    return absl::OkStatus();
  }

  ForecastChart MakeChart(common::v1::Resource resource, const common::v1::Forecast& forecast,
                          const monitor::v1::ListSamplesResponse& samples) const {
    const bool is_memory = resource == common::v1::RESOURCE_MEMORY;
    ForecastChart chart;
    chart.unit = UnitOf(resource);
    chart.now = rpc::FromProto(forecast.made_at());
    for (const auto& timed : samples.samples()) {
      const auto& s = timed.sample();
      ChartSample sample{.time = rpc::FromProto(timed.header().sample_time())};
      if (is_memory) {
        sample.demand = s.has_memory_demand_bytes()
                            ? CLOUDSCALE_CLI_OPTIONAL(s, memory_demand_bytes)
                            : CLOUDSCALE_CLI_OPTIONAL(s, memory_used_bytes);
        sample.cap = CLOUDSCALE_CLI_OPTIONAL(s, memory_target_bytes);
      } else {
        sample.demand = s.has_cpu_demand_cores() ? CLOUDSCALE_CLI_OPTIONAL(s, cpu_demand_cores)
                                                 : CLOUDSCALE_CLI_OPTIONAL(s, cpu_usage_cores);
        sample.cap = CLOUDSCALE_CLI_OPTIONAL(s, cpu_cap_cores);
      }
      chart.now = std::max(chart.now, sample.time);
      chart.cap = sample.cap;
      chart.history.push_back(sample);
    }
    for (const auto& horizon : forecast.horizons()) {
      // A horizon of hours would leave no room for the past; the table has it.
      const bool is_too_long =
          !chart.horizons.empty() && rpc::FromProto(horizon.horizon()) > history_;
      if (horizon.quantiles_size() == 0 || is_too_long) {
        continue;
      }
      chart.horizons.push_back({.horizon = rpc::FromProto(horizon.horizon()),
                                .low = horizon.quantiles(0).value(),
                                .middle = Middle(horizon)->value(),
                                .high = horizon.quantiles(horizon.quantiles_size() - 1).value()});
      chart.low_label = QuantileName(horizon.quantiles(0).ratio());
      chart.middle_label = QuantileName(Middle(horizon)->ratio());
      chart.high_label = QuantileName(horizon.quantiles(horizon.quantiles_size() - 1).ratio());
    }
    return chart;
  }

  void PrintText(Session& session, const VmRef& vm, common::v1::Resource resource,
                 const predictor::v1::GetForecastResponse& response,
                 const monitor::v1::ListSamplesResponse& samples) const {
    const common::v1::Forecast& forecast = response.forecast();
    const Style style = session.style();
    const Unit unit = UnitOf(resource);
    auto& out = session.io().out;
    out << style.Paint(Colour::kBold, Printable(vm.name.empty() ? vm.uuid : vm.name)) << "  "
        << resource_ << (unit == Unit::kCores ? " (cores)" : "") << "  model "
        << Printable(forecast.model()) << (forecast.is_warm() ? "" : "  not warm yet") << "  "
        << DurationText(rpc::FromProto(response.age())) << " old\n";
    if (!forecast.reason().empty()) {
      out << "  " << Printable(forecast.reason()) << "\n";
    }
    const int width = width_ > 0 ? width_ : session.width() > 0 ? session.width() : kDefaultWidth;
    out << RenderForecastChart(MakeChart(resource, forecast, samples),
                               {.width = width, .height = height_}, style);
    out << HorizonTable(forecast, unit).Render(style, session.width());
    if (forecast.padding().total() > 0.0) {
      out << "padding " << FormatQuantity(unit, forecast.padding().total());
      for (const auto& part : forecast.padding().parts()) {
        out << ", " << EnumText(part.kind()) << " " << FormatValue(unit, part.value());
      }
      out << "\n";
    }
  }

  static Table HorizonTable(const common::v1::Forecast& forecast, Unit unit) {
    std::vector<Column> columns = {{.title = "WITHIN"}};
    if (!forecast.horizons().empty()) {
      for (const auto& q : forecast.horizons(0).quantiles()) {
        columns.push_back({.title = QuantileName(q.ratio()), .align = Align::kRight});
      }
    }
    const size_t count = columns.size();
    columns.push_back({.title = "EXPECTED", .align = Align::kRight});
    Table table(std::move(columns));
    for (const auto& horizon : forecast.horizons()) {
      std::vector<Cell> row = {{DurationText(rpc::FromProto(horizon.horizon()))}};
      for (int i = 0; i + 1 < static_cast<int>(count); ++i) {
        row.push_back(
            {i < horizon.quantiles_size() ? FormatValue(unit, horizon.quantiles(i).value()) : "-"});
      }
      row.push_back({FormatValue(unit, horizon.expected())});
      table.AddRow(std::move(row));
    }
    return table;
  }

  std::string vm_;
  std::string resource_ = "cpu";
  std::string model_;
  absl::Duration history_ = absl::Minutes(10);
  int width_ = 0;
  int height_ = 12;
};

}  // namespace

std::unique_ptr<Command> MakeForecastCommand() { return std::make_unique<ForecastCommand>(); }

}  // namespace cloudscale::cli
