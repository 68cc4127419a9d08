#include "services/lbctl/transport/message_listener.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "common/logging/log.h"
#include "common/status/macros.h"

namespace cloudscale::lbctl {
namespace {

// Between two looks at whether to stop.
constexpr int kMaxBurst = 64;

// An IPv4 source as an IPv6 socket shows it is the same source.
std::string HostOf(const SocketAddress& source) {
  const std::string host = source.host();
  constexpr absl::string_view kMapped = "::ffff:";
  return absl::StartsWith(host, kMapped) && absl::StrContains(host, '.')
             ? host.substr(kMapped.size())
             : host;
}

}  // namespace

MessageListener::MessageListener(const Clock& clock, MetricSink& metrics, Options options,
                                 Apply apply)
    : clock_(clock),
      metrics_(metrics),
      options_(std::move(options)),
      apply_(std::move(apply)),
      minute_start_(clock.MonoNow()) {}

absl::Status MessageListener::Start() {
  CS_ASSIGN_OR_RETURN(const SocketAddress address, ParseSocketAddress(options_.listen_address));
  CS_ASSIGN_OR_RETURN(socket_, OpenListenSocket(address, SOCK_DGRAM));
  CS_ASSIGN_OR_RETURN(wake_, OpenWakeEvent());
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  return absl::OkStatus();
}

void MessageListener::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    SetWakeEvent(wake_);
    thread_.join();
  }
  socket_.Reset();
}

void MessageListener::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::array<pollfd, 2> waited = {{{.fd = wake_.get(), .events = POLLIN, .revents = 0},
                                     {.fd = socket_.get(), .events = POLLIN, .revents = 0}}};
    poll(waited.data(), waited.size(), -1);
    if (waited[1].revents != 0) {
      Receive();
    }
  }
}

void MessageListener::Receive() {
  for (int i = 0; i < kMaxBurst; ++i) {
    std::array<char, kMaxDatagram> buffer{};
    SocketAddress source;
    source.length = sizeof(source.storage);
    const ssize_t got =
        recvfrom(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC,
                 reinterpret_cast<sockaddr*>(&source.storage), &source.length);
    if (got < 0) {
      return;  // none left, or an error that an earlier datagram brought back
    }
    const bool is_cut = static_cast<size_t>(got) > buffer.size();
    const std::string text(buffer.data(), is_cut ? 0 : static_cast<size_t>(got));
    metrics_.Count("cloudscale_lbctl_messages_total", {{"result", Handle(text, is_cut, source)}},
                   1);
  }
}

bool MessageListener::IsAllowed(const SocketAddress& source) const {
  const std::string host = HostOf(source);
  return options_.allowed_sources.empty() ? host == "::1" || absl::StartsWith(host, "127.")
                                          : options_.allowed_sources.contains(host);
}

std::string MessageListener::Handle(const std::string& text, bool is_cut,
                                    const SocketAddress& source) {
  if (!IsAllowed(source)) {
    return "foreign_source";
  }
  const std::string message(absl::StripAsciiWhitespace(text));
  const auto plan = options_.plans.find(message);
  if (is_cut || plan == options_.plans.end()) {
    return "unknown";
  }
  const MonoTime now = clock_.MonoNow();
  if (now - minute_start_ >= absl::Minutes(1)) {
    minute_start_ = now;
    in_minute_ = 0;
  }
  if (in_minute_ >= options_.max_per_minute) {
    return "too_many";
  }
  ++in_minute_;
  LogLine(LogLevel::kInfo, "plan_by_message")
      .Field("text", message)
      .Field("source", HostOf(source));
  return apply_(plan->second, message) ? "taken" : "refused";
}

}  // namespace cloudscale::lbctl
