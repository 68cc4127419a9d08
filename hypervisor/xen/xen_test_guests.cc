#include "hypervisor/xen/xen_test_guests.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <utility>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::xen {
namespace {

// Where the host's image and its `run` script put them.
constexpr char kKernel[] = "/guests/vmlinux";
constexpr char kInitial[] = "/guests/initramfs";
constexpr char kInitialWithModules[] = "/guests/initramfs-modules";
constexpr char kDisk[] = "/dev/loop0";

// A target below the maximum would let its memory come late, when it is touched.
constexpr int64_t kPvhMib = 96;

constexpr absl::Duration kGuestLimit = absl::Seconds(60);
constexpr absl::Duration kPoll = absl::Milliseconds(200);
constexpr int kTimedOut = 124;  // exit code of `timeout`

}  // namespace

absl::StatusOr<std::string> RunCommand(const std::string& command) {
  FILE* pipe = popen(absl::StrCat("timeout 60 ", command, " 2>&1").c_str(), "r");
  if (pipe == nullptr) {
    return absl::InternalError(absl::StrCat("cannot run ", command));
  }
  std::string output;
  std::array<char, 4096> part{};
  for (size_t read = 0; (read = fread(part.data(), 1, part.size(), pipe)) > 0;) {
    output.append(part.data(), read);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    return output;
  }
  const std::string text = absl::StrCat(command, ": ", output);
  return WIFEXITED(status) && WEXITSTATUS(status) == kTimedOut ? absl::DeadlineExceededError(text)
                                                               : absl::InternalError(text);
}

absl::StatusOr<std::string> SchedulerCommand() {
  CS_ASSIGN_OR_RETURN(const std::string info, RunCommand("xl info"));
  for (const absl::string_view line : absl::StrSplit(info, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (absl::StripAsciiWhitespace(parts.first) == "xen_scheduler") {
      return absl::StrCat("sched-", absl::StripAsciiWhitespace(parts.second));
    }
  }
  return absl::InternalError("xl info tells no xen_scheduler");
}

absl::Status TestGuest::CheckPossible() {
  if (!std::filesystem::exists(kKernel) || !std::filesystem::exists(kInitial)) {
    return absl::UnavailableError(absl::StrCat("no test guests: ", kKernel, " and ", kInitial,
                                               " are not both there (tests/hosts/xen/run)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TestGuest>> TestGuest::Start(Clock& clock, XenCalls& store,
                                                            const std::string& name, Kind kind) {
  CS_ASSIGN_OR_RETURN(std::string scheduler, SchedulerCommand());
  const std::string uuid =
      absl::StrFormat("c10dc10d-0000-4000-8000-%012x", std::hash<std::string>()(name) >> 16);
  const std::string file = std::filesystem::temp_directory_path() / (name + ".cfg");
  std::ofstream config(file);
  config << "name = \"" << name << "\"\nuuid = \"" << uuid << "\"\ntype = \""
         << (kind.is_pvh ? "pvh" : "pv") << "\"\nkernel = \"" << kKernel << "\"\nramdisk = \""
         << (kind.network_and_disk ? kInitialWithModules : kInitial)
         << "\"\ncmdline = \"console=hvc0 quiet rdinit=/init\"\nvcpus = " << (kind.is_pvh ? 1 : 2)
         << "\nmemory = " << (kind.is_pvh ? kPvhMib : kMemoryMib)
         << "\nmaxmem = " << (kind.is_pvh ? kPvhMib : kMaximumMib) << "\non_crash = \"destroy\"\n";
  if (kind.network_and_disk) {
    config << "vif = [ \"bridge=xenbr0,script=vif-plain\" ]\n"
           << "disk = [ \"vdev=xvda,access=r,script=block-plain,target=" << kDisk << "\" ]\n";
  }
  config.close();
  std::unique_ptr<TestGuest> guest(
      new TestGuest(clock, store, name, uuid, file, std::move(scheduler)));
  CS_RETURN_IF_ERROR(guest->Create());
  return guest;
}

TestGuest::TestGuest(Clock& clock, XenCalls& store, std::string name, std::string uuid,
                     std::string file, std::string scheduler)
    : clock_(clock),
      store_(store),
      name_(std::move(name)),
      uuid_(std::move(uuid)),
      file_(std::move(file)),
      scheduler_(std::move(scheduler)) {}

TestGuest::~TestGuest() {
  static_cast<void>(RunCommand(absl::StrCat("xl destroy ", domain_id_)));
  std::error_code error;
  std::filesystem::remove(file_, error);
}

absl::Status TestGuest::Create() {
  is_up_ = false;
  CS_RETURN_IF_ERROR(RunCommand(absl::StrCat("xl create -q ", file_)).status());
  return FindDomainId();
}

absl::Status TestGuest::FindDomainId() {
  CS_ASSIGN_OR_RETURN(const std::string id, RunCommand(absl::StrCat("xl domid ", name_)));
  domain_id_ = std::string(absl::StripAsciiWhitespace(id));
  return absl::OkStatus();
}

absl::Status TestGuest::WaitFor(const std::string& answer) {
  const std::string path = absl::StrCat("/local/domain/", domain_id_, "/data/done");
  const MonoTime deadline = clock_.MonoNow() + kGuestLimit;
  while (clock_.MonoNow() < deadline) {
    // Not with a command: processes of Dom-0 are dear and would keep the guest from running.
    const auto done = store_.ReadStore(path);
    const auto* value = std::get_if<std::optional<std::string>>(&done);
    if (value != nullptr && value->has_value() && (answer.empty() || **value == answer)) {
      return absl::OkStatus();
    }
    clock_.SleepUntil(clock_.MonoNow() + kPoll, std::stop_token());
  }
  return absl::DeadlineExceededError(absl::StrCat("guest ", name_, " does not answer"));
}

absl::Status TestGuest::Work(const GuestWork& work) {
  if (!is_up_) {
    CS_RETURN_IF_ERROR(WaitFor(""));
    is_up_ = true;
  }
  const std::string request = absl::StrCat("r", ++request_);
  const std::string data = absl::StrCat("/local/domain/", domain_id_, "/data/");
  CS_RETURN_IF_ERROR(
      RunCommand(absl::StrCat("xenstore-write ", data, "load ", work.load_percent, " ", data,
                              "hold ", work.hold_mib, " ", data, "read ", work.read_kib, " ", data,
                              "send ", work.send_kib, " ", data, "request ", request))
          .status());
  return WaitFor(request);
}

absl::Status TestGuest::Restart() {
  CS_RETURN_IF_ERROR(RunCommand(absl::StrCat("xl destroy ", domain_id_)).status());
  return Create();
}

absl::Status TestGuest::SaveAndRestore() {
  // Beside the guests' kernel, which is on a disk: temporary files of a small Dom-0 are memory.
  const std::string image = absl::StrCat(kKernel, ".saved-", name_);
  absl::Status status = RunCommand(absl::StrCat("xl save ", domain_id_, " ", image)).status();
  if (status.ok()) {
    status = RunCommand(absl::StrCat("xl restore ", image)).status();
  }
  std::error_code error;
  std::filesystem::remove(image, error);
  CS_RETURN_IF_ERROR(status);
  return FindDomainId();
}

absl::Status TestGuest::Reset() {
  CS_ASSIGN_OR_RETURN(const std::string scheduler, SchedulerCommand());
  CS_RETURN_IF_ERROR(
      RunCommand(absl::StrCat("xl ", scheduler, " -d ", domain_id_, " -c 0 -w 256")).status());
  CS_RETURN_IF_ERROR(RunCommand(absl::StrCat("xl mem-set ", domain_id_, " ", kMemoryMib)).status());
  CS_RETURN_IF_ERROR(RunCommand(absl::StrCat("xl vcpu-set ", domain_id_, " 2")).status());
  return Work({});
}

absl::StatusOr<absl::Duration> TestGuest::CpuTime() const {
  CS_ASSIGN_OR_RETURN(const std::string list, RunCommand(absl::StrCat("xl list ", domain_id_)));
  const std::vector<std::string> words =
      absl::StrSplit(list, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  double seconds = 0;
  if (words.empty() || !absl::SimpleAtod(words.back(), &seconds)) {
    return absl::InternalError(absl::StrCat("xl list: ", list));
  }
  return absl::Seconds(seconds);
}

absl::StatusOr<Allocation> TestGuest::ReadAllocation() const {
  CS_ASSIGN_OR_RETURN(const std::string shares,
                      RunCommand(absl::StrCat("xl ", scheduler_, " -d ", domain_id_)));
  const std::vector<std::string> words =
      absl::StrSplit(shares, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  int64_t weight = 0;
  int64_t cap = 0;
  if (words.size() < 2 || !absl::SimpleAtoi(words[words.size() - 2], &weight) ||
      !absl::SimpleAtoi(words.back(), &cap)) {
    return absl::InternalError(absl::StrCat("xl ", scheduler_, ": ", shares));
  }
  CS_ASSIGN_OR_RETURN(
      const std::string target,
      RunCommand(absl::StrCat("xenstore-read /local/domain/", domain_id_, "/memory/target")));
  int64_t target_kib = 0;
  if (!absl::SimpleAtoi(target, &target_kib)) {
    return absl::InternalError(absl::StrCat("memory/target: ", target));
  }
  Allocation allocation;
  if (cap > 0) {
    allocation.cpu_cap_cores = static_cast<double>(cap) / 100;
  }
  allocation.cpu_weight = std::llround(static_cast<double>(weight) * 100 / 256);
  allocation.memory_target_bytes = target_kib * 1024;
  return allocation;
}

}  // namespace cloudscale::hypervisor::xen
