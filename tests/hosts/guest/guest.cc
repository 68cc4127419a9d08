// The test guest's only program: process 1 of a VM, or of a container. Static, without libraries.
//   guest                       in a VM: loads modules, then obeys its virtio port
//                               or, when there is a /test/program, runs that on cgroup v2 and ends
//                               the VM; a /test/agent it starts beside its work
//   guest CORES MEMORY_BYTES    in a container: that load and that memory, until killed
// Requests on the port org.cloudscale.test.0, a line each, answered by a line "ID ok" or "ID
// error":
//   ID load CORES    share of one CPU to burn, 0 to 1
//   ID memory BYTES  memory to hold
//   ID ping
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr char kPortName[] = "org.cloudscale.test.0";

// Shared with the child that burns.
struct Shared {
  std::atomic<double> load{0};
};

int64_t Nanoseconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

[[noreturn]] void Burn(const Shared& shared) {
  constexpr int64_t kSlot = 10'000'000;
  volatile uint64_t sink = 0;
  while (true) {
    const int64_t start = Nanoseconds(CLOCK_MONOTONIC);
    const double load = shared.load;
    const int64_t done = Nanoseconds(CLOCK_THREAD_CPUTIME_ID) +
                         static_cast<int64_t>(load * static_cast<double>(kSlot));
    while (Nanoseconds(CLOCK_THREAD_CPUTIME_ID) < done) {
      for (int i = 0; i < 1000; ++i) {
        sink = sink + 1;
      }
    }
    const int64_t left = start + kSlot - Nanoseconds(CLOCK_MONOTONIC);
    if (load < 1 && left > 0) {
      const timespec rest{0, left};
      nanosleep(&rest, nullptr);
    }
  }
}

Shared* StartBurning() {
  void* memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* shared = new (memory) Shared;
  if (fork() == 0) {
    Burn(*shared);
  }
  return shared;
}

void Say(const std::string& text) {
  std::ofstream("/dev/console") << "guest: " << text << std::endl;
}

std::vector<std::string> Files(const std::string& directory) {
  std::vector<std::string> names;
  if (DIR* handle = opendir(directory.c_str())) {
    while (const dirent* entry = readdir(handle)) {
      if (entry->d_name[0] != '.') {
        names.emplace_back(entry->d_name);
      }
    }
    closedir(handle);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void SetUpMachine() {
  for (const char* path : {"/proc", "/sys", "/dev"}) {
    mkdir(path, 0755);
  }
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("sysfs", "/sys", "sysfs", 0, nullptr);
  mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr);
  for (const std::string& name : Files("/modules")) {
    const int file = open(("/modules/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    if (syscall(SYS_finit_module, file, "", 0) != 0) {
      Say(name + ": " + std::strerror(errno));
    }
    close(file);
  }
}

std::vector<std::string> Lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
  }
  return lines;
}

// Runs /test/program with the lines of /test/arguments on a machine with cgroup v2; what it prints
// goes to the console, its exit code as the last line.
[[noreturn]] void RunTest() {
  mkdir("/tmp", 0755);
  mount("tmpfs", "/tmp", "tmpfs", 0, nullptr);
  mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, nullptr);
  std::ofstream("/sys/fs/cgroup/cgroup.subtree_control") << "+cpu +memory";
  const int console = open("/dev/console", O_RDWR);
  for (int target = 0; target < 3; ++target) {
    dup2(console, target);
  }
  const pid_t pid = fork();
  if (pid == 0) {
    std::vector<std::string> words = Lines("/test/arguments");
    words.insert(words.begin(), "/test/program");
    std::vector<char*> pointers;
    for (std::string& word : words) {
      pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    setenv("LD_LIBRARY_PATH", "/test/libraries", 1);
    execv(pointers[0], pointers.data());
    Say(std::string("start: ") + std::strerror(errno));
    _exit(127);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) != pid) {
  }
  Say("exit " + std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
  sync();
  reboot(RB_AUTOBOOT);
  _exit(0);
}

// The guest agent in the background, when the initial file system has one.
void StartAgent() {
  if (access("/test/agent", X_OK) != 0 || fork() != 0) {
    return;
  }
  execl("/test/agent", "agent", "--device=org.cloudscale.agent.0", nullptr);
  Say(std::string("agent: ") + std::strerror(errno));
  _exit(127);
}

int OpenPort() {
  while (true) {
    for (const std::string& port : Files("/sys/class/virtio-ports")) {
      std::string name;
      std::ifstream("/sys/class/virtio-ports/" + port + "/name") >> name;
      if (name == kPortName) {
        return open(("/dev/" + port).c_str(), O_RDWR | O_CLOEXEC);
      }
    }
    const timespec rest{0, 50'000'000};
    nanosleep(&rest, nullptr);
  }
}

class Memory {
 public:
  bool Hold(size_t bytes) {
    if (memory_ != nullptr) {
      munmap(memory_, size_);
      memory_ = nullptr;
    }
    size_ = bytes;
    if (bytes == 0) {
      return true;
    }
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      return false;
    }
    std::memset(memory, 1, bytes);
    memory_ = memory;
    return true;
  }

 private:
  void* memory_ = nullptr;
  size_t size_ = 0;
};

bool Obey(const std::string& what, double value, Shared& shared, Memory& memory) {
  if (what == "load" && value >= 0 && value <= 1) {
    shared.load = value;
    return true;
  }
  if (what == "memory" && value >= 0) {
    return memory.Hold(static_cast<size_t>(value));
  }
  return what == "ping";
}

[[noreturn]] void Serve(int port, Shared& shared) {
  Memory memory;
  std::string pending;
  char buffer[512];
  while (true) {
    const ssize_t count = read(port, buffer, sizeof(buffer));
    if (count <= 0) {  // nobody at the other end
      const timespec rest{0, 20'000'000};
      nanosleep(&rest, nullptr);
      continue;
    }
    pending.append(buffer, static_cast<size_t>(count));
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      char id[64] = "";
      char what[64] = "";
      double value = 0;
      std::sscanf(pending.c_str(), "%63s %63s %lf", id, what, &value);
      const std::string answer =
          std::string(id) + (Obey(what, value, shared, memory) ? " ok\n" : " error\n");
      if (write(port, answer.data(), answer.size()) < 0) {
        Say(std::string("answer: ") + std::strerror(errno));
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 3) {
    // Process 1 gets only signals that it asks for.
    std::signal(SIGTERM, [](int) { _exit(0); });
    Memory memory;
    if (!memory.Hold(std::strtoull(arguments[2], nullptr, 10))) {
      return 1;
    }
    Shared shared;
    shared.load = std::atof(arguments[1]);
    Burn(shared);
  }
  if (getpid() != 1) {
    std::fprintf(stderr, "usage: guest CORES MEMORY_BYTES, or as process 1 of a VM\n");
    return 2;
  }
  SetUpMachine();
  if (access("/test/program", X_OK) == 0) {
    RunTest();
  }
  Shared* shared = StartBurning();
  StartAgent();
  const int port = OpenPort();
  Say("ready");
  Serve(port, *shared);
}
