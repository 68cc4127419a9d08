#include "hypervisor/libvirt/libvirt_vm_migrator.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "common/sync/mutex.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
// Ended moves that are remembered.
constexpr size_t kMaxMoves = 64;

unsigned FlagsOf(const MigrationOptions& options, bool is_persistent) {
  unsigned flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_ABORT_ON_ERROR;
  if (is_persistent) {
    flags |= VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE;
  }
  if (options.is_auto_converge && !options.is_post_copy) {
    flags |= VIR_MIGRATE_AUTO_CONVERGE;
  }
  if (options.is_post_copy) {
    flags |= VIR_MIGRATE_POSTCOPY;
  }
  if (options.allows_unsafe_disks) {
    flags |= VIR_MIGRATE_UNSAFE;
  }
  return flags;
}

// Blocks until the move has ended, on a connection of its own.
absl::Status Migrate(const MigrationOptions& options, const MigrationOptions::Target& target,
                     const std::string& uuid) {
  CS_ASSIGN_OR_RETURN(const Connection connection, Connect(options.uri, Access::kReadWrite));
  CS_ASSIGN_OR_RETURN(const Domain domain, FindActiveDomain(connection.get(), uuid));
  const int is_persistent = virDomainIsPersistent(domain.get());
  if (is_persistent < 0) {
    return LastError("persistence of the domain");
  }
  virTypedParameterPtr raw = nullptr;
  int count = 0;
  int capacity = 0;
  if (!target.migration_uri.empty()) {
    virTypedParamsAddString(&raw, &count, &capacity, VIR_MIGRATE_PARAM_URI,
                            target.migration_uri.c_str());
  }
  if (options.bandwidth_bytes_per_second > 0) {
    const int64_t bandwidth = std::max<int64_t>(1, options.bandwidth_bytes_per_second / kMiB);
    virTypedParamsAddULLong(&raw, &count, &capacity, VIR_MIGRATE_PARAM_BANDWIDTH,
                            static_cast<unsigned long long>(bandwidth));
  }
  const Parameters parameters(raw, count);
  if (virDomainMigrateToURI3(domain.get(), target.uri.c_str(), raw, static_cast<unsigned>(count),
                             FlagsOf(options, is_persistent == 1)) < 0) {
    return LastError(absl::StrCat("move vm ", uuid, " to ", target.uri));
  }
  return absl::OkStatus();
}

}  // namespace

struct LibvirtVmMigrator::Move {
  Mutex mutex;
  std::optional<absl::Status> result ABSL_GUARDED_BY(mutex);  // set when it has ended
  bool is_cancelled ABSL_GUARDED_BY(mutex) = false;
  // The last that the daemon told; the job is gone when the move has ended.
  MigrationProgress progress ABSL_GUARDED_BY(mutex);
};

LibvirtVmMigrator::LibvirtVmMigrator(MigrationOptions options)
    : options_(std::move(options)),
      calls_(std::make_shared<BoundedCalls<Connection>>(
          "migration",
          [uri = options_.uri]() -> absl::StatusOr<std::unique_ptr<Connection>> {
            CS_ASSIGN_OR_RETURN(Connection connection, Connect(uri, Access::kReadWrite));
            return std::make_unique<Connection>(std::move(connection));
          },
          options_.call_limit)) {}

LibvirtVmMigrator::~LibvirtVmMigrator() = default;

MigrationProgress ProgressOf(const virTypedParameter* parameters, int count) {
  MigrationProgress progress;
  progress.stage = MigrationStage::kPreCopy;
  const auto find = [&](const char* field) { return FindParameter(parameters, count, field); };
  progress.transferred_bytes = find(VIR_DOMAIN_JOB_DATA_PROCESSED).value_or(0);
  progress.remaining_bytes = find(VIR_DOMAIN_JOB_DATA_REMAINING).value_or(0);
  const std::optional<int64_t> pages = find(VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE);
  const std::optional<int64_t> page_bytes = find(VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE);
  if (pages && page_bytes) {
    progress.dirty_bytes_per_second =
        static_cast<double>(*pages) * static_cast<double>(*page_bytes);
  }
  if (const std::optional<int64_t> downtime = find(VIR_DOMAIN_JOB_DOWNTIME_NET)) {
    progress.downtime = absl::Milliseconds(*downtime);
  } else if (const std::optional<int64_t> whole = find(VIR_DOMAIN_JOB_DOWNTIME)) {
    progress.downtime = absl::Milliseconds(*whole);
  }
  return progress;
}

absl::StatusOr<std::optional<MigrationProgress>> LibvirtVmMigrator::AskDaemon(
    const std::string& uuid) {
  using Result = absl::StatusOr<std::optional<MigrationProgress>>;
  return calls_->Call<Result>([uuid](Connection& connection) -> Result {
    CS_ASSIGN_OR_RETURN(const Domain domain, FindActiveDomain(connection.get(), uuid));
    int type = VIR_DOMAIN_JOB_NONE;
    virTypedParameterPtr raw = nullptr;
    int count = 0;
    if (virDomainGetJobStats(domain.get(), &type, &raw, &count, 0) < 0) {
      const absl::Status status = LastError("job of the domain");
      // It left between the two calls.
      return absl::IsFailedPrecondition(status) ? absl::NotFoundError(status.message()) : status;
    }
    const Parameters parameters(raw, count);
    const std::optional<int64_t> operation = FindParameter(raw, count, VIR_DOMAIN_JOB_OPERATION);
    if (type == VIR_DOMAIN_JOB_NONE || operation != VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT) {
      return std::optional<MigrationProgress>();
    }
    MigrationProgress progress = ProgressOf(raw, count);
    int state = VIR_DOMAIN_NOSTATE;
    int reason = 0;
    if (virDomainGetState(domain.get(), &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED) {
      progress.stage = MigrationStage::kStopAndCopy;
    }
    return std::make_optional(progress);
  });
}

absl::StatusOr<bool> LibvirtVmMigrator::RunsOnATarget(const std::string& uuid) {
  for (const auto& [host, target] : options_.targets) {
    BoundedCalls<Connection> calls(
        "target of a migration",
        [uri = target.uri]() -> absl::StatusOr<std::unique_ptr<Connection>> {
          CS_ASSIGN_OR_RETURN(Connection connection, Connect(uri, Access::kReadOnly));
          return std::make_unique<Connection>(std::move(connection));
        },
        options_.call_limit);
    const absl::Status found = calls.Call<absl::Status>([uuid](Connection& connection) {
      return FindActiveDomain(connection.get(), uuid).status();
    });
    if (found.ok()) {
      return true;
    }
    if (!absl::IsNotFound(found)) {
      return WithContext(absl::StrCat("target host ", host), found);
    }
  }
  return false;
}

absl::Status LibvirtVmMigrator::StartMigration(const ActuationPermit& /*permit*/,
                                               const VmTarget& vm,
                                               const std::string& target_host_id) {
  const auto target = options_.targets.find(target_host_id);
  if (target == options_.targets.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("target host ", target_host_id, " is not among those configured"));
  }
  if (const auto it = moves_.find(vm.uuid); it != moves_.end()) {
    MutexLock lock(&it->second->mutex);
    if (!it->second->result) {
      return absl::AlreadyExistsError(absl::StrCat("vm ", vm.uuid, " is being moved"));
    }
  }
  CS_ASSIGN_OR_RETURN(const std::optional<MigrationProgress> running, AskDaemon(vm.uuid));
  if (running) {
    return absl::AlreadyExistsError(
        absl::StrCat("vm ", vm.uuid, " is being moved, not by this process"));
  }
  if (moves_.size() >= kMaxMoves) {
    std::erase_if(moves_, [](const auto& entry) {
      MutexLock lock(&entry.second->mutex);
      return entry.second->result.has_value();
    });
  }
  auto move = std::make_shared<Move>();
  {
    MutexLock lock(&move->mutex);
    move->progress.stage = MigrationStage::kPreCopy;
  }
  moves_[vm.uuid] = move;
  // Detached: the daemons carry it out, the thread only waits to learn how it ended.
  std::thread([move, options = options_, target = target->second, uuid = vm.uuid] {
    const absl::Status result = Migrate(options, target, uuid);
    MutexLock lock(&move->mutex);
    move->result = result;
  }).detach();
  return absl::OkStatus();
}

absl::StatusOr<MigrationProgress> LibvirtVmMigrator::GetMigrationProgress(const VmTarget& vm) {
  const auto it = moves_.find(vm.uuid);
  std::shared_ptr<Move> move = it == moves_.end() ? nullptr : it->second;
  if (move != nullptr) {
    MutexLock lock(&move->mutex);
    if (move->result) {
      MigrationProgress progress = move->progress;
      if (move->result->ok()) {
        progress.stage = MigrationStage::kDone;
        progress.remaining_bytes = 0;
      } else {
        progress.stage = move->is_cancelled ? MigrationStage::kCancelled : MigrationStage::kFailed;
        progress.error = std::string(move->result->message());
      }
      return progress;
    }
  }
  const absl::StatusOr<std::optional<MigrationProgress>> running = AskDaemon(vm.uuid);
  if (running.ok() && *running) {
    if (move != nullptr) {
      MutexLock lock(&move->mutex);
      move->progress = **running;
    }
    return **running;
  }
  if (!running.ok() && !absl::IsNotFound(running.status())) {
    return running.status();
  }
  MigrationProgress progress;
  if (move != nullptr) {  // about to begin, or its thread has not heard of the end yet
    MutexLock lock(&move->mutex);
    return move->progress;
  }
  if (!running.ok()) {
    CS_ASSIGN_OR_RETURN(const bool runs, RunsOnATarget(vm.uuid));
    if (!runs) {
      return running.status();
    }
    progress.stage = MigrationStage::kDone;
  }
  return progress;
}

absl::Status LibvirtVmMigrator::CancelMigration(const ActuationPermit& /*permit*/,
                                                const VmTarget& vm) {
  const auto it = moves_.find(vm.uuid);
  const std::shared_ptr<Move> move = it == moves_.end() ? nullptr : it->second;
  if (move != nullptr) {
    MutexLock lock(&move->mutex);
    if (move->result) {
      return move->result->ok() ? absl::FailedPreconditionError("it runs on the target already")
                                : absl::OkStatus();
    }
    move->is_cancelled = true;
  }
  return calls_->Call<absl::Status>([uuid = vm.uuid](Connection& connection) -> absl::Status {
    const absl::StatusOr<Domain> domain = FindActiveDomain(connection.get(), uuid);
    if (absl::IsNotFound(domain.status())) {
      return absl::FailedPreconditionError("it runs on the target already");
    }
    CS_RETURN_IF_ERROR(domain.status());
    if (virDomainAbortJob(domain->get()) < 0) {
      const absl::Status status = LastError("cancel the move");
      // No job any more: it has failed by itself or was cancelled before.
      return absl::IsFailedPrecondition(status) ? absl::OkStatus() : status;
    }
    return absl::OkStatus();
  });
}

}  // namespace cloudscale::hypervisor::libvirt
