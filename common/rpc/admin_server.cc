#include "common/rpc/admin_server.h"

#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/time/clock.h"
#include "httplib.h"

namespace cloudscale::rpc {
namespace {

constexpr size_t kMaxRequestBytes = size_t{64} * 1024;
constexpr int kHttpThreads = 2;
constexpr time_t kTimeoutSeconds = 5;

}  // namespace

struct AdminServer::Impl {
  httplib::Server server;
  std::string address;
  std::jthread thread;
};

AdminServer::AdminServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

AdminServer::~AdminServer() {
  impl_->server.stop();
  impl_->thread.join();
}

const std::string& AdminServer::address() const { return impl_->address; }

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(
    const std::string& address, const MetricsRegistry* metrics,
    std::function<absl::Status()> readiness) {
  auto impl = std::make_unique<Impl>();
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port)) {
    return absl::InvalidArgumentError(
        absl::StrCat("admin_address '", address, "' is not host:port"));
  }
  const std::string host = address.substr(0, colon);
  impl->server.new_task_queue = [] { return new httplib::ThreadPool(kHttpThreads); };
  impl->server.set_payload_max_length(kMaxRequestBytes);
  impl->server.set_read_timeout(kTimeoutSeconds);
  impl->server.set_write_timeout(kTimeoutSeconds);
  impl->server.Get("/metrics", [metrics](const httplib::Request&, httplib::Response& response) {
    response.set_content(metrics->Expose(), "text/plain; version=0.0.4");
  });
  impl->server.Get("/livez", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", "text/plain");
  });
  impl->server.Get("/readyz", [readiness = std::move(readiness)](const httplib::Request&,
                                                                 httplib::Response& response) {
    const absl::Status status = readiness();
    response.status = status.ok() ? 200 : 503;
    response.set_content(status.ok() ? "ok\n" : absl::StrCat(status.message(), "\n"), "text/plain");
  });
  if (port == 0) {
    port = impl->server.bind_to_any_port(host.c_str());
  } else if (!impl->server.bind_to_port(host.c_str(), port)) {
    port = -1;
  }
  if (port < 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on admin_address '", address, "'"));
  }
  impl->address = absl::StrCat(host, ":", port);
  impl->thread = std::jthread([server = &impl->server] { server->listen_after_bind(); });
  // `stop` does nothing before the loop runs, so it must run before anyone can destroy us.
  const auto clock = MakeRealClock();
  while (!impl->server.is_running()) {
    clock->SleepUntil(clock->MonoNow() + absl::Milliseconds(1), std::stop_token());
  }
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(impl)));
}

}  // namespace cloudscale::rpc
