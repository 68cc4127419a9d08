#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/sqlite/database.h"
#include "services/predictor/series.h"

namespace cloudscale::predictor {

// One series as it is kept.
struct SavedSeries {
  SeriesId id;
  std::string state;  // EncodeState
};

// Learnt state in one SQLite file. A damaged file, or one of a newer version, is put aside as
// `<path>.bad-<unix seconds>` and a new one begun: forecasting cold is better than not at all.
// Thread safety: thread-compatible.
class CheckpointStore {
 public:
  // Errors as Database::Open, except those that putting the file aside heals.
  static absl::StatusOr<std::unique_ptr<CheckpointStore>> Open(const std::string& path,
                                                               absl::Time now);

  // Everything; nothing when the file turns out to be damaged and was put aside. Otherwise errors
  // as Database::Query.
  absl::StatusOr<std::vector<SavedSeries>> Load(absl::Time now);
  // Makes the file hold exactly these series, in one transaction; unchanged ones are not written.
  absl::Status Save(const std::vector<SavedSeries>& all, absl::Time now);
  // Copies the file aside, because some of what it holds cannot be used.
  absl::Status KeepCopy(absl::Time now) const;

 private:
  CheckpointStore(std::string path, std::unique_ptr<sqlite::Database> database)
      : path_(std::move(path)), database_(std::move(database)) {}

  const std::string path_;
  std::unique_ptr<sqlite::Database> database_;
  // Hash of what is stored by key, so that only changes are written.
  std::map<std::string, size_t> stored_;
};

}  // namespace cloudscale::predictor
