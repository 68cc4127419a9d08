// Fuzz target of the predictor's checkpoint: decoding the state of a series, and taking it over.
// tests/fuzz/corpus_test.cc plays the corpus in every build; CONTRIBUTING.md says how to fuzz.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/predictor/model.h"
#include "services/predictor/series.h"
#include "services/predictor/state_codec.h"
#include "services/predictor/types.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

namespace predictor = cloudscale::predictor;

void Require(bool holds, const char* what) {
  if (!holds) {
    std::fprintf(stderr, "series_state_fuzz: %s\n", what);
    std::abort();
  }
}

// With the checksum that belongs to it (FNV-1a of what stands before), which no fuzzer would guess.
std::string Stamped(absl::string_view bytes) {
  std::string out(bytes.substr(0, bytes.size() - sizeof(uint64_t)));
  uint64_t hash = 14695981039346656037U;
  for (const char c : out) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
  }
  char tail[sizeof(hash)];
  std::memcpy(tail, &hash, sizeof(hash));
  return out.append(tail, sizeof(tail));
}

// What decodes re-encodes to bytes that decode to the same.
predictor::SeriesState CheckEncoding(const predictor::SeriesState& state) {
  const std::string bytes = predictor::EncodeState(state);
  Require(bytes.size() <= predictor::kMaxStateBytes, "the encoding is too large");
  const absl::StatusOr<predictor::SeriesState> again = predictor::DecodeState(bytes);
  Require(again.ok(), "what was encoded does not decode");
  Require(predictor::EncodeState(*again) == bytes, "decoding does not give back the same");
  return *again;
}

// Whatever was taken over, the series goes on and says nothing impossible.
void GoOn(predictor::Series& series, const predictor::PredictorOptions& options) {
  static predictor::Workspace workspace(options.parameters);
  const int64_t first = series.ToState().last_step.value_or(0) + 1;
  const absl::Time start = std::max(series.last_sample_time(), absl::UnixEpoch());
  for (int64_t step = 0; step < 4; ++step) {
    series.Observe(first + step, start + (step + 1) * options.step, step, options.step,
                   {.is_fresh = true, .usage = 1, .demand = 1, .is_censored = step == 2});
    predictor::ForecastJob job;
    if (!series.Prepare(job)) {
      continue;
    }
    predictor::ComputeForecast(options, workspace, job);
    series.Commit(job, start);
    for (const double value : job.outputs.front().quantiles) {
      Require(value >= 0, "a forecast that is negative or no number");
    }
    for (const double value : job.outputs.front().expected) {
      Require(value >= 0, "an expectation that is negative or no number");
    }
  }
}

void Check(absl::string_view bytes) {
  static const predictor::PredictorOptions options;
  static const predictor::ModelRegistry registry(options.parameters);
  const absl::StatusOr<predictor::SeriesState> state = predictor::DecodeState(bytes);
  if (!state.ok()) {
    Require(!state.status().message().empty(), "a refusal without a reason");
    return;
  }
  const predictor::SeriesState same = CheckEncoding(*state);
  predictor::Series series({.vm_uuid = "vm", .host_id = "host"}, registry.Find(options.model),
                           options);
  if (!series.FromState(same, registry).ok()) {
    return;
  }
  // A series hands on what it took over in the same form.
  const predictor::SeriesState taken = CheckEncoding(series.ToState());
  predictor::Series next({.vm_uuid = "vm", .host_id = "host"}, registry.Find(options.model),
                         options);
  Require(next.FromState(taken, registry).ok(), "a series refuses the state of another");
  CheckEncoding(next.ToState());
  GoOn(series, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool is_stamp_right = [] {
    const std::string bytes = predictor::EncodeState({});
    return Stamped(bytes) == bytes;
  }();
  Require(is_stamp_right, "the checksum of the format has changed: mend Stamped");
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  Check(bytes);
  if (size >= sizeof(uint64_t)) {
    Check(Stamped(bytes));
  }
  return 0;
}
