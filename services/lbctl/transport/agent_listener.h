#pragma once

#include <functional>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/metrics/metric_sink.h"
#include "common/time/clock.h"
#include "services/lbctl/balancer.h"
#include "services/lbctl/transport/listen_socket.h"

namespace cloudscale::lbctl {

// Answers HAProxy's agent checks over TCP: one line, then it closes. A port stands for one server,
// or for the server that the check names in a line of its own (`agent-send "web/web-1\n"`). Bounds:
// kMaxConnections at once (more wait in the backlog), each for kMaxTime and kMaxName bytes; who is
// slower is dropped. HAProxy keeps what it has when it gets no answer. Thread safety: Start and
// Stop from one thread; `answer` is called on the listener's own thread.
class AgentListener {
 public:
  static constexpr size_t kMaxConnections = 256;
  static constexpr size_t kMaxName = 160;
  static constexpr absl::Duration kMaxTime = absl::Seconds(2);

  struct Port {
    std::string listen_address;
    ServerKey key;  // empty: named by the check
  };
  // A line with its end.
  using Answer = std::function<std::string(const ServerKey&)>;

  // `clock` is of real time, since it bounds sockets; all outlive the listener.
  AgentListener(const Clock& clock, MetricSink& metrics, Answer answer)
      : clock_(clock), metrics_(metrics), answer_(std::move(answer)) {}
  ~AgentListener() { Stop(); }

  // INVALID_ARGUMENT for an address that is none, UNAVAILABLE for one that cannot be had; nothing
  // listens then.
  absl::Status Start(const std::vector<Port>& ports);
  void Stop();

  // In the order of `ports`.
  [[nodiscard]] std::vector<int> bound_ports() const;

 private:
  struct Listening {
    Descriptor socket;
    ServerKey key;
  };
  struct Connection {
    Descriptor socket;
    const ServerKey* key;  // of its port
    MonoTime deadline;
    std::string name;  // so far
    bool is_answered = false;
  };

  void Run(const std::stop_token& stop);
  void Accept(const Listening& port);
  // False when it is over.
  bool Serve(Connection& connection);
  void Respond(Connection& connection);
  void Count(absl::string_view result);

  const Clock& clock_;
  MetricSink& metrics_;
  const Answer answer_;
  std::vector<Listening> ports_;
  std::list<Connection> connections_;
  MonoTime accepts_from_;
  Descriptor wake_;
  std::jthread thread_;
};

}  // namespace cloudscale::lbctl
