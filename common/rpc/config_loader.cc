#include "common/rpc/config_loader.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <set>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "google/protobuf/descriptor.h"
#include "yaml-cpp/yaml.h"

namespace cloudscale::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr size_t kMaxFileBytes = 4 << 20;
constexpr int kMaxDepth = 32;

std::string Where(const std::string& path, const YAML::Node& node) {
  if (node.Mark().is_null()) {
    return path;
  }
  return absl::StrCat(path, " (line ", node.Mark().line + 1, ")");
}

std::string ValueText(const YAML::Node& node) {
  if (node.IsScalar()) {
    return node.Scalar();
  }
  if (node.IsSequence()) {
    return "a list";
  }
  return node.IsMap() ? "a mapping" : "nothing";
}

bool ParseBytes(absl::string_view text, int64_t* bytes) {
  static constexpr struct {
    absl::string_view suffix;
    double factor;
  } kUnits[] = {
      {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}, {"TiB", 1099511627776.0},
      {"kB", 1e3},     {"MB", 1e6},        {"GB", 1e9},           {"TB", 1e12}};
  for (const auto& unit : kUnits) {
    absl::string_view number = text;
    double value = 0;
    if (absl::ConsumeSuffix(&number, unit.suffix) &&
        absl::SimpleAtod(absl::StripAsciiWhitespace(number), &value) && std::isfinite(value) &&
        std::abs(value * unit.factor) < 9e18) {
      *bytes = static_cast<int64_t>(value * unit.factor);
      return true;
    }
  }
  return false;
}

class Reader {
 public:
  explicit Reader(Violations* violations) : violations_(violations) {}

  void ReadMessage(const YAML::Node& node, const std::string& path, int depth, Message* message) {
    const Descriptor* type = message->GetDescriptor();
    if (depth > kMaxDepth) {
      violations_->Add(Where(path, node), "nested too deep",
                       absl::StrCat("at most ", kMaxDepth, " levels"));
      return;
    }
    if (node.IsNull()) {
      return;
    }
    if (!node.IsMap()) {
      violations_->Add(Where(path, node), ValueText(node), "a mapping of fields");
      return;
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) {
        violations_->Add(Where(path, entry.first), ValueText(entry.first), "a field name");
        continue;
      }
      const std::string& name = entry.first.Scalar();
      const std::string child = path.empty() ? name : absl::StrCat(path, ".", name);
      const FieldDescriptor* field = type->FindFieldByName(name);
      if (field == nullptr) {
        violations_->Add(Where(child, entry.first), "unknown field",
                         absl::StrCat("one of ", FieldNames(type)));
      } else if (!seen.insert(name).second) {
        violations_->Add(Where(child, entry.first), "given twice", "once");
      } else {
        ReadField(entry.second, child, depth, *field, message);
      }
    }
  }

 private:
  static std::string FieldNames(const Descriptor* type) {
    std::vector<std::string> names;
    for (int i = 0; i < type->field_count(); ++i) {
      names.push_back(type->field(i)->name());
    }
    return absl::StrJoin(names, ", ");
  }

  void ReadField(const YAML::Node& node, const std::string& path, int depth,
                 const FieldDescriptor& field, Message* message) {
    if (field.real_containing_oneof() != nullptr &&
        message->GetReflection()->HasOneof(*message, field.real_containing_oneof())) {
      violations_->Add(Where(path, node), "a second alternative",
                       absl::StrCat("only one of the alternatives of '",
                                    field.real_containing_oneof()->name(), "'"));
      return;
    }
    if (!field.is_repeated()) {
      ReadValue(node, path, depth, field, message);
      return;
    }
    if (!node.IsSequence()) {
      violations_->Add(Where(path, node), ValueText(node), "a list");
      return;
    }
    for (size_t i = 0; i < node.size(); ++i) {
      ReadValue(node[i], absl::StrCat(path, "[", i, "]"), depth, field, message);
    }
  }

  void ReadValue(const YAML::Node& node, const std::string& path, int depth,
                 const FieldDescriptor& field, Message* message) {
    const Reflection* reflection = message->GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field.message_type()->full_name() == "google.protobuf.Duration") {
        ReadDuration(node, path, field, message);
        return;
      }
      Message* child = field.is_repeated() ? reflection->AddMessage(message, &field)
                                           : reflection->MutableMessage(message, &field);
      ReadMessage(node, path, depth + 1, child);
      return;
    }
    if (!node.IsScalar()) {
      violations_->Add(Where(path, node), ValueText(node), absl::StrCat("a ", TypeWord(field)));
      return;
    }
    if (!SetScalar(node.Scalar(), field, message)) {
      violations_->Add(Where(path, node), node.Scalar(), Allowed(field));
    }
  }

  void ReadDuration(const YAML::Node& node, const std::string& path, const FieldDescriptor& field,
                    Message* message) {
    absl::Duration duration;
    if (!node.IsScalar() || !absl::ParseDuration(node.Scalar(), &duration) ||
        duration == absl::InfiniteDuration() || duration == -absl::InfiniteDuration()) {
      violations_->Add(Where(path, node), ValueText(node), "a duration such as 10s, 250ms, 5m");
      return;
    }
    const Reflection* reflection = message->GetReflection();
    Message* target = field.is_repeated() ? reflection->AddMessage(message, &field)
                                          : reflection->MutableMessage(message, &field);
    target->CopyFrom(ToProto(duration));
  }

  static std::string TypeWord(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        return "text";
      case FieldDescriptor::CPPTYPE_BOOL:
        return "true or false";
      case FieldDescriptor::CPPTYPE_ENUM:
        return "choice";
      default:
        return "number";
    }
  }

  static std::string Allowed(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_ENUM: {
        std::vector<std::string> names;
        for (int i = 0; i < field.enum_type()->value_count(); ++i) {
          if (field.enum_type()->value(i)->number() != 0) {
            names.push_back(field.enum_type()->value(i)->name());
          }
        }
        return absl::StrCat("one of ", absl::StrJoin(names, ", "));
      }
      case FieldDescriptor::CPPTYPE_INT32:
        return "a whole number of 32 bits";
      case FieldDescriptor::CPPTYPE_INT64:
        return "a whole number (bytes may carry KiB, MiB, GiB)";
      case FieldDescriptor::CPPTYPE_BOOL:
        return "true or false";
      default:
        return "a finite number";
    }
  }

  static const google::protobuf::EnumValueDescriptor* FindEnum(const EnumDescriptor& type,
                                                               const std::string& text) {
    const std::string upper = absl::AsciiStrToUpper(text);
    for (int i = 0; i < type.value_count(); ++i) {
      const auto* value = type.value(i);
      if (value->number() == 0) {
        continue;
      }
      const std::string& zero = type.value(0)->name();
      absl::string_view prefix = zero;
      absl::string_view rest = value->name();
      if (value->name() == upper || (absl::ConsumeSuffix(&prefix, "UNSPECIFIED") &&
                                     absl::ConsumePrefix(&rest, prefix) && rest == upper)) {
        return value;
      }
    }
    return nullptr;
  }

  static bool SetScalar(const std::string& text, const FieldDescriptor& field, Message* message) {
    const Reflection* r = message->GetReflection();
    const bool many = field.is_repeated();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        many ? r->AddString(message, &field, text) : r->SetString(message, &field, text);
        return true;
      case FieldDescriptor::CPPTYPE_BOOL: {
        if (text != "true" && text != "false") {
          return false;
        }
        const bool value = text == "true";
        many ? r->AddBool(message, &field, value) : r->SetBool(message, &field, value);
        return true;
      }
      case FieldDescriptor::CPPTYPE_INT32: {
        int32_t value = 0;
        if (!absl::SimpleAtoi(text, &value)) {
          return false;
        }
        many ? r->AddInt32(message, &field, value) : r->SetInt32(message, &field, value);
        return true;
      }
      case FieldDescriptor::CPPTYPE_INT64: {
        int64_t value = 0;
        if (!absl::SimpleAtoi(text, &value) && !ParseBytes(text, &value)) {
          return false;
        }
        many ? r->AddInt64(message, &field, value) : r->SetInt64(message, &field, value);
        return true;
      }
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        double value = 0;
        if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) {
          return false;
        }
        many ? r->AddDouble(message, &field, value) : r->SetDouble(message, &field, value);
        return true;
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        const auto* value = FindEnum(*field.enum_type(), text);
        if (value == nullptr) {
          return false;
        }
        many ? r->AddEnum(message, &field, value) : r->SetEnum(message, &field, value);
        return true;
      }
      default:
        return false;  // the schemas use no other scalar types
    }
  }

  Violations* const violations_;
};

// yaml-cpp reports syntax errors by throwing; this is the one place where that ends.
absl::Status ParseTree(const std::string& text, YAML::Node* root) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      return absl::InvalidArgumentError("more than one YAML document; one is allowed");
    }
    *root = documents.empty() ? YAML::Node() : documents.front();
    return absl::OkStatus();
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", error.mark.line + 1, ": not valid YAML: ", error.msg));
  }
}

}  // namespace

absl::Status ParseYaml(const std::string& text, Message* message) {
  YAML::Node root;
  if (absl::Status status = ParseTree(text, &root); !status.ok()) {
    return status;
  }
  const std::unique_ptr<Message> parsed(message->New());
  Violations violations;
  Reader(&violations).ReadMessage(root, "", 0, parsed.get());
  if (absl::Status status = violations.ToStatus(); !status.ok()) {
    return status;
  }
  message->CopyFrom(*parsed);
  return absl::OkStatus();
}

absl::Status LoadYaml(const std::string& path, Message* message) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  }
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": larger than ", kMaxFileBytes, " bytes"));
  }
  return ParseYaml(text, message);
}

}  // namespace cloudscale::rpc
