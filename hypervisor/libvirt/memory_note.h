#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

// A balloon's target. libvirt tells how large a balloon is but not how large it was told to become,
// and a guest takes its time or refuses. So the actuator notes what it asked for in the metadata of
// the running domain, where it survives us and the daemon and moves with the domain. Pure.
namespace cloudscale::hypervisor::libvirt {

inline constexpr char kNoteNamespace[] = "urn:cloudscale:libvirt:1";
inline constexpr char kNotePrefix[] = "cloudscale";

struct MemoryNote {
  int64_t target_bytes = 0;
  int64_t from_bytes = 0;  // what the domain had when it was asked
  friend bool operator==(const MemoryNote&, const MemoryNote&) = default;
};

[[nodiscard]] std::string ToXml(const MemoryNote& note);
// nullopt for anything else than such a note: metadata is everybody's.
[[nodiscard]] std::optional<MemoryNote> NoteFromXml(absl::string_view xml);

// What holds for a domain that has `current_bytes` of at most `maximum_bytes`; nullopt = all. The
// target as long as the balloon is on its way there, and what the domain has when it is elsewhere,
// for then somebody else moved it.
[[nodiscard]] std::optional<int64_t> MemoryTarget(const std::optional<MemoryNote>& note,
                                                  int64_t current_bytes, int64_t maximum_bytes);

}  // namespace cloudscale::hypervisor::libvirt
