#include "hypervisor/xen/xen_module.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hypervisor/xen/xen_domains.h"

namespace cloudscale::hypervisor::xen {
namespace {

constexpr char kModule[] = "libcloudscale_xen.so";

bool MayBeThere(const std::string& path) {
  std::error_code error;
  return !absl::StrContains(path, "/") || std::filesystem::exists(path, error);
}

absl::StatusOr<std::unique_ptr<XenCalls>> OpenIn(void* module, const std::string& path) {
  const auto version = reinterpret_cast<decltype(&cloudscale_xen_calls_version)>(
      dlsym(module, "cloudscale_xen_calls_version"));
  const auto open = reinterpret_cast<decltype(&cloudscale_xen_calls_open)>(
      dlsym(module, "cloudscale_xen_calls_open"));
  if (version == nullptr || open == nullptr || version() != kXenCallsVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is of another version of CloudScale (its interface is ",
                     version == nullptr ? "unknown" : absl::StrCat(version()), ", not ",
                     kXenCallsVersion, "): install both from one build"));
  }
  XenError error;
  std::unique_ptr<XenCalls> calls(open(&error));
  if (calls == nullptr) {
    return ToStatus(error);
  }
  return calls;
}

}  // namespace

std::vector<std::string> ModulePaths() {
  std::vector<std::string> paths;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    paths.push_back(program.parent_path() / kModule);
    paths.push_back(program.parent_path().parent_path() / "lib" / "cloudscale" / kModule);
  }
  paths.emplace_back(kModule);
  return paths;
}

absl::StatusOr<std::unique_ptr<XenCalls>> OpenXen(const std::vector<std::string>& paths) {
  std::string failure;
  for (const std::string& path : paths) {
    if (!MayBeThere(path)) {
      continue;
    }
    // Its own libraries' names stay its own: RTLD_LOCAL.
    if (void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); module != nullptr) {
      return OpenIn(module, path);
    }
    const char* reason = dlerror();
    failure = reason == nullptr ? path : reason;
    break;  // the module is there; what it needs is not
  }
  return absl::UnavailableError(absl::StrCat(
      "cannot load Xen's libraries: ", failure.empty() ? "no module" : failure, "; tried ",
      absl::StrJoin(paths, ", "),
      ". The module is built where libxen-dev is installed, and needs libxenmisc4.17 and "
      "libxenstore4, which come with xen-utils"));
}

}  // namespace cloudscale::hypervisor::xen
