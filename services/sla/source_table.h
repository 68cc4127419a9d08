#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace cloudscale::sla {

// Which sequence numbers of a reporter are known.
struct SourceState {
  std::string application;
  std::string source_id;
  int64_t last_sequence = 0;
  uint64_t seen_before = 0;                      // bit i: last_sequence - 1 - i was taken
  absl::Time newest_end = absl::InfinitePast();  // end of its newest interval
};

// Remembers which reports were taken, so that a repeated one (a client that did not see our answer
// sends again) is not counted twice. Reports may overtake each other by up to 64. A source that
// starts again from a smaller number is recognised by an interval newer than all before.
// Bounded: beyond `max_sources` the one silent for longest is forgotten.
// Thread safety: thread-compatible.
class SourceTable {
 public:
  explicit SourceTable(size_t max_sources);

  // True when the report is new; it is then remembered.
  bool Take(const std::string& application, const std::string& source_id, int64_t sequence,
            absl::Time start, absl::Time end);

  void Restore(const SourceState& state);
  // The states changed since the last call.
  std::vector<SourceState> TakeChanged();
  [[nodiscard]] size_t size() const { return sources_.size(); }

 private:
  using Key = std::pair<std::string, std::string>;
  void Remember(const Key& key, const SourceState& state);

  size_t max_sources_;
  std::map<Key, SourceState> sources_;
  std::set<std::pair<absl::Time, Key>> by_age_;
  std::set<Key> changed_;
};

}  // namespace cloudscale::sla
