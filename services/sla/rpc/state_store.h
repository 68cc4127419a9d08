#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/sqlite/database.h"
#include "services/sla/sla_engine.h"

namespace cloudscale::sla {

// Keeps the engine's state in SQLite: objectives at once, the rest in batches. What is lost in a
// crash is at most the last batch of aggregates; a violation that was told is always kept.
// Thread safety: confined to the engine thread.
class StateStore {
 public:
  // Empty path: in memory.
  static absl::StatusOr<std::unique_ptr<StateStore>> Open(const std::string& path);

  // Puts everything back. An objective that is not valid any more is left out and logged.
  absl::Status Restore(SlaEngine& engine);

  absl::Status SaveObjective(const Objective& objective);
  absl::Status DeleteObjective(const std::string& id);
  absl::Status Save(const EngineChanges& changes);

  // Declared objectives (by the configuration or its file) as they were when last applied, by id,
  // so that a change over the API is undone only when the declaration itself changes.
  absl::StatusOr<std::map<std::string, std::string>> LoadDeclared(const std::string& origin);
  absl::Status SaveDeclared(const std::string& origin,
                            const std::map<std::string, std::string>& declared);

  [[nodiscard]] sqlite::Database& database() { return *database_; }

 private:
  explicit StateStore(std::unique_ptr<sqlite::Database> database)
      : database_(std::move(database)) {}
  absl::Status SaveBuckets(const EngineChanges& changes);

  std::unique_ptr<sqlite::Database> database_;
};

}  // namespace cloudscale::sla
