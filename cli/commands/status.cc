#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/exit_code.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using Json = nlohmann::ordered_json;

// Answers of all services; a service without an answer has its error instead.
class StatusCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"status",
            "Watching",
            "state of all services and sums of the host",
            {"status", "status --json"}};
  }

  void Register(CLI::App&) override {}

  absl::Status Run(Session& session) override {
    errors_ = {session.Call(Peer::kMonitor, &monitor::v1::MonitorService::Stub::GetStatus,
                            monitor::v1::GetStatusRequest(), &monitor_),
               session.Call(Peer::kPredictor, &predictor::v1::PredictorService::Stub::GetStatus,
                            predictor::v1::GetStatusRequest(), &predictor_),
               session.Call(Peer::kScaler, &scaler::v1::ScalerService::Stub::GetStatus,
                            scaler::v1::GetStatusRequest(), &scaler_),
               session.Call(Peer::kSla, &sla::v1::SlaService::Stub::GetStatus,
                            sla::v1::GetStatusRequest(), &sla_),
               session.Call(Peer::kLbctl, &lbctl::v1::BalancerService::Stub::GetStatus,
                            lbctl::v1::GetStatusRequest(), &lbctl_)};
    bool has_answer = false;
    for (const absl::Status& error : errors_) {
      has_answer = has_answer || error.ok();
    }
    if (!has_answer) {
      return errors_[static_cast<size_t>(Peer::kScaler)];
    }
    if (session.options().is_json) {
      PrintJson(session);
    } else {
      PrintText(session);
    }
    return absl::OkStatus();
  }

 private:
  const absl::Status& ErrorOf(Peer peer) const { return errors_[static_cast<size_t>(peer)]; }

  const google::protobuf::Message& AnswerOf(Peer peer) const {
    const std::array<const google::protobuf::Message*, kPeers.size()> answers = {
        &monitor_, &predictor_, &scaler_, &sla_, &lbctl_};
    return *answers[static_cast<size_t>(peer)];
  }

  void PrintJson(Session& session) const {
    Json json = Json::object();
    for (const Peer peer : kPeers) {
      if (ErrorOf(peer).ok()) {
        json[PeerName(peer)] = Json::parse(MessageToJson(AnswerOf(peer), true), nullptr, false);
      } else {
        json[PeerName(peer)] = {{"error",
                                 {{"code", absl::StatusCodeToString(ErrorOf(peer).code())},
                                  {"message", std::string(ErrorOf(peer).message())},
                                  {"address", session.options().AddressOf(peer)}}}};
      }
    }
    session.io().out << json.dump(2) << "\n";
  }

  std::string DetailOf(Peer peer) const {
    switch (peer) {
      case Peer::kMonitor:
        return absl::StrCat(
            "host ", monitor_.host_id(), ", sample ", monitor_.sequence(), " every ",
            DurationText(rpc::FromProto(monitor_.sampling_period())), ", ",
            FormatCount(monitor_.missed_tick_count(), "missed period", "missed periods"));
      case Peer::kPredictor:
        return absl::StrCat(predictor_.warm_series_count(), " of ", predictor_.series_count(),
                            " series warm, ",
                            FormatCount(predictor_.stream_count(), "host", "hosts"));
      case Peer::kScaler:
        return ScalerDetail();
      case Peer::kSla:
        return absl::StrCat(FormatCount(sla_.objective_count(), "objective", "objectives"), ", ",
                            sla_.open_violation_count(), " open violations, ",
                            FormatCount(sla_.report_count(), "report", "reports"));
      case Peer::kLbctl:
        return absl::StrCat("balancer ", EnumText(lbctl_.balancer().health()), " ",
                            lbctl_.balancer_version(), ", ",
                            FormatCount(lbctl_.drift_count(), "difference", "differences"));
    }
    return "";
  }

  std::string ScalerDetail() const {
    std::string text = absl::StrCat("mode ", EnumText(scaler_.mode()), ", ",
                                    scaler_.is_warm() ? "warm" : "warming up", ", ",
                                    FormatCount(scaler_.totals().vm_count(), "VM", "VMs"), ", ",
                                    scaler_.totals().managed_vm_count(), " managed");
    if (scaler_.is_fail_static()) {
      absl::StrAppend(&text, ", FAIL-STATIC: ", scaler_.fail_static_reason());
    }
    if (const std::string pause = PauseText(scaler_.pause()); !pause.empty()) {
      absl::StrAppend(&text, ", ", pause);
    }
    return text;
  }

  bool IsServing(Peer peer) const {
    switch (peer) {
      case Peer::kMonitor:
        return monitor_.is_serving();
      case Peer::kPredictor:
        return predictor_.is_serving();
      case Peer::kScaler:
        return !scaler_.is_fail_static();
      case Peer::kSla:
        return sla_.is_serving();
      case Peer::kLbctl:
        return lbctl_.balancer().health() == common::v1::LINK_HEALTH_UP ||
               lbctl_.balancer().health() == common::v1::LINK_HEALTH_OFF;
    }
    return false;
  }

  void PrintText(Session& session) const {
    Table table({{.title = "SERVICE"}, {.title = "STATE"}, {.title = "DETAIL", .min_width = 30}});
    for (const Peer peer : kPeers) {
      const absl::Status& error = ErrorOf(peer);
      if (error.ok()) {
        const bool is_serving = IsServing(peer);
        table.AddRow(
            {{PeerName(peer), Colour::kBold},
             {is_serving ? "serving" : "not ready", is_serving ? Colour::kGreen : Colour::kYellow},
             {DetailOf(peer)}});
      } else {
        const bool is_missing = absl::IsUnimplemented(error);
        table.AddRow({{PeerName(peer), Colour::kBold},
                      {is_missing ? "not here" : "no answer", Colour::kRed},
                      {absl::StrCat(session.options().AddressOf(peer), ": ", error.message())}});
      }
    }
    session.io().out << table.Render(session.style(), session.width());
    PrintLinks(session);
    if (ErrorOf(Peer::kScaler).ok()) {
      PrintTotals(session);
    }
  }

  void PrintLinks(Session& session) const {
    const auto print = [&](Peer peer, const auto& links) {
      for (const auto& link : links) {
        session.io().out << "link " << PeerName(peer) << " -> " << Printable(link.peer()) << " "
                         << EnumText(link.health()) << (link.detail().empty() ? "" : ": ")
                         << Printable(link.detail()) << "\n";
      }
    };
    print(Peer::kMonitor, monitor_.links());
    print(Peer::kScaler, scaler_.links());
    print(Peer::kSla, sla_.links());
  }

  void PrintTotals(Session& session) const {
    const auto& t = scaler_.totals();
    session.io().out << "CPU: demand " << FormatCores(t.cpu_demand_cores()) << ", granted "
                     << FormatCores(t.granted_cpu_cores()) << ", headroom "
                     << FormatCores(t.cpu_headroom_cores()) << " of "
                     << FormatCores(t.cpu_capacity_cores()) << " cores\n"
                     << "Memory: granted "
                     << FormatBytes(static_cast<double>(t.granted_memory_bytes())) << ", headroom "
                     << FormatBytes(static_cast<double>(t.memory_headroom_bytes())) << " of "
                     << FormatBytes(static_cast<double>(t.memory_capacity_bytes())) << "\n"
                     << "Saved "
                     << FormatPercent(RatioOf(t.saved_core_seconds(), t.granted_core_seconds()))
                     << " against static peak; " << t.under_estimate_count()
                     << " under-estimates in " << t.step_count() << " steps; "
                     << t.violation_count() << " violations; " << t.action_count() << " actions, "
                     << t.failed_action_count() << " failed\n";
  }

  std::array<absl::Status, kPeers.size()> errors_;
  monitor::v1::GetStatusResponse monitor_;
  predictor::v1::GetStatusResponse predictor_;
  scaler::v1::GetStatusResponse scaler_;
  sla::v1::GetStatusResponse sla_;
  lbctl::v1::GetStatusResponse lbctl_;
};

}  // namespace

std::unique_ptr<Command> MakeStatusCommand() { return std::make_unique<StatusCommand>(); }

}  // namespace cloudscale::cli
