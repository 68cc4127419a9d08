// Fuzz target of the frames on serial channels, whose other end is a guest.
// tests/fuzz/corpus_test.cc plays the corpus in every build; CONTRIBUTING.md says how to fuzz.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/framing/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using cloudscale::Frame;
using cloudscale::FrameDecoder;

constexpr size_t kMaxPayloadBytes = 256;

void Require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

// The frames of `bytes`, handed in pieces of `piece` bytes.
std::vector<Frame> Decode(absl::string_view bytes, size_t piece) {
  FrameDecoder decoder(kMaxPayloadBytes);
  std::vector<Frame> frames;
  size_t framed_bytes = 0;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    decoder.Add(bytes.substr(at, piece));
    while (const std::optional<Frame> frame = decoder.Next()) {
      framed_bytes += EncodeFrame(*frame).size();
      frames.push_back(*frame);
    }
    Require(decoder.held_bytes() < kMaxPayloadBytes + cloudscale::kFrameHeaderBytes);
  }
  // No byte is lost or counted twice.
  Require(framed_bytes + static_cast<size_t>(decoder.garbage_bytes()) + decoder.held_bytes() ==
          bytes.size());
  return frames;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::vector<Frame> frames = Decode(bytes, std::max<size_t>(size, 1));
  Require(Decode(bytes, 1) == frames);
  Require(Decode(bytes, 7) == frames);
  return 0;
}
