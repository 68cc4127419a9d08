#include "services/scaler/journal/sqlite_journal.h"

#include <sqlite3.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/check/check.h"
#include "common/status/macros.h"

namespace cloudscale::scaler {
namespace {

// Pruning scans an index; not worth doing with every action.
constexpr int64_t kPutsPerPrune = 256;

constexpr char kColumns[] =
    "action_id, request_id, decision_id, host_id, vm_uuid, kind, state, stage, target, before, "
    "has_observed, observed, fencing_token, reasons, created_at, updated_at, expires_at, "
    "attempt_count, error, undo_of, superseded_by, actor, version";

absl::Status FromSqlite(sqlite3* db, int code, absl::string_view doing) {
  const std::string text = absl::StrCat(doing, ": ", sqlite3_errmsg(db));
  switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
      return absl::OkStatus();
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(text);
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

// One reason per line, "code text"; texts have no line breaks of their own after this.
std::string ReasonsToText(const std::vector<Reason>& reasons) {
  std::string out;
  for (const Reason& r : reasons) {
    std::string text = r.text;
    for (char& c : text) {
      c = c == '\n' ? ' ' : c;
    }
    absl::StrAppend(&out, static_cast<int>(r.code), " ", text, "\n");
  }
  return out;
}

std::vector<Reason> ReasonsFromText(absl::string_view text) {
  std::vector<Reason> out;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    int code = 0;
    if (absl::SimpleAtoi(parts.first, &code)) {
      out.push_back({static_cast<ReasonCode>(code), std::string(parts.second)});
    }
  }
  return out;
}

}  // namespace

class SqliteJournal::Statement {
 public:
  Statement(sqlite3* db, const std::string& sql) : db_(db) {
    code_ = sqlite3_prepare_v2(db, sql.c_str(), -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void Bind(const std::string& value) {
    Note(sqlite3_bind_blob(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                           SQLITE_TRANSIENT));
  }
  void BindText(const std::string& value) {
    Note(sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()),
                           SQLITE_TRANSIENT));
  }
  void Bind(int64_t value) { Note(sqlite3_bind_int64(statement_, ++bound_, value)); }
  void Bind(std::optional<double> value) {
    Note(value ? sqlite3_bind_double(statement_, ++bound_, *value)
               : sqlite3_bind_null(statement_, ++bound_));
  }

  // True when there is a row.
  absl::StatusOr<bool> Step() {
    if (code_ == SQLITE_OK) {
      code_ = sqlite3_step(statement_);
      if (code_ == SQLITE_ROW) {
        code_ = SQLITE_OK;
        return true;
      }
      if (code_ == SQLITE_DONE) {
        return false;
      }
    }
    return FromSqlite(db_, code_, "journal");
  }
  absl::Status Run() { return Step().status(); }

  [[nodiscard]] std::string Text(int column) const {
    const int size = sqlite3_column_bytes(statement_, column);
    const void* data = sqlite3_column_blob(statement_, column);
    return data == nullptr ? std::string()
                           : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
  }
  [[nodiscard]] int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  [[nodiscard]] std::optional<double> Double(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL
               ? std::nullopt
               : std::make_optional(sqlite3_column_double(statement_, column));
  }
  [[nodiscard]] bool IsNull(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
  }

 private:
  void Note(int code) { code_ = code_ == SQLITE_OK ? code : code_; }
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  int code_ = SQLITE_OK;
  int bound_ = 0;
};

// Rolls back unless committed.
class SqliteJournal::Transaction {
 public:
  explicit Transaction(sqlite3* db) : db_(db) {
    status_ =
        FromSqlite(db_, sqlite3_exec(db_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), "begin");
  }
  ~Transaction() {
    if (status_.ok() && !is_committed_) {
      sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
    }
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  [[nodiscard]] const absl::Status& status() const { return status_; }
  absl::Status Commit() {
    CS_RETURN_IF_ERROR(status_);
    CS_RETURN_IF_ERROR(
        FromSqlite(db_, sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr), "commit"));
    is_committed_ = true;
    return absl::OkStatus();
  }

 private:
  sqlite3* db_;
  absl::Status status_;
  bool is_committed_ = false;
};

absl::StatusOr<std::unique_ptr<SqliteJournal>> SqliteJournal::Open(const std::string& path,
                                                                   int64_t max_ended) {
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(
      path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    const absl::Status status = FromSqlite(db, code, absl::StrCat("open ", path));
    sqlite3_close(db);
    return status;
  }
  sqlite3_extended_result_codes(db, 1);
  sqlite3_busy_timeout(db, 1000);
  auto journal = std::unique_ptr<SqliteJournal>(new SqliteJournal(db, max_ended));
  CS_RETURN_IF_ERROR(WithContext(path, journal->Migrate()));
  return journal;
}

SqliteJournal::~SqliteJournal() { sqlite3_close(db_); }

absl::Status SqliteJournal::Exec(const char* sql) {
  return FromSqlite(db_, sqlite3_exec(db_, sql, nullptr, nullptr, nullptr), "journal");
}

absl::Status SqliteJournal::Migrate() {
  MutexLock lock(&mutex_);
  int64_t version = 0;
  {
    Statement query(db_, "PRAGMA user_version");
    CS_ASSIGN_OR_RETURN(const bool has_row, query.Step());
    version = has_row ? query.Int(0) : 0;
  }
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the journal has schema version ", version,
                                                      ", this build knows ", kSchemaVersion,
                                                      "; it is left untouched"));
  }
  CS_RETURN_IF_ERROR(Exec("PRAGMA locking_mode=EXCLUSIVE"));
  CS_RETURN_IF_ERROR(Exec("PRAGMA journal_mode=WAL"));
  CS_RETURN_IF_ERROR(Exec("PRAGMA synchronous=FULL"));
  if (version == kSchemaVersion) {
    return Exec("BEGIN IMMEDIATE; COMMIT");  // takes the lock now, not with the first action
  }
  return Exec(
      "BEGIN IMMEDIATE;"
      "CREATE TABLE actions(ordinal INTEGER PRIMARY KEY AUTOINCREMENT, action_id TEXT NOT NULL "
      "UNIQUE, request_id TEXT, decision_id TEXT, host_id TEXT, vm_uuid TEXT, kind INTEGER, "
      "state INTEGER, stage INTEGER, target REAL, before REAL, has_observed INTEGER, observed "
      "REAL, fencing_token INTEGER, reasons TEXT, created_at INTEGER, updated_at INTEGER, "
      "expires_at INTEGER, attempt_count INTEGER, error TEXT, undo_of TEXT, superseded_by TEXT, "
      "actor TEXT, version INTEGER);"
      "CREATE INDEX actions_open ON actions(stage) WHERE stage BETWEEN 1 AND 3;"
      "CREATE INDEX actions_vm ON actions(vm_uuid, ordinal);"
      "CREATE TABLE state(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
      "PRAGMA user_version=1;"
      "COMMIT");
}

absl::Status SqliteJournal::Put(const ActionRecord& r, absl::Span<const StateChange> changes) {
  MutexLock lock(&mutex_);
  Transaction transaction(db_);
  CS_RETURN_IF_ERROR(transaction.status());
  {
    Statement put(db_, absl::StrCat("INSERT INTO actions(", kColumns,
                                    ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
                                    "ON CONFLICT(action_id) DO UPDATE SET state=excluded.state, "
                                    "stage=excluded.stage, target=excluded.target, "
                                    "before=excluded.before, has_observed=excluded.has_observed, "
                                    "observed=excluded.observed, reasons=excluded.reasons, "
                                    "updated_at=excluded.updated_at, "
                                    "expires_at=excluded.expires_at, "
                                    "attempt_count=excluded.attempt_count, error=excluded.error, "
                                    "superseded_by=excluded.superseded_by, "
                                    "actor=excluded.actor, version=excluded.version"));
    put.BindText(r.action_id);
    put.BindText(r.request_id);
    put.BindText(r.decision_id);
    put.BindText(r.host_id);
    put.BindText(r.vm_uuid);
    put.Bind(static_cast<int64_t>(r.kind));
    put.Bind(static_cast<int64_t>(r.state));
    put.Bind(static_cast<int64_t>(r.stage));
    put.Bind(r.target);
    put.Bind(r.before);
    put.Bind(static_cast<int64_t>(r.has_observed ? 1 : 0));
    put.Bind(r.observed);
    put.Bind(r.fencing_token);
    put.BindText(ReasonsToText(r.reasons));
    put.Bind(absl::ToUnixNanos(r.created_at));
    put.Bind(absl::ToUnixNanos(r.updated_at));
    // 0 = none: no action expires in 1970.
    put.Bind(r.expires_at ? absl::ToUnixNanos(*r.expires_at) : int64_t{0});
    put.Bind(r.attempt_count);
    put.BindText(r.error);
    put.BindText(r.undo_of);
    put.BindText(r.superseded_by);
    put.BindText(r.actor);
    put.Bind(r.version);
    CS_RETURN_IF_ERROR(put.Run());
  }
  CS_RETURN_IF_ERROR(Change(changes));
  if (++puts_since_prune_ >= std::min(kPutsPerPrune, max_ended_)) {
    CS_RETURN_IF_ERROR(Prune());
    puts_since_prune_ = 0;
  }
  return transaction.Commit();
}

absl::Status SqliteJournal::Prune() {
  Statement prune(db_,
                  "DELETE FROM actions WHERE stage = 4 AND ordinal <= (SELECT ordinal FROM actions "
                  "WHERE stage = 4 ORDER BY ordinal DESC LIMIT 1 OFFSET ?)");
  prune.Bind(max_ended_);
  return prune.Run();
}

absl::Status SqliteJournal::Change(absl::Span<const StateChange> changes) {
  for (const auto& [key, value] : changes) {
    Statement change(db_, value ? "INSERT OR REPLACE INTO state(key, value) VALUES(?, ?)"
                                : "DELETE FROM state WHERE key = ?");
    change.BindText(key);
    if (value) {
      change.Bind(*value);
    }
    CS_RETURN_IF_ERROR(change.Run());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ActionRecord>> SqliteJournal::Query(Statement& s) {
  std::vector<ActionRecord> out;
  while (true) {
    CS_ASSIGN_OR_RETURN(const bool has_row, s.Step());
    if (!has_row) {
      return out;
    }
    ActionRecord r;
    int i = 0;
    r.action_id = s.Text(i++);
    r.request_id = s.Text(i++);
    r.decision_id = s.Text(i++);
    r.host_id = s.Text(i++);
    r.vm_uuid = s.Text(i++);
    r.kind = static_cast<ActionKind>(s.Int(i++));
    r.state = static_cast<ActionState>(s.Int(i++));
    r.stage = static_cast<JournalStage>(s.Int(i++));
    r.target = s.Double(i++);
    r.before = s.Double(i++);
    r.has_observed = s.Int(i++) != 0;
    r.observed = s.Double(i++);
    r.fencing_token = s.Int(i++);
    r.reasons = ReasonsFromText(s.Text(i++));
    r.created_at = absl::FromUnixNanos(s.Int(i++));
    r.updated_at = absl::FromUnixNanos(s.Int(i++));
    if (const int64_t expires = s.Int(i++); expires != 0) {
      r.expires_at = absl::FromUnixNanos(expires);
    }
    r.attempt_count = s.Int(i++);
    r.error = s.Text(i++);
    r.undo_of = s.Text(i++);
    r.superseded_by = s.Text(i++);
    r.actor = s.Text(i++);
    r.version = s.Int(i++);
    out.push_back(std::move(r));
  }
}

absl::StatusOr<ActionRecord> SqliteJournal::Get(const std::string& action_id) {
  MutexLock lock(&mutex_);
  Statement s(db_, absl::StrCat("SELECT ", kColumns, " FROM actions WHERE action_id = ?"));
  s.BindText(action_id);
  CS_ASSIGN_OR_RETURN(std::vector<ActionRecord> found, Query(s));
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("no action ", action_id));
  }
  return std::move(found.front());
}

absl::StatusOr<std::vector<ActionRecord>> SqliteJournal::ListOpen() {
  MutexLock lock(&mutex_);
  Statement s(db_, absl::StrCat("SELECT ", kColumns,
                                " FROM actions WHERE stage BETWEEN 1 AND 3 ORDER BY ordinal"));
  return Query(s);
}

absl::StatusOr<std::vector<ActionRecord>> SqliteJournal::ListNewest(const std::string& vm_uuid,
                                                                    const std::string& before_id,
                                                                    int64_t limit) {
  MutexLock lock(&mutex_);
  Statement s(db_, absl::StrCat("SELECT ", kColumns,
                                " FROM actions WHERE (?1 = '' OR vm_uuid = ?1)"
                                " AND (?2 = '' OR ordinal < (SELECT ordinal FROM actions WHERE "
                                "action_id = ?2)) ORDER BY ordinal DESC LIMIT ?3"));
  s.BindText(vm_uuid);
  s.BindText(before_id);
  s.Bind(limit);
  return Query(s);
}

absl::Status SqliteJournal::PutState(absl::Span<const StateChange> changes) {
  MutexLock lock(&mutex_);
  Transaction transaction(db_);
  CS_RETURN_IF_ERROR(transaction.status());
  CS_RETURN_IF_ERROR(Change(changes));
  return transaction.Commit();
}

absl::StatusOr<std::map<std::string, std::string>> SqliteJournal::ListState(
    const std::string& prefix) {
  MutexLock lock(&mutex_);
  // Keys are ASCII, so the prefix followed by 0x7f ends the range.
  Statement s(db_, "SELECT key, value FROM state WHERE key >= ? AND key < ?");
  s.BindText(prefix);
  s.BindText(prefix + '\x7f');
  std::map<std::string, std::string> out;
  while (true) {
    CS_ASSIGN_OR_RETURN(const bool has_row, s.Step());
    if (!has_row) {
      return out;
    }
    out.emplace(s.Text(0), s.Text(1));
  }
}

}  // namespace cloudscale::scaler
