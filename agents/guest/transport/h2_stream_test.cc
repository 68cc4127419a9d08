// What the client does with peers that do not speak gRPC well; that it understands those that do
// is tested against the gRPC library, in report_client_test.cc.
#include "agents/guest/transport/h2_stream.h"

#include <nghttp2/nghttp2.h>

#include <string>
#include <vector>

#include "common/check/check.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

using Headers = std::vector<std::pair<std::string, std::string>>;

// The server's side of the connection, which answers stream 1 as it is told.
class Peer {
 public:
  Peer() {
    nghttp2_session_callbacks* callbacks = nullptr;
    CS_CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks,
        [](nghttp2_session*, uint8_t, int32_t, const uint8_t* bytes, size_t count, void* user) {
          static_cast<Peer*>(user)->body.append(reinterpret_cast<const char*>(bytes), count);
          return 0;
        });
    CS_CHECK(nghttp2_session_server_new(&session_, callbacks, this) == 0);
    nghttp2_session_callbacks_del(callbacks);
    CS_CHECK(nghttp2_submit_settings(session_, 0, nullptr, 0) == 0);
  }
  ~Peer() { nghttp2_session_del(session_); }

  void Respond(const Headers& headers, std::string data = "") {
    data_ = std::move(data);
    nghttp2_data_provider provider{};
    provider.source.ptr = this;
    provider.read_callback = [](nghttp2_session*, int32_t, uint8_t* buffer, size_t length,
                                uint32_t* flags, nghttp2_data_source* source, void*) -> ssize_t {
      std::string& rest = static_cast<Peer*>(source->ptr)->data_;
      const size_t count = std::min(length, rest.size());
      rest.copy(reinterpret_cast<char*>(buffer), count);
      rest.erase(0, count);
      if (rest.empty()) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
      }
      return static_cast<ssize_t>(count);
    };
    std::vector<nghttp2_nv> list;
    for (const auto& [name, value] : headers) {
      const auto bytes = [](const std::string& text) {
        return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));
      };
      list.push_back({bytes(name), bytes(value), name.size(), value.size(), 0});
    }
    CS_CHECK(nghttp2_submit_response(session_, 1, list.data(), list.size(),
                                     data_.empty() ? nullptr : &provider) == 0);
  }
  void Reset() { CS_CHECK(nghttp2_submit_rst_stream(session_, 0, 1, NGHTTP2_REFUSED_STREAM) == 0); }

  // Carries all bytes both ways.
  absl::Status Talk(H2Stream& call) {
    absl::Status status;
    for (bool moved = true; moved && status.ok();) {
      const std::string out(call.Pending());
      call.Sent(out.size());
      CS_CHECK(nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(out.data()),
                                        out.size()) >= 0);
      moved = !out.empty();
      const uint8_t* bytes = nullptr;
      for (ssize_t n = 0; (n = nghttp2_session_mem_send(session_, &bytes)) > 0; moved = true) {
        status = call.Receive({reinterpret_cast<const char*>(bytes), static_cast<size_t>(n)});
      }
    }
    return status;
  }

  std::string body;

 private:
  nghttp2_session* session_ = nullptr;
  std::string data_;
};

class H2StreamTest : public ::testing::Test {
 protected:
  H2StreamTest() {
    call_.Send("abc");
    CS_EXPECT_OK(peer_.Talk(call_));
  }
  // What the call ends with after the response.
  absl::Status EndsWith(const Headers& headers, const std::string& data = "") {
    peer_.Respond(headers, data);
    peer_.Talk(call_).IgnoreError();
    [[maybe_unused]] const auto message = call_.TakeMessage();
    return call_.ended().value_or(absl::OkStatus());
  }

  Peer peer_;
  H2Stream call_{"host:1", "/service/Method"};
};

TEST_F(H2StreamTest, SendsTheMessageBehindItsPrefix) {
  EXPECT_EQ(peer_.body, std::string("\0\0\0\0\3abc", 8));
  EXPECT_EQ(call_.ended(), std::nullopt);
}

TEST_F(H2StreamTest, TellsTheStatusAndItsMessage) {
  EXPECT_THAT(EndsWith({{":status", "200"}, {"grpc-status", "7"}, {"grpc-message", "no%20%41%"}}),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("no A%")));
}

TEST_F(H2StreamTest, AStatusThatIsNoneIsUnknown) {
  EXPECT_THAT(EndsWith({{":status", "200"}, {"grpc-status", "99"}}),
              StatusIs(absl::StatusCode::kUnknown));
}

TEST_F(H2StreamTest, APeerThatIsNoGrpcServerIsToldByItsHttpStatus) {
  EXPECT_THAT(EndsWith({{":status", "404"}}, "<html>"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("404")));
}

TEST_F(H2StreamTest, LongAnswersAreRefused) {
  EXPECT_THAT(EndsWith({{":status", "200"}}, std::string("\0\0\1\0\0", 5) + "x"),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(H2StreamTest, FloodsAreRefused) {
  EXPECT_THAT(EndsWith({{":status", "200"}}, std::string(20'000, '\0')),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(H2StreamTest, AResetIsUnavailable) {
  peer_.Reset();
  peer_.Talk(call_).IgnoreError();
  EXPECT_THAT(call_.ended().value_or(absl::OkStatus()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("REFUSED_STREAM")));
}

TEST_F(H2StreamTest, WhatIsNotHttp2IsAFaultOfTheProtocol) {
  H2Stream call("host:1", "/service/Method");
  call.Receive("SSH-2.0-OpenSSH_9.2\r\n").IgnoreError();
  call.Sent(call.Pending().size());
  EXPECT_THAT(call.ended().value_or(absl::OkStatus()), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace cloudscale::guest
