#include "agents/guest/transport/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <string>

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::StatusIs;

std::string Show(const absl::StatusOr<SocketAddress>& address) {
  if (!address.ok()) {
    return std::string(address.status().message());
  }
  char text[INET6_ADDRSTRLEN] = {};
  if (address->storage.ss_family == AF_UNIX) {
    return reinterpret_cast<const sockaddr_un*>(&address->storage)->sun_path;
  }
  if (address->storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address->storage);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
    return std::string(text) + " " + std::to_string(ntohs(v4->sin_port));
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address->storage);
  inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
  return std::string(text) + " " + std::to_string(ntohs(v6->sin6_port));
}

TEST(ResolveAddressTest, TakesPathsNumbersAndNamesInTheHostsFile) {
  const testing::TempDir folder;
  folder.Write("hosts", "# 10.0.0.9 host-1\n10.0.0.1\thost-1 host-1.example # x\nfd00::1 host-2\n");
  const std::string hosts = folder.File("hosts");
  EXPECT_EQ(Show(ResolveAddress("unix:/run/a.sock", hosts)), "/run/a.sock");
  EXPECT_EQ(Show(ResolveAddress("unix:///run/a.sock", hosts)), "/run/a.sock");
  EXPECT_EQ(Show(ResolveAddress("10.1.2.3:7000", hosts)), "10.1.2.3 7000");
  EXPECT_EQ(Show(ResolveAddress("[::1]:7000", hosts)), "::1 7000");
  EXPECT_EQ(Show(ResolveAddress("host-1.example:7", hosts)), "10.0.0.1 7");
  EXPECT_EQ(Show(ResolveAddress("host-2:7", hosts)), "fd00::1 7");
  EXPECT_EQ(Show(ResolveAddress("localhost:7", hosts)), "127.0.0.1 7");
  EXPECT_THAT(ResolveAddress("host-3:7", hosts), StatusIs(absl::StatusCode::kNotFound));
  CS_EXPECT_OK(CheckAddress("host-3:7"));
}

TEST(ResolveAddressTest, RefusesWhatIsNoAddress) {
  for (const std::string& bad :
       {std::string(), std::string("host"), std::string(":7"), std::string("host:"),
        std::string("host:0"), std::string("host:65536"), std::string("host:http"),
        std::string("[::1:7"), std::string("unix:"), "unix:/" + std::string(200, 'x')}) {
    EXPECT_THAT(CheckAddress(bad), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

}  // namespace
}  // namespace cloudscale::guest
