#include "hypervisor/cgroup/cgroup_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

constexpr size_t kMaxFileBytes = size_t{64} * 1024;

absl::StatusCode CodeFromErrno(int error) {
  switch (error) {
    case ENOENT:
    case ENODEV:
    case ENOTDIR:
    case ESRCH:
    case ESTALE:
      return absl::StatusCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case EBUSY:
      return absl::StatusCode::kFailedPrecondition;
    case EINVAL:
    case EDOM:
      return absl::StatusCode::kInvalidArgument;
    case ERANGE:
    case EOVERFLOW:
      return absl::StatusCode::kOutOfRange;
    case EOPNOTSUPP:
    case ENOSYS:
      return absl::StatusCode::kUnimplemented;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOSPC:
      return absl::StatusCode::kResourceExhausted;
    case EINTR:
    case EAGAIN:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;
  }
}

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

absl::StatusOr<std::string> ReadAll(const Fd& file, absl::string_view name) {
  std::string content;
  std::array<char, 16384> buffer;
  while (content.size() <= kMaxFileBytes) {
    const ssize_t count =
        pread(file.get(), buffer.data(), buffer.size(), static_cast<off_t>(content.size()));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return StatusFromErrno(errno, absl::StrCat("read ", name));
    }
    content.append(buffer.data(), static_cast<size_t>(count));
    // The kernel hands these files out whole as long as they fit, so a short read is the end.
    if (static_cast<size_t>(count) < buffer.size()) {
      return content;
    }
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("read ", name, ": more than ", kMaxFileBytes, " bytes"));
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

Fd& Fd::operator=(Fd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

absl::Status StatusFromErrno(int error, absl::string_view what) {
  return absl::Status(CodeFromErrno(error),
                      absl::StrCat(what, ": ", std::generic_category().message(error)));
}

absl::StatusOr<Directory> OpenDirectory(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) {
    return StatusFromErrno(errno, absl::StrCat("open ", path));
  }
  return Directory(std::move(fd));
}

absl::StatusOr<Directory> OpenChildDirectory(const Directory& parent, const std::string& name) {
  Fd fd(openat(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.is_open()) {
    return StatusFromErrno(errno, absl::StrCat("open group ", name));
  }
  return Directory(std::move(fd));
}

absl::StatusOr<std::string> ReadFile(const Directory& directory, const char* name) {
  for (const auto& [kept_name, file] : directory.kept_) {
    if (kept_name == name) {
      return ReadAll(file, name);
    }
  }
  Fd file(openat(directory.get(), name, O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) {
    return StatusFromErrno(errno, absl::StrCat("open ", name));
  }
  absl::StatusOr<std::string> content = ReadAll(file, name);
  if (directory.keeps_ && directory.kept_.size() < Directory::kMaxKept) {
    directory.kept_.emplace_back(name, std::move(file));
  }
  return content;
}

absl::Status WriteFile(const Directory& directory, const char* name, absl::string_view text) {
  const Fd file(openat(directory.get(), name, O_WRONLY | O_TRUNC | O_CLOEXEC));
  if (!file.is_open()) {
    return StatusFromErrno(errno, absl::StrCat("open ", name, " for writing"));
  }
  constexpr int kMaxInterrupts = 10;
  ssize_t written = -1;
  for (int i = 0; i < kMaxInterrupts; ++i) {
    written = write(file.get(), text.data(), text.size());
    if (written >= 0 || errno != EINTR) {
      break;
    }
  }
  if (written < 0) {
    return StatusFromErrno(errno, absl::StrCat("write ", text, " to ", name));
  }
  if (static_cast<size_t>(written) != text.size()) {
    return absl::InternalError(
        absl::StrCat("write ", text, " to ", name, ": only ", written, " bytes taken"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DirectoryEntry>> ListDirectories(const Directory& directory,
                                                            size_t max_count) {
  // A descriptor of its own: reading moves the position, and `directory` is shared.
  Fd own(openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!own.is_open()) {
    return StatusFromErrno(errno, "open parent group");
  }
  const std::unique_ptr<DIR, CloseDir> dir(fdopendir(own.get()));
  if (dir == nullptr) {
    return StatusFromErrno(errno, "list parent group");
  }
  own.Release();  // the stream closes it
  std::vector<DirectoryEntry> result;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) {
      if (errno != 0) {
        return StatusFromErrno(errno, "list parent group");
      }
      break;
    }
    const absl::string_view name(entry->d_name);
    if (entry->d_type != DT_DIR || name == "." || name == ".." ||
        std::any_of(name.begin(), name.end(),
                    [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
      continue;
    }
    if (result.size() == max_count) {
      return absl::ResourceExhaustedError(
          absl::StrCat("parent group has more than ", max_count, " groups"));
    }
    result.push_back({std::string(name), entry->d_ino});
  }
  std::sort(result.begin(), result.end(),
            [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  return result;
}

absl::StatusOr<std::string> DirectoryStamp(const Directory& directory) {
  struct statx info;
  if (statx(directory.get(), "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &info) != 0) {
    return StatusFromErrno(errno, "stat group");
  }
  if ((info.stx_mask & STATX_BTIME) == 0) {
    return absl::StrCat(info.stx_ino);
  }
  return absl::StrCat(info.stx_ino, "@", info.stx_btime.tv_sec, ".", info.stx_btime.tv_nsec);
}

bool IsRemoved(const Directory& directory) {
  struct stat info{};
  return fstat(directory.get(), &info) != 0 || info.st_nlink == 0;
}

std::optional<std::string> ReadAttribute(const Directory& directory, const char* name) {
  std::array<char, 256> buffer;
  const ssize_t count = fgetxattr(directory.get(), name, buffer.data(), buffer.size());
  if (count < 0) {
    return std::nullopt;
  }
  return std::string(buffer.data(), static_cast<size_t>(count));
}

absl::Status WriteAttribute(const Directory& directory, const char* name,
                            const std::string& value) {
  if (fsetxattr(directory.get(), name, value.data(), value.size(), 0) != 0) {
    return StatusFromErrno(errno, absl::StrCat("set attribute ", name));
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::hypervisor::cgroup
