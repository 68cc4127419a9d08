#include "services/lbctl/agent_answer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace cloudscale::lbctl {
namespace {

bool IsForeign(const BalancerView& view, const ServerKey& key, absl::string_view field) {
  return std::any_of(view.drifts.begin(), view.drifts.end(), [&](const NoticedDrift& d) {
    return d.drift.key == key && d.drift.field == field &&
           d.drift.cause == DriftCause::kForeignChange;
  });
}

int PercentOf(int weight, int initial_weight) {
  return (weight * 100 + initial_weight - 1) / initial_weight;
}

}  // namespace

std::string AgentAnswer(const BalancerView& view, const ServerKey& key) {
  std::string answer;
  const auto wanted = view.desired.find(key);
  if (wanted != view.desired.end()) {
    if (wanted->second.state && !IsForeign(view, key, "state")) {
      answer = std::string(NameOf(wanted->second.state->value));
    }
    const ServerInfo* server = FindServer(view.backends, key);
    if (wanted->second.weight && server != nullptr && server->initial_weight > 0 &&
        !IsForeign(view, key, "weight")) {
      absl::StrAppend(&answer, answer.empty() ? "" : " ",
                      PercentOf(wanted->second.weight->value, server->initial_weight), "%");
    }
  }
  return answer + "\n";
}

}  // namespace cloudscale::lbctl
