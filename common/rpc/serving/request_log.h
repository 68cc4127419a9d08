#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/sqlite/database.h"

namespace cloudscale::rpc {

// Remembers the answers to changing calls for one hour, so that a caller that did not see the
// answer can ask again with the same request_id and changes nothing twice. Kept in the service's
// database, so this holds over a restart. Bounded: beyond kMaxKept the oldest are forgotten. Thread
// safety: confined to the thread of the database.
class RequestLog {
 public:
  static constexpr absl::Duration kKept = absl::Hours(1);
  static constexpr size_t kMaxKept = 10000;
  // To be part of the database's schema.
  static constexpr char kSchema[] =
      "CREATE TABLE request(id BLOB PRIMARY KEY, call BLOB NOT NULL, answer BLOB NOT NULL, "
      "at INTEGER NOT NULL);";

  // `database` outlives this.
  static absl::StatusOr<RequestLog> Load(sqlite::Database& database, absl::Time now);

  // The serialised answer when `id` was answered before. `call` is the method with its request,
  // serialised: INVALID_ARGUMENT when the id was used for another call.
  absl::StatusOr<std::optional<std::string>> Find(const std::string& id, const std::string& call,
                                                  absl::Time now);
  absl::Status Remember(const std::string& id, const std::string& call, const std::string& answer,
                        absl::Time now);

 private:
  struct Entry {
    std::string call;
    std::string answer;
    absl::Time at;
  };
  explicit RequestLog(sqlite::Database& database) : database_(&database) {}
  void Keep(const std::string& id, Entry entry);
  absl::Status Forget(absl::Time now);

  sqlite::Database* database_;
  std::map<std::string, Entry> entries_;
  std::deque<std::string> order_;
};

}  // namespace cloudscale::rpc
