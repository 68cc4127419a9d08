#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace cloudscale::hypervisor {

// Proof that acting is allowed. Every changing call of `VmActuator` demands one, and only `Grant`
// makes one, so that code running dry (observe, recommend, paused, backtest) cannot reach a
// hypervisor at all (promise P11).
class ActuationPermit {
 public:
  // nullopt unless `acting_allowed`. `fencing_token` rises with each owner of the host (P5);
  // `request_id` names the journal entry that this call carries out (P4).
  [[nodiscard]] static std::optional<ActuationPermit> Grant(bool acting_allowed,
                                                            int64_t fencing_token,
                                                            std::string request_id) {
    if (!acting_allowed) {
      return std::nullopt;
    }
    return ActuationPermit(fencing_token, std::move(request_id));
  }

  [[nodiscard]] int64_t fencing_token() const { return fencing_token_; }
  [[nodiscard]] const std::string& request_id() const { return request_id_; }

 private:
  ActuationPermit(int64_t fencing_token, std::string request_id)
      : fencing_token_(fencing_token), request_id_(std::move(request_id)) {}
  int64_t fencing_token_;
  std::string request_id_;
};

}  // namespace cloudscale::hypervisor
