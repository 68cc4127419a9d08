#include "services/scaler/clients/capacity_client.h"

#include <chrono>
#include <utility>

#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "common/logging/log.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::scaler {
namespace {

namespace cv1 = cloudscale::common::v1;
namespace lv1 = cloudscale::lbctl::v1;

constexpr char kReports[] = "cloudscale_scaler_capacity_reports_total";

}  // namespace

CapacityClient::CapacityClient(Clock& clock, MetricSink& metrics, Backoff backoff, Options options,
                               OnAnswer on_answer)
    : clock_(clock),
      metrics_(metrics),
      backoff_(backoff),
      options_(std::move(options)),
      on_answer_(std::move(on_answer)) {}

void CapacityClient::Start(std::shared_ptr<grpc::Channel> channel) {
  channel_ = std::move(channel);
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

void CapacityClient::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

void CapacityClient::Report(CapacityReport report) {
  if (!options_.address.empty() && !queue_.PushDroppingOldest(std::move(report))) {
    metrics_.Count(kReports, {{"result", "dropped"}}, 1);
  }
}

cv1::LinkState CapacityClient::link() const {
  cv1::LinkState link;
  link.set_peer("lbctl");
  link.set_address(options_.address);
  MutexLock lock(&mutex_);
  link.set_detail(options_.address.empty() ? "" : error_);
  link.set_health(options_.address.empty() ? cv1::LINK_HEALTH_OFF
                  : error_.empty()         ? cv1::LINK_HEALTH_UP
                                           : cv1::LINK_HEALTH_DEGRADED);
  return link;
}

void CapacityClient::Run(std::stop_token stop) {
  std::optional<CapacityReport> report = queue_.Pop(stop);
  while (report && !stop.stop_requested()) {
    while (std::optional<CapacityReport> newer = queue_.TryPop()) {
      metrics_.Count(kReports, {{"result", "superseded"}}, 1);
      report = std::move(newer);
    }
    if (Send(*report, stop)) {
      backoff_.Reset();
      report = queue_.Pop(stop);
    } else {
      clock_.SleepUntil(clock_.MonoNow() + backoff_.NextDelay(), stop);
    }
  }
}

bool CapacityClient::Send(const CapacityReport& report, const std::stop_token& stop) {
  lv1::ReportCapacityRequest request;
  request.set_host_id(options_.host_id);
  *request.mutable_time_to_live() = rpc::ToProto(options_.time_to_live);
  for (const VmGrant& vm : report.vms) {
    lv1::VmCapacity& out = *request.add_vms();
    out.set_vm_uuid(vm.vm_uuid);
    out.set_granted_cores(vm.granted_cores);
    if (vm.coming_cores) {
      out.set_coming_cores(*vm.coming_cores);
    }
  }
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoNanoseconds(options_.deadline));
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  lv1::ReportCapacityResponse response;
  const grpc::Status status =
      lv1::BalancerService::NewStub(channel_)->ReportCapacity(&context, request, &response);
  metrics_.Count(kReports, {{"result", status.ok() ? "answered" : "failed"}}, 1);
  {
    MutexLock lock(&mutex_);
    if (error_.empty() != status.ok() && !stop.stop_requested()) {
      LogLine(status.ok() ? LogLevel::kInfo : LogLevel::kWarning, "lbctl_link")
          .Field("answer", status.ok() ? "ok" : status.error_message());
    }
    error_ = status.ok() ? "" : status.error_message();
    if (!status.ok() && error_.empty()) {
      error_ = "failed without a message";
    }
  }
  if (status.ok()) {
    on_answer_(report.number,
               {response.followed_vm_uuids().begin(), response.followed_vm_uuids().end()});
  }
  return status.ok();
}

}  // namespace cloudscale::scaler
