#pragma once

#include <cstdint>
#include <string>

namespace cloudscale::hypervisor::xen {

// Shared by reader and actuator, which must be made with equal values.
struct XenOptions {
  std::string host_id;
  // CPU pool whose domains are managed; those of other pools are not seen.
  std::string pool = "Pool-0";
  // Memory that is always left to Xen, >= 0. Never given to a VM.
  int64_t reserve_bytes = int64_t{50} << 20;
  // Source of the boot id; injected so that tests bring their own.
  std::string proc_root = "/proc";
};

}  // namespace cloudscale::hypervisor::xen
