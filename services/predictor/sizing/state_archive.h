#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"

namespace cloudscale::predictor {

// Of the present form of states, and of those that began to hold something.
inline constexpr int32_t kStateFormatVersion = 3;
inline constexpr int32_t kFirstWithPortfolio = 2;
inline constexpr int32_t kFirstWithCalibration = 3;

// The binary form of learnt state. A class lists its members once, for both directions:
//
//   template <typename Self, typename Archive>
//   static void Visit(Self& self, Archive& archive) {
//     archive(self.values_, self.count_);
//     archive.Require(self.count_ <= kLargest);
//   }
//
// What a later form added it asks for by `archive.format()`. Numbers, bools, optionals, arrays, and
// vectors whose length both sides know beforehand; `List` and `Text` for what has a length of its
// own, up to a limit. Little-endian. Thread safety: thread-compatible.
class StateWriter {
 public:
  explicit StateWriter(std::string* out) : out_(out) {}

  template <typename... T>
  void operator()(const T&... values) {
    (Put(values), ...);
  }
  // Its last `limit` values when there are more.
  template <typename T>
  void List(const std::vector<T>& values, size_t limit) {
    const size_t count = std::min(values.size(), limit);
    Put(static_cast<uint32_t>(count));
    for (size_t i = values.size() - count; i < values.size(); ++i) {
      Put(values[i]);
    }
  }
  void Text(absl::string_view text, size_t limit) {
    text = text.substr(0, limit);
    Put(static_cast<uint32_t>(text.size()));
    out_->append(text.data(), text.size());
  }
  void Require(bool) {}
  [[nodiscard]] static constexpr int32_t format() { return kStateFormatVersion; }

 private:
  static_assert(std::endian::native == std::endian::little, "the form is a plain copy");

  template <typename T>
  void Put(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      out_->push_back(value ? '\1' : '\0');
    } else if constexpr (std::is_arithmetic_v<T>) {
      char buffer[sizeof(T)];
      std::memcpy(buffer, &value, sizeof(T));
      out_->append(buffer, sizeof(T));
    } else {
      T::Visit(value, *this);
    }
  }
  template <typename T>
  void Put(const std::optional<T>& value) {
    Put(value.has_value());
    if (value) {
      Put(*value);
    }
  }
  template <typename T, size_t kSize>
  void Put(const std::array<T, kSize>& values) {
    for (const T& value : values) {
      Put(value);
    }
  }
  template <typename T>
  void Put(const std::vector<T>& values) {
    Put(static_cast<uint32_t>(values.size()));
    for (const T& value : values) {
      Put(value);
    }
  }

  std::string* out_;
};

// Numbers that are not finite are refused. Once something is wrong, `ok` stays false and nothing
// more is read; what was read is then not to be used.
class StateReader {
 public:
  // `format` is the one that the bytes were written in.
  explicit StateReader(absl::string_view bytes, int32_t format = kStateFormatVersion)
      : rest_(bytes), format_(format) {}

  template <typename... T>
  void operator()(T&... values) {
    (Get(values), ...);
  }
  template <typename T>
  void List(std::vector<T>& values, size_t limit) {
    values.assign(GetCount(limit), T{});
    for (T& value : values) {
      Get(value);
    }
  }
  void Text(std::string& text, size_t limit) {
    const size_t size = GetCount(limit);
    Require(rest_.size() >= size);
    if (ok_) {
      text = std::string(rest_.substr(0, size));
      rest_.remove_prefix(size);
    }
  }
  // What must hold of the members read so far.
  void Require(bool is_valid) { ok_ = ok_ && is_valid; }

  [[nodiscard]] int32_t format() const { return format_; }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }

 private:
  template <typename T>
  void Get(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t byte = 0;
      Get(byte);
      Require(byte <= 1);
      value = byte == 1;
    } else if constexpr (std::is_arithmetic_v<T>) {
      Require(rest_.size() >= sizeof(T));
      if (!ok_) {
        return;
      }
      T read{};
      std::memcpy(&read, rest_.data(), sizeof(T));
      rest_.remove_prefix(sizeof(T));
      if constexpr (std::is_floating_point_v<T>) {
        Require(std::isfinite(read));
      }
      if (ok_) {
        value = read;
      }
    } else {
      T::Visit(value, *this);
    }
  }
  template <typename T>
  void Get(std::optional<T>& value) {
    bool has_value = false;
    Get(has_value);
    value.reset();
    if (has_value) {
      Get(value.emplace());
    }
  }
  template <typename T, size_t kSize>
  void Get(std::array<T, kSize>& values) {
    for (T& value : values) {
      Get(value);
    }
  }
  template <typename T>
  void Get(std::vector<T>& values) {
    uint32_t count = 0;
    Get(count);
    Require(count == values.size());
    for (T& value : values) {
      Get(value);
    }
  }

  size_t GetCount(size_t limit) {
    uint32_t count = 0;
    Get(count);
    Require(count <= limit);
    return ok_ ? count : 0;
  }

  absl::string_view rest_;
  int32_t format_;
  bool ok_ = true;
};

}  // namespace cloudscale::predictor
