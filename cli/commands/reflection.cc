#include "cli/rpc/reflection.h"

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/service_address.h"
#include "cli/rpc/session.h"
#include "common/status/macros.h"
#include "google/protobuf/descriptor.pb.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using Json = nlohmann::ordered_json;

Json MethodToJson(const google::protobuf::MethodDescriptor& method) {
  return {{"name", method.name()},
          {"request", method.input_type()->full_name()},
          {"response", method.output_type()->full_name()},
          {"client_streaming", method.client_streaming()},
          {"server_streaming", method.server_streaming()}};
}

class ListCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"list",
            "Any service",
            "services that the server has, or the methods of one",
            {"list", "list scaler", "list --json"}};
  }
  void Register(CLI::App& app) override {
    app.add_option("service", service_, "list its methods")->type_name("SERVICE");
  }

  absl::Status Run(Session& session) override {
    return service_.empty() ? ListServices(session) : ListMethods(session);
  }

 private:
  static absl::Status ListServices(Session& session) {
    Json json = {{"services", Json::array()}};
    for (const std::string& address : AllAddresses(session.options())) {
      ReflectionDatabase database(session, address);
      CS_ASSIGN_OR_RETURN(const std::vector<std::string> services, database.ListServices());
      for (const std::string& service : services) {
        json["services"].push_back({{"name", service}, {"address", address}});
        if (!session.options().is_json) {
          session.io().out << service << "\n";
        }
      }
    }
    if (session.options().is_json) {
      session.io().out << json.dump(2) << "\n";
    }
    return absl::OkStatus();
  }

  absl::Status ListMethods(Session& session) const {
    ReflectedServer server(session, AddressForService(session.options(), service_));
    CS_ASSIGN_OR_RETURN(const std::string name, server.ResolveService(service_));
    const auto* service = server.pool().FindServiceByName(name);
    if (service == nullptr) {
      return server.database().last_error();
    }
    Json json = {{"service", name}, {"methods", Json::array()}};
    for (int i = 0; i < service->method_count(); ++i) {
      const auto& method = *service->method(i);
      json["methods"].push_back(MethodToJson(method));
      if (!session.options().is_json) {
        session.io().out << name << "/" << method.name() << "("
                         << (method.client_streaming() ? "stream " : "")
                         << method.input_type()->name() << ") -> "
                         << (method.server_streaming() ? "stream " : "")
                         << method.output_type()->name() << "\n";
      }
    }
    if (session.options().is_json) {
      session.io().out << json.dump(2) << "\n";
    }
    return absl::OkStatus();
  }

  std::string service_;
};

// The text and the descriptor of anything that has a full name.
struct Described {
  std::string text;
  std::string json;
};

class DescribeCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"describe",
            "Any service",
            "a service, method, message or enum in the words of its contract",
            {"describe scaler", "describe scaler/UpdatePolicy",
             "describe cloudscale.scaler.v1.Policy"}};
  }
  void Register(CLI::App& app) override {
    app.add_option("name", name_, "SERVICE, SERVICE/METHOD, or a full name")
        ->type_name("NAME")
        ->required();
  }

  absl::Status Run(Session& session) override {
    ReflectedServer server(session, AddressForService(session.options(), name_));
    CS_ASSIGN_OR_RETURN(const Described described, Find(server));
    session.io().out << (session.options().is_json ? described.json + "\n" : described.text);
    return absl::OkStatus();
  }

 private:
  template <typename Proto, typename Descriptor>
  static Described Describe(const Descriptor& descriptor) {
    Proto proto;
    descriptor.CopyTo(&proto);
    return {descriptor.DebugString(), MessageToJson(proto, /*is_one_line=*/false)};
  }

  static Described DescribeMethod(const google::protobuf::MethodDescriptor& method) {
    // The method alone says little: its messages belong to it.
    Described described = Describe<google::protobuf::MethodDescriptorProto>(method);
    absl::StrAppend(&described.text, "\n", method.input_type()->DebugString(), "\n",
                    method.output_type()->DebugString());
    return described;
  }

  absl::StatusOr<Described> Find(ReflectedServer& server) const {
    if (absl::StrContains(name_, '/')) {
      CS_ASSIGN_OR_RETURN(const auto* method, server.FindMethod(name_));
      return DescribeMethod(*method);
    }
    auto& pool = server.pool();
    if (absl::StrContains(name_, '.')) {
      if (const auto* message = pool.FindMessageTypeByName(name_)) {
        return Describe<google::protobuf::DescriptorProto>(*message);
      }
      if (!server.database().last_error().ok() &&
          !absl::IsNotFound(server.database().last_error())) {
        return server.database().last_error();
      }
      if (const auto* type = pool.FindEnumTypeByName(name_)) {
        return Describe<google::protobuf::EnumDescriptorProto>(*type);
      }
      if (const auto* method = pool.FindMethodByName(name_)) {
        return DescribeMethod(*method);
      }
    }
    CS_ASSIGN_OR_RETURN(const std::string service_name, server.ResolveService(name_));
    const auto* service = pool.FindServiceByName(service_name);
    if (service == nullptr) {
      return server.database().last_error();
    }
    return Describe<google::protobuf::ServiceDescriptorProto>(*service);
  }

  std::string name_;
};

}  // namespace

std::unique_ptr<Command> MakeListCommand() { return std::make_unique<ListCommand>(); }
std::unique_ptr<Command> MakeDescribeCommand() { return std::make_unique<DescribeCommand>(); }

}  // namespace cloudscale::cli
