#pragma once

#include <sys/socket.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cloudscale::guest {

// Where to connect to.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

// `unix:PATH`, `A.B.C.D:PORT`, `[V6]:PORT` or `NAME:PORT`. INVALID_ARGUMENT when it is none of
// these; NOT_FOUND when the name is not in `hosts_path` (usually /etc/hosts). Names are looked for
// nowhere else: asking DNS would need shared libraries of the C library that this program was
// linked with.
[[nodiscard]] absl::StatusOr<SocketAddress> ResolveAddress(const std::string& address,
                                                           const std::string& hosts_path);

// As above, without looking names up: what a configuration can be checked for.
[[nodiscard]] absl::Status CheckAddress(const std::string& address);

}  // namespace cloudscale::guest
