#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace cloudscale {

// Messages on a byte channel that keeps no boundaries and may lose, repeat or garble bytes: a
// virtio serial port, a Xen console. A frame, numbers little-endian:
//
//   offset  bytes
//        0      4  C5 'C' 'S' 01, the last byte being the version
//        4      4  kind
//        8      4  conversation: chosen at random by the side that asks, when it opens the channel
//       12      4  number of the request within the conversation; an answer repeats both
//       16      4  length of the payload
//       20      4  CRC-32 of the payload
//       24      4  CRC-32 of the 24 bytes before, so that a garbled length is not waited for
//       28         payload
//
// The kind tells a line's echo from an answer; conversation and number tell an answer to somebody
// who has left from one's own.
struct Frame {
  enum class Kind : uint32_t { kRequest = 1, kAnswer = 2 };
  Kind kind = Kind::kRequest;
  uint32_t conversation = 0;
  uint32_t number = 0;
  std::string payload;
  friend bool operator==(const Frame&, const Frame&) = default;
};

inline constexpr size_t kFrameHeaderBytes = 28;

[[nodiscard]] std::string EncodeFrame(const Frame& frame);

// Finds frames in a stream of bytes, and its way back after garbage. A frame whose payload is
// garbled is passed over as long as it says it is, so that the work is linear in the bytes taken
// in, whoever sends them. Thread safety: thread-compatible.
class FrameDecoder {
 public:
  // Longer payloads are garbage.
  explicit FrameDecoder(size_t max_payload_bytes) : max_payload_bytes_(max_payload_bytes) {}

  // Takes bytes in. Call `Next` until it has no more before the next `Add`: then less than one
  // frame is held.
  void Add(absl::string_view bytes) { held_.append(bytes.data(), bytes.size()); }
  // The next whole frame; nullopt when more bytes are needed.
  [[nodiscard]] std::optional<Frame> Next();
  // Forgets a frame that has begun, as when the channel was opened anew.
  void Reset() { held_.clear(); }

  // Bytes that belonged to no frame, since the start.
  [[nodiscard]] int64_t garbage_bytes() const { return garbage_bytes_; }
  [[nodiscard]] size_t held_bytes() const { return held_.size(); }

 private:
  void Discard(size_t count, size_t& at);

  const size_t max_payload_bytes_;
  std::string held_;
  int64_t garbage_bytes_ = 0;
};

}  // namespace cloudscale
