#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/engine/engine_thread.h"
#include "common/rpc/serving/request_log.h"
#include "common/rpc/status_conversion.h"
#include "common/status/macros.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"

namespace cloudscale::rpc {

// Answers a unary call at once.
inline grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                        const absl::Status& status) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// Answers a unary call from the engine's thread: `work` fills the response there. UNAVAILABLE when
// the engine is stopped or overloaded; nothing was done then.
inline grpc::ServerUnaryReactor* AnswerOnEngine(grpc::CallbackServerContext* context,
                                                EngineThread& engine,
                                                std::function<absl::Status()> work) {
  auto* reactor = context->DefaultReactor();
  if (!engine.Post([reactor, work = std::move(work)] { reactor->Finish(ToGrpcStatus(work())); })) {
    reactor->Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                 "the service is stopping or overloaded; try again"));
  }
  return reactor;
}

// Runs a changing call at most once per request_id. With `validate_only` nothing is remembered.
template <typename Request, typename Response>
absl::Status Once(RequestLog& log, absl::Time now, const Request& request, Response* response,
                  const std::function<absl::Status()>& work) {
  if (request.validate_only()) {
    return work();
  }
  const std::string call =
      absl::StrCat(Request::descriptor()->full_name(), "\n", request.SerializeAsString());
  CS_ASSIGN_OR_RETURN(const auto known, log.Find(request.request_id(), call, now));
  if (known.has_value()) {
    return response->ParseFromString(*known)
               ? absl::OkStatus()
               : absl::DataLossError("the remembered answer cannot be read");
  }
  CS_RETURN_IF_ERROR(work());
  return log.Remember(request.request_id(), call, response->SerializeAsString(), now);
}

}  // namespace cloudscale::rpc
