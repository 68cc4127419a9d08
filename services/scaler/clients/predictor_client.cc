#include "services/scaler/clients/predictor_client.h"

#include <chrono>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"

namespace cloudscale::scaler {
namespace {

namespace cv1 = cloudscale::common::v1;
namespace pv1 = cloudscale::predictor::v1;

constexpr std::ptrdiff_t kMaxTargets = 1000;  // that the predictor takes at once

std::string MakeUuid(Rng& rng) {
  const uint64_t a = rng.Next();
  const uint64_t b = rng.Next();
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%012x", a >> 32, (a >> 16) & 0xffff, a & 0xfff,
                         0x8000 | ((b >> 48) & 0x3fff), b & 0xffffffffffff);
}

cv1::Resource ToProto(Resource resource) {
  return resource == Resource::kCpu ? cv1::RESOURCE_CPU : cv1::RESOURCE_MEMORY;
}

}  // namespace

void PredictorClient::Start(std::shared_ptr<grpc::Channel> channel) {
  channel_ = std::move(channel);
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

void PredictorClient::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

void PredictorClient::Ask(const RetrainRequest& request) {
  if (!address_.empty()) {
    queue_.PushDroppingOldest(request);
  }
}

cv1::LinkState PredictorClient::link() const {
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

void PredictorClient::Aim(std::vector<TargetRequest> targets) {
  if (address_.empty()) {
    return;
  }
  for (auto from = targets.begin(); from != targets.end();) {
    const auto to = targets.end() - from > kMaxTargets ? from + kMaxTargets : targets.end();
    queue_.PushDroppingOldest(std::vector<TargetRequest>(from, to));
    from = to;
  }
}

grpc::Status PredictorClient::Send(Stub& stub, grpc::ClientContext& context,
                                   const RetrainRequest& request) {
  pv1::RetrainRequest in;
  in.add_vm_uuids(request.vm_uuid);
  in.set_resource(ToProto(request.resource));
  in.set_reason(pv1::RETRAIN_REASON_UNDER_ESTIMATES);
  in.set_detail(request.detail);
  in.set_request_id(MakeUuid(rng_));
  pv1::RetrainResponse out;
  return stub.Retrain(&context, in, &out);
}

grpc::Status PredictorClient::Send(Stub& stub, grpc::ClientContext& context,
                                   const std::vector<TargetRequest>& targets) {
  pv1::UpdateTargetsRequest in;
  for (const TargetRequest& target : targets) {
    pv1::SeriesTarget* const out = in.add_targets();
    out->set_vm_uuid(target.vm_uuid);
    out->set_resource(ToProto(target.resource));
    out->set_target_violation_ratio(target.target_violation_ratio);
  }
  in.set_request_id(MakeUuid(rng_));
  pv1::UpdateTargetsResponse out;
  return stub.UpdateTargets(&context, in, &out);
}

void PredictorClient::Run(std::stop_token stop) {
  const auto stub = pv1::PredictorService::NewStub(channel_);
  while (const std::optional<Request> request = queue_.Pop(stop)) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(deadline_));
    const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
    const grpc::Status status =
        std::visit([&](const auto& one) { return Send(*stub, context, one); }, *request);
    ++(status.ok() ? sent_ : failed_);
    MutexLock lock(&mutex_);
    error_ = status.ok() ? "" : status.error_message();
  }
}

}  // namespace cloudscale::scaler
