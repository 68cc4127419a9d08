#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Parsers of the kernel's cgroup files. Pure. Every error is INVALID_ARGUMENT and quotes the text
// (shortened), because that is what an operator needs to see.
namespace cloudscale::hypervisor::cgroup {

// A single number >= 0, with or without a newline.
[[nodiscard]] absl::StatusOr<int64_t> ParseCount(absl::string_view text);

// A memory limit: a number >= 0, or nullopt for none. v1 writes "none" as a number near 2^63 (its
// size depends on the page size), v2 writes "max".
[[nodiscard]] absl::StatusOr<std::optional<int64_t>> ParseLimit(absl::string_view text);

// Lines of "key value"; a repeated key or a line of another shape is an error. Values >= 0.
[[nodiscard]] absl::StatusOr<std::map<std::string, int64_t>> ParseFlatKeyed(absl::string_view text);

// A CPU quota over a period.
struct CpuQuota {
  std::optional<int64_t> quota_us;  // nullopt = no cap; else > 0
  int64_t period_us = 100000;       // > 0
  [[nodiscard]] std::optional<double> cores() const;
  friend bool operator==(const CpuQuota&, const CpuQuota&) = default;
};

// v2's cpu.max: "max 100000" or "30000 100000".
[[nodiscard]] absl::StatusOr<CpuQuota> ParseCpuMax(absl::string_view text);

// v1's cpu.cfs_quota_us (-1 = no cap) and cpu.cfs_period_us.
[[nodiscard]] absl::StatusOr<CpuQuota> ParseCfsQuota(absl::string_view quota,
                                                     absl::string_view period);

// The 10-second average of the "some" line of a pressure file, as a ratio 0 to 1.
[[nodiscard]] absl::StatusOr<double> ParsePressureSome(absl::string_view text);

// v1's cpu.shares (2 to 262144, 1024 normal) to and from our weight (1 to 10000, 100 normal).
// WeightFromShares(SharesFromWeight(w)) == w.
[[nodiscard]] int64_t SharesFromWeight(int64_t weight);
[[nodiscard]] int64_t WeightFromShares(int64_t shares);

// Quota in microseconds a period for a cap in cores, rounded up to whole microseconds and to the
// kernel's least quota of 1 ms. `cores` must be > 0 and finite.
[[nodiscard]] int64_t QuotaFromCores(double cores, int64_t period_us);

// A name-based UUID (RFC 9562 version 8; the hash is FNV-1a of 128 bits): the same host and group
// path always give the same one.
[[nodiscard]] std::string UuidFromName(absl::string_view host_id, absl::string_view group_path);

// Whether `text` has the form of a UUID (8-4-4-4-12 hex digits).
[[nodiscard]] bool IsUuid(absl::string_view text);

}  // namespace cloudscale::hypervisor::cgroup
