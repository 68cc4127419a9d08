#include "common/rpc/serving/watch_hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/rpc/channel.h"
#include "common/rpc/metrics_registry.h"
#include "common/rpc/server.h"
#include "common/testing/status_matchers.h"
#include "grpcpp/grpcpp.h"

namespace cloudscale::rpc {
namespace {

using ::cloudscale::testing::IsOk;
using sla::v1::WatchViolationsRequest;
using sla::v1::WatchViolationsResponse;
using ::testing::HasSubstr;
using Hub = WatchHub<WatchViolationsResponse>;

constexpr size_t kKept = 8;
constexpr size_t kQueue = 4;

// Any Watch… call would do; this one has few fields.
class WatchService final : public sla::v1::SlaService::CallbackService {
 public:
  grpc::ServerWriteReactor<WatchViolationsResponse>* WatchViolations(
      grpc::CallbackServerContext*, const WatchViolationsRequest* request) override {
    Violations violations;
    WatchOptions options = ParseWatch(*request, violations);
    if (!violations.empty()) {
      return new RefusedStream<WatchViolationsResponse>(violations.ToStatus());
    }
    options.min_period = min_period;
    auto* stream =
        hub->Open(std::move(options), [wanted = request->application()](const auto& message) {
          return wanted.empty() || message.violation().application() == wanted;
        });
    return stream;
  }

  const std::shared_ptr<Hub> hub = Hub::Create({.kept = kKept, .queue_length = kQueue});
  absl::Duration min_period = absl::ZeroDuration();
};

class WatchHubTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = Server::Create({}, &metrics_);
    ASSERT_THAT(server, IsOk());
    server_ = std::move(*server);
    server_->Register(&service_);
    ASSERT_THAT(server_->Start(), IsOk());
    auto channel = MakeChannel(server_->address(), nullptr);
    ASSERT_THAT(channel, IsOk());
    stub_ = sla::v1::SlaService::NewStub(*channel);
  }
  void TearDown() override {
    service_.hub->Close();
    for (auto& [context, reader] : readers_) {
      WatchViolationsResponse message;
      while (reader->Read(&message)) {
      }
      static_cast<void>(reader->Finish());
    }
    server_->Shutdown();
  }

  // Opens a stream and waits until the server has taken it.
  grpc::ClientReader<WatchViolationsResponse>& Watch(const WatchViolationsRequest& request) {
    auto context = std::make_unique<grpc::ClientContext>();
    auto reader = stub_->WatchViolations(context.get(), request);
    reader->WaitForInitialMetadata();
    while (service_.hub->size() == readers_.size()) {  // metadata may overtake the registration
      std::this_thread::yield();
    }
    readers_.emplace_back(std::move(context), std::move(reader));
    return *readers_.back().second;
  }

  void Publish(int count, const std::string& application = "web", size_t bytes = 0) {
    for (int i = 0; i < count; ++i) {
      WatchViolationsResponse message;
      message.mutable_violation()->set_application(application);
      message.mutable_violation()->set_violation_id(std::string(bytes, 'x'));
      now_ = now_ + absl::Seconds(1);
      service_.hub->Publish(std::move(message), now_);
    }
  }

  static WatchViolationsResponse Next(grpc::ClientReader<WatchViolationsResponse>& reader) {
    WatchViolationsResponse message;
    EXPECT_TRUE(reader.Read(&message));
    return message;
  }

  MonoTime now_{};
  MetricsRegistry metrics_;
  WatchService service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<sla::v1::SlaService::Stub> stub_;
  std::vector<std::pair<std::unique_ptr<grpc::ClientContext>,
                        std::unique_ptr<grpc::ClientReader<WatchViolationsResponse>>>>
      readers_;
};

TEST_F(WatchHubTest, P17SlowReaderLosesTheOldestAndIsTold) {
  auto& reader = Watch({});
  // Far beyond what the transport takes from the server while nobody reads.
  constexpr int kMessages = 200;
  Publish(kMessages, "web", 256 * 1024);
  int64_t received = 0;
  int64_t lost = 0;
  for (int64_t last = 0; last < kMessages;) {
    const WatchViolationsResponse message = Next(reader);
    ++received;
    lost += message.dropped_count();
    EXPECT_EQ(message.sequence(), last + 1 + message.dropped_count());
    last = message.sequence();
  }
  EXPECT_EQ(received + lost, kMessages);
  EXPECT_GT(lost, kMessages / 2);
}

TEST_F(WatchHubTest, ResumesFromWhatIsKeptAndCountsTheRest) {
  Publish(20);
  WatchViolationsRequest request;
  request.set_resume_from(17);
  EXPECT_EQ(Next(Watch(request)).sequence(), 17);
  request.set_resume_from(3);
  // 13 to 20 are kept, of which the queue takes the newest; the first write may be under way.
  auto& reader = Watch(request);
  int64_t lost = 0;
  int64_t received = 0;
  for (int64_t last = 0; last < 20; ++received) {
    const WatchViolationsResponse message = Next(reader);
    lost += message.dropped_count();
    last = message.sequence();
  }
  EXPECT_EQ(received + lost, 18);
  EXPECT_GE(lost, 10);
}

TEST_F(WatchHubTest, NumberOfAServerBeforeThisOneStartsAnew) {
  Publish(3);
  WatchViolationsRequest request;
  request.set_resume_from(1000);
  auto& reader = Watch(request);
  Publish(1);
  const WatchViolationsResponse message = Next(reader);
  EXPECT_EQ(message.sequence(), 4);
  EXPECT_EQ(message.dropped_count(), 0);
}

TEST_F(WatchHubTest, FilteredMessagesNeitherArriveNorCountAsLost) {
  WatchViolationsRequest request;
  request.set_application("shop");
  auto& reader = Watch(request);
  Publish(50, "web");
  Publish(1, "shop");
  const WatchViolationsResponse message = Next(reader);
  EXPECT_EQ(message.sequence(), 51);
  EXPECT_EQ(message.dropped_count(), 0);
}

TEST_F(WatchHubTest, MinPeriodThinsInTheTimeOfTheSource) {
  service_.min_period = absl::Seconds(5);
  auto& reader = Watch({});
  for (const int64_t expected : {1, 6, 11}) {
    Publish(5);
    EXPECT_EQ(Next(reader).sequence(), expected);
  }
}

TEST_F(WatchHubTest, HeartbeatsComeOnlyWhenQuiet) {
  WatchViolationsRequest request;
  request.mutable_heartbeat_period()->set_seconds(2);
  auto& reader = Watch(request);
  Publish(1);
  EXPECT_FALSE(Next(reader).is_heartbeat());
  const MonoTime start{};
  service_.hub->Beat(start);                     // sees the write
  service_.hub->Beat(start + absl::Seconds(1));  // too early
  Publish(1);
  EXPECT_FALSE(Next(reader).is_heartbeat());
  service_.hub->Beat(start + absl::Seconds(8));
  {
    // The transport may still be busy with the message, so one call need not be enough; further
    // calls at the same time must not send more.
    const std::jthread beats([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        service_.hub->Beat(start + absl::Seconds(10));
        std::this_thread::yield();
      }
    });
    const WatchViolationsResponse beat = Next(reader);
    EXPECT_TRUE(beat.is_heartbeat());
    EXPECT_EQ(beat.sequence(), 2);
  }
  // The next one is due a period after this one, not after the call that follows.
  service_.hub->Beat(start + absl::Seconds(11));
  {
    const std::jthread beats([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        service_.hub->Beat(start + absl::Seconds(12));
        std::this_thread::yield();
      }
    });
    EXPECT_TRUE(Next(reader).is_heartbeat());
  }
  Publish(1);
  EXPECT_EQ(Next(reader).sequence(), 3);  // and nothing in between
}

TEST_F(WatchHubTest, HeartbeatTellsWhatWasLostWhenNothingElseComes) {
  Publish(20);
  WatchViolationsRequest request;
  request.set_resume_from(1);
  request.set_application("shop");
  request.mutable_heartbeat_period()->set_seconds(1);
  auto& reader = Watch(request);
  service_.hub->Beat(MonoTime{});
  service_.hub->Beat(MonoTime{} + absl::Seconds(1));
  const WatchViolationsResponse beat = Next(reader);
  EXPECT_TRUE(beat.is_heartbeat());
  EXPECT_EQ(beat.dropped_count(), 12);
}

TEST_F(WatchHubTest, ReadersMayGoAwayWhileMessagesAreUnderWay) {
  std::jthread publisher([&](const std::stop_token& stop) {
    MonoTime now{};
    while (!stop.stop_requested()) {
      now = now + absl::Seconds(1);
      WatchViolationsResponse message;
      message.mutable_violation()->set_application("web");
      service_.hub->Publish(std::move(message), now);
      service_.hub->Beat(now);
    }
  });
  for (int i = 0; i < 200; ++i) {
    grpc::ClientContext context;
    auto reader = stub_->WatchViolations(&context, {});
    WatchViolationsResponse message;
    for (int k = 0; k < i % 4; ++k) {
      EXPECT_TRUE(reader->Read(&message));
    }
    context.TryCancel();
    while (reader->Read(&message)) {
    }
    EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
}

TEST_F(WatchHubTest, BadOptionsAreRefusedTogether) {
  WatchViolationsRequest request;
  request.set_resume_from(0);
  request.mutable_heartbeat_period()->set_seconds(61);
  grpc::ClientContext context;
  auto reader = stub_->WatchViolations(&context, request);
  WatchViolationsResponse message;
  EXPECT_FALSE(reader->Read(&message));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("resume_from"));
  EXPECT_THAT(status.error_message(), HasSubstr("heartbeat_period"));
}

TEST_F(WatchHubTest, CloseEndsStreamsAndRefusesNewOnes) {
  auto& reader = Watch({});
  service_.hub->Close();
  WatchViolationsResponse message;
  EXPECT_FALSE(reader.Read(&message));
  grpc::ClientContext context;
  auto late = stub_->WatchViolations(&context, {});
  EXPECT_FALSE(late->Read(&message));
  EXPECT_EQ(late->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace cloudscale::rpc
