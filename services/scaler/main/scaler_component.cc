#include "services/scaler/main/scaler_component.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/backoff/backoff.h"
#include "common/logging/log.h"
#include "common/random/rng.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/scaler/clients/capacity_client.h"
#include "services/scaler/clients/observation_client.h"
#include "services/scaler/clients/predictor_client.h"
#include "services/scaler/journal/sqlite_journal.h"
#include "services/scaler/main/scaler_config_conversion.h"
#include "services/scaler/memory_journal.h"
#include "services/scaler/rpc/handlers.h"
#include "services/scaler/rpc/runtime.h"

namespace cloudscale::scaler {
namespace {

absl::Duration DurationOr(bool has, const google::protobuf::Duration& value,
                          absl::Duration fallback) {
  return has ? rpc::FromProto(value) : fallback;
}

class ScalerComponent final : public rpc::Component {
 public:
  ScalerComponent(const config::v1::ScalerConfig& config, const rpc::Environment& env,
                  absl::Duration silence)
      : env_(env),
        silence_(silence),
        monitor_address_(config.monitor_address()),
        predictor_address_(config.predictor_address()),
        runtime_(env.clock),
        observations_(
            env.clock,
            Backoff(Rng(env.seed).Fork("scaler/monitor"),
                    {.initial = DurationOr(config.client().has_backoff_min(),
                                           config.client().backoff_min(), absl::Milliseconds(200)),
                     .max = DurationOr(config.client().has_backoff_max(),
                                       config.client().backoff_max(), absl::Seconds(10))}),
            config.monitor_address(),
            [this](HostObservation o) { runtime_.OnObservation(std::move(o)); }),
        predictor_(Rng(env.seed).Fork("scaler/retrain"), config.predictor_address(),
                   DurationOr(config.client().has_deadline(), config.client().deadline(),
                              absl::Seconds(5))),
        capacity_(
            env.clock, env.metrics,
            Backoff(Rng(env.seed).Fork("scaler/lbctl"),
                    {.initial = DurationOr(config.client().has_backoff_min(),
                                           config.client().backoff_min(), absl::Milliseconds(200)),
                     .max = DurationOr(config.client().has_backoff_max(),
                                       config.client().backoff_max(), absl::Seconds(10))}),
            CapacityOptionsOf(config),
            [this](int64_t number, std::set<std::string> followed) {
              OnCapacityAnswer(number, std::move(followed));
            }),
        capacity_time_to_live_(CapacityOptionsOf(config).time_to_live),
        lbctl_address_(config.lbctl_address()),
        scaler_(runtime_),
        migration_(runtime_),
        reservation_(runtime_) {}
  ~ScalerComponent() override { Stop(); }

  absl::Status MakeCore(ScalerCore::Config config, std::unique_ptr<Journal> journal,
                        std::unique_ptr<hypervisor::VmActuator> actuator) {
    ScalerCore::Sinks sinks = runtime_.MakeSinks();
    sinks.retrain = [this](const RetrainRequest& request) { predictor_.Ask(request); };
    sinks.targets = [this](std::vector<TargetRequest> targets) {
      predictor_.Aim(std::move(targets));
    };
    if (!lbctl_address_.empty()) {
      sinks.capacity = [this](CapacityReport report) { capacity_.Report(std::move(report)); };
    }
    sinks.links = [this] {
      return std::vector<cloudscale::common::v1::LinkState>{observations_.link(), predictor_.link(),
                                                            capacity_.link()};
    };
    CS_ASSIGN_OR_RETURN(
        core_, ScalerCore::Create(std::move(config), std::move(journal), std::move(actuator),
                                  env_.clock, env_.metrics, std::move(sinks)));
    return absl::OkStatus();
  }

  absl::string_view name() const override { return "scaler"; }
  std::vector<grpc::Service*> services() override { return {&scaler_, &migration_, &reservation_}; }
  std::vector<std::string> service_names() const override {
    return {"cloudscale.scaler.v1.ScalerService", "cloudscale.scaler.v1.MigrationService",
            "cloudscale.scaler.v1.ReservationService"};
  }

  absl::Status Start() override {
    runtime_.Start(std::move(core_));
    observations_.Start(env_.channel(monitor_address_));
    if (!predictor_address_.empty()) {
      predictor_.Start(env_.channel(predictor_address_));
    }
    if (!lbctl_address_.empty()) {
      capacity_.Start(env_.channel(lbctl_address_));
    }
    return absl::OkStatus();
  }

  void Stop() override {
    observations_.Stop();
    predictor_.Stop();
    capacity_.Stop();
    runtime_.Stop();
  }

  absl::Status Readiness() const override {
    const std::optional<MonoTime> last = runtime_.last_observation();
    if (!last) {
      return absl::UnavailableError("no sample from the monitor yet");
    }
    const absl::Duration age = env_.clock.MonoNow() - *last;
    if (age > silence_) {
      return absl::UnavailableError(absl::StrCat("no sample from the monitor for ",
                                                 absl::FormatDuration(age),
                                                 "; all sizes stay as they are"));
    }
    return absl::OkStatus();
  }

 private:
  // A mailbox that is full loses the answer; the shrinks that wait for it then wait the bound.
  void OnCapacityAnswer(int64_t number, std::set<std::string> followed) {
    const MonoTime until = env_.clock.MonoNow() + capacity_time_to_live_;
    const bool is_posted =
        runtime_.Post([number, followed = std::move(followed), until](ScalerCore* core) mutable {
          if (core != nullptr) {
            core->OnCapacityAnswer(number, std::move(followed), until);
          }
        });
    if (!is_posted) {
      env_.metrics.Count("cloudscale_scaler_capacity_answers_lost_total", {}, 1);
    }
  }

  const rpc::Environment env_;
  const absl::Duration silence_;
  const std::string monitor_address_;
  const std::string predictor_address_;
  std::unique_ptr<ScalerCore> core_;  // until Start
  Runtime runtime_;
  ObservationClient observations_;
  PredictorClient predictor_;
  CapacityClient capacity_;
  const absl::Duration capacity_time_to_live_;
  const std::string lbctl_address_;
  ScalerHandlers scaler_;
  MigrationHandlers migration_;
  ReservationHandlers reservation_;
};

}  // namespace

void ValidateScalerConfig(const config::v1::ScalerConfig& config, Violations* violations) {
  (void)ConfigFromProto(config, *violations);
}

absl::StatusOr<std::unique_ptr<rpc::Component>> MakeScalerComponent(
    const config::v1::ScalerConfig& config, std::unique_ptr<hypervisor::VmActuator> actuator,
    const rpc::Environment& env) {
  Violations violations;
  ScalerCore::Config core = ConfigFromProto(config, violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  std::unique_ptr<Journal> journal;
  if (config.journal_path().empty()) {
    LogLine(LogLevel::kWarning, "journal_in_memory").Field("reason", "journal_path is empty");
    journal = std::make_unique<MemoryJournal>();
  } else {
    CS_ASSIGN_OR_RETURN(journal, SqliteJournal::Open(config.journal_path()));
  }
  // A stream that is merely slow keeps its state; ten times the age that holds is silence.
  const absl::Duration silence = 10 * core.engine.max_sample_age;
  auto component = std::make_unique<ScalerComponent>(config, env, silence);
  CS_RETURN_IF_ERROR(component->MakeCore(std::move(core), std::move(journal), std::move(actuator)));
  return std::unique_ptr<rpc::Component>(std::move(component));
}

}  // namespace cloudscale::scaler
