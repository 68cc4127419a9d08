// Fuzz target of the predictor's checkpoint: decoding the state of a series, and taking it over.
// tests/fuzz/corpus_test.cc plays the corpus in every build; CONTRIBUTING.md says how to fuzz.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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
