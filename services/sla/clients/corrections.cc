#include "services/sla/clients/corrections.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/backoff/backoff.h"
#include "common/logging/log.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace cloudscale::sla {
namespace {

constexpr char kPredictor[] = "predictor";
constexpr size_t kMaxBoostsPerCall = 100;
constexpr size_t kMaxVmsPerCall = 1000;

std::string ScalerKey(const std::string& address) { return absl::StrCat("scaler ", address); }

bool IsWorthARetry(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kDeadlineExceeded ||
         status.code() == absl::StatusCode::kResourceExhausted;
}

// Deadlines are in real time, whatever the injected clock says; gRPC wants its own clock's time.
gpr_timespec RealDeadline(absl::Duration in) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(absl::ToInt64Nanoseconds(in), GPR_TIMESPAN));
}

template <typename T>
std::vector<std::vector<T>> InParts(const std::vector<T>& all, size_t largest) {
  std::vector<std::vector<T>> parts;
  for (size_t i = 0; i < all.size(); i += largest) {
    parts.emplace_back(
        all.begin() + static_cast<std::ptrdiff_t>(i),
        all.begin() + static_cast<std::ptrdiff_t>(std::min(i + largest, all.size())));
  }
  return parts;
}

}  // namespace

CorrectionSender::CorrectionSender(Config config, const rpc::Environment& environment)
    : config_(std::move(config)),
      environment_(environment),
      queue_(config_.queue_length),
      // Request ids must differ from those of a run before: peers remember them for an hour.
      rng_(Rng(environment.seed ^
               static_cast<uint64_t>(absl::ToUnixNanos(environment.clock.WallNow())))
               .Fork("sla-corrections")) {
  const auto add = [this](const std::string& key, const char* peer, const std::string& address)
                       ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                         common::v1::LinkState& state = links_[key].state;
                         state.set_peer(peer);
                         state.set_address(address);
                         state.set_health(address.empty() ? common::v1::LINK_HEALTH_OFF
                                                          : common::v1::LINK_HEALTH_CONNECTING);
                       };
  MutexLock lock(&mutex_);
  for (const std::string& address : config_.scaler_addresses) {
    add(ScalerKey(address), "scaler", address);
  }
  if (config_.scaler_addresses.empty()) {
    add(ScalerKey(""), "scaler", "");
  }
  add(kPredictor, kPredictor, config_.predictor_address);
}

CorrectionSender::~CorrectionSender() { Stop(); }

void CorrectionSender::Start() {
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

void CorrectionSender::Stop() {
  if (!thread_.joinable()) {
    return;
  }
  thread_.request_stop();
  {
    MutexLock lock(&mutex_);
    if (running_ != nullptr) {
      running_->TryCancel();
    }
  }
  thread_.join();
}

void CorrectionSender::Count(const char* kind, const char* outcome, size_t count) {
  environment_.metrics.Count("cloudscale_sla_corrections_total",
                             {{"kind", kind}, {"outcome", outcome}}, static_cast<double>(count));
}

void CorrectionSender::Enqueue(Task task, const char* kind) {
  if (!queue_.PushDroppingOldest(std::move(task))) {
    Count(kind, "dropped", 1);
  }
}

void CorrectionSender::Send(const StepResult& step) {
  if (config_.scaler_addresses.empty() && !step.boosts.empty()) {
    Count("boost", "off", step.boosts.size());
  }
  for (const std::string& address : config_.scaler_addresses) {
    for (auto& boosts : InParts(step.boosts, kMaxBoostsPerCall)) {
      Enqueue(Boosts{.address = address, .boosts = std::move(boosts)}, "boost");
    }
  }
  if (config_.predictor_address.empty()) {
    if (!step.retrains.empty()) {
      Count("retrain", "off", step.retrains.size());
    }
    if (!step.prices.empty()) {
      Count("price", "off", step.prices.size());
    }
    return;
  }
  for (auto& retrains : InParts(step.retrains, kMaxVmsPerCall)) {
    Enqueue(Retrains{.retrains = std::move(retrains)}, "retrain");
  }
  for (auto& prices : InParts(step.prices, kMaxVmsPerCall)) {
    Enqueue(Prices{.prices = std::move(prices)}, "price");
  }
}

void CorrectionSender::Run(std::stop_token stop) {
  while (auto task = queue_.Pop(stop)) {
    Deliver(*task, stop);
  }
}

void CorrectionSender::Deliver(const Task& task, std::stop_token stop) {
  const auto* boosts = std::get_if<Boosts>(&task);
  const auto* retrains = std::get_if<Retrains>(&task);
  const char* kind = boosts != nullptr ? "boost" : retrains != nullptr ? "retrain" : "price";
  const size_t count = boosts != nullptr     ? boosts->boosts.size()
                       : retrains != nullptr ? retrains->retrains.size()
                                             : std::get<Prices>(task).prices.size();
  // One id for all tries: the peer does it at most once.
  const std::string request_id = NewRequestId();
  const auto real_clock = MakeRealClock();
  const MonoTime give_up = real_clock->MonoNow() + config_.give_up_after;
  Backoff backoff(rng_.Fork(request_id),
                  {.initial = config_.backoff_min, .max = config_.backoff_max});
  while (!stop.stop_requested()) {
    const absl::Status status = Call(task, request_id, stop);
    NoteAnswer(boosts != nullptr ? ScalerKey(boosts->address) : kPredictor, status);
    if (status.ok()) {
      Count(kind, "sent", count);
      return;
    }
    const MonoTime next = real_clock->MonoNow() + backoff.NextDelay();
    if (!IsWorthARetry(status) || next > give_up) {
      Count(kind, "failed", count);
      LogLine(LogLevel::kWarning, "correction_not_delivered")
          .Field("kind", kind)
          .Field("status", status);
      return;
    }
    Count(kind, "retried", count);
    real_clock->SleepUntil(next, stop);
  }
}

grpc::Status CorrectionSender::Request(const Boosts& boosts, const std::string& request_id,
                                       grpc::ClientContext& context) {
  scaler::v1::RequestBoostRequest request;
  request.set_request_id(request_id);
  for (const BoostDecision& decision : boosts.boosts) {
    auto* boost = request.add_boosts();
    boost->set_vm_uuid(decision.vm_uuid);
    boost->set_resource(common::v1::RESOURCE_CPU);
    boost->set_factor(decision.factor);
    *boost->mutable_duration() = rpc::ToProto(decision.duration);
    boost->set_objective_id(decision.objective_id);
    boost->set_violation_id(decision.violation_id);
  }
  scaler::v1::RequestBoostResponse response;
  return scaler::v1::ScalerService::NewStub(environment_.channel(boosts.address))
      ->RequestBoost(&context, request, &response);
}

grpc::Status CorrectionSender::Request(const Retrains& retrains, const std::string& request_id,
                                       grpc::ClientContext& context) {
  predictor::v1::RetrainRequest request;
  request.set_request_id(request_id);
  request.set_reason(predictor::v1::RETRAIN_REASON_SLO_VIOLATION);
  for (const RetrainDecision& decision : retrains.retrains) {
    request.add_vm_uuids(decision.vm_uuid);
  }
  if (!retrains.retrains.empty()) {
    request.set_detail(absl::StrCat("violation ", retrains.retrains.front().violation_id));
  }
  predictor::v1::RetrainResponse response;
  return predictor::v1::PredictorService::NewStub(environment_.channel(config_.predictor_address))
      ->Retrain(&context, request, &response);
}

grpc::Status CorrectionSender::Request(const Prices& prices, const std::string& request_id,
                                       grpc::ClientContext& context) {
  predictor::v1::UpdateTargetsRequest request;
  request.set_request_id(request_id);
  for (const PriceDecision& decision : prices.prices) {
    auto* target = request.add_targets();
    target->set_vm_uuid(decision.vm_uuid);
    target->set_resource(common::v1::RESOURCE_CPU);  // as boosts
    target->set_price_factor(decision.factor);
    *target->mutable_price_factor_duration() = rpc::ToProto(decision.duration);
  }
  predictor::v1::UpdateTargetsResponse response;
  return predictor::v1::PredictorService::NewStub(environment_.channel(config_.predictor_address))
      ->UpdateTargets(&context, request, &response);
}

absl::Status CorrectionSender::Call(const Task& task, const std::string& request_id,
                                    std::stop_token stop) {
  grpc::ClientContext context;
  context.set_deadline(RealDeadline(config_.deadline));
  context.set_wait_for_ready(true);
  {
    MutexLock lock(&mutex_);
    if (stop.stop_requested()) {
      return absl::CancelledError("stopping");
    }
    running_ = &context;
  }
  const grpc::Status status =
      std::visit([&](const auto& kind) { return Request(kind, request_id, context); }, task);
  MutexLock lock(&mutex_);
  running_ = nullptr;
  return rpc::FromGrpcStatus(status);
}

void CorrectionSender::NoteAnswer(const std::string& key, const absl::Status& status) {
  MutexLock lock(&mutex_);
  Link& link = links_[key];
  if (status.ok()) {
    link.last_answer = environment_.clock.WallNow();
  }
  link.state.set_health(status.ok()             ? common::v1::LINK_HEALTH_UP
                        : IsWorthARetry(status) ? common::v1::LINK_HEALTH_CONNECTING
                                                : common::v1::LINK_HEALTH_DEGRADED);
  link.state.set_detail(status.ok() ? "" : status.ToString());
}

std::vector<common::v1::LinkState> CorrectionSender::links() const {
  MutexLock lock(&mutex_);
  std::vector<common::v1::LinkState> out;
  std::vector<const Link*> ordered;
  for (const auto& [key, link] : links_) {
    if (key != kPredictor) {
      ordered.push_back(&link);
    }
  }
  ordered.push_back(&links_.at(kPredictor));
  for (const Link* link : ordered) {
    out.push_back(link->state);
    if (link->last_answer != absl::InfinitePast()) {
      *out.back().mutable_last_answer_age() = rpc::ToProto(
          std::max(environment_.clock.WallNow() - link->last_answer, absl::ZeroDuration()));
    }
  }
  return out;
}

std::string CorrectionSender::NewRequestId() {
  const uint64_t high = (rng_.Next() & ~uint64_t{0xf000}) | 0x4000;
  const uint64_t low = (rng_.Next() & ~(uint64_t{3} << 62)) | (uint64_t{1} << 63);
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xffff,
                         high & 0xffff, low >> 48, low & 0xffffffffffff);
}

}  // namespace cloudscale::sla
