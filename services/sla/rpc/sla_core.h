#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cloudscale/config/v1/config.pb.h"
#include "cloudscale/sla/v1/sla_service.pb.h"
#include "common/engine/engine_thread.h"
#include "common/rpc/component.h"
#include "common/rpc/serving/request_log.h"
#include "services/sla/clients/corrections.h"
#include "services/sla/rpc/latency_inputs.h"
#include "services/sla/rpc/state_store.h"
#include "services/sla/sla_engine.h"

namespace cloudscale::sla {

// The price's terms as configured, defaults filled in.
[[nodiscard]] PriceTerms PriceTermsOf(const config::v1::PriceConfig& config);

// Adds all faults of `objectives` as a set (each one, repeated ids, overlaps) below `prefix`.
void ValidateObjectives(const google::protobuf::RepeatedPtrField<v1::Objective>& objectives,
                        absl::string_view prefix, Violations& violations);

// The engine with its store: what the engine thread works on. Keeps time on the monotonic clock, so
// that a wall clock that somebody sets moves no window by surprise (promise P15): it follows the
// wall only when the two are more than two seconds apart.
// Thread safety: confined to the engine thread, after `Open`.
class SlaCore {
 public:
  // Told of each change of a violation, on the engine thread.
  using OnViolation = std::function<void(const Violation&)>;

  static absl::StatusOr<std::unique_ptr<SlaCore>> Open(const config::v1::SlaConfig& config,
                                                       const rpc::Environment& environment,
                                                       CorrectionSender& corrections,
                                                       OnViolation on_violation);

  // Judges, tells, corrects; saves aggregates every few seconds and violations at once.
  void Tick();
  // Saves what is not saved yet.
  void Flush();

  // Hands a report of valid form to the engine and counts what came of it:
  // cloudscale_sla_reports_total{source,outcome}.
  ReportOutcome Take(const LatencyReport& report, const char* source, absl::Time now);
  // Counts a report whose form is not valid.
  void CountInvalid(const char* source);

  // Where latencies come from besides reports; nullptr before `Open` ended.
  [[nodiscard]] LatencyInputs* inputs() { return inputs_.get(); }

  [[nodiscard]] absl::Time Now();
  [[nodiscard]] SlaEngine& engine() { return engine_; }
  [[nodiscard]] StateStore& store() { return *store_; }
  [[nodiscard]] rpc::RequestLog& requests() { return *requests_; }

 private:
  SlaCore(const config::v1::SlaConfig& config, const rpc::Environment& environment,
          CorrectionSender& corrections, OnViolation on_violation);
  // Brings the objectives of one origin into force: those new or changed since they were last
  // applied, and away those that it named and names no more.
  absl::Status ApplyDeclared(const std::string& origin,
                             const google::protobuf::RepeatedPtrField<v1::Objective>& objectives);
  // Reads the objectives' file when it changed; a faulty one is refused as a whole.
  void ReloadFile();
  [[nodiscard]] std::string FileStamp() const;

  const config::v1::SlaConfig config_;
  const rpc::Environment& environment_;
  CorrectionSender& corrections_;
  const OnViolation on_violation_;
  SlaEngine engine_;
  std::unique_ptr<LatencyInputs> inputs_;
  std::unique_ptr<StateStore> store_;
  std::optional<rpc::RequestLog> requests_;
  absl::Time wall_anchor_;
  MonoTime mono_anchor_;
  MonoTime next_save_;
  MonoTime next_file_check_;
  std::string file_stamp_;
};

}  // namespace cloudscale::sla
