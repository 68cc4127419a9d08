#include "agents/guest/linux/proc_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "absl/strings/str_cat.h"
#include "agents/guest/proc_parse.h"

namespace cloudscale::guest {
namespace {

constexpr size_t kMaxBytes = size_t{256} * 1024;

std::optional<std::string> ReadText(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return std::nullopt;
  }
  std::string text;
  std::array<char, 16384> buffer;
  ssize_t count = 0;
  while (text.size() < kMaxBytes) {
    count = read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count <= 0) {
      break;
    }
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  close(fd);
  // Pressure files exist but answer EOPNOTSUPP where PSI is off.
  return count < 0 ? std::nullopt : std::optional<std::string>(std::move(text));
}

}  // namespace

ProcTexts ProcReader::Read() const {
  const auto read = [&](const char* file) { return ReadText(absl::StrCat(proc_root_, "/", file)); };
  return {.boot_id = read("sys/kernel/random/boot_id"),
          .uptime = read("uptime"),
          .meminfo = read("meminfo"),
          .vmstat = read("vmstat"),
          .pressure_cpu = read("pressure/cpu"),
          .pressure_memory = read("pressure/memory"),
          .pressure_io = read("pressure/io"),
          .loadavg = read("loadavg"),
          .stat = read("stat"),
          .page_bytes = sysconf(_SC_PAGESIZE)};
}

absl::StatusOr<std::string> ReadMachineUuid(const std::string& sys_root) {
  for (const char* file : {"class/dmi/id/product_uuid", "hypervisor/uuid"}) {
    const std::optional<std::string> text = ReadText(absl::StrCat(sys_root, "/", file));
    if (text.has_value()) {
      if (absl::StatusOr<std::string> uuid = ParseUuid(*text); uuid.ok()) {
        return uuid;
      }
    }
  }
  return absl::NotFoundError(absl::StrCat("no UUID of the machine under ", sys_root,
                                          " (class/dmi/id/product_uuid, hypervisor/uuid)"));
}

}  // namespace cloudscale::guest
