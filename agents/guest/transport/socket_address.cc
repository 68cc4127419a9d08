#include "agents/guest/transport/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"

namespace cloudscale::guest {
namespace {

struct HostPort {
  std::string host;
  uint16_t port = 0;
};

absl::StatusOr<HostPort> SplitHostPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port == 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is not host:port or unix:path"));
  }
  absl::string_view host = absl::string_view(address).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[") && !absl::ConsumeSuffix(&host, "]")) {
    return absl::InvalidArgumentError(absl::StrCat("\"", address, "\" lacks a ]"));
  }
  return HostPort{std::string(host), static_cast<uint16_t>(port)};
}

bool FromNumbers(const HostPort& from, SocketAddress& to) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&to.storage);
  if (inet_pton(AF_INET, from.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(from.port);
    to.length = sizeof(*v4);
    return true;
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&to.storage);
  if (inet_pton(AF_INET6, from.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(from.port);
    to.length = sizeof(*v6);
    return true;
  }
  return false;
}

absl::StatusOr<SocketAddress> FromPath(const std::string& path) {
  SocketAddress result;
  auto* local = reinterpret_cast<sockaddr_un*>(&result.storage);
  if (path.empty() || path.size() >= sizeof(local->sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a socket's path has 1 to ", sizeof(local->sun_path) - 1, " characters"));
  }
  local->sun_family = AF_UNIX;
  std::memcpy(local->sun_path, path.c_str(), path.size() + 1);
  result.length = sizeof(*local);
  return result;
}

// The first number that the file gives the name.
std::string FindInHosts(const std::string& name, const std::string& hosts_path) {
  std::ifstream file(hosts_path);
  for (std::string line; std::getline(file, line);) {
    const std::string entry = line.substr(0, line.find('#'));
    const std::vector<std::string> words =
        absl::StrSplit(entry, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    for (size_t i = 1; i < words.size(); ++i) {
      if (words[i] == name) {
        return words[0];
      }
    }
  }
  return name == "localhost" ? "127.0.0.1" : "";
}

}  // namespace

absl::StatusOr<SocketAddress> ResolveAddress(const std::string& address,
                                             const std::string& hosts_path) {
  absl::string_view path = address;
  if (absl::ConsumePrefix(&path, "unix:")) {
    absl::ConsumePrefix(&path, "//");
    return FromPath(std::string(path));
  }
  CS_ASSIGN_OR_RETURN(HostPort target, SplitHostPort(address));
  SocketAddress result;
  if (FromNumbers(target, result)) {
    return result;
  }
  const std::string name = std::exchange(target.host, FindInHosts(target.host, hosts_path));
  if (!FromNumbers(target, result)) {
    return absl::NotFoundError(
        absl::StrCat("\"", name, "\" is neither an address nor in ", hosts_path));
  }
  return result;
}

absl::Status CheckAddress(const std::string& address) {
  const absl::Status status = ResolveAddress(address, "").status();
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace cloudscale::guest
