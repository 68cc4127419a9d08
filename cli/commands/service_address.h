#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/args/options.h"

namespace cloudscale::cli {

// Where the service named at the beginning of `name` is: that of its `--…-address`, else
// `--address`. `name` is a short or full name, with or without a method:
// `cloudscale.scaler.v1.ScalerService/GetStatus`, `scaler/GetStatus`.
[[nodiscard]] std::string AddressForService(const GlobalOptions& options, absl::string_view name);

// Every address in use, `--address` first, each once.
[[nodiscard]] std::vector<std::string> AllAddresses(const GlobalOptions& options);

}  // namespace cloudscale::cli
