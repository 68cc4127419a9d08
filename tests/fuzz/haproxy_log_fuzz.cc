// Fuzz target of the reader of HAProxy's log lines, which any process of the machine can send.
// tests/fuzz/corpus_test.cc plays the corpus in every build; CONTRIBUTING.md says how to fuzz.

#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/sla/inputs/haproxy_log_line.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using cloudscale::sla::HaproxyRequest;
using cloudscale::sla::RequestOutcome;

void Require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void RequireSane(const HaproxyRequest& request) {
  Require(!request.backend.empty() && request.backend.size() <= HaproxyRequest::kMaxNameLength);
  Require(request.server.size() <= HaproxyRequest::kMaxNameLength);
  Require(request.termination_state.size() == 4);
  const RequestOutcome outcome = OutcomeOf(request);
  for (const bool includes_transfer : {false, true}) {
    const auto seconds = WaitSeconds(request, includes_transfer);
    Require(!seconds.has_value() || (*seconds >= 0 && *seconds <= 3600));
    // Who served has a time, who failed has none.
    Require(outcome != RequestOutcome::kServed || seconds.has_value());
    Require(outcome != RequestOutcome::kFailed || !seconds.has_value());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view line(reinterpret_cast<const char*>(data), size);
  const auto request = cloudscale::sla::ParseHaproxyLogLine(line);
  if (!request.ok()) {
    Require(absl::IsNotFound(request.status()) || absl::IsInvalidArgument(request.status()));
    return 0;
  }
  RequireSane(*request);
  // What surrounds the line changes nothing.
  const auto again =
      cloudscale::sla::ParseHaproxyLogLine(absl::StrCat("<134>1 - h p 1 - - ", line, "\n"));
  Require(again.ok() && again->backend == request->backend && again->server == request->server &&
          again->status == request->status && again->total == request->total);
  return 0;
}
