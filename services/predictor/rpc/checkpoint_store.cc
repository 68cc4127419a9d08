#include "services/predictor/rpc/checkpoint_store.h"

#include <filesystem>
#include <functional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/status/macros.h"

namespace cloudscale::predictor {
namespace {

const std::vector<std::string>& Migrations() {
  static const auto* const migrations = new std::vector<std::string>{
      "CREATE TABLE series (key TEXT PRIMARY KEY, vm_uuid TEXT NOT NULL, host_id TEXT NOT NULL, "
      "resource INTEGER NOT NULL, saved_at_unix_nanos INTEGER NOT NULL, state BLOB NOT NULL)"};
  return *migrations;
}

std::string KeyOf(const SeriesId& id) {
  return absl::StrCat(
      id.vm_uuid.empty() ? absl::StrCat("host:", id.host_id) : absl::StrCat("vm:", id.vm_uuid), ":",
      static_cast<int>(id.resource));
}

std::string AsidePath(const std::string& path, absl::Time now) {
  return absl::StrCat(path, ".bad-", absl::ToUnixSeconds(now));
}

absl::Status MoveAside(const std::string& path, absl::Time now, const absl::Status& reason) {
  const std::string target = AsidePath(path, now);
  LogLine(LogLevel::kError, "checkpoint_unusable")
      .Field("path", path)
      .Field("kept_as", target)
      .Field("status", reason);
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::error_code error;
    if (!std::filesystem::exists(path + suffix, error)) {
      continue;
    }
    std::filesystem::rename(path + suffix, target + suffix, error);
    if (error) {
      return absl::UnavailableError(
          absl::StrCat("move '", path, suffix, "' to '", target, suffix, "': ", error.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CheckpointStore>> CheckpointStore::Open(const std::string& path,
                                                                       absl::Time now) {
  auto database = sqlite::Database::Open(path, Migrations());
  if (absl::IsDataLoss(database.status()) || absl::IsFailedPrecondition(database.status())) {
    CS_RETURN_IF_ERROR(MoveAside(path, now, database.status()));
    database = sqlite::Database::Open(path, Migrations());
  }
  CS_RETURN_IF_ERROR(database.status());
  return std::unique_ptr<CheckpointStore>(new CheckpointStore(path, *std::move(database)));
}

absl::StatusOr<std::vector<SavedSeries>> CheckpointStore::Load(absl::Time now) {
  const auto rows =
      database_->Query("SELECT vm_uuid, host_id, resource, state FROM series ORDER BY key");
  std::vector<SavedSeries> all;
  if (absl::IsDataLoss(rows.status())) {
    // A damaged page shows only when it is read. The file is closed before it is moved.
    database_.reset();
    CS_RETURN_IF_ERROR(MoveAside(path_, now, rows.status()));
    CS_ASSIGN_OR_RETURN(database_, sqlite::Database::Open(path_, Migrations()));
    return all;
  }
  CS_RETURN_IF_ERROR(rows.status());
  for (const sqlite::Row& row : *rows) {
    SavedSeries saved;
    saved.id.vm_uuid = sqlite::TextOf(row[0]);
    saved.id.host_id = sqlite::TextOf(row[1]);
    saved.id.resource = sqlite::IntOf(row[2]) == 0 ? Resource::kCpu : Resource::kMemory;
    saved.state = sqlite::TextOf(row[3]);
    stored_[KeyOf(saved.id)] = std::hash<std::string>()(saved.state);
    all.push_back(std::move(saved));
  }
  return all;
}

absl::Status CheckpointStore::Save(const std::vector<SavedSeries>& all, absl::Time now) {
  std::map<std::string, size_t> next;
  absl::Status status = database_->Transaction([&]() -> absl::Status {
    for (const SavedSeries& saved : all) {
      const std::string key = KeyOf(saved.id);
      const size_t hash = std::hash<std::string>()(saved.state);
      next[key] = hash;
      const auto it = stored_.find(key);
      if (it != stored_.end() && it->second == hash) {
        continue;
      }
      CS_RETURN_IF_ERROR(database_->Execute(
          "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?)",
          {key, saved.id.vm_uuid, saved.id.host_id, int64_t{static_cast<int>(saved.id.resource)},
           absl::ToUnixNanos(now), saved.state}));
    }
    for (const auto& [key, hash] : stored_) {
      if (!next.contains(key)) {
        CS_RETURN_IF_ERROR(database_->Execute("DELETE FROM series WHERE key = ?", {key}));
      }
    }
    return absl::OkStatus();
  });
  if (status.ok()) {
    stored_ = std::move(next);
  }
  return status;
}

absl::Status CheckpointStore::KeepCopy(absl::Time now) const {
  if (path_.empty()) {
    return absl::OkStatus();
  }
  std::error_code error;
  for (const char* suffix : {"", "-wal"}) {
    if (std::filesystem::exists(path_ + suffix, error)) {
      std::filesystem::copy_file(path_ + suffix, AsidePath(path_, now) + suffix,
                                 std::filesystem::copy_options::overwrite_existing, error);
      if (error) {
        return absl::UnavailableError(
            absl::StrCat("copy '", path_, suffix, "' aside: ", error.message()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::predictor
