#include "hypervisor/fake/fake_vm.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"

namespace cloudscale::hypervisor::fake {
namespace {

constexpr double kViolationShare = 0.01;  // withheld, of what could have been used
constexpr double kPressureSeconds = 10;   // averaging time, as the kernel's avg10
constexpr double kIdleMemoryFraction = 0.25;
constexpr int64_t kNormalWeight = 100;

absl::Duration FromSeconds(double seconds) {
  return absl::Nanoseconds(std::llround(seconds * 1e9));
}

int64_t Bytes(double bytes) { return static_cast<int64_t>(std::llround(bytes)); }

}  // namespace

Capabilities AllCapabilities() {
  Capabilities capabilities;
  capabilities.backend = "fake";
  capabilities.cpu_cap = true;
  capabilities.cpu_weight = true;
  capabilities.memory_target = true;
  capabilities.vcpu_count = true;
  capabilities.live_migration = true;
  capabilities.throttled_time = true;
  capabilities.wait_time = true;
  capabilities.memory_pressure = true;
  return capabilities;
}

std::string VmChange::ToString() const {
  switch (kind) {
    case Kind::kCpuCap:
      return absl::StrCat("cpu_cap ", cores.has_value() ? absl::StrCat(*cores) : "none");
    case Kind::kCpuWeight:
      return absl::StrCat("cpu_weight ", number.value_or(0));
    case Kind::kMemoryTarget:
      return absl::StrCat("memory_target ", number.has_value() ? absl::StrCat(*number) : "none");
    case Kind::kVcpuCount:
      return absl::StrCat("vcpu_count ", number.value_or(0));
  }
  return "unknown";
}

FakeVm::FakeVm(FakeVmSpec spec, MonoTime now)
    : spec_(std::move(spec)),
      work_start_(now),
      runs_from_(now),
      allocation_(spec_.allocation),
      vcpu_count_(spec_.vcpu_count),
      memory_current_(static_cast<double>(spec_.memory_maximum_bytes)) {
  CS_CHECK(!spec_.uuid.empty() && spec_.vcpu_count >= 1 && spec_.memory_maximum_bytes > 0);
  memory_need_ = MemoryNeedAt(absl::ZeroDuration());
  BeginIncarnation();
}

void FakeVm::BeginIncarnation() {
  incarnation_ = absl::StrCat(spec_.uuid, "#", ++incarnation_number_);
  counters_ = {};
  stuck_ = {};
}

double FakeVm::MemoryNeedAt(absl::Duration since_start) const {
  const double fraction = spec_.memory_demand == nullptr
                              ? kIdleMemoryFraction
                              : spec_.memory_demand->FractionAt(since_start);
  return fraction * static_cast<double>(spec_.memory_maximum_bytes);
}

void FakeVm::Restart(MonoTime now) {
  BeginIncarnation();
  state_ = VmState::kBooting;
  runs_from_ = now + spec_.boot_time;
  allocation_ = spec_.allocation;
  claimed_allocation_.reset();
  pending_.clear();
  vcpu_count_ = spec_.vcpu_count;
  truth_.lost_core_seconds += truth_.backlog_core_seconds;
  truth_.backlog_core_seconds = 0;
  pressure_ = 0;
}

void FakeVm::Arrive(MonoTime now) {
  BeginIncarnation();
  state_ = VmState::kRunning;
  runs_from_ = now;
}

CpuClaim FakeVm::BeginStep(MonoTime begin, absl::Duration dt) {
  dt_ = dt;
  for (size_t i = 0; i < pending_.size();) {
    if (pending_[i].due <= begin) {
      Apply(pending_[i].change);
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  if (state_ == VmState::kBooting && begin >= runs_from_) {
    state_ = VmState::kRunning;
  }
  demand_ = want_ = limit_ = 0;
  if (consumes() && begin >= runs_from_) {
    const absl::Duration middle = begin + dt / 2 - work_start_;
    const auto full = static_cast<double>(spec_.vcpu_count);
    demand_ = spec_.cpu_demand == nullptr ? 0 : spec_.cpu_demand->FractionAt(middle) * full;
    memory_need_ = MemoryNeedAt(middle);
    const auto vcpus = static_cast<double>(vcpu_count_);
    want_ = std::min(demand_ + truth_.backlog_core_seconds / absl::ToDoubleSeconds(dt), vcpus);
    limit_ = std::min(want_, allocation_.cpu_cap_cores.value_or(vcpus));
  }
  return {limit_, allocation_.cpu_weight.value_or(kNormalWeight)};
}

void FakeVm::EndStep(double granted_cores) {
  const double seconds = absl::ToDoubleSeconds(dt_);
  const bool is_running = consumes();
  truth_.demand_cores = demand_;
  truth_.granted_cores = granted_cores;
  counters_.cpu += granted_cores * seconds;
  counters_.work += granted_cores * seconds;
  counters_.throttled += (want_ - limit_) * seconds;
  counters_.wait += (limit_ - granted_cores) * seconds;

  const double rest = truth_.backlog_core_seconds + (demand_ - granted_cores) * seconds;
  truth_.backlog_core_seconds = std::clamp(rest, 0.0, spec_.backlog_limit_core_seconds);
  truth_.lost_core_seconds += std::max(rest - truth_.backlog_core_seconds, 0.0);
  truth_.demand_core_seconds += demand_ * seconds;
  truth_.granted_core_seconds += granted_cores * seconds;
  truth_.peak_demand_cores = std::max(truth_.peak_demand_cores, demand_);
  if (is_running) {
    const auto vcpus = static_cast<double>(vcpu_count_);
    truth_.running_time += dt_;
    truth_.allocated_core_seconds +=
        std::min(allocation_.cpu_cap_cores.value_or(vcpus), vcpus) * seconds;
    if (granted_cores < (1 - kViolationShare) * want_) {
      truth_.violation_time += dt_;
    }
    if (limit_ < (1 - kViolationShare) * want_) {
      truth_.cap_violation_time += dt_;
    }
  }
  StepMemory(dt_);
}

void FakeVm::StepMemory(absl::Duration dt) {
  const double seconds = absl::ToDoubleSeconds(dt);
  const auto maximum = static_cast<double>(spec_.memory_maximum_bytes);
  const double target =
      static_cast<double>(allocation_.memory_target_bytes.value_or(spec_.memory_maximum_bytes));
  if (target >= memory_current_ || spec_.balloon == BalloonGuest::kCooperative) {
    memory_current_ = std::min(target, maximum);
  } else if (spec_.balloon == BalloonGuest::kSlow) {
    memory_current_ = std::max(target, memory_current_ - spec_.balloon_bytes_per_second * seconds);
  }
  truth_.memory_need_bytes = Bytes(memory_need_);
  truth_.allocated_byte_seconds += memory_current_ * seconds;
  double missing_share = 0;
  if (consumes() && memory_need_ > memory_current_) {
    missing_share = std::min((memory_need_ - memory_current_) / memory_need_, 1.0);
    truth_.memory_violation_time += dt;
  }
  pressure_ += (missing_share - pressure_) * (1 - std::exp(-seconds / kPressureSeconds));
}

absl::Status FakeVm::Check(const VmChange& change, const Capabilities& capabilities) const {
  if (state_ == VmState::kShutOff || state_ == VmState::kCrashed) {
    return absl::FailedPreconditionError(absl::StrCat("vm ", spec_.uuid, " does not run"));
  }
  auto outside = [&](absl::string_view allowed) {
    return absl::InvalidArgumentError(
        absl::StrCat("vm ", spec_.uuid, ": ", change.ToString(), "; allowed is ", allowed));
  };
  const int64_t number = change.number.value_or(0);
  switch (change.kind) {
    case VmChange::Kind::kCpuCap:
      if (change.cores.has_value() && !(std::isfinite(*change.cores) && *change.cores > 0 &&
                                        *change.cores >= capabilities.cpu_cap_min_cores)) {
        return outside(absl::StrCat("at least ", capabilities.cpu_cap_min_cores, " cores"));
      }
      return absl::OkStatus();
    case VmChange::Kind::kCpuWeight:
      return number < 1 || number > 10000 ? outside("1 to 10000") : absl::OkStatus();
    case VmChange::Kind::kMemoryTarget:
      if (change.number.has_value() && number <= 0) {
        return outside("more than 0 bytes");
      }
      if (number > spec_.memory_maximum_bytes) {
        return absl::OutOfRangeError(absl::StrCat("vm ", spec_.uuid, ": ", change.ToString(),
                                                  " is above its maximum of ",
                                                  spec_.memory_maximum_bytes));
      }
      return absl::OkStatus();
    case VmChange::Kind::kVcpuCount:
      if (number < 1) {
        return outside("at least 1");
      }
      if (number > spec_.vcpu_count) {
        return absl::OutOfRangeError(absl::StrCat("vm ", spec_.uuid, ": ", change.ToString(),
                                                  " is above its maximum of ", spec_.vcpu_count));
      }
      return absl::OkStatus();
  }
  return absl::InternalError("unknown change");
}

void FakeVm::Apply(const VmChange& change) {
  switch (change.kind) {
    case VmChange::Kind::kCpuCap:
      allocation_.cpu_cap_cores = change.cores;
      return;
    case VmChange::Kind::kCpuWeight:
      allocation_.cpu_weight = change.number;
      return;
    case VmChange::Kind::kMemoryTarget:
      allocation_.memory_target_bytes = change.number;
      StepMemory(absl::ZeroDuration());
      return;
    case VmChange::Kind::kVcpuCount:
      vcpu_count_ = *change.number;
      return;
  }
}

VmChange FakeVm::Half(const VmChange& change, double fraction) const {
  VmChange half = change;
  auto part = [fraction](double from, double to) { return from + fraction * (to - from); };
  const auto vcpus = static_cast<double>(vcpu_count_);
  switch (change.kind) {
    case VmChange::Kind::kCpuCap:
      half.cores = part(allocation_.cpu_cap_cores.value_or(vcpus), change.cores.value_or(vcpus));
      break;
    case VmChange::Kind::kCpuWeight:
      half.number = Bytes(part(static_cast<double>(allocation_.cpu_weight.value_or(kNormalWeight)),
                               static_cast<double>(*change.number)));
      break;
    case VmChange::Kind::kMemoryTarget: {
      const int64_t maximum = spec_.memory_maximum_bytes;
      half.number =
          Bytes(part(static_cast<double>(allocation_.memory_target_bytes.value_or(maximum)),
                     static_cast<double>(change.number.value_or(maximum))));
      break;
    }
    case VmChange::Kind::kVcpuCount:
      half.number = Bytes(part(vcpus, static_cast<double>(*change.number)));
      break;
  }
  return half;
}

absl::Status FakeVm::Change(const VmChange& asked, MonoTime now, double granularity) {
  VmChange change = asked;
  if (change.cores.has_value() && granularity > 0) {
    // The small term keeps 0.3 / 0.01 from becoming 31 steps.
    change.cores = std::ceil(*change.cores / granularity - 1e-9) * granularity;
  }
  ActuationFault fault;
  if (actuation_fault_.kind != ActuationFault::Kind::kNone && actuation_fault_.calls != 0) {
    fault = actuation_fault_;
    if (actuation_fault_.calls > 0) {
      --actuation_fault_.calls;
    }
  }
  if (fault.kind == ActuationFault::Kind::kRefuse) {
    return fault.status;
  }
  // The last request wins, also over one that has not taken effect yet.
  std::erase_if(pending_, [&](const Pending& p) { return p.change.kind == change.kind; });
  switch (fault.kind) {
    case ActuationFault::Kind::kNone:
      claimed_allocation_.reset();
      Apply(change);
      return absl::OkStatus();
    case ActuationFault::Kind::kAppliedUnknown:
      claimed_allocation_.reset();
      Apply(change);
      return fault.status;
    case ActuationFault::Kind::kLie: {
      const Allocation real = allocation_;
      const int64_t real_vcpus = vcpu_count_;
      const double real_memory = memory_current_;
      allocation_ = claimed_allocation_.value_or(allocation_);
      Apply(change);
      claimed_allocation_ = std::exchange(allocation_, real);
      vcpu_count_ = real_vcpus;
      memory_current_ = real_memory;
      return absl::OkStatus();
    }
    case ActuationFault::Kind::kHalf:
      claimed_allocation_.reset();
      Apply(Half(change, fault.fraction));
      return absl::OkStatus();
    case ActuationFault::Kind::kLate:
      pending_.push_back({now + fault.delay, change});
      return absl::OkStatus();
    case ActuationFault::Kind::kIgnore:
    case ActuationFault::Kind::kRefuse:
      break;
  }
  return absl::OkStatus();
}

void FakeVm::ChangeForeign(const Allocation& allocation) {
  allocation_ = allocation;
  claimed_allocation_.reset();
}

void FakeVm::set_read_fault(const ReadFault& fault) {
  read_fault_ = fault;
  stuck_ = counters_;
}

Allocation FakeVm::ReadAllocation(const Capabilities& capabilities) const {
  const Allocation& told = claimed_allocation_.has_value() ? *claimed_allocation_ : allocation_;
  Allocation read;
  if (capabilities.cpu_cap) {
    read.cpu_cap_cores = told.cpu_cap_cores;
  }
  if (capabilities.cpu_weight) {
    read.cpu_weight = told.cpu_weight.value_or(kNormalWeight);
  }
  if (capabilities.memory_target) {
    read.memory_target_bytes = told.memory_target_bytes;
    if (read.memory_target_bytes >= spec_.memory_maximum_bytes) {
      read.memory_target_bytes = std::nullopt;
    }
  }
  return read;
}

VmReading FakeVm::Read(const Capabilities& capabilities) const {
  const Counters& counters = read_fault_.are_counters_stuck ? stuck_ : counters_;
  VmReading reading;
  reading.uuid = spec_.uuid;
  reading.name = spec_.name;
  reading.state = state_;
  reading.incarnation = incarnation_;
  reading.vcpu_count = vcpu_count_;
  reading.cpu_time = FromSeconds(counters.cpu);
  if (capabilities.throttled_time) {
    reading.cpu_throttled_time = FromSeconds(counters.throttled);
  }
  if (capabilities.wait_time) {
    reading.cpu_wait_time = FromSeconds(counters.wait);
  }
  reading.memory_current_bytes = memory_current_bytes();
  reading.memory_maximum_bytes = spec_.memory_maximum_bytes;
  reading.memory_used_bytes = Bytes(std::min(memory_need_, memory_current_));
  if (capabilities.memory_pressure) {
    reading.memory_pressure_some_ratio = pressure_;
  }
  reading.network_receive_bytes =
      Bytes(counters.work * spec_.network_receive_bytes_per_core_second);
  reading.network_transmit_bytes =
      Bytes(counters.work * spec_.network_transmit_bytes_per_core_second);
  reading.disk_read_bytes = Bytes(counters.work * spec_.disk_read_bytes_per_core_second);
  reading.disk_write_bytes = Bytes(counters.work * spec_.disk_write_bytes_per_core_second);
  reading.allocation = ReadAllocation(capabilities);
  switch (read_fault_.impossible) {
    case ReadFault::Impossible::kNone:
      break;
    case ReadFault::Impossible::kCpuTimeBack:
      reading.cpu_time = FromSeconds(counters.cpu / 2);
      break;
    case ReadFault::Impossible::kCpuTimeHuge:
      reading.cpu_time = FromSeconds(counters.cpu) + absl::Hours(1'000'000);
      break;
    case ReadFault::Impossible::kMemoryNegative:
      reading.memory_used_bytes = -1;
      break;
  }
  return reading;
}

}  // namespace cloudscale::hypervisor::fake
