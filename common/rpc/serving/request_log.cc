#include "common/rpc/serving/request_log.h"

#include <utility>

#include "common/status/macros.h"
#include "common/status/violations.h"

namespace cloudscale::rpc {

absl::StatusOr<RequestLog> RequestLog::Load(sqlite::Database& database, absl::Time now) {
  RequestLog log(database);
  CS_ASSIGN_OR_RETURN(const auto rows,
                      database.Query("SELECT id,call,answer,at FROM request ORDER BY at"));
  for (const sqlite::Row& row : rows) {
    log.Keep(sqlite::TextOf(row[0]), {.call = sqlite::TextOf(row[1]),
                                      .answer = sqlite::TextOf(row[2]),
                                      .at = absl::FromUnixNanos(sqlite::IntOf(row[3]))});
  }
  CS_RETURN_IF_ERROR(log.Forget(now));
  return log;
}

void RequestLog::Keep(const std::string& id, Entry entry) {
  if (entries_.insert_or_assign(id, std::move(entry)).second) {
    order_.push_back(id);
  }
}

absl::StatusOr<std::optional<std::string>> RequestLog::Find(const std::string& id,
                                                            const std::string& call,
                                                            absl::Time now) {
  CS_RETURN_IF_ERROR(Forget(now));
  const auto it = entries_.find(id);
  if (it == entries_.end()) {
    return std::optional<std::string>();
  }
  if (it->second.call != call) {
    Violations violations;
    violations.Add("request_id", id, "a new one: this one was used for another request");
    return violations.ToStatus();
  }
  return std::optional<std::string>(it->second.answer);
}

absl::Status RequestLog::Remember(const std::string& id, const std::string& call,
                                  const std::string& answer, absl::Time now) {
  Keep(id, {.call = call, .answer = answer, .at = now});
  return database_->Execute("INSERT OR REPLACE INTO request VALUES(?,?,?,?)",
                            {id, call, answer, absl::ToUnixNanos(now)});
}

absl::Status RequestLog::Forget(absl::Time now) {
  while (!order_.empty() &&
         (order_.size() > kMaxKept || entries_.at(order_.front()).at < now - kKept)) {
    CS_RETURN_IF_ERROR(database_->Execute("DELETE FROM request WHERE id=?", {order_.front()}));
    entries_.erase(order_.front());
    order_.pop_front();
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::rpc
