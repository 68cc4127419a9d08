#include "services/sla/source_table.h"

#include <algorithm>

#include "common/check/check.h"

namespace cloudscale::sla {
namespace {

constexpr int64_t kReorderLimit = 64;

}  // namespace

SourceTable::SourceTable(size_t max_sources) : max_sources_(max_sources) {
  CS_CHECK(max_sources > 0);
}

bool SourceTable::Take(const std::string& application, const std::string& source_id,
                       int64_t sequence, absl::Time start, absl::Time end) {
  const Key key(application, source_id);
  const auto it = sources_.find(key);
  SourceState state;
  if (it == sources_.end()) {
    state.application = application;
    state.source_id = source_id;
    state.last_sequence = sequence;
  } else {
    state = it->second;
    const int64_t back = state.last_sequence - sequence;
    if (back < 0) {
      const int64_t step = -back;
      state.seen_before = step > kReorderLimit ? 0
                          : step == kReorderLimit
                              ? uint64_t{1} << (kReorderLimit - 1)
                              : (state.seen_before << step) | (uint64_t{1} << (step - 1));
      state.last_sequence = sequence;
    } else if (start >= state.newest_end && back > 0) {
      state.last_sequence = sequence;  // the source started again
      state.seen_before = 0;
    } else if (back == 0 || back > kReorderLimit || ((state.seen_before >> (back - 1)) & 1U) != 0) {
      return false;
    } else {
      state.seen_before |= uint64_t{1} << (back - 1);
    }
  }
  state.newest_end = std::max(state.newest_end, end);
  changed_.insert(key);
  Remember(key, state);
  return true;
}

void SourceTable::Remember(const Key& key, const SourceState& state) {
  const auto it = sources_.find(key);
  if (it != sources_.end()) {
    by_age_.erase({it->second.newest_end, key});
    it->second = state;
  } else {
    sources_.emplace(key, state);
  }
  by_age_.insert({state.newest_end, key});
  while (sources_.size() > max_sources_) {
    const Key oldest = by_age_.begin()->second;
    by_age_.erase(by_age_.begin());
    sources_.erase(oldest);
    changed_.erase(oldest);
  }
}

void SourceTable::Restore(const SourceState& state) {
  Remember({state.application, state.source_id}, state);
}

std::vector<SourceState> SourceTable::TakeChanged() {
  std::vector<SourceState> out;
  for (const Key& key : changed_) {
    out.push_back(sources_.at(key));
  }
  changed_.clear();
  return out;
}

}  // namespace cloudscale::sla
