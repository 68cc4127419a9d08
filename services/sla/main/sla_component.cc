#include "services/sla/main/sla_component.h"

#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/config_loader.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/sla/rpc/convert.h"
#include "services/sla/rpc/sla_service.h"

namespace cloudscale::sla {
namespace {

constexpr size_t kMailbox = 1024;
constexpr absl::Duration kTick = absl::Milliseconds(100);

void CheckLimit(Violations& v, absl::string_view name, int32_t value, int32_t low, int32_t high) {
  if (value != 0 && (value < low || value > high)) {
    v.Add(absl::StrCat("limits.", name), absl::StrCat(value), absl::StrCat(low, " to ", high));
  }
}

void ValidatePrice(const config::v1::PriceConfig& config, Violations& v) {
  const PriceTerms terms = PriceTermsOf(config);
  RequireInRange(v, "price.factor", terms.factor, 1, 100);
  RequireInRange(v, "price.growth", terms.growth, 1, 10);
  RequireInRange(v, "price.max_factor", terms.max_factor, terms.factor, 100);
  RequireInRange(v, "price.duration", absl::ToDoubleSeconds(terms.duration), 10, 24 * 3600);
}

CorrectionSender::Config CorrectionsOf(const config::v1::SlaConfig& config) {
  CorrectionSender::Config out;
  out.scaler_addresses.assign(config.scaler_addresses().begin(), config.scaler_addresses().end());
  out.predictor_address = config.predictor_address();
  if (config.client().has_deadline()) {
    out.deadline = rpc::FromProto(config.client().deadline());
  }
  if (config.client().has_backoff_min()) {
    out.backoff_min = rpc::FromProto(config.client().backoff_min());
  }
  if (config.client().has_backoff_max()) {
    out.backoff_max = rpc::FromProto(config.client().backoff_max());
  }
  return out;
}

class SlaComponent final : public rpc::Component {
 public:
  SlaComponent(const config::v1::SlaConfig& config, const rpc::Environment& environment)
      : environment_(environment),
        corrections_(CorrectionsOf(config), environment),
        engine_(environment.clock, kMailbox),
        hub_(SlaServiceImpl::Hub::Create(
            {.queue_length =
                 config.server().limits().max_watch_queue_length() > 0
                     ? static_cast<size_t>(config.server().limits().max_watch_queue_length())
                     : 64})) {}
  ~SlaComponent() override { Stop(); }

  absl::Status Open(const config::v1::SlaConfig& config) {
    CS_ASSIGN_OR_RETURN(
        core_,
        SlaCore::Open(config, environment_, corrections_, [this](const Violation& violation) {
          v1::WatchViolationsResponse message;
          *message.mutable_violation() = ToWire(violation);
          hub_->Publish(std::move(message), environment_.clock.MonoNow());
        }));
    service_ = std::make_unique<SlaServiceImpl>(*core_, engine_, hub_, corrections_, environment_);
    return absl::OkStatus();
  }

  absl::string_view name() const override { return "sla"; }
  std::vector<grpc::Service*> services() override { return {service_.get()}; }
  std::vector<std::string> service_names() const override {
    return {"cloudscale.sla.v1.SlaService"};
  }

  absl::Status Start() override {
    corrections_.Start();
    core_->inputs()->Start();
    engine_.Start([] { return kTick; },
                  [this] {
                    core_->Tick();
                    hub_->Beat(environment_.clock.MonoNow());
                  });
    is_running_ = true;
    return absl::OkStatus();
  }

  void Stop() override {
    if (!is_running_.exchange(false)) {
      return;
    }
    hub_->Close();
    service_->CloseStreams();
    core_->inputs()->Stop();
    engine_.Stop();
    corrections_.Stop();
    core_->Flush();
  }

  absl::Status Readiness() const override {
    return is_running_ ? absl::OkStatus() : absl::UnavailableError("not running");
  }

 private:
  const rpc::Environment& environment_;
  CorrectionSender corrections_;
  EngineThread engine_;
  const std::shared_ptr<SlaServiceImpl::Hub> hub_;
  std::unique_ptr<SlaCore> core_;
  std::unique_ptr<SlaServiceImpl> service_;
  std::atomic<bool> is_running_ = false;
};

}  // namespace

void ValidateSlaConfig(const config::v1::SlaConfig& config, Violations* violations) {
  Violations& v = *violations;
  ValidateObjectives(config.objectives(), "objectives", v);
  const config::v1::SlaLimits& limits = config.limits();
  CheckLimit(v, "max_applications", limits.max_applications(), 1, 10000);
  CheckLimit(v, "max_objectives", limits.max_objectives(), 1, 10000);
  CheckLimit(v, "violation_history", limits.violation_history(), 100, 1000000);
  CheckLimit(v, "max_sources", limits.max_sources(), 1, 1000000);
  for (int i = 0; i < config.scaler_addresses_size(); ++i) {
    RequireNotEmpty(v, absl::StrCat("scaler_addresses[", i, "]"), config.scaler_addresses(i));
  }
  ValidateInputs(config, v);
  ValidatePrice(config.price(), v);
  if (config.objectives_file().empty()) {
    return;
  }
  config::v1::ObjectivesFile file;
  const absl::Status loaded = rpc::LoadYaml(config.objectives_file(), &file);
  if (!loaded.ok()) {
    v.Add("objectives_file", config.objectives_file(),
          absl::StrCat("a readable file of objectives: ", loaded.message()));
    return;
  }
  google::protobuf::RepeatedPtrField<v1::Objective> all = config.objectives();
  all.MergeFrom(file.objectives());
  Violations together;
  ValidateObjectives(all, "objectives", together);
  for (const FieldViolation& fault : together.kept()) {
    // Those written here were named above already.
    for (int i = config.objectives_size(); i < all.size(); ++i) {
      const std::string path = absl::StrCat("objectives[", i, "]");
      if (fault.field.rfind(path, 0) == 0) {
        v.Add(absl::StrCat("objectives_file.objectives[", i - config.objectives_size(), "]",
                           fault.field.substr(path.size())),
              fault.value, fault.allowed);
      }
    }
  }
}

absl::StatusOr<std::unique_ptr<rpc::Component>> MakeSlaComponent(
    const config::v1::SlaConfig& config, const rpc::Environment& environment) {
  auto component = std::make_unique<SlaComponent>(config, environment);
  CS_RETURN_IF_ERROR(component->Open(config));
  return component;
}

}  // namespace cloudscale::sla
