#include "services/sla/clients/balancer_stats_client.h"

#include <utility>

#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "common/logging/log.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace cloudscale::sla {
namespace {

constexpr size_t kQueue = 64;

BalancerSample FromWire(const lbctl::v1::WatchStatsResponse& in) {
  BalancerSample out;
  out.time = rpc::FromProto(in.sample_time());
  for (const lbctl::v1::Backend& backend : in.backends()) {
    for (const lbctl::v1::Server& server : backend.servers()) {
      const lbctl::v1::ServerStats& stats = server.stats();
      out.servers.push_back({.backend = backend.name(),
                             .server = server.name(),
                             .total_sessions = stats.total_sessions(),
                             .error_count = stats.error_count(),
                             .queue_time = rpc::FromProto(stats.queue_time()),
                             .connect_time = rpc::FromProto(stats.connect_time()),
                             .response_time = rpc::FromProto(stats.response_time()),
                             .total_time = rpc::FromProto(stats.total_time()),
                             .is_reset = stats.is_reset()});
    }
  }
  return out;
}

}  // namespace

BalancerStatsClient::BalancerStatsClient(std::string address, Backoff::Config backoff,
                                         const rpc::Environment& environment)
    : address_(std::move(address)),
      environment_(environment),
      backoff_(Rng(environment.seed).Fork("sla-balancer-stats"), backoff),
      queue_(kQueue) {
  MutexLock lock(&mutex_);
  link_.set_peer("lbctl");
  link_.set_address(address_);
  link_.set_health(common::v1::LINK_HEALTH_CONNECTING);
}

void BalancerStatsClient::Start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void BalancerStatsClient::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

common::v1::LinkState BalancerStatsClient::link() const {
  MutexLock lock(&mutex_);
  common::v1::LinkState link = link_;
  if (last_answer_.has_value()) {
    *link.mutable_last_answer_age() = rpc::ToProto(environment_.clock.MonoNow() - *last_answer_);
  }
  return link;
}

void BalancerStatsClient::Note(common::v1::LinkHealth health, const std::string& detail) {
  MutexLock lock(&mutex_);
  link_.set_health(health);
  link_.set_detail(detail);
  if (health == common::v1::LINK_HEALTH_UP) {
    last_answer_ = environment_.clock.MonoNow();
  }
}

absl::Status BalancerStatsClient::ReadStream(const std::stop_token& stop) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  const auto stub = lbctl::v1::BalancerService::NewStub(environment_.channel(address_));
  const auto reader = stub->WatchStats(&context, lbctl::v1::WatchStatsRequest());
  lbctl::v1::WatchStatsResponse message;
  while (reader->Read(&message)) {
    backoff_.Reset();
    Note(common::v1::LINK_HEALTH_UP, "");
    if (!message.is_heartbeat()) {
      queue_.PushDroppingOldest(FromWire(message));
    }
  }
  return rpc::FromGrpcStatus(reader->Finish());
}

void BalancerStatsClient::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const absl::Status status = ReadStream(stop);
    if (stop.stop_requested()) {
      return;
    }
    const std::string why = status.ok() ? "the stream ended" : status.ToString();
    Note(common::v1::LINK_HEALTH_CONNECTING, why);
    LogLine(LogLevel::kWarning, "balancer_stats_stream_lost")
        .Field("address", address_)
        .Field("why", why);
    // The wait is real time, whatever the clock's speed.
    Clock& clock = environment_.clock;
    clock.SleepUntil(clock.MonoNow() + backoff_.NextDelay() * clock.speed(), stop);
  }
}

}  // namespace cloudscale::sla
