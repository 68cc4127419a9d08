#include "cli/rpc/policy_edit.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/args/values.h"
#include "cli/rpc/proto_text.h"
#include "common/rpc/time_conversion.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace cloudscale::cli {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr char kDurationName[] = "google.protobuf.Duration";
constexpr char kTimestampName[] = "google.protobuf.Timestamp";

// Not for people to set: identity, and what the server fills in.
bool IsHidden(const FieldDescriptor& field) {
  static const std::set<std::string>& hidden = *new std::set<std::string>(
      {"vm_uuid", "host_id", "etag", "sources", "updated_at", "updated_by"});
  return field.containing_type() == scaler::v1::Policy::descriptor() &&
         hidden.contains(field.name());
}

bool IsMessageOf(const FieldDescriptor& field, absl::string_view name) {
  return field.message_type() != nullptr && field.message_type()->full_name() == name;
}

// A message that is set as a whole by one value.
bool IsLeaf(const FieldDescriptor& field) {
  return field.message_type() == nullptr || IsMessageOf(field, kDurationName) ||
         IsMessageOf(field, kTimestampName);
}

bool IsMemory(absl::string_view key) { return absl::StartsWith(key, "memory."); }
bool IsAmount(const FieldDescriptor& field) {
  return field.name() == "min" || field.name() == "max" || field.name() == "guaranteed";
}

std::string Takes(const std::string& key, const FieldDescriptor& field) {
  if (field.is_repeated()) {
    return "list with commas";
  }
  if (IsMessageOf(field, kDurationName)) {
    return "duration";
  }
  if (IsMessageOf(field, kTimestampName)) {
    return "time, RFC 3339";
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM: {
      std::vector<std::string> words;
      for (int i = 1; i < field.enum_type()->value_count(); ++i) {
        words.push_back(absl::AsciiStrToLower(
            EnumText(field.enum_type(), field.enum_type()->value(i)->number())));
      }
      return absl::StrJoin(words, "|");
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true|false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return !IsAmount(field) ? "number" : IsMemory(key) ? "size" : "cores";
    case FieldDescriptor::CPPTYPE_INT32:
      return "whole number";
    default:
      return "text";
  }
}

template <typename Visit>  // visit(key, path of fields)
void VisitKeys(const Descriptor& type, const std::string& prefix,
               std::vector<const FieldDescriptor*> path, const Visit& visit) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (IsHidden(*field)) {
      continue;
    }
    const std::string key = absl::StrCat(prefix, field->name());
    path.push_back(field);
    if (field->is_map() || IsLeaf(*field)) {
      visit(key, path);
    } else {
      VisitKeys(*field->message_type(), key + ".", path, visit);
    }
    path.pop_back();
  }
}

absl::Status SetEnum(Message& message, const FieldDescriptor& field, const std::string& text) {
  const auto* type = field.enum_type();
  const std::string wanted = absl::AsciiStrToUpper(absl::StrReplaceAll(text, {{"-", "_"}}));
  for (int i = 1; i < type->value_count(); ++i) {
    const auto* value = type->value(i);
    if (EnumText(type, value->number()) == wanted || value->name() == wanted) {
      message.GetReflection()->SetEnumValue(&message, &field, value->number());
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not one of it"));
}

absl::Status SetTime(Message& message, const FieldDescriptor& field, const std::string& text) {
  Message* part = message.GetReflection()->MutableMessage(&message, &field);
  if (IsMessageOf(field, kDurationName)) {
    const absl::StatusOr<absl::Duration> duration = ParseDurationOrZero(text);
    if (!duration.ok()) {
      return duration.status();
    }
    part->CopyFrom(rpc::ToProto(*duration));
    return absl::OkStatus();
  }
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return absl::InvalidArgumentError(error);
  }
  part->CopyFrom(rpc::ToProto(time));
  return absl::OkStatus();
}

absl::Status SetNumber(Message& message, const FieldDescriptor& field, const std::string& key,
                       const std::string& text) {
  if (IsMemory(key) && IsAmount(field)) {
    const absl::StatusOr<int64_t> bytes = ParseBytes(text);
    if (bytes.ok()) {
      message.GetReflection()->SetDouble(&message, &field, static_cast<double>(*bytes));
    }
    return bytes.status();
  }
  const absl::StatusOr<double> number = ParseNumber(text);
  if (number.ok()) {
    message.GetReflection()->SetDouble(&message, &field, *number);
  }
  return number.status();
}

absl::Status SetLeaf(Message& message, const FieldDescriptor& field, const std::string& key,
                     const std::string& text) {
  const auto* reflection = message.GetReflection();
  if (field.is_repeated()) {
    reflection->ClearField(&message, &field);
    for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipEmpty())) {
      reflection->AddString(&message, &field, std::string(item));
    }
    return absl::OkStatus();
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return SetTime(message, field, text);
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(message, field, text);
    case FieldDescriptor::CPPTYPE_BOOL: {
      const absl::StatusOr<bool> value = ParseBool(text);
      if (value.ok()) {
        reflection->SetBool(&message, &field, *value);
      }
      return value.status();
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t value = 0;
      if (!absl::SimpleAtoi(text, &value)) {
        return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a whole number"));
      }
      reflection->SetInt32(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return SetNumber(message, field, key, text);
    default:
      reflection->SetString(&message, &field, text);
      return absl::OkStatus();
  }
}

struct KnownKey {
  std::vector<const FieldDescriptor*> path;
  std::string takes;
};

const std::map<std::string, KnownKey>& KnownKeys() {
  static const std::map<std::string, KnownKey>& keys = *[] {
    auto* result = new std::map<std::string, KnownKey>();
    VisitKeys(*scaler::v1::Policy::descriptor(), "", {},
              [&](const std::string& key, const std::vector<const FieldDescriptor*>& path) {
                (*result)[key] = {path, Takes(key, *path.back())};
              });
    return result;
  }();
  return keys;
}

// `cpu.max_cores` means `cpu.max`.
std::string Canonical(const std::string& key) {
  if (KnownKeys().contains(key)) {
    return key;
  }
  for (const absl::string_view suffix : {"_cores", "_bytes"}) {
    const std::string shorter(absl::StripSuffix(key, suffix));
    if (shorter != key && KnownKeys().contains(shorter) &&
        (suffix == "_bytes") == IsMemory(shorter)) {
      return shorter;
    }
  }
  return key;
}

// The message that holds the last field of `path`, made on the way.
Message* HolderOf(Message* root, const std::vector<const FieldDescriptor*>& path) {
  Message* message = root;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    message = message->GetReflection()->MutableMessage(message, path[i]);
  }
  return message;
}

absl::Status ApplyPair(const std::string& key, const std::string& value, PolicyEdit* edit,
                       std::set<std::string>* fields, bool* has_labels,
                       const scaler::v1::Policy& current) {
  if (absl::StartsWith(key, "labels.") && key.size() > 7) {
    if (!std::exchange(*has_labels, true)) {
      *edit->policy.mutable_labels() = current.labels();
    }
    const std::string label = key.substr(7);
    if (value.empty()) {
      edit->policy.mutable_labels()->erase(label);
    } else {
      (*edit->policy.mutable_labels())[label] = value;
    }
    fields->insert("labels");
    return absl::OkStatus();
  }
  const auto known = KnownKeys().find(key);
  if (known == KnownKeys().end() || known->second.path.back()->is_map()) {
    return absl::InvalidArgumentError("no such key; see 'policy keys'");
  }
  if (!fields->insert(key).second) {
    return absl::InvalidArgumentError("given twice");
  }
  if (value.empty()) {
    return absl::OkStatus();  // in the mask but absent: removed
  }
  const auto& path = known->second.path;
  const absl::Status status = SetLeaf(*HolderOf(&edit->policy, path), *path.back(), key, value);
  return status.ok() ? status
                     : absl::InvalidArgumentError(
                           absl::StrCat(status.message(), "; allowed: ", known->second.takes));
}

}  // namespace

absl::StatusOr<PolicyEdit> ParsePolicyEdit(std::span<const std::string> pairs,
                                           const scaler::v1::Policy& current) {
  PolicyEdit edit;
  std::set<std::string> fields;
  std::vector<std::string> faults;
  bool has_labels = false;
  for (const std::string& pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      faults.push_back(absl::StrCat("'", pair, "' is not KEY=VALUE"));
      continue;
    }
    const std::string key = Canonical(pair.substr(0, equals));
    const absl::Status status =
        ApplyPair(key, pair.substr(equals + 1), &edit, &fields, &has_labels, current);
    if (!status.ok()) {
      faults.push_back(absl::StrCat(key, ": ", status.message()));
    }
  }
  if (!faults.empty()) {
    return absl::InvalidArgumentError(absl::StrJoin(faults, "\n  "));
  }
  edit.fields.assign(fields.begin(), fields.end());
  return edit;
}

std::vector<PolicyKey> ListPolicyKeys() {
  std::vector<PolicyKey> keys;
  VisitKeys(
      *scaler::v1::Policy::descriptor(), "", {},
      [&](const std::string& key, const std::vector<const FieldDescriptor*>& path) {
        const bool is_map = path.back()->is_map();
        keys.push_back({is_map ? key + ".NAME" : key, is_map ? "text" : Takes(key, *path.back())});
      });
  return keys;
}

namespace {

std::string LeafText(const Message& message, const FieldDescriptor& field, const std::string& key) {
  const auto* reflection = message.GetReflection();
  if (field.is_repeated()) {
    std::vector<std::string> items;
    for (int i = 0; i < reflection->FieldSize(message, &field); ++i) {
      items.push_back(reflection->GetRepeatedString(message, &field, i));
    }
    return absl::StrJoin(items, ",");
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Message& part = reflection->GetMessage(message, &field);
      if (IsMessageOf(field, kDurationName)) {
        return DurationText(rpc::FromProto(static_cast<const google::protobuf::Duration&>(part)));
      }
      return TimeText(rpc::FromProto(static_cast<const google::protobuf::Timestamp&>(part)));
    }
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::AsciiStrToLower(
          EnumText(field.enum_type(), reflection->GetEnumValue(message, &field)));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection->GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const double value = reflection->GetDouble(message, &field);
      return IsMemory(key) && IsAmount(field) ? FormatBytes(value) : absl::StrCat(value);
    }
    default:
      return reflection->GetString(message, &field);
  }
}

// The value at `path`; nullopt when it, or a message on the way, is absent.
std::optional<std::string> ValueAt(const Message& root, const std::string& key,
                                   const std::vector<const FieldDescriptor*>& path) {
  const Message* message = &root;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    if (!message->GetReflection()->HasField(*message, path[i])) {
      return std::nullopt;
    }
    message = &message->GetReflection()->GetMessage(*message, path[i]);
  }
  const FieldDescriptor& field = *path.back();
  const bool is_set = field.is_repeated()
                          ? message->GetReflection()->FieldSize(*message, &field) > 0
                          : message->GetReflection()->HasField(*message, &field);
  return is_set ? std::optional(LeafText(*message, field, key)) : std::nullopt;
}

}  // namespace

std::vector<PolicyValue> ListPolicyValues(const scaler::v1::Policy& policy) {
  std::map<std::string, std::string> sources;
  for (const auto& source : policy.sources()) {
    sources[source.field()] = EnumText(source.level());
  }
  std::vector<PolicyValue> values;
  VisitKeys(*scaler::v1::Policy::descriptor(), "", {},
            [&](const std::string& key, const std::vector<const FieldDescriptor*>& path) {
              if (path.back()->is_map()) {
                return;
              }
              if (const auto value = ValueAt(policy, key, path)) {
                values.push_back({key, *value, sources[key]});
              }
            });
  const std::map<std::string, std::string> labels(policy.labels().begin(), policy.labels().end());
  for (const auto& [name, value] : labels) {
    values.push_back({absl::StrCat("labels.", name), value, sources["labels"]});
  }
  return values;
}

}  // namespace cloudscale::cli
