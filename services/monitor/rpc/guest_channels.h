#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "common/metrics/metric_sink.h"
#include "common/time/clock.h"
#include "services/monitor/rpc/channel_paths.h"
#include "services/monitor/rpc/guest_channel.h"
#include "services/monitor/rpc/monitor_state.h"
#include "services/monitor/rpc/report_intake.h"

namespace cloudscale::monitor {

// The channels of all VMs of the host that the newest snapshot names: connects to those that have a
// socket, and again when one is lost; lets go of those whose VM is gone. One thread; at most
// `MonitorState::Config::max_guest_streams` channels. Thread safety: Start and Stop from one
// thread.
class GuestChannels {
 public:
  struct Config {
    std::string path_template;
    std::map<std::string, std::string> paths;  // by VM
    absl::Duration scan_period = absl::Seconds(5);
  };

  // All must outlive it.
  GuestChannels(MonitorState& state, ReportIntake& intake, MetricSink& metrics,
                const Config& config);
  ~GuestChannels();

  // Does nothing where no channels are configured, or guests are not listened to.
  void Start();
  // Idempotent.
  void Stop();

 private:
  void Run(std::stop_token stop);
  void Scan(MonoTime now);
  // Waits for bytes, at most `timeout`, and carries them.
  void Serve(const Clock& clock, absl::Duration timeout);
  void Drop(GuestChannel& channel, const absl::Status& reason);

  MonitorState& state_;
  ReportIntake& intake_;
  MetricSink& metrics_;
  const ChannelPaths paths_;
  const absl::Duration scan_period_;
  const int wake_fd_;
  // By VM; the thread's own.
  std::map<std::string, std::unique_ptr<GuestChannel>> channels_;
  std::jthread thread_;
};

}  // namespace cloudscale::monitor
