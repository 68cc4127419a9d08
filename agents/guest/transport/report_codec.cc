#include "agents/guest/transport/report_codec.h"

#include <bit>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace cloudscale::guest {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

constexpr size_t kMaxReasonBytes = 500;

// Writes the fields of one message. Required numbers are written as proto3 does: zero is left out.
class Writer {
 public:
  void Int(uint32_t field, int64_t value) {
    if (value != 0) {
      OptionalInt(field, value);
    }
  }
  void OptionalInt(uint32_t field, std::optional<int64_t> value) {
    if (value.has_value()) {
      Tag(field, kVarint);
      Varint(static_cast<uint64_t>(*value));
    }
  }
  void Double(uint32_t field, double value) {
    if (value != 0) {
      OptionalDouble(field, value);
    }
  }
  void OptionalDouble(uint32_t field, std::optional<double> value) {
    if (value.has_value()) {
      Tag(field, kFixed64);
      const uint64_t bits = std::bit_cast<uint64_t>(*value);
      for (int shift = 0; shift < 64; shift += 8) {
        out_.push_back(static_cast<char>((bits >> shift) & 0xFFU));
      }
    }
  }
  void Text(uint32_t field, absl::string_view value) {
    if (!value.empty()) {
      Message(field, value);
    }
  }
  void Message(uint32_t field, absl::string_view bytes) {
    Tag(field, kBytes);
    Varint(bytes.size());
    out_.append(bytes.data(), bytes.size());
  }
  // A Timestamp or a Duration.
  void Span(uint32_t field, absl::Duration since) {
    Writer span;
    absl::Duration rest;
    int64_t seconds = absl::IDivDuration(since, absl::Seconds(1), &rest);
    span.Int(1, seconds);
    span.Int(2, absl::ToInt64Nanoseconds(rest));
    Message(field, span.out_);
  }
  [[nodiscard]] std::string Take() { return std::move(out_); }

 private:
  void Tag(uint32_t field, WireType type) { Varint((field << 3) | type); }
  void Varint(uint64_t value) {
    while (value >= 0x80) {
      out_.push_back(static_cast<char>((value & 0x7FU) | 0x80U));
      value >>= 7;
    }
    out_.push_back(static_cast<char>(value));
  }

  std::string out_;
};

void Write(uint32_t field, const std::optional<Pressure>& pressure, Writer& out) {
  if (!pressure.has_value()) {
    return;
  }
  Writer inner;
  inner.Double(1, pressure->some_ratio);
  inner.OptionalDouble(2, pressure->full_ratio);
  inner.Span(3, pressure->some_total);
  if (pressure->full_total.has_value()) {
    inner.Span(4, *pressure->full_total);
  }
  out.Message(field, inner.Take());
}

std::string Encode(const std::string& vm_uuid, const Report& report) {
  Writer out;
  out.Text(1, vm_uuid);
  out.Text(2, report.boot_id);
  out.Int(3, report.sequence);
  out.Span(4, report.sample_time - absl::UnixEpoch());
  out.Span(5, report.uptime);
  out.Int(6, report.memory.total_bytes);
  out.OptionalInt(7, report.memory.available_bytes);
  out.OptionalInt(8, report.memory.free_bytes);
  out.OptionalInt(9, report.memory.cached_bytes);
  out.OptionalInt(10, report.memory.swap_total_bytes);
  out.OptionalInt(11, report.memory.swap_free_bytes);
  out.OptionalInt(12, report.paging.swap_in_bytes);
  out.OptionalInt(13, report.paging.swap_out_bytes);
  out.OptionalInt(14, report.paging.major_fault_count);
  out.OptionalInt(15, report.paging.oom_kill_count);
  Write(16, report.cpu_pressure, out);
  Write(17, report.memory_pressure, out);
  Write(18, report.io_pressure, out);
  if (report.load.has_value()) {
    out.OptionalInt(19, report.load->run_queue_length);
    out.OptionalDouble(20, report.load->load_average);
  }
  out.OptionalDouble(21, report.cpu_steal_ratio);
  out.OptionalInt(22, report.vcpu_count);
  out.Text(23, kAgentVersion);
  return out.Take();
}

struct Field {
  uint64_t number = 0;
  uint64_t value = 0;       // of a varint
  absl::string_view bytes;  // of a string or message
};

// Reads the fields of one message, one by one.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : rest_(bytes) {}

  // False at the end, and where the bytes make no sense.
  bool Next(Field* field) {
    uint64_t tag = 0;
    if (rest_.empty() || !Varint(&tag)) {
      return false;
    }
    *field = Field();
    field->number = tag >> 3;
    uint64_t length = 0;
    if (field->number == 0) {
      is_bad_ = true;
      return false;
    }
    switch (tag & 7) {
      case kVarint:
        return Varint(&field->value);
      case kFixed64:
        return Skip(8, &field->bytes);
      case kBytes:
        return Varint(&length) && Skip(length, &field->bytes);
      case kFixed32:
        return Skip(4, &field->bytes);
      default:
        is_bad_ = true;
        return false;
    }
  }
  [[nodiscard]] bool is_bad() const { return is_bad_; }

 private:
  bool Skip(uint64_t length, absl::string_view* skipped) {
    if (length > rest_.size()) {
      is_bad_ = true;
      return false;
    }
    *skipped = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return true;
  }
  bool Varint(uint64_t* value) {
    *value = 0;
    for (uint32_t shift = 0; shift < 70 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (shift < 64) {
        *value |= static_cast<uint64_t>(byte & 0x7FU) << shift;
      }
      if (byte < 0x80) {
        return true;
      }
    }
    is_bad_ = true;
    return false;
  }

  absl::string_view rest_;
  bool is_bad_ = false;
};

bool ReadDuration(absl::string_view bytes, absl::Duration* duration) {
  Reader reader(bytes);
  int64_t seconds = 0;
  int64_t nanoseconds = 0;
  for (Field field; reader.Next(&field);) {
    if (field.number == 1) {
      seconds = static_cast<int64_t>(field.value);
    } else if (field.number == 2) {
      nanoseconds = static_cast<int32_t>(field.value);
    }
  }
  *duration = absl::Seconds(seconds) + absl::Nanoseconds(nanoseconds);
  return !reader.is_bad();
}

}  // namespace

std::string EncodeRequest(const std::string& vm_uuid, const std::vector<Report>& reports) {
  Writer out;
  for (const Report& report : reports) {
    out.Message(1, Encode(vm_uuid, report));
  }
  return out.Take();
}

absl::StatusOr<ReportAnswer> DecodeResponse(absl::string_view bytes) {
  ReportAnswer answer;
  Reader reader(bytes);
  bool is_good = true;
  for (Field field; reader.Next(&field);) {
    switch (field.number) {
      case 1:
        answer.acknowledged_sequence = static_cast<int64_t>(field.value);
        break;
      case 2:
        is_good = is_good && ReadDuration(field.bytes, &answer.period.emplace());
        break;
      case 3:
        answer.refused_count = static_cast<int64_t>(field.value);
        break;
      case 4:
        answer.refused_reason = std::string(field.bytes.substr(0, kMaxReasonBytes));
        break;
      default:
        break;
    }
  }
  if (!is_good || reader.is_bad()) {
    return absl::InvalidArgumentError("the answer is no StreamReportsResponse");
  }
  return answer;
}

}  // namespace cloudscale::guest
