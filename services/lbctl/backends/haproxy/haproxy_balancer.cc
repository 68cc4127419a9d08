#include "services/lbctl/backends/haproxy/haproxy_balancer.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "services/lbctl/backends/haproxy/runtime_answers.h"

namespace cloudscale::lbctl {
namespace {

// `address:port`, with brackets where the address has colons of its own.
std::string Joined(const Endpoint& endpoint) {
  return absl::StrContains(endpoint.address, ':')
             ? absl::StrCat("[", endpoint.address, "]:", endpoint.port)
             : absl::StrCat(endpoint.address, ":", endpoint.port);
}

}  // namespace

absl::Status HaproxyBalancer::Do(const std::string& command) {
  CS_ASSIGN_OR_RETURN(const std::string answer, socket_.Ask(command));
  return ParseOutcome(command, answer);
}

absl::StatusOr<BalancerState> HaproxyBalancer::Read() {
  CS_ASSIGN_OR_RETURN(const std::string answer,
                      socket_.AskAll({"show info", "show servers state", "show stat"}));
  CS_ASSIGN_OR_RETURN(BalancerState state, ParseState(answer));
  if (state.info.epoch != epoch_) {  // with a new configuration, perhaps
    epoch_ = state.info.epoch;
    static_backends_.clear();
  }
  for (BackendInfo& backend : state.backends) {
    backend.has_dynamic_weights =
        backend.has_dynamic_weights && !static_backends_.contains(backend.name);
  }
  return state;
}

absl::Status HaproxyBalancer::SetWeight(const ServerKey& key, int weight) {
  if (weight < 0 || weight > kMaxWeight) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight ", weight, " is not within 0 and ", kMaxWeight));
  }
  const absl::Status status = Do(absl::StrCat("set server ", key.ToString(), " weight ", weight));
  if (SaysStaticAlgorithm(status)) {
    static_backends_.insert(key.backend);
    return absl::FailedPreconditionError(
        absl::StrCat("backend '", key.backend,
                     "' has an algorithm that takes no weights at run time; algorithms by hash "
                     "take them with 'hash-type consistent'"));
  }
  return status;
}

absl::Status HaproxyBalancer::SetState(const ServerKey& key, ServerState state) {
  return Do(absl::StrCat("set server ", key.ToString(), " state ", NameOf(state)));
}

absl::Status HaproxyBalancer::SetAddress(const ServerKey& key, const Endpoint& endpoint) {
  const std::string port =
      endpoint.port == 0 ? std::string() : absl::StrCat(" port ", endpoint.port);
  return Do(absl::StrCat("set server ", key.ToString(), " addr ", endpoint.address, port));
}

absl::Status HaproxyBalancer::AddServer(const NewServer& server) {
  if (server.weight < 1 || server.weight > kMaxWeight) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight ", server.weight, " is not within 1 and ", kMaxWeight));
  }
  const std::string name = server.key.ToString();
  CS_RETURN_IF_ERROR(Do(absl::StrCat("add server ", name, " ", Joined(server.endpoint), " weight ",
                                     server.weight, server.is_checked ? " check" : "")));
  // It is born in maintenance and without its check running.
  CS_RETURN_IF_ERROR(Do(absl::StrCat("enable server ", name)));
  return server.is_checked ? Do(absl::StrCat("enable health ", name)) : absl::OkStatus();
}

absl::Status HaproxyBalancer::RemoveServer(const ServerKey& key) {
  return Do(absl::StrCat("del server ", key.ToString()));
}

absl::Status HaproxyBalancer::EndSessions(const ServerKey& key) {
  return Do(absl::StrCat("shutdown sessions server ", key.ToString()));
}

}  // namespace cloudscale::lbctl
