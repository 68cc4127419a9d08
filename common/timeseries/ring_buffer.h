#pragma once

#include <cstdint>
#include <vector>

#include "common/check/check.h"

namespace cloudscale {

// The newest `capacity` values, oldest first. Push is O(1); memory is allocated as it fills, up to
// capacity. Thread safety: thread-compatible.
template <typename T>
class RingBuffer {
 public:
  explicit RingBuffer(size_t capacity) : capacity_(capacity) { CS_CHECK(capacity > 0); }

  void Push(T value) {
    if (items_.size() < capacity_) {
      items_.push_back(std::move(value));
    } else {
      items_[start_] = std::move(value);
      start_ = (start_ + 1) % capacity_;
    }
  }

  [[nodiscard]] size_t size() const { return items_.size(); }
  [[nodiscard]] bool empty() const { return items_.empty(); }
  [[nodiscard]] size_t capacity() const { return capacity_; }

  // 0 is the oldest.
  [[nodiscard]] const T& operator[](size_t i) const { return items_[(start_ + i) % items_.size()]; }
  [[nodiscard]] T& operator[](size_t i) { return items_[(start_ + i) % items_.size()]; }
  [[nodiscard]] const T& back() const { return (*this)[size() - 1]; }
  [[nodiscard]] T& back() { return (*this)[size() - 1]; }
  [[nodiscard]] const T& front() const { return (*this)[0]; }

  void Clear() {
    items_.clear();
    start_ = 0;
  }

  // The newest `count` values (fewer when there are not so many), oldest first.
  [[nodiscard]] std::vector<T> Last(size_t count) const {
    const size_t n = count < size() ? count : size();
    std::vector<T> out;
    out.reserve(n);
    for (size_t i = size() - n; i < size(); ++i) {
      out.push_back((*this)[i]);
    }
    return out;
  }

 private:
  size_t capacity_;
  size_t start_ = 0;
  std::vector<T> items_;
};

}  // namespace cloudscale
