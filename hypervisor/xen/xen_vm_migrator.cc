#include "hypervisor/xen/xen_vm_migrator.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "hypervisor/xen/xen_domains.h"
#include "hypervisor/xen/xen_move_process.h"

namespace cloudscale::hypervisor::xen {
namespace {

constexpr size_t kMaxRecords = 64;
constexpr size_t kMaxRecordBytes = size_t{1} << 20;
constexpr int64_t kKib = 1024;
constexpr size_t kUuidLength = 36;

bool IsUuid(const std::string& text) {
  return text.size() == kUuidLength && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isxdigit(static_cast<unsigned char>(c)) || c == '-';
         });
}

absl::Status FromErrno(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

absl::Status WriteAll(int file, absl::string_view text) {
  // One write: `xl` appends to the same file.
  return write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size())
             ? absl::OkStatus()
             : FromErrno("write the record of a move");
}

absl::Status Append(const std::string& path, absl::string_view text) {
  const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    return FromErrno(path);
  }
  const absl::Cleanup close_file = [file] { close(file); };
  return WriteAll(file, text);
}

struct RecordText {
  std::string text;
  bool is_whole = false;
};

// Empty when there is none.
absl::StatusOr<RecordText> ReadRecord(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    return errno == ENOENT ? absl::StatusOr<RecordText>(RecordText()) : FromErrno(path);
  }
  const absl::Cleanup close_file = [file] { close(file); };
  RecordText record;
  record.text.resize(kMaxRecordBytes + 1);
  size_t size = 0;
  ssize_t count = 0;
  while (size < record.text.size() &&
         (count = read(file, record.text.data() + size, record.text.size() - size)) > 0) {
    size += static_cast<size_t>(count);
  }
  if (count < 0) {
    return FromErrno(path);
  }
  record.is_whole = size <= kMaxRecordBytes;
  record.text.resize(std::min(size, kMaxRecordBytes));
  return record;
}

absl::Status CheckOptions(const XenMigrationOptions& options) {
  for (const auto& [host, address] : options.targets) {
    if (!IsHostAddress(address)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "targets: address of ", host, ": \"", address,
          "\"; must be letters, digits, '.', '-', ':' and '_', at most 253, and begin with none of "
          "'.', '-' and '_'"));
    }
    if (host.empty() || std::any_of(host.begin(), host.end(), [](char c) {
          return !absl::ascii_isgraph(static_cast<unsigned char>(c));
        })) {
      return absl::InvalidArgumentError(
          absl::StrCat("targets: host id \"", host, "\"; must be printable, without spaces"));
    }
  }
  if (options.xl_path.empty()) {
    return absl::InvalidArgumentError("xl_path: empty; must name the program");
  }
  if (options.ssh_command.empty()) {
    return absl::InvalidArgumentError("ssh_command: empty; must name the program");
  }
  if (options.record_directory.empty() || options.record_directory[0] != '/') {
    return absl::InvalidArgumentError(absl::StrCat("record_directory: \"", options.record_directory,
                                                   "\"; must be an absolute path"));
  }
  if (options.limit <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("limit: ", absl::FormatDuration(options.limit), "; must be above 0"));
  }
  if (options.bandwidth_bytes_per_second != 0) {
    return absl::UnimplementedError(
        absl::StrCat("bandwidth_bytes_per_second: ", options.bandwidth_bytes_per_second,
                     "; xl migrate cannot limit it, only 0 is possible"));
  }
  if (options.is_auto_converge) {
    return absl::UnimplementedError("is_auto_converge: true; xl migrate slows no guest down");
  }
  if (options.is_post_copy) {
    return absl::UnimplementedError("is_post_copy: true; Xen has no post-copy migration");
  }
  return absl::OkStatus();
}

}  // namespace

struct XenVmMigrator::Look {
  std::string path;
  MoveRecord record;
  bool is_xl_running = false;
  SourceDomain source = SourceDomain::kAbsent;
  int64_t domain_bytes = 0;
};

absl::StatusOr<std::unique_ptr<XenVmMigrator>> XenVmMigrator::Create(
    const Clock& clock, std::unique_ptr<XenCalls> calls, XenOptions options,
    XenMigrationOptions migration) {
  CS_RETURN_IF_ERROR(CheckOptions(migration));
  CS_RETURN_IF_ERROR(FindPool(*calls, options.pool).status());
  return std::unique_ptr<XenVmMigrator>(
      new XenVmMigrator(clock, std::move(calls), std::move(options), std::move(migration)));
}

XenVmMigrator::XenVmMigrator(const Clock& clock, std::unique_ptr<XenCalls> calls,
                             XenOptions options, XenMigrationOptions migration)
    : clock_(clock),
      calls_(std::move(calls)),
      options_(std::move(options)),
      migration_(std::move(migration)) {}

std::string XenVmMigrator::PathOf(const std::string& uuid) const {
  return absl::StrCat(migration_.record_directory, "/", uuid);
}

absl::StatusOr<std::optional<XenVmMigrator::Look>> XenVmMigrator::LookAt(const VmTarget& vm) {
  if (!IsUuid(vm.uuid)) {
    return absl::NotFoundError(absl::StrCat("no domain with UUID ", vm.uuid));
  }
  Look look;
  look.path = PathOf(vm.uuid);
  CS_ASSIGN_OR_RETURN(RecordText text, ReadRecord(look.path));
  absl::StatusOr<MoveRecord> record = ParseMove(text.text, text.is_whole);
  if (!record.ok()) {
    return std::optional<Look>();
  }
  const pid_t process = static_cast<pid_t>(record->header.process_id);
  look.is_xl_running = IsRunning({process, record->header.process_start});
  if (!look.is_xl_running && !record->exit_code.has_value()) {
    if (const std::optional<int> exit_code = ReapExitCode(process)) {
      CS_RETURN_IF_ERROR(Append(look.path, FormatExit(*exit_code)));
    }
    // And what it said last.
    CS_ASSIGN_OR_RETURN(text, ReadRecord(look.path));
    record = ParseMove(text.text, text.is_whole);
    CS_RETURN_IF_ERROR(record.status());
  }
  look.record = *std::move(record);
  // After the process: what it did last is in the list then.
  CS_ASSIGN_OR_RETURN(const std::vector<XenDomain> domains, ToStatusOr(calls_->ListDomains()));
  for (const XenDomain& domain : domains) {
    if (domain.domain_id == look.record.header.domain_id && domain.uuid == vm.uuid &&
        !domain.is_dying) {
      look.source = domain.is_suspended   ? SourceDomain::kSuspended
                    : domain.is_shut_down ? SourceDomain::kEnded
                                          : SourceDomain::kRuns;
      look.domain_bytes = domain.current_kib * kKib;
    }
  }
  return look;
}

absl::Status XenVmMigrator::StopMove(const Look& look, const char* note) {
  CS_RETURN_IF_ERROR(Append(look.path, note));
  AskToStop(static_cast<pid_t>(look.record.header.process_id));
  return absl::OkStatus();
}

absl::Status XenVmMigrator::TidyRecords() {
  namespace fs = std::filesystem;
  const fs::path directory = migration_.record_directory;
  std::error_code error;
  fs::create_directories(directory, error);
  if (!error) {
    fs::permissions(directory, fs::perms::owner_all, error);
  }
  std::vector<std::pair<fs::file_time_type, fs::path>> ended;
  for (fs::directory_iterator entry(directory, error), last; !error && entry != last;
       entry.increment(error)) {
    if (!IsUuid(entry->path().filename())) {
      continue;
    }
    CS_ASSIGN_OR_RETURN(const RecordText text, ReadRecord(entry->path()));
    const absl::StatusOr<MoveRecord> record = ParseMove(text.text, text.is_whole);
    if (!record.ok() ||
        !IsRunning({static_cast<pid_t>(record->header.process_id), record->header.process_start})) {
      ended.emplace_back(entry->last_write_time(error), entry->path());
    }
  }
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("record_directory: ", directory.string(), ": ", error.message()));
  }
  std::sort(ended.begin(), ended.end());
  for (size_t i = 0; i + kMaxRecords < ended.size(); ++i) {
    fs::remove(ended[i].second, error);
    sent_bytes_.erase(ended[i].second);
  }
  return absl::OkStatus();
}

absl::Status XenVmMigrator::StartMigration(const ActuationPermit& /*permit*/, const VmTarget& vm,
                                           const std::string& target_host_id) {
  const auto target = migration_.targets.find(target_host_id);
  if (target == migration_.targets.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("target host ", target_host_id, " is not among those configured"));
  }
  CS_RETURN_IF_ERROR(TidyRecords());
  // Of several processes one begins a move at a time.
  const int lock = open(PathOf("lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) {
    return FromErrno(PathOf("lock"));
  }
  const absl::Cleanup unlock = [lock] { close(lock); };
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError("another process begins a move at this moment");
  }
  CS_ASSIGN_OR_RETURN(const std::optional<Look> before, LookAt(vm));
  if (before.has_value() && before->is_xl_running) {
    return absl::AlreadyExistsError(
        absl::StrCat("vm ", vm.uuid, " is being moved to ", before->record.header.host_id));
  }
  CS_ASSIGN_OR_RETURN(const FoundVm found, FindVm(*calls_, options_.pool, vm));
  if (found.domain.is_paused || found.domain.is_shut_down) {
    return absl::FailedPreconditionError(absl::StrCat(
        "domain ", found.domain.domain_id, " is ", found.domain.is_paused ? "paused" : "shut down",
        "; only one that runs can be moved"));
  }
  // In a file of its own first: the old record stands until the new move is about to begin.
  const std::string path = PathOf(vm.uuid);
  const std::string fresh = PathOf("new");
  const int record =
      open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (record < 0) {
    return FromErrno(fresh);
  }
  const absl::Cleanup close_record = [record] { close(record); };
  std::vector<std::string> words = {
      migration_.xl_path, "migrate", "-s",
      absl::StrJoin(migration_.ssh_command, " ", [](std::string* out, const std::string& word) {
        absl::StrAppend(out, ShellQuoted(word));
      })};
  words.insert(words.end(), migration_.migrate_arguments.begin(),
               migration_.migrate_arguments.end());
  words.push_back(absl::StrCat(found.domain.domain_id));
  words.push_back(target->second);
  const auto note = [&](const ProcessId& process) -> absl::Status {
    const MoveHeader header{.process_id = process.id,
                            .process_start = process.start,
                            .domain_id = found.domain.domain_id,
                            .begun = clock_.MonoNow().since_start(),
                            .host_id = target_host_id};
    CS_RETURN_IF_ERROR(WriteAll(record, FormatHeader(header)));
    return rename(fresh.c_str(), path.c_str()) == 0 ? absl::OkStatus() : FromErrno(path);
  };
  sent_bytes_.erase(path);
  const absl::Status started = StartInSession(words, record, note).status();
  if (!started.ok()) {
    unlink(path.c_str());  // nothing was begun
  }
  return started;
}

absl::StatusOr<MigrationProgress> XenVmMigrator::GetMigrationProgress(const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(const std::optional<Look> look, LookAt(vm));
  if (!look.has_value()) {
    CS_RETURN_IF_ERROR(FindVm(*calls_, options_.pool, vm).status());
    return MigrationProgress();
  }
  MigrationProgress progress = JudgeMove(look->record, look->is_xl_running, look->source);
  int64_t& sent = sent_bytes_[look->path];
  if (look->is_xl_running) {
    if (const auto helper = FindSaveHelper(static_cast<pid_t>(look->record.header.process_id))) {
      sent = std::max(sent, WrittenBytes(*helper).value_or(0));
    }
  }
  progress.transferred_bytes = sent;
  if (progress.stage == MigrationStage::kPreCopy) {
    progress.remaining_bytes = std::max<int64_t>(0, look->domain_bytes - sent);
    const absl::Duration taken = clock_.MonoNow().since_start() - look->record.header.begun;
    if (taken > migration_.limit) {
      CS_RETURN_IF_ERROR(StopMove(*look, look->record.is_out_of_time ? "" : kTimeNote));
    }
  }
  return progress;
}

absl::Status XenVmMigrator::CancelMigration(const ActuationPermit& /*permit*/, const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(const std::optional<Look> look, LookAt(vm));
  if (!look.has_value()) {
    return absl::OkStatus();
  }
  const MigrationProgress progress = JudgeMove(look->record, look->is_xl_running, look->source);
  switch (progress.stage) {
    case MigrationStage::kPreCopy:
      return StopMove(*look, look->record.is_cancelled ? "" : kCancelNote);
    case MigrationStage::kStopAndCopy:
      return absl::FailedPreconditionError(absl::StrCat(
          "vm ", vm.uuid, " is suspended for the last part of its move: too late to turn back"));
    case MigrationStage::kDone:
      return absl::FailedPreconditionError(
          absl::StrCat(look->record.header.host_id, " runs it already"));
    default:
      break;
  }
  if (MayResume(look->record, look->is_xl_running, look->source)) {
    if (const XenDone failure = calls_->Resume(look->record.header.domain_id)) {
      return ToStatus(*failure);
    }
    return look->record.is_cancelled ? absl::OkStatus() : Append(look->path, kCancelNote);
  }
  return look->source == SourceDomain::kSuspended ? absl::FailedPreconditionError(progress.error)
                                                  : absl::OkStatus();
}

}  // namespace cloudscale::hypervisor::xen
