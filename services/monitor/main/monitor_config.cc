#include "services/monitor/main/monitor_config.h"

#include <algorithm>
#include <limits>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/main.h"
#include "common/rpc/time_conversion.h"
#include "services/monitor/rpc/channel_paths.h"

namespace cloudscale::monitor {
namespace {

using cloudscale::rpc::FromProto;

std::string Path(absl::string_view prefix, absl::string_view field) {
  return prefix.empty() ? std::string(field) : absl::StrCat(prefix, ".", field);
}

void RequireDuration(Violations& faults, const std::string& path,
                     const google::protobuf::Duration& value, absl::Duration low,
                     absl::Duration high) {
  const absl::Duration duration = FromProto(value);
  if (duration < low || duration > high) {
    faults.Add(path, absl::FormatDuration(duration),
               absl::StrCat(absl::FormatDuration(low), " to ", absl::FormatDuration(high)));
  }
}

// 0 stands for the default.
void RequireCount(Violations& faults, const std::string& path, int64_t value, int64_t low,
                  int64_t high) {
  if (value != 0 && (value < low || value > high)) {
    faults.Add(path, absl::StrCat(value), absl::StrCat(low, " to ", high));
  }
}

absl::Duration Period(const config::v1::MonitorConfig& config) {
  return config.has_sampling_period() ? FromProto(config.sampling_period()) : absl::Seconds(1);
}

void ValidateChannels(const config::v1::GuestChannelsConfig& channels, const std::string& path,
                      Violations& faults) {
  if (!channels.path_template().empty()) {
    if (const absl::Status status = CheckPathTemplate(channels.path_template()); !status.ok()) {
      faults.Add(Path(path, "path_template"), channels.path_template(), status.message());
    }
  }
  if (channels.has_scan_period()) {
    RequireDuration(faults, Path(path, "scan_period"), channels.scan_period(),
                    absl::Milliseconds(100), absl::Hours(1));
  }
  std::set<std::string> seen;
  for (int i = 0; i < channels.channels_size(); ++i) {
    const config::v1::GuestChannel& channel = channels.channels(i);
    const std::string at = absl::StrCat(path, ".channels[", i, "]");
    if (!IsUuid(channel.vm_uuid()) || !seen.insert(channel.vm_uuid()).second) {
      faults.Add(Path(at, "vm_uuid"), channel.vm_uuid(), "lower-case UUID, once");
    }
    if (!absl::StartsWith(channel.path(), "/") || !seen.insert(channel.path()).second) {
      faults.Add(Path(at, "path"), channel.path(), "absolute path, once");
    }
  }
}

}  // namespace

void ValidateMonitorConfig(const config::v1::MonitorConfig& config, absl::string_view prefix,
                           Violations& faults) {
  if (config.host_id().size() > 128) {
    faults.Add(Path(prefix, "host_id"), absl::StrCat(config.host_id().size(), " characters"),
               "1 to 128 characters");
  }
  if (config.has_sampling_period()) {
    RequireDuration(faults, Path(prefix, "sampling_period"), config.sampling_period(),
                    absl::Milliseconds(10), absl::Hours(1));
  }
  RequireCount(faults, Path(prefix, "history_samples"), config.history_samples(), 10, 100'000);
  RequireCount(faults, Path(prefix, "telemetry_buffer_batches"), config.telemetry_buffer_batches(),
               1, 3600);
  const config::v1::GuestReportLimits& guests = config.guest_reports();
  const std::string guest_path = Path(prefix, "guest_reports");
  if (guests.has_max_age()) {
    RequireDuration(faults, Path(guest_path, "max_age"), guests.max_age(), absl::Milliseconds(100),
                    absl::Hours(1));
  }
  RequireCount(faults, Path(guest_path, "max_streams"), guests.max_streams(), 1, 10'000);
  const double rate = guests.max_reports_per_second();
  if (rate != 0 && !(rate > 0 && rate <= 100)) {
    faults.Add(Path(guest_path, "max_reports_per_second"), absl::StrCat(rate), "above 0 to 100");
  }
  if (guests.has_max_clock_skew()) {
    RequireDuration(faults, Path(guest_path, "max_clock_skew"), guests.max_clock_skew(),
                    absl::Milliseconds(1), absl::Hours(24));
  }
  ValidateChannels(config.guest_channels(), Path(prefix, "guest_channels"), faults);
  const config::v1::ClientConfig& client = config.client();
  if (client.has_backoff_min()) {
    RequireDuration(faults, Path(prefix, "client.backoff_min"), client.backoff_min(),
                    absl::Milliseconds(1), absl::Minutes(10));
  }
  if (client.has_backoff_max()) {
    RequireDuration(
        faults, Path(prefix, "client.backoff_max"), client.backoff_max(),
        client.has_backoff_min() ? FromProto(client.backoff_min()) : absl::Milliseconds(200),
        absl::Minutes(10));
  }
}

SamplingConfig MakeSamplingConfig(const config::v1::MonitorConfig& config,
                                  const hypervisor::Capabilities& capabilities) {
  SamplingConfig out;
  out.host_id = config.host_id();
  out.period = Period(config);
  const config::v1::GuestReportLimits& guests = config.guest_reports();
  if (guests.has_max_age()) {
    out.max_guest_age = FromProto(guests.max_age());
  }
  if (guests.has_max_clock_skew()) {
    out.max_clock_skew = FromProto(guests.max_clock_skew());
  }
  out.is_guest_memory_trusted = guests.is_memory_trusted();
  // A container's memory is its control group's, whoever made it.
  out.backend_memory_source =
      absl::StartsWith(capabilities.backend, "cgroup") || capabilities.backend == "libvirt-lxc"
          ? GuestSource::kCgroup
          : GuestSource::kBalloon;
  // A guest kernel never runs for a whole period without using a nanosecond, so on a real
  // hypervisor a counter that stands still is stuck, for however long. A process group may really
  // be idle.
  if (absl::StartsWith(capabilities.backend, "xen") || capabilities.backend == "libvirt-xen" ||
      capabilities.backend == "libvirt-qemu") {
    out.standing_samples_distrusted = std::numeric_limits<int64_t>::max();
  }
  return out;
}

MonitorState::Config MakeStateConfig(const config::v1::MonitorConfig& config,
                                     const hypervisor::Capabilities& capabilities) {
  MonitorState::Config out;
  out.host_id = config.host_id();
  out.hostname = rpc::HostName();
  out.backend = capabilities.backend;
  const std::pair<bool, const char*> named[] = {
      {capabilities.cpu_cap, "cpu_cap"},
      {capabilities.cpu_weight, "cpu_weight"},
      {capabilities.memory_target, "memory_target"},
      {capabilities.vcpu_count, "vcpu_count"},
      {capabilities.live_migration, "live_migration"},
      {capabilities.throttled_time, "throttled_time"},
      {capabilities.wait_time, "wait_time"},
      {capabilities.memory_pressure, "memory_pressure"},
  };
  for (const auto& [is_there, name] : named) {
    if (is_there) {
      out.capabilities.emplace_back(name);
    }
  }
  out.period = Period(config);
  if (config.history_samples() > 0) {
    out.history_samples = static_cast<size_t>(config.history_samples());
  }
  out.forget_after = out.period * SamplingConfig{}.forget_after_periods;
  const int queue_length = config.server().limits().max_watch_queue_length();
  if (queue_length > 0) {
    out.watch_queue_length = static_cast<size_t>(queue_length);
  }
  const config::v1::GuestReportLimits& guests = config.guest_reports();
  out.takes_guest_reports = !guests.has_is_enabled() || guests.is_enabled();
  if (guests.max_reports_per_second() > 0) {
    out.guest_reports.max_reports_per_second = guests.max_reports_per_second();
  }
  if (guests.max_streams() > 0) {
    out.max_guest_streams = guests.max_streams();
  }
  return out;
}

GuestChannels::Config MakeChannelsConfig(const config::v1::MonitorConfig& config) {
  const config::v1::GuestChannelsConfig& channels = config.guest_channels();
  GuestChannels::Config out;
  out.path_template = channels.path_template();
  for (const config::v1::GuestChannel& channel : channels.channels()) {
    out.paths[channel.vm_uuid()] = channel.path();
  }
  if (channels.has_scan_period()) {
    out.scan_period = FromProto(channels.scan_period());
  }
  return out;
}

PredictorLink::Config MakeLinkConfig(const config::v1::MonitorConfig& config) {
  PredictorLink::Config out;
  out.address = config.predictor_address();
  if (config.telemetry_buffer_batches() > 0) {
    out.max_pending = static_cast<size_t>(config.telemetry_buffer_batches());
  }
  out.backoff.initial = config.client().has_backoff_min() ? FromProto(config.client().backoff_min())
                                                          : absl::Milliseconds(200);
  out.backoff.max = config.client().has_backoff_max() ? FromProto(config.client().backoff_max())
                                                      : absl::Seconds(10);
  return out;
}

}  // namespace cloudscale::monitor
