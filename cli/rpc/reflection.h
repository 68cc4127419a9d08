#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/wire/standard_services.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/descriptor_database.h"

namespace cloudscale::cli {

class Session;

// What a server says about its own services: a source of descriptors for a `DescriptorPool`, over
// gRPC's reflection protocol. Files are fetched when they are first needed and kept.
// Thread safety: confined to one thread; the pool that uses it takes its own lock.
class ReflectionDatabase : public google::protobuf::DescriptorDatabase {
 public:
  // `session` outlives the database.
  ReflectionDatabase(Session& session, std::string address);

  // Names of all services, sorted.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> ListServices();

  bool FindFileByName(const std::string& filename,
                      google::protobuf::FileDescriptorProto* output) override;
  bool FindFileContainingSymbol(const std::string& symbol,
                                google::protobuf::FileDescriptorProto* output) override;
  // Extensions are not used in proto3 contracts.
  bool FindFileContainingExtension(const std::string&, int,
                                   google::protobuf::FileDescriptorProto*) override {
    return false;
  }

  // Why the last question had no answer; OK when it had one, NOT_FOUND when the server answered
  // that it does not know.
  [[nodiscard]] const absl::Status& last_error() const { return last_error_; }
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  absl::StatusOr<wire::ReflectionResponse> Ask(const wire::ReflectionRequest& request);
  absl::StatusOr<wire::ReflectionResponse> AskVersion(const wire::ReflectionRequest& request,
                                                      const std::string& method);
  // Keeps all files of an answer; returns the name of the first.
  absl::StatusOr<std::string> Keep(const wire::FileDescriptors& files);

  Session& session_;
  const std::string address_;
  std::map<std::string, google::protobuf::FileDescriptorProto> files_;
  absl::Status last_error_;
};

// A server with the descriptors that it serves.
class ReflectedServer {
 public:
  ReflectedServer(Session& session, std::string address);

  [[nodiscard]] ReflectionDatabase& database() { return database_; }
  [[nodiscard]] google::protobuf::DescriptorPool& pool() { return pool_; }

  // The full name of the service that `text` means: the name itself, or an unambiguous end or part
  // of it in any case (`ScalerService`, `scaler`). NOT_FOUND names those that exist.
  [[nodiscard]] absl::StatusOr<std::string> ResolveService(const std::string& text);

  // The method of `SERVICE/METHOD` or `SERVICE.METHOD`.
  [[nodiscard]] absl::StatusOr<const google::protobuf::MethodDescriptor*> FindMethod(
      const std::string& text);

 private:
  ReflectionDatabase database_;
  google::protobuf::DescriptorPool pool_;
};

// Picks from `services` as `ResolveService` says.
[[nodiscard]] absl::StatusOr<std::string> PickService(const std::vector<std::string>& services,
                                                      const std::string& text);

}  // namespace cloudscale::cli
