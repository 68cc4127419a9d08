#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct sqlite3;

namespace cloudscale::sqlite {

// A value to bind or read. Blobs and texts are both strings of bytes.
using Value = std::variant<std::monostate, int64_t, double, std::string>;
using Row = std::vector<Value>;

[[nodiscard]] int64_t IntOf(const Value& value);       // 0 when it is none
[[nodiscard]] double DoubleOf(const Value& value);     // 0 when it is none
[[nodiscard]] std::string TextOf(const Value& value);  // empty when it is none

// One SQLite file in WAL mode, or a private one in memory when the path is empty. For state that
// survives a crash of the process; `synchronous` NORMAL, so a power cut may lose the last
// transactions but never leaves half of one.
// Errors: UNAVAILABLE when the file cannot be opened or is locked, DATA_LOSS when it is damaged,
// RESOURCE_EXHAUSTED when the disk is full, INTERNAL otherwise.
// Thread safety: thread-compatible.
class Database {
 public:
  // Opens or makes the file and brings its schema to `migrations.size()`: each is a script that
  // leads from one version to the next. FAILED_PRECONDITION when the file is of a newer version.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path,
                                                        const std::vector<std::string>& migrations);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // One statement with `?` parameters.
  absl::Status Execute(absl::string_view sql, const Row& parameters = {});
  absl::StatusOr<std::vector<Row>> Query(absl::string_view sql, const Row& parameters = {});

  // Runs `body` in a transaction: all of it or nothing is kept.
  absl::Status Transaction(const std::function<absl::Status()>& body);

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  absl::Status Script(const std::string& sql);
  absl::Status Migrate(const std::vector<std::string>& migrations);
  [[nodiscard]] absl::Status LastError(absl::string_view doing) const;

  sqlite3* handle_;
};

}  // namespace cloudscale::sqlite
