#include "agents/guest/transport/h2_stream.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/check/check.h"

namespace cloudscale::guest {
namespace {

constexpr size_t kPrefixBytes = 5;  // not compressed, length big-endian
constexpr size_t kMaxReasonBytes = 500;

absl::string_view View(const uint8_t* bytes, size_t count) {
  return {reinterpret_cast<const char*>(bytes), count};
}

nghttp2_nv Header(absl::string_view name, absl::string_view value) {
  // The session copies both and changes neither; its type is older than const.
  const auto bytes = [](absl::string_view text) {
    return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

// As the gRPC protocol writes messages: %41 for anything not printable.
std::string DecodePercent(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size() && out.size() < kMaxReasonBytes; ++i) {
    int value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        absl::SimpleHexAtoi(text.substr(i + 1, 2), &value)) {
      out.push_back(static_cast<char>(value));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// For peers that do not speak gRPC: the mapping of its documentation.
absl::StatusCode FromHttp(int status) {
  switch (status) {
    case 400:
      return absl::StatusCode::kInternal;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kUnimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kUnknown;
  }
}

}  // namespace

// What nghttp2 calls back, with the stream as `user`.
struct H2Callbacks {
  static int OnHeader(nghttp2_session* /*session*/, const nghttp2_frame* /*frame*/,
                      const uint8_t* name, size_t name_length, const uint8_t* value,
                      size_t value_length, uint8_t /*flags*/, void* user) {
    static_cast<H2Stream*>(user)->OnHeader(View(name, name_length), View(value, value_length));
    return 0;
  }
  static int OnBody(nghttp2_session* /*session*/, uint8_t /*flags*/, int32_t /*stream*/,
                    const uint8_t* bytes, size_t count, void* user) {
    static_cast<H2Stream*>(user)->OnBody(View(bytes, count));
    return 0;
  }
  static int OnFrame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* user) {
    auto* stream = static_cast<H2Stream*>(user);
    const bool may_end = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (may_end && frame->hd.stream_id == stream->id_ &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
      // The peer has said all; that our half is still open changes nothing.
      stream->is_closed_ = true;
    }
    return 0;
  }
  static int OnClosed(nghttp2_session* /*session*/, int32_t /*stream*/, uint32_t error,
                      void* user) {
    static_cast<H2Stream*>(user)->OnClosed(error);
    return 0;
  }
  static ssize_t TakeBody(nghttp2_session* /*session*/, int32_t /*stream*/, uint8_t* buffer,
                          size_t length, uint32_t* /*flags*/, nghttp2_data_source* source,
                          void* /*user*/) {
    std::string& message = static_cast<H2Stream*>(source->ptr)->message_;
    if (message.empty()) {
      return NGHTTP2_ERR_DEFERRED;
    }
    const size_t count = std::min(length, message.size());
    std::copy_n(message.begin(), count, buffer);
    message.erase(0, count);
    return static_cast<ssize_t>(count);
  }
};

H2Stream::H2Stream(const std::string& authority, const std::string& path) {
  nghttp2_session_callbacks* callbacks = nullptr;
  CS_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, H2Callbacks::OnHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, H2Callbacks::OnBody);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, H2Callbacks::OnFrame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, H2Callbacks::OnClosed);
  CS_CHECK(nghttp2_session_client_new(&session_, callbacks, this) == 0);
  nghttp2_session_callbacks_del(callbacks);

  const std::array<nghttp2_settings_entry, 2> settings = {
      nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 8192}};
  CS_CHECK(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) ==
           0);
  const std::array<nghttp2_nv, 7> headers = {Header(":method", "POST"),
                                             Header(":scheme", "http"),
                                             Header(":path", path),
                                             Header(":authority", authority),
                                             Header("te", "trailers"),
                                             Header("content-type", "application/grpc"),
                                             Header("user-agent", "cloudscale-guest-agent")};
  nghttp2_data_provider body{};
  body.source.ptr = this;
  body.read_callback = H2Callbacks::TakeBody;
  id_ = nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &body, nullptr);
  CS_CHECK(id_ > 0);
}

H2Stream::~H2Stream() { nghttp2_session_del(session_); }

void H2Stream::Send(absl::string_view message) {
  message_.clear();
  message_.push_back(0);
  for (int shift = 24; shift >= 0; shift -= 8) {
    message_.push_back(static_cast<char>((message.size() >> shift) & 0xFFU));
  }
  message_.append(message.data(), message.size());
  // Fails only when the stream is closed, which `ended` tells.
  nghttp2_session_resume_data(session_, id_);
}

std::optional<std::string> H2Stream::TakeMessage() {
  if (body_.size() < kPrefixBytes || http_status_ != 200) {
    return std::nullopt;
  }
  size_t length = 0;
  for (size_t i = 1; i < kPrefixBytes; ++i) {
    length = (length << 8) | static_cast<unsigned char>(body_[i]);
  }
  if (body_[0] != 0 || length > kMaxMessageBytes) {
    fault_ = absl::ResourceExhaustedError(
        absl::StrCat("an answer that is compressed or of ", length, " bytes"));
    return std::nullopt;
  }
  if (body_.size() < kPrefixBytes + length) {
    return std::nullopt;
  }
  std::string message = body_.substr(kPrefixBytes, length);
  body_.erase(0, kPrefixBytes + length);
  return message;
}

std::optional<absl::Status> H2Stream::ended() const {
  if (!fault_.ok()) {
    return fault_;
  }
  if (!is_closed_) {
    // After a fault of the protocol the session wants nothing more than to say so.
    const bool is_alive =
        nghttp2_session_want_read(session_) != 0 || nghttp2_session_want_write(session_) != 0;
    return is_alive ? std::nullopt
                    : std::make_optional(absl::UnavailableError("the peer does not speak HTTP/2"));
  }
  if (grpc_status_.has_value()) {
    return absl::Status(static_cast<absl::StatusCode>(*grpc_status_), grpc_message_);
  }
  return absl::Status(http_status_ == 200 ? absl::StatusCode::kUnavailable : FromHttp(http_status_),
                      absl::StrCat("the peer ended the call with HTTP status ", http_status_));
}

absl::Status H2Stream::Receive(absl::string_view bytes) {
  const ssize_t taken = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (taken < 0) {
    return absl::UnavailableError(
        absl::StrCat("HTTP/2: ", nghttp2_strerror(static_cast<int>(taken))));
  }
  return fault_;
}

absl::string_view H2Stream::Pending() {
  const uint8_t* bytes = nullptr;
  while (true) {
    const ssize_t count = nghttp2_session_mem_send(session_, &bytes);
    if (count <= 0) {
      if (count < 0) {
        fault_ = absl::UnavailableError(
            absl::StrCat("HTTP/2: ", nghttp2_strerror(static_cast<int>(count))));
      }
      return out_;
    }
    out_.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
  }
}

void H2Stream::Terminate() { nghttp2_session_terminate_session(session_, NGHTTP2_NO_ERROR); }

void H2Stream::OnHeader(absl::string_view name, absl::string_view value) {
  int number = 0;
  if (name == ":status" && absl::SimpleAtoi(value, &number)) {
    http_status_ = number;
  } else if (name == "grpc-status") {
    const bool is_code = absl::SimpleAtoi(value, &number) && number >= 0 && number <= 16;
    grpc_status_ = is_code ? number : static_cast<int>(absl::StatusCode::kUnknown);
  } else if (name == "grpc-message") {
    grpc_message_ = DecodePercent(value);
  }
}

void H2Stream::OnBody(absl::string_view bytes) {
  // One answer is under way at a time; more is a peer that does not keep to that.
  if (body_.size() + bytes.size() > 2 * (kMaxMessageBytes + kPrefixBytes)) {
    fault_ = absl::ResourceExhaustedError("more answers than questions");
    return;
  }
  body_.append(bytes.data(), bytes.size());
}

void H2Stream::OnClosed(uint32_t error) {
  is_closed_ = true;
  if (!grpc_status_.has_value() && error != NGHTTP2_NO_ERROR) {
    fault_ = absl::UnavailableError(
        absl::StrCat("the peer reset the call: ", nghttp2_http2_strerror(error)));
  }
}

}  // namespace cloudscale::guest
