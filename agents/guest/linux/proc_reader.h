#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "agents/guest/report_builder.h"

namespace cloudscale::guest {

// Reads the files that reports are made of. Opens nothing for writing. Thread safety:
// thread-compatible; const methods keep no state.
class ProcReader {
 public:
  // `proc_root`: "/proc", or a directory like it.
  explicit ProcReader(std::string proc_root) : proc_root_(std::move(proc_root)) {}

  // Each file as far as it can be read, up to 256 KiB.
  [[nodiscard]] ProcTexts Read() const;

 private:
  const std::string proc_root_;
};

// The UUID that the hypervisor gave this machine: DMI's product_uuid, else Xen's uuid. `sys_root`:
// "/sys". NOT_FOUND when neither can be read (product_uuid needs root).
[[nodiscard]] absl::StatusOr<std::string> ReadMachineUuid(const std::string& sys_root);

}  // namespace cloudscale::guest
