#include "services/lbctl/transport/agent_listener.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "common/status/macros.h"

namespace cloudscale::lbctl {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(200);

bool MayTryAgain(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ECONNABORTED;
}

}  // namespace

absl::Status AgentListener::Start(const std::vector<Port>& ports) {
  std::vector<Listening> opened;
  for (const Port& port : ports) {
    CS_ASSIGN_OR_RETURN(const SocketAddress address, ParseSocketAddress(port.listen_address));
    CS_ASSIGN_OR_RETURN(Descriptor socket, OpenListenSocket(address, SOCK_STREAM));
    opened.push_back({.socket = std::move(socket), .key = port.key});
  }
  CS_ASSIGN_OR_RETURN(wake_, OpenWakeEvent());
  ports_ = std::move(opened);
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  return absl::OkStatus();
}

void AgentListener::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    SetWakeEvent(wake_);
    thread_.join();
  }
  connections_.clear();
  ports_.clear();
}

std::vector<int> AgentListener::bound_ports() const {
  std::vector<int> out;
  out.reserve(ports_.size());
  for (const Listening& port : ports_) {
    out.push_back(BoundPort(port.socket));
  }
  return out;
}

void AgentListener::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::vector<pollfd> waited = {{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    MonoTime soonest = clock_.MonoNow() + kMaxTime;
    for (const Connection& connection : connections_) {
      waited.push_back({.fd = connection.socket.get(), .events = POLLIN, .revents = 0});
      soonest = std::min(soonest, connection.deadline);
    }
    // While there is no room, more stay in the backlog.
    const bool has_room =
        connections_.size() < kMaxConnections && clock_.MonoNow() >= accepts_from_;
    if (clock_.MonoNow() < accepts_from_) {
      soonest = std::min(soonest, accepts_from_);
    }
    for (const Listening& port : ports_) {
      waited.push_back({.fd = has_room ? port.socket.get() : -1, .events = POLLIN, .revents = 0});
    }
    const absl::Duration left = std::max(soonest - clock_.MonoNow(), absl::ZeroDuration());
    poll(waited.data(), waited.size(), static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    size_t i = 1;
    for (auto it = connections_.begin(); it != connections_.end(); ++i) {
      bool goes_on = true;
      if (waited[i].revents != 0) {
        goes_on = Serve(*it);
      } else if (clock_.MonoNow() >= it->deadline) {
        if (!it->is_answered) {
          Count("too_slow");
        }
        goes_on = false;
      }
      it = goes_on ? std::next(it) : connections_.erase(it);
    }
    for (const Listening& port : ports_) {
      if (waited[i++].revents != 0) {
        Accept(port);
      }
    }
  }
}

void AgentListener::Accept(const Listening& port) {
  while (connections_.size() < kMaxConnections) {
    Descriptor socket(accept4(port.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.get() < 0) {
      if (!MayTryAgain(errno)) {  // out of descriptors: the next check finds one, perhaps
        Count("failed");
        accepts_from_ = clock_.MonoNow() + kPause;
      }
      return;
    }
    connections_.push_back({.socket = std::move(socket),
                            .key = &port.key,
                            .deadline = clock_.MonoNow() + kMaxTime,
                            .name = "",
                            .is_answered = false});
    if (!port.key.server.empty()) {
      Respond(connections_.back());
    }
  }
}

bool AgentListener::Serve(Connection& connection) {
  std::array<char, kMaxName> buffer{};
  const ssize_t got = recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) {
    return MayTryAgain(errno);
  }
  if (got == 0) {
    if (!connection.is_answered) {
      Count("failed");
    }
    return false;
  }
  if (connection.is_answered) {
    return true;  // read away, since closing with bytes unread would cut off our answer
  }
  connection.name.append(buffer.data(), static_cast<size_t>(got));
  if (connection.name.find('\n') != std::string::npos) {
    Respond(connection);
  } else if (connection.name.size() > kMaxName) {
    Count("unknown_server");
    return false;
  }
  return true;
}

void AgentListener::Respond(Connection& connection) {
  ServerKey key = *connection.key;
  if (key.server.empty()) {
    const std::string line(
        absl::StripAsciiWhitespace(connection.name.substr(0, connection.name.find('\n'))));
    const size_t slash = line.find('/');
    key.backend = line.substr(0, slash);
    key.server = slash == std::string::npos ? "" : line.substr(slash + 1);
  }
  const std::string answer = answer_(key);
  // A line fits into the empty buffer of a new connection.
  const ssize_t sent =
      send(connection.socket.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  connection.is_answered = true;
  shutdown(connection.socket.get(), SHUT_WR);
  Count(sent == static_cast<ssize_t>(answer.size()) ? "answered" : "failed");
}

void AgentListener::Count(absl::string_view result) {
  metrics_.Count("cloudscale_lbctl_agent_checks_total", {{"result", std::string(result)}}, 1);
}

}  // namespace cloudscale::lbctl
