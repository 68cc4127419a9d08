#include "services/monitor/rpc/guest_channels.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "common/check/check.h"
#include "common/logging/log.h"

namespace cloudscale::monitor {
namespace {

// How soon a guest that was silenced for a flood is heard again.
constexpr absl::Duration kRefillPeriod = absl::Milliseconds(100);

}  // namespace

GuestChannels::GuestChannels(MonitorState& state, ReportIntake& intake, MetricSink& metrics,
                             const Config& config)
    : state_(state),
      intake_(intake),
      metrics_(metrics),
      paths_(config.path_template, config.paths),
      scan_period_(config.scan_period),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CS_CHECK(wake_fd_ >= 0);
}

GuestChannels::~GuestChannels() {
  Stop();
  close(wake_fd_);
}

void GuestChannels::Start() {
  if (!paths_.empty() && state_.config().takes_guest_reports) {
    thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
  }
}

void GuestChannels::Stop() {
  thread_.request_stop();
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof(one));
  if (thread_.joinable()) {
    thread_.join();
  }
}

void GuestChannels::Run(std::stop_token stop) {
  // Real time: a socket's peer and a flood are of this world, not of a model.
  const std::unique_ptr<Clock> clock = MakeRealClock();
  MonoTime next_scan = clock->MonoNow();
  while (!stop.stop_requested()) {
    const MonoTime now = clock->MonoNow();
    if (now >= next_scan) {
      Scan(now);
      // Before the first snapshot there is nobody to look for; it comes soon.
      next_scan = now + (state_.newest() == nullptr ? kRefillPeriod : scan_period_);
    }
    Serve(*clock, next_scan - now);
  }
  channels_.clear();
}

void GuestChannels::Scan(MonoTime now) {
  const auto newest = state_.newest();
  if (newest == nullptr) {
    return;
  }
  std::set<std::string> present;
  for (const v1::VmSample& vm : newest->snapshot().vms()) {
    const std::optional<std::string> path = paths_.Find(vm.vm_uuid(), vm.name());
    if (!path.has_value() ||
        static_cast<int64_t>(present.size()) >= state_.config().max_guest_streams) {
      continue;
    }
    present.insert(vm.vm_uuid());
    std::unique_ptr<GuestChannel>& channel = channels_[vm.vm_uuid()];
    if (channel == nullptr || channel->path() != *path) {
      channel = std::make_unique<GuestChannel>(vm.vm_uuid(), *path, intake_);
    }
    if (channel->fd() >= 0) {
      continue;
    }
    const absl::Status status = channel->Connect(now);
    // A VM without an agent has no socket or nobody behind it: no news.
    LogLine(status.ok() ? LogLevel::kInfo : LogLevel::kDebug,
            status.ok() ? "guest_channel_opened" : "guest_channel_absent")
        .Field("vm", vm.vm_uuid())
        .Field("path", *path)
        .Field("status", status);
  }
  std::erase_if(channels_, [&](const auto& entry) { return !present.contains(entry.first); });
  metrics_.Set("cloudscale_monitor_guest_channels", {},
               static_cast<double>(std::ranges::count_if(
                   channels_, [](const auto& entry) { return entry.second->fd() >= 0; })));
}

void GuestChannels::Serve(const Clock& clock, absl::Duration timeout) {
  std::vector<pollfd> fds = {{.fd = wake_fd_, .events = POLLIN, .revents = 0}};
  std::vector<GuestChannel*> waiting;
  std::vector<GuestChannel*> silenced;
  for (const auto& [uuid, channel] : channels_) {
    if (channel->fd() < 0) {
      continue;
    }
    if (channel->events() == 0) {
      // Left out, for a hang-up would be told at once each time.
      silenced.push_back(channel.get());
      timeout = std::min(timeout, kRefillPeriod);
      continue;
    }
    fds.push_back({.fd = channel->fd(), .events = channel->events(), .revents = 0});
    waiting.push_back(channel.get());
  }
  // Rounded up, so that the rest of a millisecond is not spent in a circle.
  const int64_t wait_ms = absl::ToInt64Milliseconds(timeout) + 1;
  poll(fds.data(), fds.size(), static_cast<int>(std::clamp<int64_t>(wait_ms, 0, 3'600'000)));
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (fds[i + 1].revents != 0) {
      silenced.push_back(waiting[i]);
    }
  }
  for (GuestChannel* channel : silenced) {
    const absl::Status status = channel->Move(clock.MonoNow());
    if (const int64_t garbage = channel->TakeGarbageBytes(); garbage > 0) {
      metrics_.Count("cloudscale_monitor_guest_channel_garbage_bytes_total", {},
                     static_cast<double>(garbage));
    }
    if (!status.ok()) {
      Drop(*channel, status);
    }
  }
}

void GuestChannels::Drop(GuestChannel& channel, const absl::Status& reason) {
  LogLine(LogLevel::kInfo, "guest_channel_closed")
      .Field("vm", channel.vm_uuid())
      .Field("reason", reason);
  channel.Close();
}

}  // namespace cloudscale::monitor
