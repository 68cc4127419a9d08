#include "services/monitor/guest_reports.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "common/status/violations.h"

namespace cloudscale::monitor {
namespace {

void RequireBetween(Violations& faults, absl::string_view field, int64_t value, int64_t low,
                    int64_t high) {
  if (value < low || value > high) {
    faults.Add(field, absl::StrCat(value), absl::StrCat(low, " <= x <= ", high));
  }
}

void RequireCount(Violations& faults, absl::string_view field, std::optional<int64_t> value) {
  if (value.has_value()) {
    RequireBetween(faults, field, *value, 0, GuestReportStore::kMaxCount);
  }
}

void RequireRatio(Violations& faults, absl::string_view field, std::optional<double> value) {
  if (value.has_value()) {
    RequireInRange(faults, field, *value, 0, 1);
  }
}

void RequirePressure(Violations& faults, absl::string_view field,
                     const std::optional<GuestPressure>& pressure) {
  if (pressure.has_value()) {
    RequireRatio(faults, absl::StrCat(field, ".some_ratio"), pressure->some_ratio);
    RequireRatio(faults, absl::StrCat(field, ".full_ratio"), pressure->full_ratio);
  }
}

void RequireMemory(Violations& faults, const GuestReport& report) {
  RequireBetween(faults, "memory_total_bytes", report.memory_total_bytes, 1,
                 GuestReportStore::kMaxBytes);
  const int64_t total =
      std::clamp<int64_t>(report.memory_total_bytes, 0, GuestReportStore::kMaxBytes);
  if (report.memory_available_bytes.has_value()) {
    RequireBetween(faults, "memory_available_bytes", *report.memory_available_bytes, 0, total);
  }
  // The kernel estimates "available" cautiously, so free may exceed it by the low watermarks.
  RequireBetween(faults, "memory_free_bytes", report.memory_free_bytes, 0, total);
  if (report.memory_cached_bytes.has_value()) {
    RequireBetween(faults, "memory_cached_bytes", *report.memory_cached_bytes, 0, total);
  }
  if (report.swap_total_bytes.has_value()) {
    RequireBetween(faults, "swap_total_bytes", *report.swap_total_bytes, 0,
                   GuestReportStore::kMaxBytes);
  }
  if (report.swap_free_bytes.has_value()) {
    RequireBetween(faults, "swap_free_bytes", *report.swap_free_bytes, 0,
                   std::max<int64_t>(0, report.swap_total_bytes.value_or(0)));
  }
}

}  // namespace

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    const auto c = static_cast<unsigned char>(text[i]);
    if (is_dash ? c != '-' : !(absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'))) {
      return false;
    }
  }
  return true;
}

absl::Status ValidateGuestReport(const GuestReport& report) {
  Violations faults;
  if (!IsUuid(report.vm_uuid)) {
    faults.Add("vm_uuid", report.vm_uuid.substr(0, 64), "lower-case UUID");
  }
  if (report.boot_id.empty() || report.boot_id.size() > 64) {
    faults.Add("boot_id", report.boot_id.substr(0, 64), "1 to 64 characters");
  }
  RequireBetween(faults, "sequence", report.sequence, 1, GuestReportStore::kMaxCount);
  if (report.uptime < absl::ZeroDuration() || report.uptime > absl::Hours(24 * 36525)) {
    faults.Add("uptime", absl::FormatDuration(report.uptime), "0 to 100 years");
  }
  if (report.sample_time < absl::UnixEpoch() || report.sample_time == absl::InfiniteFuture()) {
    faults.Add("sample_time", absl::FormatTime(report.sample_time, absl::UTCTimeZone()),
               "a time after 1970-01-01");
  }
  RequireMemory(faults, report);
  RequireCount(faults, "swap_in_bytes", report.swap_in_bytes);
  RequireCount(faults, "swap_out_bytes", report.swap_out_bytes);
  RequireCount(faults, "major_fault_count", report.major_fault_count);
  RequireCount(faults, "oom_kill_count", report.oom_kill_count);
  RequireCount(faults, "run_queue_length", report.run_queue_length);
  if (report.load_average.has_value()) {
    RequireInRange(faults, "load_average", *report.load_average, 0, 1e6);
  }
  RequireRatio(faults, "cpu_steal_ratio", report.cpu_steal_ratio);
  RequirePressure(faults, "cpu_pressure", report.cpu_pressure);
  RequirePressure(faults, "memory_pressure", report.memory_pressure);
  RequirePressure(faults, "io_pressure", report.io_pressure);
  if (report.vcpu_count.has_value()) {
    RequireBetween(faults, "vcpu_count", *report.vcpu_count, 1, 4096);
  }
  return faults.ToStatus();
}

void GuestReportStore::SetKnownVms(const std::set<std::string>& uuids) {
  known_ = uuids;
  std::erase_if(held_, [&](const auto& entry) { return !known_.contains(entry.first); });
  std::erase_if(buckets_, [&](const auto& entry) { return !known_.contains(entry.first); });
  std::erase_if(refusals_, [&](const auto& entry) { return !known_.contains(entry.first); });
}

bool GuestReportStore::NoteRefusal(absl::string_view bound_uuid, absl::StatusCode code) {
  const std::string uuid(bound_uuid);
  return known_.contains(uuid) && refusals_[uuid].insert(code).second;
}

bool GuestReportStore::TakeToken(MonoTime now, const std::string& uuid) {
  const auto [it, is_new] = buckets_.try_emplace(uuid);
  Bucket& bucket = it->second;
  if (!is_new && now > bucket.filled_at) {
    const double seconds = absl::ToDoubleSeconds(now - bucket.filled_at);
    bucket.tokens =
        std::min(kBurstReports, bucket.tokens + seconds * config_.max_reports_per_second);
  }
  bucket.filled_at = is_new ? now : std::max(now, bucket.filled_at);
  if (bucket.tokens < 1) {
    return false;
  }
  bucket.tokens -= 1;
  return true;
}

absl::Status GuestReportStore::Check(MonoTime now, absl::string_view bound_uuid,
                                     const GuestReport& report) {
  if (report.vm_uuid != bound_uuid) {
    return absl::PermissionDeniedError(absl::StrCat("stream belongs to vm ",
                                                    bound_uuid.substr(0, 64), ", the report names ",
                                                    report.vm_uuid.substr(0, 64)));
  }
  if (!known_.contains(report.vm_uuid)) {
    // Checked before anything is stored, so that made-up names cost no memory.
    CS_RETURN_IF_ERROR(ValidateGuestReport(report));
    return absl::NotFoundError(absl::StrCat("vm ", report.vm_uuid, " is not on this host"));
  }
  if (!TakeToken(now, report.vm_uuid)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", config_.max_reports_per_second, " reports per second"));
  }
  return ValidateGuestReport(report);
}

absl::Status GuestReportStore::Take(MonoTime now, absl::Time wall_now, absl::string_view bound_uuid,
                                    const GuestReport& report) {
  if (absl::Status status = Check(now, bound_uuid, report); !status.ok()) {
    ++refused_count_;
    return status;
  }
  const auto it = held_.find(report.vm_uuid);
  if (it != held_.end()) {
    const GuestReport& last = it->second.report;
    // A restarted agent counts from 1 again within the same boot; its uptime gives it away. What is
    // neither higher in number nor later in uptime has been here before.
    if (last.boot_id == report.boot_id && report.sequence <= last.sequence &&
        report.uptime <= last.uptime) {
      return absl::OkStatus();
    }
  }
  held_.insert_or_assign(report.vm_uuid, HeldReport{.report = report,
                                                    .received_at = now,
                                                    .clock_skew = report.sample_time - wall_now});
  return absl::OkStatus();
}

}  // namespace cloudscale::monitor
