#include "hypervisor/libvirt/libvirt_options.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace cloudscale::hypervisor::libvirt {

absl::StatusOr<Endpoint> ParseUri(const std::string& uri) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(
        "libvirt URI '", uri, "': ", why,
        "; allowed: qemu:///system, lxc:///system, xen:///system or driver+transport://host/path"));
  };
  const size_t colon = uri.find("://");
  if (colon == std::string::npos) {
    return refuse("no '://'");
  }
  const absl::string_view scheme = absl::string_view(uri).substr(0, colon);
  const absl::string_view rest = absl::string_view(uri).substr(colon + 3);
  const size_t plus = scheme.find('+');
  const absl::string_view driver = scheme.substr(0, plus);
  const absl::string_view transport =
      plus == absl::string_view::npos ? "unix" : scheme.substr(plus + 1);
  Endpoint endpoint;
  if (driver == "qemu") {
    endpoint.driver = Driver::kQemu;
  } else if (driver == "lxc") {
    endpoint.driver = Driver::kLxc;
  } else if (driver == "xen") {
    endpoint.driver = Driver::kXen;
  } else {
    return refuse(absl::StrCat("unknown driver '", driver, "'"));
  }
  const size_t slash = rest.find('/');
  if (slash == absl::string_view::npos || rest.substr(slash).size() < 2) {
    return refuse("no path");
  }
  if (rest.find_first_of(" \t\n") != absl::string_view::npos) {
    return refuse("white space in it");
  }
  endpoint.is_local = transport == "unix" && slash == 0;
  return endpoint;
}

Capabilities CapabilitiesOf(const Endpoint& endpoint) {
  Capabilities capabilities;
  capabilities.cpu_cap = true;
  capabilities.memory_target = true;
  switch (endpoint.driver) {
    case Driver::kQemu:
      capabilities.backend = "libvirt-qemu";
      capabilities.cpu_weight = endpoint.is_local;
      capabilities.vcpu_count = true;
      capabilities.live_migration = true;
      capabilities.throttled_time = endpoint.is_local;
      capabilities.wait_time = endpoint.is_local;
      break;
    case Driver::kLxc:
      capabilities.backend = "libvirt-lxc";
      capabilities.cpu_weight = endpoint.is_local;
      capabilities.throttled_time = endpoint.is_local;
      break;
    case Driver::kXen:
      capabilities.backend = "libvirt-xen";
      capabilities.cpu_weight = true;
      capabilities.vcpu_count = true;
      capabilities.live_migration = true;
      break;
  }
  return capabilities;
}

}  // namespace cloudscale::hypervisor::libvirt
