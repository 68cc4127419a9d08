#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/sla/objective.h"

namespace cloudscale::sla {

// Where a request belongs.
struct RequestTarget {
  std::string application;
  std::string vm_uuid;  // empty when not known
  friend auto operator<=>(const RequestTarget&, const RequestTarget&) = default;
};

// Which application and VM is behind a server of the balancer, from the members of the objectives.
// Thread safety: thread-compatible.
class MemberIndex {
 public:
  MemberIndex() = default;
  explicit MemberIndex(const std::vector<Objective>& objectives);

  // An empty `server` gives the backend's applications, without a VM. nullptr: no objective names
  // it.
  [[nodiscard]] const std::set<RequestTarget>* Find(const std::string& backend,
                                                    const std::string& server) const;

 private:
  std::map<std::pair<std::string, std::string>, std::set<RequestTarget>> targets_;
};

}  // namespace cloudscale::sla
