#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "hypervisor/bounded/bounded_worker.h"

namespace cloudscale::hypervisor {

// Calls of an object that may hang, made on another thread, for a caller who waits a bounded time.
//
// The object is made at the first call, and anew after a call that ended UNAVAILABLE. A call that
// takes longer than the limit answers DEADLINE_EXCEEDED; it is left alone with its object until it
// returns, and the next call gets a new object. While `kMaxStuck` calls hang, others answer
// DEADLINE_EXCEEDED at once. Thread safety: confined to one thread.
template <typename Object>
class BoundedCalls {
 public:
  using Make = std::function<absl::StatusOr<std::unique_ptr<Object>>()>;
  static constexpr size_t kMaxStuck = 4;

  // `what` names the object in errors. `make` runs on other threads and may outlive this. `limit`,
  // of real time, > 0.
  BoundedCalls(std::string what, Make make, absl::Duration limit)
      : what_(std::move(what)), make_(std::move(make)), limit_(limit) {}

  // `Result` is absl::Status or an absl::StatusOr. `call` must hold what it needs by value: it may
  // outlive the caller's patience.
  template <typename Result>
  Result Call(std::function<Result(Object&)> call) {
    std::erase_if(stuck_, [](const auto& worker) { return !worker->is_stuck(); });
    if (worker_ == nullptr) {
      if (stuck_.size() >= kMaxStuck) {
        return absl::DeadlineExceededError(absl::StrCat(what_, ": ", kMaxStuck, " calls hang"));
      }
      worker_ = std::make_unique<BoundedWorker>();
      object_ = std::make_shared<std::unique_ptr<Object>>();
    }
    auto result = std::make_shared<std::optional<Result>>();
    const bool is_done = worker_->Run(
        [result, call = std::move(call), object = object_, make = make_] {
          result->emplace(CallMade(*object, make, call));
          if (absl::IsUnavailable(StatusOf(**result))) {
            object->reset();
          }
        },
        limit_);
    if (!is_done) {
      stuck_.push_back(std::move(worker_));
      object_.reset();
      return absl::DeadlineExceededError(
          absl::StrCat(what_, ": no answer within ", absl::FormatDuration(limit_)));
    }
    return **std::move(result);
  }

 private:
  static absl::Status StatusOf(const absl::Status& status) { return status; }
  template <typename Value>
  static absl::Status StatusOf(const absl::StatusOr<Value>& result) {
    return result.status();
  }

  template <typename Result>
  static Result CallMade(std::unique_ptr<Object>& object, const Make& make,
                         const std::function<Result(Object&)>& call) {
    if (object == nullptr) {
      absl::StatusOr<std::unique_ptr<Object>> made = make();
      if (!made.ok()) {
        return std::move(made).status();
      }
      object = *std::move(made);
    }
    return call(*object);
  }

  const std::string what_;
  const Make make_;
  const absl::Duration limit_;
  std::unique_ptr<BoundedWorker> worker_;
  std::shared_ptr<std::unique_ptr<Object>> object_;  // touched by the worker's thread only
  std::vector<std::unique_ptr<BoundedWorker>> stuck_;
};

}  // namespace cloudscale::hypervisor
