#include "common/sqlite/database.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::sqlite {
namespace {

constexpr int kBusyTimeoutMs = 2000;

absl::StatusCode CodeOf(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_FULL:
      return absl::StatusCode::kResourceExhausted;
    default:
      return absl::StatusCode::kInternal;
  }
}

// Owns a prepared statement.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  int Bind(int index, const Value& value) {
    struct Visitor {
      sqlite3_stmt* statement;
      int index;
      int operator()(std::monostate) const { return sqlite3_bind_null(statement, index); }
      int operator()(int64_t v) const { return sqlite3_bind_int64(statement, index, v); }
      int operator()(double v) const { return sqlite3_bind_double(statement, index, v); }
      int operator()(const std::string& v) const {
        // A null destructor means static: the parameters outlive the statement.
        return sqlite3_bind_blob64(statement, index, v.data() == nullptr ? "" : v.data(), v.size(),
                                   nullptr);
      }
    };
    return std::visit(Visitor{statement_, index}, value);
  }

  [[nodiscard]] Row ReadRow() const {
    Row row;
    for (int i = 0; i < sqlite3_column_count(statement_); ++i) {
      switch (sqlite3_column_type(statement_, i)) {
        case SQLITE_INTEGER:
          row.emplace_back(int64_t{sqlite3_column_int64(statement_, i)});
          break;
        case SQLITE_FLOAT:
          row.emplace_back(sqlite3_column_double(statement_, i));
          break;
        case SQLITE_NULL:
          row.emplace_back(std::monostate{});
          break;
        default: {
          const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, i));
          const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, i));
          row.emplace_back(bytes == nullptr ? std::string() : std::string(bytes, size));
        }
      }
    }
    return row;
  }

  [[nodiscard]] sqlite3_stmt* get() const { return statement_; }

 private:
  sqlite3_stmt* statement_;
};

}  // namespace

int64_t IntOf(const Value& value) {
  const auto* v = std::get_if<int64_t>(&value);
  return v == nullptr ? 0 : *v;
}

double DoubleOf(const Value& value) {
  if (const auto* v = std::get_if<double>(&value)) {
    return *v;
  }
  return static_cast<double>(IntOf(value));
}

std::string TextOf(const Value& value) {
  const auto* v = std::get_if<std::string>(&value);
  return v == nullptr ? std::string() : *v;
}

absl::StatusOr<std::unique_ptr<Database>> Database::Open(
    const std::string& path, const std::vector<std::string>& migrations) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.empty() ? ":memory:" : path.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  auto database = std::unique_ptr<Database>(new Database(handle));
  if (code != SQLITE_OK) {
    return database->LastError(absl::StrCat("open '", path, "'"));
  }
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  CS_RETURN_IF_ERROR(WithContext(absl::StrCat("open '", path, "'"), database->Migrate(migrations)));
  return database;
}

Database::~Database() { sqlite3_close(handle_); }

absl::Status Database::LastError(absl::string_view doing) const {
  if (handle_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("sqlite: ", doing, ": out of memory"));
  }
  return absl::Status(CodeOf(sqlite3_extended_errcode(handle_)),
                      absl::StrCat("sqlite: ", doing, ": ", sqlite3_errmsg(handle_)));
}

absl::Status Database::Script(const std::string& sql) {
  return sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK
             ? absl::OkStatus()
             : LastError(sql.substr(0, 60));
}

absl::Status Database::Migrate(const std::vector<std::string>& migrations) {
  CS_RETURN_IF_ERROR(Script("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"));
  CS_ASSIGN_OR_RETURN(const std::vector<Row> rows, Query("PRAGMA user_version"));
  const int64_t version = rows.empty() ? 0 : IntOf(rows[0].at(0));
  const auto known = static_cast<int64_t>(migrations.size());
  if (version > known) {
    return absl::FailedPreconditionError(
        absl::StrCat("the file is of version ", version, ", this program knows up to ", known));
  }
  for (int64_t next = version; next < known; ++next) {
    const absl::Status migrated = Transaction([&] {
      CS_RETURN_IF_ERROR(Script(migrations[static_cast<size_t>(next)]));
      return Script(absl::StrCat("PRAGMA user_version=", next + 1));
    });
    CS_RETURN_IF_ERROR(migrated);
  }
  return absl::OkStatus();
}

absl::Status Database::Execute(absl::string_view sql, const Row& parameters) {
  return Query(sql, parameters).status();
}

absl::StatusOr<std::vector<Row>> Database::Query(absl::string_view sql, const Row& parameters) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(handle_, sql.data(), static_cast<int>(sql.size()), &raw, nullptr) !=
      SQLITE_OK) {
    return LastError(sql);
  }
  Statement statement(raw);
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (statement.Bind(static_cast<int>(i) + 1, parameters[i]) != SQLITE_OK) {
      return LastError(sql);
    }
  }
  std::vector<Row> rows;
  int code = sqlite3_step(statement.get());
  for (; code == SQLITE_ROW; code = sqlite3_step(statement.get())) {
    rows.push_back(statement.ReadRow());
  }
  if (code != SQLITE_DONE) {
    return LastError(sql);
  }
  return rows;
}

absl::Status Database::Transaction(const std::function<absl::Status()>& body) {
  CS_RETURN_IF_ERROR(Script("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) {
    status = Script("COMMIT");
  }
  if (!status.ok()) {
    Script("ROLLBACK").IgnoreError();
  }
  return status;
}

}  // namespace cloudscale::sqlite
