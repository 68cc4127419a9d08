#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/sync/mutex.h"
#include "services/scaler/journal.h"

struct sqlite3;
struct sqlite3_stmt;

namespace cloudscale::scaler {

// The durable journal: one SQLite file, write-ahead log, synchronous=FULL, so that a call that
// returned OK survives a power cut. One process at a time (exclusive locking). Ended actions are
// pruned beyond `max_ended`. Schema changes go forward only: a file of a newer version is refused
// with FAILED_PRECONDITION and left untouched (P20). Thread safety: thread-safe.
class SqliteJournal final : public Journal {
 public:
  static constexpr int64_t kSchemaVersion = 1;

  // UNAVAILABLE when the file cannot be opened or another process holds it; DATA_LOSS when it is no
  // journal or damaged.
  static absl::StatusOr<std::unique_ptr<SqliteJournal>> Open(const std::string& path,
                                                             int64_t max_ended = kMaxEndedActions);
  ~SqliteJournal() override;
  SqliteJournal(const SqliteJournal&) = delete;
  SqliteJournal& operator=(const SqliteJournal&) = delete;

  absl::Status Put(const ActionRecord& record, absl::Span<const StateChange> changes) override;
  absl::StatusOr<ActionRecord> Get(const std::string& action_id) override;
  absl::StatusOr<std::vector<ActionRecord>> ListOpen() override;
  absl::StatusOr<std::vector<ActionRecord>> ListNewest(const std::string& vm_uuid,
                                                       const std::string& before_id,
                                                       int64_t limit) override;
  absl::Status PutState(absl::Span<const StateChange> changes) override;
  absl::StatusOr<std::map<std::string, std::string>> ListState(const std::string& prefix) override;

 private:
  class Statement;
  class Transaction;

  SqliteJournal(sqlite3* db, int64_t max_ended) : max_ended_(max_ended), db_(db) {}
  absl::Status Migrate();
  absl::Status Exec(const char* sql) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Change(absl::Span<const StateChange> changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Prune() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<ActionRecord>> Query(Statement& statement)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_ended_;
  Mutex mutex_;  // one connection; transactions must not interleave
  sqlite3* db_ ABSL_GUARDED_BY(mutex_);
  int64_t puts_since_prune_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cloudscale::scaler
