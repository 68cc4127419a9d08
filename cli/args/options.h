#pragma once

#include <array>
#include <string>

#include "absl/time/time.h"

namespace cloudscale::cli {

// The services of the system, in the order in which a sample passes them.
enum class Peer { kMonitor, kPredictor, kScaler, kSla, kLbctl };
inline constexpr std::array<Peer, 5> kPeers = {Peer::kMonitor, Peer::kPredictor, Peer::kScaler,
                                               Peer::kSla, Peer::kLbctl};
[[nodiscard]] inline const char* PeerName(Peer peer) {
  constexpr std::array<const char*, 5> kNames = {"monitor", "predictor", "scaler", "sla", "lbctl"};
  return kNames[static_cast<size_t>(peer)];
}

inline constexpr char kDefaultAddress[] = "127.0.0.1:50551";

// Options that every command takes, before or after its name.
struct GlobalOptions {
  std::string address = kDefaultAddress;
  std::array<std::string, kPeers.size()> peer_addresses;  // empty: `address`
  bool is_json = false;
  bool is_colour_off = false;
  absl::Duration timeout = absl::Seconds(10);
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;

  [[nodiscard]] const std::string& AddressOf(Peer peer) const {
    const std::string& own = peer_addresses[static_cast<size_t>(peer)];
    return own.empty() ? address : own;
  }
};

}  // namespace cloudscale::cli
