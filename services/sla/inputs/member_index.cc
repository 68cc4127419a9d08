#include "services/sla/inputs/member_index.h"

namespace cloudscale::sla {

MemberIndex::MemberIndex(const std::vector<Objective>& objectives) {
  for (const Objective& objective : objectives) {
    for (const Member& member : objective.members) {
      if (member.backend.empty()) {
        continue;
      }
      targets_[{member.backend, member.server}].insert(
          {.application = objective.application, .vm_uuid = member.vm_uuid});
      targets_[{member.backend, ""}].insert({.application = objective.application, .vm_uuid = ""});
    }
  }
}

const std::set<RequestTarget>* MemberIndex::Find(const std::string& backend,
                                                 const std::string& server) const {
  const auto it = targets_.find({backend, server});
  return it == targets_.end() ? nullptr : &it->second;
}

}  // namespace cloudscale::sla
