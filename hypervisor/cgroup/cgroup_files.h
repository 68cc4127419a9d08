#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The only place that touches the file system. Everything under a group goes through the group's
// directory descriptor, so that a path reused by another group is never read or changed by mistake.
namespace cloudscale::hypervisor::cgroup {

// A file descriptor that closes itself. Thread safety: thread-compatible.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd();
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  // The descriptor is somebody else's from now on.
  void Release() { fd_ = -1; }

 private:
  int fd_ = -1;
};

// An open directory that can keep the files that were read from it open: opening one costs eight
// times as much as reading it. Thread safety: confined to one thread at a time, const methods too.
class Directory {
 public:
  Directory() = default;
  explicit Directory(Fd fd) : fd_(std::move(fd)) {}

  [[nodiscard]] int get() const { return fd_.get(); }
  [[nodiscard]] bool is_open() const { return fd_.is_open(); }
  // From now on; at most `kMaxKept` files.
  static constexpr size_t kMaxKept = 8;
  void KeepFilesOpen() { keeps_ = true; }

 private:
  friend absl::StatusOr<std::string> ReadFile(const Directory& directory, const char* name);
  Fd fd_;
  bool keeps_ = false;
  mutable std::vector<std::pair<std::string, Fd>> kept_;
};

// errno as the kernel's cgroup files use it:
//   ENOENT ENODEV ENOTDIR ESTALE ESRCH → NOT_FOUND (the group or process is gone); EACCES EPERM
//   EROFS → PERMISSION_DENIED; EBUSY → FAILED_PRECONDITION (memory that cannot be reclaimed);
//   EINVAL EDOM → INVALID_ARGUMENT; ERANGE EOVERFLOW → OUT_OF_RANGE; EOPNOTSUPP ENOSYS →
//   UNIMPLEMENTED; ENOMEM EMFILE ENFILE ENOSPC → RESOURCE_EXHAUSTED; EINTR EAGAIN → UNAVAILABLE;
//   others → INTERNAL.
[[nodiscard]] absl::Status StatusFromErrno(int error, absl::string_view what);

// Opens a directory by path (symbolic links followed: distributions link cpu to cpu,cpuacct).
[[nodiscard]] absl::StatusOr<Directory> OpenDirectory(const std::string& path);

// Opens the child directory `name`, never through a symbolic link.
[[nodiscard]] absl::StatusOr<Directory> OpenChildDirectory(const Directory& parent,
                                                           const std::string& name);

// The content, from a file kept open if there is one. RESOURCE_EXHAUSTED above 64 KiB.
[[nodiscard]] absl::StatusOr<std::string> ReadFile(const Directory& directory, const char* name);

// Writes in one call, as these files demand.
[[nodiscard]] absl::Status WriteFile(const Directory& directory, const char* name,
                                     absl::string_view text);

// A child directory and its inode number.
struct DirectoryEntry {
  std::string name;
  uint64_t inode = 0;
};

// Child directories, sorted by name. Names with a newline or a control character are left out.
// RESOURCE_EXHAUSTED when there are more than `max_count`.
[[nodiscard]] absl::StatusOr<std::vector<DirectoryEntry>> ListDirectories(
    const Directory& directory, size_t max_count);

// What tells two directories apart that have had the same path: inode number and, where the file
// system keeps it, time of birth. cgroup file systems keep none but never give an inode number
// twice within a boot. Not the change time: they make it up anew when an inode is loaded again.
[[nodiscard]] absl::StatusOr<std::string> DirectoryStamp(const Directory& directory);

// Whether the directory was removed while open; for file systems that give inode numbers again.
[[nodiscard]] bool IsRemoved(const Directory& directory);

// An extended attribute; nullopt when there is none or the file system has none.
[[nodiscard]] std::optional<std::string> ReadAttribute(const Directory& directory,
                                                       const char* name);
[[nodiscard]] absl::Status WriteAttribute(const Directory& directory, const char* name,
                                          const std::string& value);

}  // namespace cloudscale::hypervisor::cgroup
