#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/sqlite/database.h"
#include "services/lbctl/reconcile.h"

namespace cloudscale::lbctl {

// The wanted state in SQLite.
// Thread safety: confined to the engine thread.
class DesiredStore {
 public:
  // Empty path: in memory.
  static absl::StatusOr<std::unique_ptr<DesiredStore>> Open(const std::string& path);

  absl::StatusOr<DesiredState> Load();
  // Writes the entries; empty ones are forgotten.
  absl::Status Save(const std::map<ServerKey, DesiredServer>& changed);

  [[nodiscard]] sqlite::Database& database() { return *database_; }

 private:
  explicit DesiredStore(std::unique_ptr<sqlite::Database> database)
      : database_(std::move(database)) {}
  std::unique_ptr<sqlite::Database> database_;
};

}  // namespace cloudscale::lbctl
