#include "services/sla/inputs/haproxy_log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr char kDate[] = "10.0.1.2:33317 [06/Feb/2026:12:14:14.655] ";

// A line whose server, times, status and termination state are given.
std::string Line(const std::string& server, const std::string& times, const std::string& status,
                 const std::string& state) {
  return absl::StrCat("<134>Feb  6 12:14:14 haproxy[14389]: ", kDate, "http-in ", server, " ",
                      times, " ", status, " 2750 - - ", state,
                      " 1/1/1/1/0 0/0 {www.example.org|curl 7} {} \"GET /index.html HTTP/1.1\"\n");
}

HaproxyRequest Parsed(const std::string& line) {
  const auto request = ParseHaproxyLogLine(line);
  EXPECT_THAT(request, IsOk()) << line;
  return request.value_or(HaproxyRequest());
}

TEST(HaproxyLogLineTest, ReadsServerTimesStatusAndTerminationState) {
  const HaproxyRequest r = Parsed(Line("static/srv1", "10/0/30/69/109", "200", "--VN"));
  EXPECT_EQ(r.backend, "static");
  EXPECT_EQ(r.server, "srv1");
  EXPECT_THAT(r.receiving, Optional(absl::Milliseconds(10)));
  EXPECT_THAT(r.queueing, Optional(absl::ZeroDuration()));
  EXPECT_THAT(r.connecting, Optional(absl::Milliseconds(30)));
  EXPECT_THAT(r.responding, Optional(absl::Milliseconds(69)));
  EXPECT_THAT(r.total, Optional(absl::Milliseconds(109)));
  EXPECT_THAT(r.status, Optional(200));
  EXPECT_EQ(r.termination_state, "--VN");
  EXPECT_FALSE(r.is_total_partial);
}

TEST(HaproxyLogLineTest, ReadsEveryHeaderThatHaproxyWrites) {
  const std::string message = absl::StrCat(
      kDate, "in~ web/web-1 0/0/1/2/3 200 100 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"");
  const std::vector<std::string> headers = {
      "",                                                                            // raw
      "<134>",                                                                       // short
      "<134>Feb  6 12:14:14 haproxy[14389]: ",                                       // local
      "<134>Feb 16 12:14:14 lb-1.example haproxy[14389]: ",                          // rfc3164
      "<134>1 2026-02-06T12:14:14.655000+01:00 lb-1 haproxy 14389 - - ",             // rfc5424
      "<134>1 2026-02-06T12:14:14.655Z lb-1 haproxy 14389 - [id@32473 a=\"b c\"] ",  // with data
      "<6>2026-02-06T12:14:14.655000+01:00 ",                                        // timed
      "2026-02-06T12:14:14.655000+01:00 ",                                           // iso
  };
  for (const std::string& header : headers) {
    for (const char* end : {"", "\n", "\r\n"}) {
      EXPECT_EQ(Parsed(header + message + end).server, "web-1") << header;
    }
  }
}

TEST(HaproxyLogLineTest, TakesIpv6UnixSocketsAndLinesThatWereCut) {
  for (const char* client : {"::1:40312", "unix:1", "2001:db8::7:443"}) {
    EXPECT_EQ(Parsed(absl::StrCat(client,
                                  " [06/Feb/2026:12:14:14.655] in web/web-1 0/0/1/2/3 200 "
                                  "100 - - ----"))
                  .server,
              "web-1");
  }
}

TEST(HaproxyLogLineTest, LogAsapTellsThatTheEndWasNotWaitedFor) {
  const HaproxyRequest r = Parsed(Line("web/web-1", "0/0/1/20/+21", "200", "----"));
  EXPECT_TRUE(r.is_total_partial);
  EXPECT_THAT(WaitSeconds(r, /*includes_transfer=*/true), Optional(::testing::DoubleEq(0.021)));
}

struct Case {
  const char* what;
  const char* server;
  const char* times;
  const char* status;
  const char* state;
  RequestOutcome outcome;
  std::optional<double> wait;
};

TEST(HaproxyLogLineTest, JudgesWhoEndedTheRequest) {
  const std::vector<Case> cases = {
      {"answered", "b/s", "5/1/2/7/30", "200", "----", RequestOutcome::kServed, 0.010},
      {"not found is an answer", "b/s", "5/1/2/7/30", "404", "----", RequestOutcome::kServed,
       0.010},
      {"reused connection", "b/s", "0/0/0/7/7", "304", "----", RequestOutcome::kServed, 0.007},
      {"server's own error", "b/s", "0/0/0/7/7", "500", "----", RequestOutcome::kFailed, {}},
      {"client gone while the answer came", "b/s", "5/1/2/7/300", "200", "CD--",
       RequestOutcome::kServed, 0.010},
      {"client too slow to read", "b/s", "5/1/2/7/300", "200", "cD--", RequestOutcome::kServed,
       0.010},
      {"client gone before the answer", "b/s", "5/1/2/-1/2005", "-1", "CH--",
       RequestOutcome::kClientAbort, 2.0},
      {"client gone in the queue, told as 503", "b/<NOSRV>", "5/995/-1/-1/1005", "503", "CQ--",
       RequestOutcome::kClientAbort, 1.0},
      {"error, then client gone", "b/s", "5/1/2/7/300", "502", "CD--", RequestOutcome::kFailed, {}},
      {"request never whole",
       "in/<NOSRV>",
       "-1/-1/-1/-1/5000",
       "408",
       "cR--",
       RequestOutcome::kIgnored,
       {}},
      {"broken request",
       "in/<NOSRV>",
       "-1/-1/-1/-1/0",
       "400",
       "PR--",
       RequestOutcome::kIgnored,
       {}},
      {"denied", "in/<NOSRV>", "0/-1/-1/-1/0", "403", "PR--", RequestOutcome::kIgnored, {}},
      {"redirected", "in/<NOSRV>", "0/-1/-1/-1/0", "302", "LR--", RequestOutcome::kIgnored, {}},
      {"server timed out", "b/s", "0/0/0/-1/3000", "504", "sH--", RequestOutcome::kFailed, {}},
      {"server aborted", "b/s", "0/0/0/-1/30", "502", "SH--", RequestOutcome::kFailed, {}},
      {"server aborted in the answer",
       "b/s",
       "0/0/0/9/30",
       "200",
       "SD--",
       RequestOutcome::kFailed,
       {}},
      {"connection refused", "b/s", "0/0/-1/-1/3", "503", "SC--", RequestOutcome::kFailed, {}},
      {"waited too long in the queue",
       "b/<NOSRV>",
       "0/5000/-1/-1/5000",
       "503",
       "sQ--",
       RequestOutcome::kFailed,
       {}},
      {"no server", "b/<NOSRV>", "0/-1/-1/-1/0", "503", "SC--", RequestOutcome::kFailed, {}},
      {"no resource", "b/s", "0/0/-1/-1/3", "-1", "RC--", RequestOutcome::kFailed, {}},
      {"server went down", "b/s", "0/0/0/9/30", "200", "DD--", RequestOutcome::kFailed, {}},
      {"response blocked", "b/s", "0/0/0/-1/3", "502", "PH--", RequestOutcome::kFailed, {}},
  };
  for (const Case& c : cases) {
    const HaproxyRequest r = Parsed(Line(c.server, c.times, c.status, c.state));
    EXPECT_EQ(static_cast<int>(OutcomeOf(r)), static_cast<int>(c.outcome)) << c.what;
    const auto wait = WaitSeconds(r, false);
    ASSERT_EQ(wait.has_value(), c.wait.has_value()) << c.what;
    if (c.wait.has_value()) {
      EXPECT_NEAR(*wait, *c.wait, 1e-9) << c.what;
    }
  }
}

TEST(HaproxyLogLineTest, TransferCountsOnlyWhenAskedFor) {
  const HaproxyRequest r = Parsed(Line("b/s", "5/1/2/7/305", "200", "----"));
  EXPECT_NEAR(*WaitSeconds(r, false), 0.010, 1e-9);
  EXPECT_NEAR(*WaitSeconds(r, true), 0.300, 1e-9) << "not the time to send the request";
  EXPECT_EQ(*WaitSeconds(Parsed(Line("b/s", "0/0/0/99999999999/0", "200", "----")), false), 3600);
}

TEST(HaproxyLogLineTest, OtherMessagesAreNoRequests) {
  for (const char* line :
       {"", "\n", "<129>Feb  6 12:14:14 haproxy[1]: Server web/web-1 is DOWN, reason: Layer4",
        "<133>Feb  6 12:14:14 haproxy[1]: Proxy web started.", "a [b] c",
        "1.2.3.4:5 [06/Feb/2026:12:14:14] in b/s 0/0/0/0/0 200 1 - - ----"}) {
    EXPECT_THAT(ParseHaproxyLogLine(line), StatusIs(absl::StatusCode::kNotFound)) << line;
  }
}

TEST(HaproxyLogLineTest, P14NamesTheFieldThatIsBroken) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {Line("static", "0/0/0/0/0", "200", "----"), "backend/server"},
      {Line("/srv", "0/0/0/0/0", "200", "----"), "backend/server"},
      {Line("b/" + std::string(300, 'x'), "0/0/0/0/0", "200", "----"), "backend/server"},
      {Line("b/s", "0/0/0", "200", "--"), "TR/Tw/Tc/Tr/Ta"},  // `option tcplog`
      {Line("b/s", "0/0/0/0/0/0", "200", "----"), "Ta"},
      {Line("b/s", "0/-2/0/0/0", "200", "----"), "Tw"},
      {Line("b/s", "0/0/x/0/0", "200", "----"), "Tc"},
      {Line("b/s", "0/0/0/99999999999999/0", "200", "----"), "Tr"},
      {Line("b/s", "0/0/0/0/0", "20", "----"), "status"},
      {Line("b/s", "0/0/0/0/0", "ok", "----"), "status"},
      {Line("b/s", "0/0/0/0/0", "200", "--"), "termination state"},
      {Line("b/s", "0/0/0/0/0", "200", "X---"), "termination state"},
      {absl::StrCat(kDate, "in b/s 0/0/0/0/0 200"), "line"},
      {absl::StrCat(kDate, "in  b/s 0/0/0/0/0 200 1 - - ----"), "line"},
  };
  for (const auto& [line, field] : cases) {
    EXPECT_THAT(ParseHaproxyLogLine(line),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)))
        << line;
  }
}

// Captured headers and the request are the client's choice; they must not pass for our fields.
TEST(HaproxyLogLineTest, WhatTheClientSendsIsNotReadAsADate) {
  const HaproxyRequest r = Parsed(absl::StrCat(
      kDate,
      "in b/s 0/0/0/5/5 200 1 - - ---- 1/1/0/0/0 0/0 { [06/Feb/2026:12:14:14.655] x y/z 0/0/0/0/0 "
      "500 1 - - SH--} \"GET / HTTP/1.1\""));
  EXPECT_EQ(r.server, "s");
  EXPECT_THAT(r.status, Optional(200));
}

}  // namespace
}  // namespace cloudscale::sla
