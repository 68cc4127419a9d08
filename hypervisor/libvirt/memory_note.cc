#include "hypervisor/libvirt/memory_note.h"

#include <algorithm>
#include <pugixml.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

// Balloons move in pages, and QEMU tells whole KiB.
constexpr int64_t kSlackBytes = int64_t{1} << 20;

std::optional<int64_t> PositiveAttribute(const pugi::xml_node& node, const char* name) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(node.attribute(name).value(), &value) || value <= 0) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

std::string ToXml(const MemoryNote& note) {
  return absl::StrCat("<memory target='", note.target_bytes, "' from='", note.from_bytes, "'/>");
}

std::optional<MemoryNote> NoteFromXml(absl::string_view xml) {
  pugi::xml_document document;
  if (!document.load_buffer(xml.data(), xml.size())) {
    return std::nullopt;
  }
  const pugi::xml_node root = document.first_child();
  const absl::string_view name = root.name();
  if (name.substr(name.find(':') + 1) != "memory") {
    return std::nullopt;
  }
  const std::optional<int64_t> target = PositiveAttribute(root, "target");
  const std::optional<int64_t> from = PositiveAttribute(root, "from");
  if (!target || !from) {
    return std::nullopt;
  }
  return MemoryNote{*target, *from};
}

std::optional<int64_t> MemoryTarget(const std::optional<MemoryNote>& note, int64_t current_bytes,
                                    int64_t maximum_bytes) {
  int64_t target = current_bytes;
  if (note) {
    const auto [low, high] = std::minmax(note->target_bytes, note->from_bytes);
    if (current_bytes >= low - kSlackBytes && current_bytes <= high + kSlackBytes) {
      target = note->target_bytes;
    }
  }
  if (target >= maximum_bytes) {
    return std::nullopt;
  }
  return target;
}

}  // namespace cloudscale::hypervisor::libvirt
