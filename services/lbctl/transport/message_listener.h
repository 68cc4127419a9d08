#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/metrics/metric_sink.h"
#include "common/time/clock.h"
#include "services/lbctl/plans.h"
#include "services/lbctl/transport/listen_socket.h"

namespace cloudscale::lbctl {

// Plans by UDP message, for set-ups whose migration scripts send `Load PHPSer1`, `Load PHPSer2` or
// `Balance` to their balancer controller. A datagram whose text is known gives its plan to `apply`;
// all others are counted and dropped, and nothing is ever answered. UDP proves no origin: only
// datagrams from `allowed_sources` count, by default those of the machine itself.
// Bounds: kMaxDatagram bytes, `max_per_minute` plans.
// Thread safety: Start and Stop from one thread; `apply` is called on the listener's own thread.
class MessageListener {
 public:
  static constexpr size_t kMaxDatagram = 512;

  struct Options {
    std::string listen_address;
    std::map<std::string, PlanOrder> plans;  // by text
    std::set<std::string> allowed_sources;   // as the system prints them; empty: loopback
    int max_per_minute = 60;
  };
  // False when it is not taken, as the service is stopping or overloaded.
  using Apply = std::function<bool(const PlanOrder& order, const std::string& text)>;

  // All outlive the listener.
  MessageListener(const Clock& clock, MetricSink& metrics, Options options, Apply apply);
  ~MessageListener() { Stop(); }

  // INVALID_ARGUMENT for an address that is none, UNAVAILABLE for one that cannot be had.
  absl::Status Start();
  void Stop();

  [[nodiscard]] int bound_port() const { return BoundPort(socket_); }

 private:
  void Run(const std::stop_token& stop);
  void Receive();
  [[nodiscard]] bool IsAllowed(const SocketAddress& source) const;
  // What became of a datagram, for the counter.
  std::string Handle(const std::string& text, bool is_cut, const SocketAddress& source);

  const Clock& clock_;
  MetricSink& metrics_;
  const Options options_;
  const Apply apply_;
  Descriptor socket_;
  Descriptor wake_;
  MonoTime minute_start_;
  int in_minute_ = 0;
  std::jthread thread_;
};

}  // namespace cloudscale::lbctl
