#include "cli/rpc/reflection.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/rpc/session.h"
#include "common/status/macros.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/impl/codegen/proto_utils.h"

namespace cloudscale::cli {
namespace {

constexpr char kReflectionName[] = "server reflection";
// Servers bring the older name, the newer one, or both.
constexpr char kOlderMethod[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
constexpr char kNewerMethod[] = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

// Waits for the one operation that is under way.
bool Next(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool is_ok = false;
  return queue.Next(&tag, &is_ok) && is_ok;
}

// One question and its answer on a stream of their own.
grpc::Status Exchange(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext& context,
                      const std::string& method, const wire::ReflectionRequest& request,
                      wire::ReflectionResponse* response) {
  grpc::TemplatedGenericStub<wire::ReflectionRequest, wire::ReflectionResponse> stub(channel);
  grpc::CompletionQueue queue;
  const auto stream = stub.PrepareCall(&context, method, &queue);
  stream->StartCall(nullptr);
  bool is_ok = Next(queue);
  if (is_ok) {
    stream->WriteLast(request, grpc::WriteOptions(), nullptr);
    is_ok = Next(queue);
  }
  if (is_ok) {
    stream->Read(response, nullptr);
    is_ok = Next(queue);
  }
  if (is_ok) {
    // The stream ends after the one answer; reading on lets the server finish it.
    wire::ReflectionResponse nothing;
    stream->Read(&nothing, nullptr);
    Next(queue);
  }
  grpc::Status status;
  stream->Finish(&status, nullptr);
  Next(queue);
  if (status.ok() && !is_ok) {
    return {grpc::INTERNAL, "the server ended the reflection stream without an answer"};
  }
  return status;
}

}  // namespace

ReflectionDatabase::ReflectionDatabase(Session& session, std::string address)
    : session_(session), address_(std::move(address)) {}

absl::StatusOr<wire::ReflectionResponse> ReflectionDatabase::AskVersion(
    const wire::ReflectionRequest& request, const std::string& method) {
  CS_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, session_.ChannelTo(address_));
  grpc::ClientContext context;
  session_.Prepare(context);
  wire::ReflectionResponse response;
  CS_RETURN_IF_ERROR(Session::Finish(Exchange(channel, context, method, request, &response),
                                     address_, kReflectionName));
  return response;
}

absl::StatusOr<wire::ReflectionResponse> ReflectionDatabase::Ask(
    const wire::ReflectionRequest& request) {
  absl::StatusOr<wire::ReflectionResponse> response = AskVersion(request, kOlderMethod);
  if (absl::IsUnimplemented(response.status())) {
    response = AskVersion(request, kNewerMethod);
  }
  if (response.ok() && response->has_error_response()) {
    const auto& error = response->error_response();
    response = Session::Finish(
        grpc::Status(static_cast<grpc::StatusCode>(error.error_code()), error.error_message()),
        address_, kReflectionName);
  }
  last_error_ = response.status();
  return response;
}

absl::StatusOr<std::vector<std::string>> ReflectionDatabase::ListServices() {
  wire::ReflectionRequest request;
  request.set_list_services("*");
  CS_ASSIGN_OR_RETURN(const wire::ReflectionResponse response, Ask(request));
  std::vector<std::string> names;
  for (const auto& service : response.list_services_response().service()) {
    names.push_back(service.name());
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::string> ReflectionDatabase::Keep(const wire::FileDescriptors& files) {
  std::string first;
  for (const std::string& serialized : files.file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto file;
    if (!file.ParseFromString(serialized)) {
      return last_error_ = Session::Finish(
                 grpc::Status(grpc::INTERNAL, "the server sent a broken descriptor"), address_,
                 kReflectionName);
    }
    const std::string name = file.name();
    files_.emplace(name, std::move(file));
    first = first.empty() ? name : first;
  }
  return first;
}

bool ReflectionDatabase::FindFileByName(const std::string& filename,
                                        google::protobuf::FileDescriptorProto* output) {
  if (!files_.contains(filename)) {
    wire::ReflectionRequest request;
    request.set_file_by_filename(filename);
    const auto response = Ask(request);
    if (!response.ok() || !Keep(response->file_descriptor_response()).ok()) {
      return false;
    }
  }
  const auto it = files_.find(filename);
  if (it == files_.end()) {
    return false;
  }
  *output = it->second;
  return true;
}

bool ReflectionDatabase::FindFileContainingSymbol(const std::string& symbol,
                                                  google::protobuf::FileDescriptorProto* output) {
  wire::ReflectionRequest request;
  request.set_file_containing_symbol(symbol);
  const auto response = Ask(request);
  if (!response.ok()) {
    return false;
  }
  const absl::StatusOr<std::string> first = Keep(response->file_descriptor_response());
  return first.ok() && !first->empty() && FindFileByName(*first, output);
}

ReflectedServer::ReflectedServer(Session& session, std::string address)
    : database_(session, std::move(address)), pool_(&database_) {}

absl::StatusOr<std::string> PickService(const std::vector<std::string>& services,
                                        const std::string& text) {
  const std::string lower = absl::AsciiStrToLower(text);
  const auto matching = [&](const std::function<bool(const std::string&)>& fits) {
    std::vector<std::string> found;
    for (const std::string& service : services) {
      if (fits(absl::AsciiStrToLower(service))) {
        found.push_back(service);
      }
    }
    return found;
  };
  std::vector<std::string> found = matching([&](const std::string& name) { return name == lower; });
  if (found.empty()) {
    found = matching([&](const std::string& name) { return absl::EndsWith(name, "." + lower); });
  }
  if (found.empty()) {
    found = matching(
        [&](const std::string& name) { return absl::EndsWith(name, "." + lower + "service"); });
  }
  if (found.size() == 1) {
    return found.front();
  }
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no service '", text, "'; there are ", absl::StrJoin(services, ", ")));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' may be any of ", absl::StrJoin(found, ", ")));
}

absl::StatusOr<std::string> ReflectedServer::ResolveService(const std::string& text) {
  CS_ASSIGN_OR_RETURN(const std::vector<std::string> services, database_.ListServices());
  absl::StatusOr<std::string> service = PickService(services, text);
  if (absl::IsNotFound(service.status())) {
    return Session::Finish(grpc::Status(grpc::NOT_FOUND, std::string(service.status().message())),
                           database_.address(), "");
  }
  return service;
}

absl::StatusOr<const google::protobuf::MethodDescriptor*> ReflectedServer::FindMethod(
    const std::string& text) {
  const size_t separator = text.find_last_of("/.");
  if (separator == std::string::npos || separator == 0 || separator + 1 == text.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not SERVICE/METHOD; see 'cloudscalectl list'"));
  }
  CS_ASSIGN_OR_RETURN(const std::string service_name, ResolveService(text.substr(0, separator)));
  const auto* service = pool_.FindServiceByName(service_name);
  if (service == nullptr) {
    return database_.last_error().ok()
               ? absl::InternalError(absl::StrCat("the server does not describe ", service_name))
               : database_.last_error();
  }
  const std::string wanted = text.substr(separator + 1);
  std::vector<std::string> names;
  for (int i = 0; i < service->method_count(); ++i) {
    if (absl::EqualsIgnoreCase(service->method(i)->name(), wanted)) {
      return service->method(i);
    }
    names.push_back(service->method(i)->name());
  }
  return Session::Finish(
      grpc::Status(grpc::NOT_FOUND, absl::StrCat(service_name, " has no method '", wanted,
                                                 "'; it has ", absl::StrJoin(names, ", "))),
      database_.address(), "");
}

}  // namespace cloudscale::cli
