#include "services/sla/rpc/sla_core.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/rpc/config_loader.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/sla/rpc/convert.h"

namespace cloudscale::sla {
namespace {

constexpr absl::Duration kSavePeriod = absl::Seconds(5);
constexpr absl::Duration kFileCheckPeriod = absl::Seconds(2);
constexpr absl::Duration kMaxClockDifference = absl::Seconds(2);

size_t OrDefault(int32_t value, size_t fallback) {
  return value == 0 ? fallback : static_cast<size_t>(value);
}

SlaEngine::Limits LimitsOf(const config::v1::SlaLimits& limits) {
  const SlaEngine::Limits defaults;
  return {.max_applications = OrDefault(limits.max_applications(), defaults.max_applications),
          .max_objectives = OrDefault(limits.max_objectives(), defaults.max_objectives),
          .violation_history = OrDefault(limits.violation_history(), defaults.violation_history),
          .max_sources = OrDefault(limits.max_sources(), defaults.max_sources)};
}

}  // namespace

PriceTerms PriceTermsOf(const config::v1::PriceConfig& config) {
  PriceTerms terms;
  if (config.has_is_enabled()) {
    terms.is_enabled = config.is_enabled();
  }
  if (config.has_factor()) {
    terms.factor = config.factor();
  }
  if (config.has_growth()) {
    terms.growth = config.growth();
  }
  terms.max_factor =
      config.has_max_factor() ? config.max_factor() : std::max(terms.max_factor, terms.factor);
  if (config.has_duration()) {
    terms.duration = rpc::FromProto(config.duration());
  }
  return terms;
}

void ValidateObjectives(const google::protobuf::RepeatedPtrField<v1::Objective>& objectives,
                        absl::string_view prefix, Violations& violations) {
  std::vector<Objective> seen;
  for (int i = 0; i < objectives.size(); ++i) {
    const std::string path = absl::StrCat(prefix, "[", i, "]");
    Objective objective = FromWire(objectives[i]);
    ValidateObjective(objective, path, violations);
    for (const Objective& other : seen) {
      if (other.id == objective.id) {
        violations.Add(absl::StrCat(path, ".objective_id"), objective.id, "each id once");
      } else if (Overlap(other, objective)) {
        violations.Add(absl::StrCat(path, ".terms"), objective.id,
                       absl::StrCat("no overlap with '", other.id,
                                    "': same application, indicator and window"));
      }
    }
    seen.push_back(std::move(objective));
  }
}

SlaCore::SlaCore(const config::v1::SlaConfig& config, const rpc::Environment& environment,
                 CorrectionSender& corrections, OnViolation on_violation)
    : config_(config),
      environment_(environment),
      corrections_(corrections),
      on_violation_(std::move(on_violation)),
      engine_(LimitsOf(config.limits()), ViolationTracker::Config{}, PriceTermsOf(config.price())),
      wall_anchor_(environment.clock.WallNow()),
      mono_anchor_(environment.clock.MonoNow()),
      next_save_(mono_anchor_),
      next_file_check_(mono_anchor_) {}

absl::StatusOr<std::unique_ptr<SlaCore>> SlaCore::Open(const config::v1::SlaConfig& config,
                                                       const rpc::Environment& environment,
                                                       CorrectionSender& corrections,
                                                       OnViolation on_violation) {
  auto core = std::unique_ptr<SlaCore>(
      new SlaCore(config, environment, corrections, std::move(on_violation)));
  CS_ASSIGN_OR_RETURN(core->store_, StateStore::Open(config.state_path()));
  CS_RETURN_IF_ERROR(core->store_->Restore(core->engine_));
  CS_ASSIGN_OR_RETURN(rpc::RequestLog requests,
                      rpc::RequestLog::Load(core->store_->database(), core->Now()));
  core->requests_.emplace(std::move(requests));
  CS_RETURN_IF_ERROR(core->ApplyDeclared("config", config.objectives()));
  if (!config.objectives_file().empty()) {
    config::v1::ObjectivesFile file;
    core->file_stamp_ = core->FileStamp();
    CS_RETURN_IF_ERROR(rpc::LoadYaml(config.objectives_file(), &file));
    CS_RETURN_IF_ERROR(core->ApplyDeclared("file", file.objectives()));
  }
  CS_ASSIGN_OR_RETURN(core->inputs_, LatencyInputs::Open(config, environment));
  return core;
}

absl::Time SlaCore::Now() {
  const MonoTime mono = environment_.clock.MonoNow();
  const absl::Time wall = environment_.clock.WallNow();
  const absl::Time expected = wall_anchor_ + (mono - mono_anchor_);
  if (absl::AbsDuration(wall - expected) <= kMaxClockDifference) {
    return expected;
  }
  LogLine(LogLevel::kWarning, "wall_clock_jumped")
      .Field("by", absl::FormatDuration(wall - expected));
  environment_.metrics.Count("cloudscale_sla_clock_jumps_total", {}, 1);
  wall_anchor_ = wall;
  mono_anchor_ = mono;
  return wall;
}

ReportOutcome SlaCore::Take(const LatencyReport& report, const char* source, absl::Time now) {
  const ReportOutcome outcome = engine_.Report(report, source, now);
  environment_.metrics.Count("cloudscale_sla_reports_total",
                             {{"source", source}, {"outcome", NameOf(outcome)}}, 1);
  return outcome;
}

void SlaCore::CountInvalid(const char* source) {
  environment_.metrics.Count("cloudscale_sla_reports_total",
                             {{"source", source}, {"outcome", "invalid"}}, 1);
}

void SlaCore::Tick() {
  inputs_->Tick(*this, Now());
  const StepResult step = engine_.Step(Now());
  corrections_.Send(step);
  for (const Violation& violation : step.changed) {
    LogLine(LogLevel::kInfo, "violation")
        .Field("id", violation.id)
        .Field("application", violation.application)
        .Field("open", violation.is_open ? "true" : "false")
        .Field("observed", violation.observed)
        .Field("threshold", violation.threshold);
    on_violation_(violation);
  }
  const MonoTime now = environment_.clock.MonoNow();
  if (!step.changed.empty() || now >= next_save_) {
    Flush();
    next_save_ = now + kSavePeriod;
    environment_.metrics.Set("cloudscale_sla_open_violations", {},
                             static_cast<double>(engine_.open_violation_count()));
    environment_.metrics.Set("cloudscale_sla_objectives", {},
                             static_cast<double>(engine_.objective_count()));
  }
  if (!config_.objectives_file().empty() && now >= next_file_check_) {
    next_file_check_ = now + kFileCheckPeriod;
    ReloadFile();
  }
}

void SlaCore::Flush() {
  const absl::Status status = store_->Save(engine_.TakeChanges());
  if (!status.ok()) {
    environment_.metrics.Count("cloudscale_sla_save_failures_total", {}, 1);
    LogLine(LogLevel::kError, "state_not_saved").Field("status", status);
  }
}

std::string SlaCore::FileStamp() const {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(config_.objectives_file(), error);
  const auto size = std::filesystem::file_size(config_.objectives_file(), error);
  return error ? std::string() : absl::StrCat(time.time_since_epoch().count(), "-", size);
}

void SlaCore::ReloadFile() {
  const std::string stamp = FileStamp();
  if (stamp.empty() || stamp == file_stamp_) {
    return;
  }
  file_stamp_ = stamp;
  config::v1::ObjectivesFile file;
  absl::Status status = rpc::LoadYaml(config_.objectives_file(), &file);
  if (status.ok()) {
    Violations violations;
    ValidateObjectives(file.objectives(), "objectives", violations);
    status = violations.ToStatus();
  }
  if (status.ok()) {
    status = ApplyDeclared("file", file.objectives());
  }
  environment_.metrics.Count("cloudscale_sla_objectives_reloads_total",
                             {{"outcome", status.ok() ? "applied" : "refused"}}, 1);
  LogLine(status.ok() ? LogLevel::kInfo : LogLevel::kError, "objectives_file_read")
      .Field("status", status);
}

absl::Status SlaCore::ApplyDeclared(
    const std::string& origin,
    const google::protobuf::RepeatedPtrField<v1::Objective>& objectives) {
  const absl::Time now = Now();
  CS_ASSIGN_OR_RETURN(const auto before, store_->LoadDeclared(origin));
  std::map<std::string, std::string> after;
  for (const v1::Objective& objective : objectives) {
    after[objective.objective_id()] = objective.SerializeAsString();
  }
  // Old ones first: they may overlap with what replaces them.
  for (const auto& [id, body] : before) {
    if (!after.contains(id) && engine_.Get(id).ok()) {
      CS_RETURN_IF_ERROR(engine_.Delete(id, std::nullopt, now, false));
      CS_RETURN_IF_ERROR(store_->DeleteObjective(id));
    }
  }
  for (const v1::Objective& declared : objectives) {
    const std::string& id = declared.objective_id();
    const auto known = before.find(id);
    const bool exists = engine_.Get(id).ok();
    if (exists && known != before.end() && known->second == after.at(id)) {
      continue;  // unchanged; what was done over the API since stays
    }
    auto applied = exists ? engine_.Update(FromWire(declared), std::nullopt, now, false)
                          : engine_.Create(FromWire(declared), now, false);
    CS_RETURN_IF_ERROR(WithContext(absl::StrCat("objective '", id, "'"), applied.status()));
    CS_RETURN_IF_ERROR(store_->SaveObjective(*applied));
  }
  return store_->SaveDeclared(origin, after);
}

}  // namespace cloudscale::sla
