#include "hypervisor/bounded/bounded_calls.h"

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "hypervisor/bounded/bounded_backend.h"

namespace cloudscale::hypervisor {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;

// Holds calls until it is opened.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_open_; });
    --waiting_;
    changed_.notify_all();
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  void WaitUntilEmpty() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return waiting_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool is_open_ = false;
};

struct Connection {
  int number = 0;
};
using Calls = BoundedCalls<Connection>;

// Long for a machine that is busy, short where a call hangs on purpose.
constexpr absl::Duration kLong = absl::Seconds(60);
constexpr absl::Duration kShort = absl::Milliseconds(20);

class BoundedCallsTest : public ::testing::Test {
 protected:
  Calls::Make Numbered() {
    return [made = made_] { return std::make_unique<Connection>(Connection{++*made}); };
  }
  static absl::StatusOr<int> Number(Calls& calls) {
    return calls.Call<absl::StatusOr<int>>(
        [](Connection& connection) -> absl::StatusOr<int> { return connection.number; });
  }
  absl::Status Hang(Calls& calls) {
    return calls.Call<absl::Status>([gate = gate_](Connection&) {
      gate->Pass();
      return absl::OkStatus();
    });
  }

  std::shared_ptr<std::atomic<int>> made_ = std::make_shared<std::atomic<int>>(0);
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

TEST_F(BoundedCallsTest, OneObjectServesCallAfterCall) {
  Calls calls("test", Numbered(), kLong);
  EXPECT_THAT(Number(calls), IsOkAndHolds(1));
  EXPECT_THAT(Number(calls), IsOkAndHolds(1));
}

TEST_F(BoundedCallsTest, ErrorsComeBackAndOnlyUnavailableMakesAnew) {
  Calls calls("test", Numbered(), kLong);
  EXPECT_THAT(calls.Call<absl::Status>([](Connection&) { return absl::NotFoundError("vm"); }),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Number(calls), IsOkAndHolds(1));
  EXPECT_THAT(calls.Call<absl::Status>([](Connection&) { return absl::UnavailableError("gone"); }),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Number(calls), IsOkAndHolds(2));
}

TEST_F(BoundedCallsTest, WhatCannotBeMadeIsTriedAtEachCall) {
  auto attempts = std::make_shared<int>(0);
  Calls calls(
      "test",
      [attempts]() -> absl::StatusOr<std::unique_ptr<Connection>> {
        if (++*attempts < 3) {
          return absl::UnavailableError("daemon down");
        }
        return std::make_unique<Connection>(Connection{*attempts});
      },
      kLong);
  EXPECT_THAT(Number(calls), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Number(calls), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(Number(calls), IsOkAndHolds(3));
}

TEST_F(BoundedCallsTest, HangingCallEndsInTimeAndTheNextGetsItsOwnObject) {
  Calls calls("test", Numbered(), kShort);
  EXPECT_THAT(Hang(calls), StatusIs(absl::StatusCode::kDeadlineExceeded));
  // A machine that is busy may need several attempts; each has a new object.
  absl::StatusOr<int> number = Number(calls);
  while (absl::IsDeadlineExceeded(number.status())) {
    number = Number(calls);
  }
  CS_ASSERT_OK(number);
  EXPECT_GT(*number, 1);
  gate_->Open();
  gate_->WaitUntilEmpty();
}

TEST_F(BoundedCallsTest, NoMoreThanSoManyCallsHangAtOnce) {
  Calls calls("test", Numbered(), kShort);
  for (size_t i = 0; i < 3 * Calls::kMaxStuck; ++i) {
    EXPECT_THAT(Hang(calls), StatusIs(absl::StatusCode::kDeadlineExceeded));
  }
  EXPECT_LE(*made_, static_cast<int>(Calls::kMaxStuck));
  EXPECT_THAT(Number(calls), StatusIs(absl::StatusCode::kDeadlineExceeded));

  gate_->Open();
  gate_->WaitUntilEmpty();
  absl::StatusOr<int> number = Number(calls);
  while (absl::IsDeadlineExceeded(number.status())) {
    number = Number(calls);
  }
  CS_EXPECT_OK(number);
}

// Tells its capabilities only when asked for a reading.
class NamedReader final : public HostReader {
 public:
  [[nodiscard]] Capabilities capabilities() const override { return {.backend = "asked"}; }
  absl::StatusOr<HostReading> Read() override {
    HostReading reading;
    reading.host_id = "host";
    return reading;
  }
};

TEST(BoundedHostReaderTest, CapabilitiesAreTheExpectedOnesUntilItCouldAsk) {
  BoundedHostReader reader([] { return std::make_unique<NamedReader>(); }, {.backend = "expected"},
                           kLong);
  EXPECT_EQ(reader.capabilities().backend, "expected");
  const auto reading = reader.Read();
  CS_ASSERT_OK(reading);
  EXPECT_EQ(reading->host_id, "host");
  EXPECT_EQ(reader.capabilities().backend, "asked");
}

}  // namespace
}  // namespace cloudscale::hypervisor
