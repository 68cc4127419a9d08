#include "cli/commands/service_address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::cli {

std::string AddressForService(const GlobalOptions& options, absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  for (const Peer peer : kPeers) {
    const std::string role = PeerName(peer);
    if (absl::StartsWith(lower, absl::StrCat("cloudscale.", role, ".")) ||
        absl::StartsWith(lower, absl::StrCat(role, "/")) ||
        absl::StartsWith(lower, absl::StrCat(role, "service")) || lower == role ||
        (peer == Peer::kLbctl && absl::StartsWith(lower, "balancer"))) {
      return options.AddressOf(peer);
    }
  }
  return options.address;
}

std::vector<std::string> AllAddresses(const GlobalOptions& options) {
  std::vector<std::string> addresses = {options.address};
  for (const Peer peer : kPeers) {
    const std::string& address = options.AddressOf(peer);
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(address);
    }
  }
  return addresses;
}

}  // namespace cloudscale::cli
