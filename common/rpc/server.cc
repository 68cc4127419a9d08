#include "common/rpc/server.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/rpc/call_guard.h"
#include "common/rpc/channel.h"
#include "common/rpc/time_conversion.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace cloudscale::rpc {
namespace {

constexpr char kDefaultAddress[] = "127.0.0.1:0";
constexpr int kDefaultMaxMessageBytes = 4 << 20;
constexpr int kDefaultMaxStreams = 256;
constexpr absl::Duration kDefaultGrace = absl::Seconds(5);
constexpr unsigned int kCertificateRefreshSeconds = 5;

// Lets only peers with one of the allowed names call; runs on each call, cheaply.
class PeerNameCheck final : public grpc::AuthMetadataProcessor {
 public:
  explicit PeerNameCheck(const config::v1::TlsConfig& tls)
      : allowed_(tls.allowed_peers().begin(), tls.allowed_peers().end()) {}
  bool IsBlocking() const override { return false; }
  grpc::Status Process(const InputMetadata&, grpc::AuthContext* context, OutputMetadata*,
                       OutputMetadata*) override {
    for (const char* property : {"x509_subject_alternative_name", "x509_common_name"}) {
      for (const grpc::string_ref& name : context->FindPropertyValues(property)) {
        if (std::find(allowed_.begin(), allowed_.end(), std::string(name.data(), name.size())) !=
            allowed_.end()) {
          return grpc::Status::OK;
        }
      }
    }
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED,
                        "the certificate names no peer that tls.allowed_peers allows");
  }

 private:
  const std::vector<std::string> allowed_;
};

std::shared_ptr<grpc::ServerCredentials> MakeCredentials(const config::v1::TlsConfig& tls) {
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      tls.key_file(), tls.cert_file(), tls.ca_file(), kCertificateRefreshSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  auto credentials = grpc::experimental::TlsServerCredentials(options);
  if (tls.allowed_peers_size() > 0) {
    credentials->SetAuthMetadataProcessor(std::make_shared<PeerNameCheck>(tls));
  }
  return credentials;
}

void ValidateDuration(const google::protobuf::Duration& value, bool present, absl::string_view path,
                      absl::Duration low, absl::Duration high, Violations* violations) {
  if (!present) {
    return;
  }
  const absl::Duration d = FromProto(value);
  if (d < low || d > high) {
    violations->Add(path, absl::FormatDuration(d),
                    absl::StrCat(absl::FormatDuration(low), " to ", absl::FormatDuration(high)));
  }
}

bool HasPort(absl::string_view address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  return colon != absl::string_view::npos && colon > 0 &&
         absl::SimpleAtoi(address.substr(colon + 1), &port) && port >= 0 && port <= 65535;
}

void ValidateFile(const std::string& path, absl::string_view field, Violations* violations) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    violations->Add(field, path, "a readable file");
  }
}

}  // namespace

void ValidateServerConfig(const config::v1::ServerConfig& config, absl::string_view prefix,
                          Violations* violations) {
  Violations v;
  const std::string& address = config.listen_address();
  if (!address.empty() && !absl::StartsWith(address, "unix:") && !HasPort(address)) {
    v.Add("listen_address", address, "host:port or unix:path");
  }
  if (config.has_tls()) {
    ValidateFile(config.tls().cert_file(), "tls.cert_file", &v);
    ValidateFile(config.tls().key_file(), "tls.key_file", &v);
    ValidateFile(config.tls().ca_file(), "tls.ca_file", &v);
  } else if (!address.empty() && !IsLoopback(address)) {
    v.Add("listen_address", address, "a loopback address while no certificate files are set (tls)");
  }
  if (!config.admin_address().empty() &&
      (!IsLoopback(config.admin_address()) || !HasPort(config.admin_address()))) {
    v.Add("admin_address", config.admin_address(), "host:port on loopback");
  }
  const auto& limits = config.limits();
  if (limits.max_message_bytes() != 0) {
    RequireInRange(v, "limits.max_message_bytes", limits.max_message_bytes(), 65536, 67108864);
  }
  if (limits.max_concurrent_streams() != 0) {
    RequireInRange(v, "limits.max_concurrent_streams", limits.max_concurrent_streams(), 1, 10000);
  }
  if (limits.max_watch_queue_length() != 0) {
    RequireInRange(v, "limits.max_watch_queue_length", limits.max_watch_queue_length(), 1, 10000);
  }
  ValidateDuration(limits.default_deadline(), limits.has_default_deadline(),
                   "limits.default_deadline", absl::Milliseconds(1), absl::Hours(1), &v);
  ValidateDuration(limits.max_deadline(), limits.has_max_deadline(), "limits.max_deadline",
                   absl::Milliseconds(1), absl::Hours(1), &v);
  ValidateDuration(limits.shutdown_grace(), limits.has_shutdown_grace(), "limits.shutdown_grace",
                   absl::Milliseconds(100), absl::Seconds(60), &v);
  ValidateDuration(limits.keepalive_period(), limits.has_keepalive_period(),
                   "limits.keepalive_period", absl::Seconds(1), absl::Minutes(10), &v);
  violations->AddAll(prefix, v);
}

struct Server::Impl {
  config::v1::ServerConfig config;
  std::string address;
  std::vector<grpc::Service*> services;
  std::unique_ptr<CallGuard> guard;
  std::unique_ptr<grpc::Server> server;
  bool stopped = false;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { Shutdown(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Create(const config::v1::ServerConfig& config,
                                                       MetricSink* metrics) {
  Violations violations;
  ValidateServerConfig(config, "server", &violations);
  if (absl::Status status = violations.ToStatus(); !status.ok()) {
    return status;
  }
  auto impl = std::make_unique<Impl>();
  impl->config = config;
  impl->address = config.listen_address().empty() ? kDefaultAddress : config.listen_address();
  CallGuard::Config guard;
  if (config.limits().has_max_deadline()) {
    guard.max_deadline = FromProto(config.limits().max_deadline());
  }
  if (config.limits().has_default_deadline()) {
    guard.default_deadline = FromProto(config.limits().default_deadline());
  }
  guard.default_deadline = std::min(guard.default_deadline, guard.max_deadline);
  impl->guard = std::make_unique<CallGuard>(guard, metrics);
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

void Server::Register(grpc::Service* service) { impl_->services.push_back(service); }

absl::Status Server::Start() {
  const auto& limits = impl_->config.limits();
  grpc::EnableDefaultHealthCheckService(true);
  if (!impl_->config.has_is_reflection_enabled() || impl_->config.is_reflection_enabled()) {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  }
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(impl_->address,
                           impl_->config.has_tls() ? MakeCredentials(impl_->config.tls())
                                                   : grpc::InsecureServerCredentials(),
                           &port);
  for (grpc::Service* service : impl_->services) {
    builder.RegisterService(service);
  }
  const int max_bytes =
      limits.max_message_bytes() > 0 ? limits.max_message_bytes() : kDefaultMaxMessageBytes;
  builder.SetMaxReceiveMessageSize(max_bytes);
  builder.SetMaxSendMessageSize(max_bytes);
  const int max_streams =
      limits.max_concurrent_streams() > 0 ? limits.max_concurrent_streams() : kDefaultMaxStreams;
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, max_streams);
  const absl::Duration keepalive =
      limits.has_keepalive_period() ? FromProto(limits.keepalive_period()) : absl::Seconds(30);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS,
                             static_cast<int>(absl::ToInt64Milliseconds(keepalive)));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Peers ping idle streams on purpose; without these they would be thrown out for it.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // A second process on the same port would silently take half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeCallGuardInterceptorFactory(impl_->guard.get()));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));

  impl_->server = builder.BuildAndStart();
  const bool is_unix = absl::StartsWith(impl_->address, "unix:");
  if (impl_->server == nullptr || (!is_unix && port == 0)) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on '", impl_->address,
                     "': is it in use, or are the certificates unreadable?"));
  }
  if (!is_unix) {
    impl_->address = absl::StrCat(impl_->address.substr(0, impl_->address.rfind(':')), ":", port);
  }
  impl_->server->GetHealthCheckService()->SetServingStatus(false);
  return absl::OkStatus();
}

const std::string& Server::address() const { return impl_->address; }

void Server::SetServing(const std::string& service_name, bool serving) {
  impl_->server->GetHealthCheckService()->SetServingStatus(service_name, serving);
}

std::shared_ptr<grpc::Channel> Server::InProcessChannel() {
  return impl_->server->InProcessChannel(grpc::ChannelArguments());
}

void Server::StopServing() {
  if (impl_->server != nullptr) {
    impl_->server->GetHealthCheckService()->Shutdown();
  }
}

void Server::Shutdown() {
  if (impl_->server == nullptr || impl_->stopped) {
    return;
  }
  impl_->stopped = true;
  StopServing();
  const absl::Duration grace = impl_->config.limits().has_shutdown_grace()
                                   ? FromProto(impl_->config.limits().shutdown_grace())
                                   : kDefaultGrace;
  impl_->server->Shutdown(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(grace));
  impl_->server->Wait();
}

}  // namespace cloudscale::rpc
