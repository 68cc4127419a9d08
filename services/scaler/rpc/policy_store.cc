#include "services/scaler/rpc/policy_store.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/field_mask_util.h"
#include "services/scaler/rpc/convert.h"

namespace cloudscale::scaler {
namespace {

using google::protobuf::util::FieldMaskUtil;

constexpr char kPrefix[] = "policy/";
constexpr char kModeKey[] = "mode/host";
constexpr size_t kMaxUuidLength = 128;

std::string UuidOf(const v1::Policy& policy) {
  return policy.selector_case() == v1::Policy::kVmUuid ? policy.vm_uuid() : "";
}

// Merging appends to lists and joins the parts of durations and times; a change replaces them.
void ClearReplaced(const google::protobuf::Message& change, google::protobuf::Message* target) {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  change.GetReflection()->ListFields(change, &fields);
  const google::protobuf::Reflection& reflection = *target->GetReflection();
  for (const google::protobuf::FieldDescriptor* field : fields) {
    const auto* type = field->message_type();
    if (field->is_map()) {
      continue;  // merged by key
    }
    if (field->is_repeated() || (type != nullptr && type->file()->package() == "google.protobuf")) {
      reflection.ClearField(target, field);
    } else if (type != nullptr && reflection.HasField(*target, field)) {
      ClearReplaced(change.GetReflection()->GetMessage(change, field),
                    reflection.MutableMessage(target, field));
    }
  }
}

void ClearOutputOnly(v1::Policy& policy) {
  policy.clear_sources();
  policy.clear_updated_at();
  policy.clear_updated_by();
}

// Fields of which somebody may only read or which say whom it is for cannot be named in a mask.
void CheckMask(const google::protobuf::FieldMask& mask, Violations& v) {
  for (const std::string& path : mask.paths()) {
    if (!FieldMaskUtil::IsValidPath<v1::Policy>(path) || path == "vm_uuid" || path == "host_id" ||
        path == "etag" || path == "sources" || path == "updated_at" || path == "updated_by") {
      v.Add("update_mask", path, "a path of a field that can be set, for example cpu.max");
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PolicyStore>> PolicyStore::Load(Clock& clock, Journal& journal,
                                                               std::string host_id,
                                                               PolicySet base) {
  auto store = std::unique_ptr<PolicyStore>(
      new PolicyStore(clock, journal, std::move(host_id), std::move(base)));
  CS_ASSIGN_OR_RETURN(const auto policies, journal.ListState(kPrefix));
  for (const auto& [key, bytes] : policies) {
    v1::Policy policy;
    if (!policy.ParseFromString(bytes)) {
      return absl::DataLossError(absl::StrCat("the stored policy ", key, " is damaged"));
    }
    store->stored_[std::string(absl::StripPrefix(key, kPrefix))] = policy;
  }
  CS_ASSIGN_OR_RETURN(const auto mode, journal.ListState(kModeKey));
  if (const auto it = mode.find(kModeKey); it != mode.end()) {
    int number = 0;
    if (!absl::SimpleAtoi(it->second, &number) || number < 1 || number > 4) {
      return absl::DataLossError(absl::StrCat("the stored mode is damaged: ", it->second));
    }
    store->base_.host_mode = static_cast<Mode>(number);
  }
  store->Rebuild();
  return store;
}

void PolicyStore::Rebuild() {
  PolicySet set = base_;
  Violations ignored;  // checked when they were stored
  for (const auto& [uuid, policy] : stored_) {
    PolicyOverlay overlay = FromProto(policy, "", ignored);
    if (uuid.empty()) {
      set.host = std::move(overlay);
    } else {
      set.vms[uuid] = std::move(overlay);
    }
  }
  set_ = std::make_shared<const PolicySet>(std::move(set));
}

v1::Policy PolicyStore::Stored(const std::string& vm_uuid) const {
  if (const auto it = stored_.find(vm_uuid); it != stored_.end()) {
    return it->second;
  }
  v1::Policy none;
  if (vm_uuid.empty()) {
    none.set_host_id(host_id_);
  } else {
    none.set_vm_uuid(vm_uuid);
  }
  none.set_etag("0");
  return none;
}

v1::Policy PolicyStore::Effective(const std::string& vm_uuid) const {
  return EffectiveIn(*set_, vm_uuid, Stored(vm_uuid));
}

v1::Policy PolicyStore::EffectiveWithout(const std::string& vm_uuid) const {
  v1::Policy none;
  none.set_etag("0");
  return EffectiveIn(*PreviewDelete(vm_uuid), vm_uuid, none);
}

std::shared_ptr<const PolicySet> PolicyStore::PreviewDelete(const std::string& vm_uuid) const {
  auto set = std::make_shared<PolicySet>(*set_);
  if (vm_uuid.empty()) {
    set->host.reset();
  } else {
    set->vms.erase(vm_uuid);
  }
  return set;
}

v1::Policy PolicyStore::EffectiveIn(const PolicySet& set, const std::string& vm_uuid,
                                    const v1::Policy& stored) const {
  v1::Policy out = ToProto(Resolve(set.LayersFor(vm_uuid), clock_.WallNow()));
  out.set_etag(stored.etag());
  if (vm_uuid.empty()) {
    out.set_host_id(host_id_);
  } else {
    out.set_vm_uuid(vm_uuid);
  }
  if (stored.has_updated_at()) {
    *out.mutable_updated_at() = stored.updated_at();
    out.set_updated_by(stored.updated_by());
  }
  return out;
}

absl::StatusOr<std::shared_ptr<const PolicySet>> PolicyStore::Preview(
    const v1::Policy& policy) const {
  auto set = std::make_shared<PolicySet>(*set_);
  Violations violations;
  const std::string uuid = UuidOf(policy);
  PolicyOverlay overlay = FromProto(policy, "policy", violations);
  if (uuid.empty()) {
    set->host = std::move(overlay);
  } else {
    set->vms[uuid] = std::move(overlay);
  }
  if (violations.empty()) {
    Violations merged;
    ValidateMerged(set->LayersFor(uuid), merged);
    violations.AddAll("policy", merged);
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  return std::shared_ptr<const PolicySet>(std::move(set));
}

absl::StatusOr<v1::Policy> PolicyStore::Update(const v1::Policy& change,
                                               const google::protobuf::FieldMask* mask,
                                               const std::string& actor, bool validate_only) {
  Violations violations;
  if (change.selector_case() == v1::Policy::SELECTOR_NOT_SET ||
      (change.selector_case() == v1::Policy::kVmUuid &&
       (change.vm_uuid().empty() || change.vm_uuid().size() > kMaxUuidLength))) {
    violations.Add("policy.vm_uuid", change.vm_uuid(),
                   "a vm_uuid of 1 to 128 characters, or host_id");
  }
  if (change.selector_case() == v1::Policy::kHostId && !host_id_.empty() &&
      change.host_id() != host_id_) {
    violations.Add("policy.host_id", change.host_id(), absl::StrCat("this host: ", host_id_));
  }
  if (mask != nullptr) {
    CheckMask(*mask, violations);
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  const std::string uuid = UuidOf(change);
  v1::Policy next = Stored(uuid);
  const std::string etag = next.etag();
  if (!change.etag().empty() && change.etag() != etag) {
    return absl::AbortedError(absl::StrCat("the policy was changed meanwhile: etag is ", etag,
                                           ", the request has ", change.etag()));
  }
  if (uuid.empty() ? false : stored_.count(uuid) == 0 && stored_.size() >= kMaxPolicies) {
    return absl::ResourceExhaustedError("too many stored policies");
  }
  if (mask != nullptr && mask->paths_size() > 0) {
    FieldMaskUtil::MergeOptions options;
    options.set_replace_message_fields(true);
    options.set_replace_repeated_fields(true);
    FieldMaskUtil::MergeMessageTo(change, *mask, options, &next);
  } else {
    ClearReplaced(change, &next);
    next.MergeFrom(change);
  }
  ClearOutputOnly(next);
  CS_RETURN_IF_ERROR(Preview(next).status());
  int64_t version = 0;
  (void)absl::SimpleAtoi(etag, &version);
  next.set_etag(absl::StrCat(version + 1));
  *next.mutable_updated_at() = rpc::ToProto(clock_.WallNow());
  next.set_updated_by(actor);
  if (!validate_only) {
    CS_RETURN_IF_ERROR(
        journal_.PutState({{absl::StrCat(kPrefix, uuid), next.SerializeAsString()}}));
    stored_[uuid] = next;
    Rebuild();
  }
  return next;
}

absl::Status PolicyStore::Delete(const std::string& vm_uuid, const std::string& etag,
                                 bool validate_only) {
  const auto it = stored_.find(vm_uuid);
  if (it == stored_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no stored policy for ", vm_uuid.empty() ? "the host" : vm_uuid));
  }
  if (!etag.empty() && etag != it->second.etag()) {
    return absl::AbortedError(
        absl::StrCat("the policy was changed meanwhile: etag is ", it->second.etag()));
  }
  if (!validate_only) {
    CS_RETURN_IF_ERROR(journal_.PutState({{absl::StrCat(kPrefix, vm_uuid), std::nullopt}}));
    stored_.erase(it);
    Rebuild();
  }
  return absl::OkStatus();
}

absl::Status PolicyStore::SetHostMode(Mode mode) {
  CS_RETURN_IF_ERROR(journal_.PutState({{kModeKey, absl::StrCat(static_cast<int>(mode))}}));
  base_.host_mode = mode;
  Rebuild();
  return absl::OkStatus();
}

}  // namespace cloudscale::scaler
