#include "services/scaler/clients/retrain_client.h"

#include <chrono>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"

namespace cloudscale::scaler {
namespace {

namespace cv1 = cloudscale::common::v1;
namespace pv1 = cloudscale::predictor::v1;

std::string MakeUuid(Rng& rng) {
  const uint64_t a = rng.Next();
  const uint64_t b = rng.Next();
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%012x", a >> 32, (a >> 16) & 0xffff, a & 0xfff,
                         0x8000 | ((b >> 48) & 0x3fff), b & 0xffffffffffff);
}

}  // namespace

void RetrainClient::Start(std::shared_ptr<grpc::Channel> channel) {
  channel_ = std::move(channel);
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

void RetrainClient::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

void RetrainClient::Ask(const RetrainRequest& request) {
  if (!address_.empty()) {
    queue_.PushDroppingOldest(request);
  }
}

cv1::LinkState RetrainClient::link() const {
  cv1::LinkState link;
  link.set_peer("predictor");
  link.set_address(address_);
  MutexLock lock(&mutex_);
  link.set_detail(error_);
  link.set_health(address_.empty() ? cv1::LINK_HEALTH_OFF
                  : error_.empty() ? cv1::LINK_HEALTH_UP
                                   : cv1::LINK_HEALTH_DEGRADED);
  return link;
}

void RetrainClient::Run(std::stop_token stop) {
  const auto stub = pv1::PredictorService::NewStub(channel_);
  while (std::optional<RetrainRequest> request = queue_.Pop(stop)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(deadline_));
    const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
    pv1::RetrainRequest in;
    in.add_vm_uuids(request->vm_uuid);
    in.set_resource(request->resource == Resource::kCpu ? cv1::RESOURCE_CPU : cv1::RESOURCE_MEMORY);
    in.set_reason(pv1::RETRAIN_REASON_UNDER_ESTIMATES);
    in.set_detail(request->detail);
    in.set_request_id(MakeUuid(rng_));
    pv1::RetrainResponse out;
    const grpc::Status status = stub->Retrain(&context, in, &out);
    ++(status.ok() ? sent_ : failed_);
    MutexLock lock(&mutex_);
    error_ = status.ok() ? "" : status.error_message();
  }
}

}  // namespace cloudscale::scaler
