#include "services/monitor/rpc/channel_paths.h"

#include <dirent.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace cloudscale::monitor {
namespace {

constexpr char kId[] = "{id}";
constexpr size_t kIdLength = sizeof(kId) - 1;

bool CanBeInPath(absl::string_view text) {
  return !text.empty() && text.size() <= 255 && text != "." && text != ".." &&
         text.find_first_of("/{}") == absl::string_view::npos &&
         text.find('\0') == absl::string_view::npos;
}

// By length first: the digits may be more than a number holds.
bool IsHigher(absl::string_view a, absl::string_view b) {
  return a.size() != b.size() ? a.size() > b.size() : a > b;
}

// The highest number for which `folder` has an entry with this beginning and end.
std::string HighestId(const std::string& folder, absl::string_view begin, absl::string_view end) {
  std::string highest;
  DIR* entries = opendir(folder.c_str());
  if (entries == nullptr) {
    return highest;
  }
  while (const dirent* entry = readdir(entries)) {
    absl::string_view digits = entry->d_name;
    if (absl::ConsumePrefix(&digits, begin) && absl::ConsumeSuffix(&digits, end) &&
        !digits.empty() &&
        std::all_of(digits.begin(), digits.end(),
                    [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }) &&
        (highest.empty() || IsHigher(digits, highest))) {
      highest = std::string(digits);
    }
  }
  closedir(entries);
  return highest;
}

}  // namespace

std::optional<std::string> ChannelPaths::Find(const std::string& uuid,
                                              const std::string& name) const {
  if (const auto own = own_.find(uuid); own != own_.end()) {
    return own->second;
  }
  const bool needs_name = absl::StrContains(path_template_, "{name}");
  if (path_template_.empty() || !CanBeInPath(uuid) || (needs_name && !CanBeInPath(name))) {
    return std::nullopt;
  }
  std::string path = absl::StrReplaceAll(path_template_, {{"{uuid}", uuid}, {"{name}", name}});
  const size_t at = path.find(kId);
  if (at == std::string::npos) {
    return path;
  }
  const size_t folder_end = path.rfind('/', at);
  const size_t entry_end = std::min(path.find('/', at), path.size());
  const absl::string_view view = path;
  const std::string id =
      HighestId(path.substr(0, folder_end + 1), view.substr(folder_end + 1, at - folder_end - 1),
                view.substr(at + kIdLength, entry_end - at - kIdLength));
  if (id.empty()) {
    return std::nullopt;
  }
  return path.replace(at, kIdLength, id);
}

absl::Status CheckPathTemplate(absl::string_view path_template) {
  const std::string rest = absl::StrReplaceAll(
      path_template, {{"{uuid}", ""}, {"{name}", ""}, {kId, absl::string_view("\x01", 1)}});
  const bool is_one_vms =
      absl::StrContains(path_template, "{uuid}") || absl::StrContains(path_template, "{name}");
  if (!absl::StartsWith(path_template, "/") || !is_one_vms ||
      rest.find_first_of("{}*?") != std::string::npos ||
      std::count(rest.begin(), rest.end(), '\x01') > 1) {
    return absl::InvalidArgumentError(
        "an absolute path with {uuid} or {name}, at most one {id}, and no other pattern");
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::monitor
