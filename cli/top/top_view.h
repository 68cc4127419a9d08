#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/render/text.h"
#include "cli/top/live_sample.h"

namespace cloudscale::cli {

// Recent CPU demand per VM, for sparklines. Bounded: `kMaxValues` per VM, only VMs of the newest
// sample are kept. Thread safety: thread-compatible.
class DemandHistory {
 public:
  static constexpr size_t kMaxValues = 64;
  void Add(const LiveSample& sample);
  // Oldest first; empty for an unknown VM.
  [[nodiscard]] const std::vector<double>& Of(const std::string& vm_uuid) const;

 private:
  std::map<std::string, std::vector<double>> values_;
};

struct TopFrame {
  absl::Time now{};
  std::string address{};
  std::string error{};  // why `sample` is not fresh; empty when it is
  absl::Duration remaining = absl::InfiniteDuration();  // of `--for`; infinite without
};

struct TopSize {
  int width = 80;
  int height = 0;  // lines; 0: no limit
};

// The whole live view, one string a line, at most `size.height` lines; VMs that do not fit are
// counted in the last one. `sample` is null before the first answer.
[[nodiscard]] std::vector<std::string> RenderTop(const TopFrame& frame, const LiveSample* sample,
                                                 const DemandHistory& history, TopSize size,
                                                 const Style& style);

// One line per look, for output that is not a terminal.
[[nodiscard]] std::string RenderTopLine(const TopFrame& frame, const LiveSample* sample);

}  // namespace cloudscale::cli
