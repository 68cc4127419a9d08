#include "common/framing/frame.h"

#include <algorithm>
#include <array>

namespace cloudscale {
namespace {

constexpr absl::string_view kMagic(
    "\xC5"
    "CS\x01",
    4);

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xEDB88320U : crc >> 1;
    }
    table[i] = crc;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = MakeCrcTable();

// As in Ethernet and zlib.
uint32_t Crc32(absl::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes) {
    crc = kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xFFU] ^ (crc >> 8);
  }
  return crc ^ 0xFFFFFFFFU;
}

void AppendNumber(std::string& out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) {
    out.push_back(static_cast<char>((value >> shift) & 0xFFU));
  }
}

uint32_t NumberAt(absl::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[offset + i])) << (8 * i);
  }
  return value;
}

}  // namespace

std::string EncodeFrame(const Frame& frame) {
  std::string out(kMagic);
  out.reserve(kFrameHeaderBytes + frame.payload.size());
  AppendNumber(out, static_cast<uint32_t>(frame.kind));
  AppendNumber(out, frame.conversation);
  AppendNumber(out, frame.number);
  AppendNumber(out, static_cast<uint32_t>(frame.payload.size()));
  AppendNumber(out, Crc32(frame.payload));
  AppendNumber(out, Crc32(out));
  out += frame.payload;
  return out;
}

void FrameDecoder::Discard(size_t count, size_t& at) {
  garbage_bytes_ += static_cast<int64_t>(count);
  at += count;
}

std::optional<Frame> FrameDecoder::Next() {
  std::optional<Frame> found;
  size_t at = 0;
  while (at < held_.size()) {
    const absl::string_view rest = absl::string_view(held_).substr(at);
    const size_t compared = std::min(rest.size(), kMagic.size());
    if (rest.substr(0, compared) != kMagic.substr(0, compared)) {
      const size_t next = rest.find(kMagic.front(), 1);
      Discard(next == absl::string_view::npos ? rest.size() : next, at);
      continue;
    }
    if (rest.size() < kFrameHeaderBytes) {
      break;
    }
    const uint32_t kind = NumberAt(rest, 4);
    const size_t length = NumberAt(rest, 16);
    const bool is_header = Crc32(rest.substr(0, 24)) == NumberAt(rest, 24) &&
                           (kind == 1 || kind == 2) && length <= max_payload_bytes_;
    if (!is_header) {
      Discard(1, at);
      continue;
    }
    if (rest.size() < kFrameHeaderBytes + length) {
      break;
    }
    const absl::string_view payload = rest.substr(kFrameHeaderBytes, length);
    if (Crc32(payload) != NumberAt(rest, 20)) {
      Discard(kFrameHeaderBytes + length, at);
      continue;
    }
    found = Frame{.kind = static_cast<Frame::Kind>(kind),
                  .conversation = NumberAt(rest, 8),
                  .number = NumberAt(rest, 12),
                  .payload = std::string(payload)};
    at += kFrameHeaderBytes + length;
    break;
  }
  held_.erase(0, at);
  return found;
}

}  // namespace cloudscale
