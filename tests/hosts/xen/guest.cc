// First and only program of a test guest, steered by Dom-0 through nodes below `data/` of the
// guest's own part of xenstore:
//   load     percent of one core that it burns, 0 to 100
//   hold     MiB that it holds
//   read     KiB to read from its disk
//   send     KiB to send through its network card, as broadcasts
//   request  any text; changed last. What was asked for holds when `data/done` repeats it.
// Linked statically: nothing else is in the guest.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

extern "C" {  // which it does not say itself
#include <xenstore.h>
}

namespace {

constexpr auto kPeriod = std::chrono::milliseconds(100);
constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kKiB = 1024;

std::mutex mutex;
std::condition_variable changed;
int load_percent = 0;  // guarded by `mutex`

// Wants the asked share of each period and rests for the rest, however slowly it is let run.
void Burn() {
  while (true) {
    int percent = 0;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [] { return load_percent > 0; });
      percent = load_percent;
    }
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < kPeriod * percent / 100) {
    }
    const timespec rest{0, std::chrono::nanoseconds(kPeriod * (100 - percent) / 100).count()};
    nanosleep(&rest, nullptr);
  }
}

std::string Read(xs_handle* store, const std::string& node) {
  unsigned length = 0;
  std::unique_ptr<char, decltype(&std::free)> value(
      static_cast<char*>(xs_read(store, XBT_NULL, node.c_str(), &length)), &std::free);
  return value == nullptr ? std::string() : std::string(value.get(), length);
}

size_t ReadNumber(xs_handle* store, const std::string& node) {
  return std::strtoul(Read(store, node).c_str(), nullptr, 10);
}

void Hold(size_t mib) {
  static void* held = MAP_FAILED;
  static size_t held_bytes = 0;
  if (mib * kMiB == held_bytes) {
    return;
  }
  if (held != MAP_FAILED) {
    munmap(held, held_bytes);
    held = MAP_FAILED;
  }
  held_bytes = mib * kMiB;
  if (held_bytes > 0) {
    held = mmap(nullptr, held_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (held != MAP_FAILED) {
      std::memset(held, 1, held_bytes);
    }
  }
}

void ReadDisk(size_t kib) {
  const int disk = open("/dev/xvda", O_RDONLY | O_DIRECT | O_CLOEXEC);
  constexpr size_t kBlock = 64 * kKiB;
  void* block = std::aligned_alloc(4096, kBlock);
  for (size_t done = 0; disk >= 0 && done < kib * kKiB; done += kBlock) {
    if (pread(disk, block, kBlock, static_cast<off_t>(done)) != static_cast<ssize_t>(kBlock)) {
      break;
    }
  }
  std::free(block);
  close(disk);
}

void SendNetwork(size_t kib) {
  const int link = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "eth0");
  auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
  address->sin_family = AF_INET;
  inet_pton(AF_INET, "10.99.0.2", &address->sin_addr);
  ioctl(link, SIOCSIFADDR, &request);
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_BROADCAST;
  ioctl(link, SIOCSIFFLAGS, &request);
  const int yes = 1;
  setsockopt(link, SOL_SOCKET, SO_BROADCAST, &yes, sizeof(yes));
  setsockopt(link, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5);
  sockaddr_in everyone{};
  everyone.sin_family = AF_INET;
  everyone.sin_port = htons(9);  // discard
  everyone.sin_addr.s_addr = INADDR_BROADCAST;
  const std::string packet(kKiB, 'x');
  for (size_t i = 0; i < kib; ++i) {
    sendto(link, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&everyone),
           sizeof(everyone));
    const timespec pause{0, 1'000'000};  // so that the card's queue never overflows
    nanosleep(&pause, nullptr);
  }
  close(link);
}

// What udev does elsewhere: a vCPU that Xen gives is only there, until somebody takes it into use.
void UseSecondVcpu() {
  const int online = open("/sys/devices/system/cpu/cpu1/online", O_RDWR | O_CLOEXEC);
  char now = '1';
  if (online >= 0 && pread(online, &now, 1, 0) == 1 && now == '0' &&
      pwrite(online, "1", 1, 0) != 1) {
    std::perror("cpu1");
  }
  close(online);
}

void LoadModules() {
  std::error_code error;
  std::set<std::string> files;  // their names begin with the order
  for (const auto& entry : std::filesystem::directory_iterator("/modules", error)) {
    files.insert(entry.path());
  }
  for (const std::string& file : files) {
    const int module = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    syscall(SYS_finit_module, module, "", 0);
    close(module);
  }
}

void Serve() {
  xs_handle* store = nullptr;
  while ((store = xs_open(0)) == nullptr) {
    std::perror("xenstore");
    const timespec pause{0, 100'000'000};
    nanosleep(&pause, nullptr);
  }
  if (!xs_write(store, XBT_NULL, "data/done", "up", 2)) {
    std::perror("xenstore data");
  }
  std::string last;
  while (true) {
    // A watch would need a thread of the library, whose stack is too small in a static program.
    const timespec pause{0, 200'000'000};
    nanosleep(&pause, nullptr);
    UseSecondVcpu();
    const std::string request = Read(store, "data/request");
    if (request.empty() || request == last) {
      continue;
    }
    last = request;
    {
      const std::lock_guard lock(mutex);
      load_percent = static_cast<int>(ReadNumber(store, "data/load"));
    }
    changed.notify_all();
    Hold(ReadNumber(store, "data/hold"));
    if (const size_t kib = ReadNumber(store, "data/read"); kib > 0) {
      ReadDisk(kib);
    }
    if (const size_t kib = ReadNumber(store, "data/send"); kib > 0) {
      SendNetwork(kib);
    }
    xs_write(store, XBT_NULL, "data/done", request.data(), static_cast<unsigned>(request.size()));
  }
}

}  // namespace

int main() {
  mkdir("/dev", 0755);
  mkdir("/proc", 0755);
  mkdir("/sys", 0755);
  mount("dev", "/dev", "devtmpfs", 0, nullptr);
  // The kernel found no console before; without it the first files opened would be 0 to 2.
  const int console = open("/dev/hvc0", O_RDWR);
  for (int file = 0; file < 3; ++file) {
    dup2(console, file);
  }
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sys", "/sys", "sysfs", 0, nullptr);
  LoadModules();
  std::thread(Burn).detach();
  Serve();
}
