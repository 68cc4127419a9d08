#include "services/lbctl/rpc/request_checks.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/rpc/serving/pagination.h"
#include "common/rpc/time_conversion.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {
namespace {

constexpr size_t kMaxHostId = 253;
constexpr size_t kMaxVmUuid = 64;
constexpr int kMaxReportedVms = 10'000;
constexpr double kMaxCores = 100'000;

using rpc::FromProto;
using rpc::RequireReason;
using rpc::RequireUuid;

// What ends up in a command to the balancer must not be able to hold another one.
void RequireName(Violations& v, absl::string_view field, absl::string_view name) {
  const bool is_good =
      !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == ':' || c == '_' || c == '-';
      });
  if (!is_good) {
    v.Add(field, name, "1 to 64 characters of A-Za-z0-9.:_-");
  }
}

template <typename Request>
void RequireServer(const Request& request, Violations& v) {
  RequireName(v, "backend", request.backend());
  RequireName(v, "server", request.server());
}

void RequireAddress(Violations& v, const std::string& address) {
  if (NormalAddress(address).empty()) {
    v.Add("address", address, "an IPv4 or IPv6 address");
  }
}

void RequireCores(Violations& v, absl::string_view field, double cores) {
  if (!(cores > 0.0) || cores > kMaxCores) {
    v.Add(field, absl::StrCat(cores), absl::StrCat("above 0, at most ", kMaxCores));
  }
}

void RequireSeconds(Violations& v, absl::string_view field,
                    const google::protobuf::Duration& duration, double low, double high) {
  RequireInRange(v, field, absl::ToDoubleSeconds(FromProto(duration)), low, high);
}

}  // namespace

std::string NormalAddress(const std::string& address) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  std::array<char, INET6_ADDRSTRLEN> text{};
  for (const int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, address.c_str(), bytes.data()) == 1 &&
        inet_ntop(family, bytes.data(), text.data(), text.size()) != nullptr) {
      return text.data();
    }
  }
  return "";
}

void Check(const v1::SetWeightRequest& request, Violations& v) {
  RequireServer(request, v);
  if (request.has_absolute()) {
    RequireInRange(v, "absolute", request.absolute(), 0, kMaxWeight);
  } else if (request.has_initial_percent()) {
    RequireInRange(v, "initial_percent", request.initial_percent(), 0, 100);
  } else {
    v.Add("weight", "", "one of absolute, initial_percent");
  }
  RequireReason(v, request.reason());
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::SetServerStateRequest& request, Violations& v) {
  RequireServer(request, v);
  if (request.state() == v1::SERVER_STATE_UNSPECIFIED ||
      !v1::ServerState_IsValid(request.state())) {
    v.Add("state", absl::StrCat(static_cast<int>(request.state())),
          "SERVER_STATE_READY, SERVER_STATE_DRAIN or SERVER_STATE_MAINT");
  }
  RequireReason(v, request.reason());
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::DrainServerRequest& request, Violations& v) {
  RequireServer(request, v);
  if (request.has_timeout()) {
    RequireSeconds(v, "timeout", request.timeout(), 1, 3600);
  }
  RequireReason(v, request.reason());
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::SetServerAddressRequest& request, Violations& v) {
  RequireServer(request, v);
  RequireAddress(v, request.address());
  RequireInRange(v, "port", request.port(), 0, 65535);
  RequireReason(v, request.reason());
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::AddServerRequest& request, Violations& v) {
  RequireServer(request, v);
  RequireAddress(v, request.address());
  RequireInRange(v, "port", request.port(), 1, 65535);
  if (request.weight() != 0) {
    RequireInRange(v, "weight", request.weight(), 1, kMaxWeight);
  }
  if (request.vm_uuid().size() > kMaxVmUuid) {
    v.Add("vm_uuid", request.vm_uuid(), absl::StrCat("at most ", kMaxVmUuid, " characters"));
  }
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::RemoveServerRequest& request, Violations& v) {
  RequireServer(request, v);
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::WatchStatsRequest& request, Violations& v) {
  if (request.has_period()) {
    RequireSeconds(v, "period", request.period(), 0.1, 60);
  }
}

void Check(const v1::ApplyPlanRequest& request, Violations& v) {
  RequireName(v, "backend", request.backend());
  if (request.plan() == v1::PLAN_UNSPECIFIED || !v1::Plan_IsValid(request.plan())) {
    v.Add("plan", absl::StrCat(static_cast<int>(request.plan())),
          "PLAN_SHIFT_AWAY, PLAN_BALANCE or PLAN_PROPORTIONAL");
  }
  if (request.plan() == v1::PLAN_SHIFT_AWAY) {
    RequireName(v, "server", request.server());
  }
  if (request.has_remaining_ratio()) {
    RequireInRange(v, "remaining_ratio", request.remaining_ratio(), 0, 1);
  }
  RequireReason(v, request.reason());
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::ReconcileRequest& request, Violations& v) {
  if (!request.server().empty() && request.backend().empty()) {
    v.Add("backend", "", "set when server is set");
  }
  if (request.choice() == v1::RECONCILE_CHOICE_UNSPECIFIED ||
      !v1::ReconcileChoice_IsValid(request.choice())) {
    v.Add("choice", absl::StrCat(static_cast<int>(request.choice())),
          "RECONCILE_CHOICE_APPLY_DESIRED or RECONCILE_CHOICE_ACCEPT_ACTUAL");
  }
  RequireUuid(v, "request_id", request.request_id());
}

void Check(const v1::ReportCapacityRequest& request, Violations& v) {
  if (request.host_id().empty() || request.host_id().size() > kMaxHostId) {
    v.Add("host_id", request.host_id(), absl::StrCat("1 to ", kMaxHostId, " characters"));
  }
  if (request.vms_size() > kMaxReportedVms) {
    v.Add("vms", absl::StrCat(request.vms_size(), " VMs"),
          absl::StrCat("at most ", kMaxReportedVms));
    return;
  }
  std::set<absl::string_view> seen;
  for (int i = 0; i < request.vms_size(); ++i) {
    const v1::VmCapacity& vm = request.vms(i);
    const std::string at = absl::StrCat("vms[", i, "]");
    if (vm.vm_uuid().empty() || vm.vm_uuid().size() > kMaxVmUuid) {
      v.Add(absl::StrCat(at, ".vm_uuid"), vm.vm_uuid(),
            absl::StrCat("1 to ", kMaxVmUuid, " characters"));
    } else if (!seen.insert(vm.vm_uuid()).second) {
      v.Add(absl::StrCat(at, ".vm_uuid"), vm.vm_uuid(), "each VM once");
    }
    RequireCores(v, absl::StrCat(at, ".granted_cores"), vm.granted_cores());
    if (vm.has_coming_cores()) {
      RequireCores(v, absl::StrCat(at, ".coming_cores"), vm.coming_cores());
    }
  }
  if (request.has_time_to_live()) {
    RequireSeconds(v, "time_to_live", request.time_to_live(), 1, 3600);
  }
}

}  // namespace cloudscale::lbctl
