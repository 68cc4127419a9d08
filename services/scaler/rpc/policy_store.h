#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cloudscale/scaler/v1/policy.pb.h"
#include "common/time/clock.h"
#include "google/protobuf/field_mask.pb.h"
#include "services/scaler/journal.h"
#include "services/scaler/policy_set.h"

namespace cloudscale::scaler {

// Policies and the host's mode as stored over the API, above those of the configuration. A change
// is checked as a whole, made durable, and only then in force; a refused one leaves all as it was.
// The empty uuid names the host's default. At most `kMaxPolicies` are stored.
// Thread safety: thread-compatible.
class PolicyStore {
 public:
  static constexpr size_t kMaxPolicies = 4096;

  // The configuration's part: `defaults`, `configured` and `host_mode` of `base`. DATA_LOSS when
  // what the journal holds cannot be read.
  static absl::StatusOr<std::unique_ptr<PolicyStore>> Load(Clock& clock, Journal& journal,
                                                           std::string host_id, PolicySet base);

  [[nodiscard]] std::shared_ptr<const PolicySet> set() const { return set_; }
  [[nodiscard]] Mode host_mode() const { return set_->host_mode; }

  // Stored as it is; empty with selector and etag "0" when there is none.
  [[nodiscard]] v1::Policy Stored(const std::string& vm_uuid) const;
  [[nodiscard]] v1::Policy Effective(const std::string& vm_uuid) const;
  // What would be in force without the stored one.
  [[nodiscard]] v1::Policy EffectiveWithout(const std::string& vm_uuid) const;
  [[nodiscard]] const std::map<std::string, v1::Policy>& stored() const { return stored_; }

  // `mask` null = all fields that are set; each replaces what was there, labels join.
  // INVALID_ARGUMENT with all faults; ABORTED when the etag of `change` names another state.
  // Returns what is, or with `validate_only` would be, stored.
  absl::StatusOr<v1::Policy> Update(const v1::Policy& change,
                                    const google::protobuf::FieldMask* mask,
                                    const std::string& actor, bool validate_only);
  // NOT_FOUND, ABORTED.
  absl::Status Delete(const std::string& vm_uuid, const std::string& etag, bool validate_only);
  absl::Status SetHostMode(Mode mode);

  // The set as it would be with `policy` stored; for checks across VMs.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const PolicySet>> Preview(
      const v1::Policy& policy) const;
  [[nodiscard]] std::shared_ptr<const PolicySet> PreviewDelete(const std::string& vm_uuid) const;

 private:
  v1::Policy EffectiveIn(const PolicySet& set, const std::string& vm_uuid,
                         const v1::Policy& stored) const;
  PolicyStore(Clock& clock, Journal& journal, std::string host_id, PolicySet base)
      : clock_(clock),
        journal_(journal),
        host_id_(std::move(host_id)),
        base_(std::move(base)),
        set_(std::make_shared<const PolicySet>(base_)) {}
  void Rebuild();

  Clock& clock_;
  Journal& journal_;
  const std::string host_id_;
  PolicySet base_;
  std::map<std::string, v1::Policy> stored_;  // by uuid, "" = host
  std::shared_ptr<const PolicySet> set_;
};

}  // namespace cloudscale::scaler
