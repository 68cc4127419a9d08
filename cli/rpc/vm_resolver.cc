#include "cli/rpc/vm_resolver.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/args/values.h"
#include "cli/exit_code.h"
#include "cli/render/text.h"
#include "cli/rpc/session.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

constexpr size_t kMaxNamed = 8;  // VMs listed in an error

std::string Names(const std::vector<VmRef>& vms) {
  std::vector<std::string> names;
  for (const VmRef& vm : vms) {
    if (names.size() == kMaxNamed) {
      names.push_back("…");
      break;
    }
    names.push_back(vm.name.empty() ? vm.uuid
                                    : absl::StrCat(Printable(vm.name), " (", vm.uuid, ")"));
  }
  return absl::StrJoin(names, ", ");
}

template <typename Predicate>
std::vector<VmRef> Matching(const std::vector<VmRef>& vms, Predicate predicate) {
  std::vector<VmRef> result;
  std::copy_if(vms.begin(), vms.end(), std::back_inserter(result), predicate);
  return result;
}

}  // namespace

absl::StatusOr<VmRef> PickVm(const std::vector<VmRef>& vms, absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(text);
  std::vector<VmRef> found =
      Matching(vms, [&](const VmRef& vm) { return vm.uuid == lower || vm.name == text; });
  if (found.empty() && !text.empty()) {
    found = Matching(vms, [&](const VmRef& vm) {
      return absl::StartsWith(vm.uuid, lower) || absl::StartsWith(vm.name, text);
    });
  }
  if (found.size() == 1) {
    return found.front();
  }
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no VM '", Printable(text), "'; ",
                     vms.empty() ? "there are none" : absl::StrCat("there are ", Names(vms))));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", Printable(text), "' may be any of ", Names(found), "; give more of it"));
}

absl::StatusOr<std::vector<VmRef>> ListVmRefs(Session& session) {
  std::vector<VmRef> refs;
  monitor::v1::ListVmsResponse vms;
  const absl::Status asked =
      session.CallAllPages(Peer::kMonitor, &monitor::v1::MonitorService::Stub::ListVms,
                           monitor::v1::ListVmsRequest(), &vms);
  if (asked.ok()) {
    for (const auto& vm : vms.vms()) {
      refs.push_back({vm.vm_uuid(), vm.name()});
    }
    return refs;
  }
  if (ExitCodeOf(asked) == ExitCode::kUsage) {
    return asked;
  }
  scaler::v1::ListVmStatesResponse states;
  if (!session
           .CallAllPages(Peer::kScaler, &scaler::v1::ScalerService::Stub::ListVmStates,
                         scaler::v1::ListVmStatesRequest(), &states)
           .ok()) {
    return asked;
  }
  for (const auto& vm : states.vms()) {
    refs.push_back({vm.vm_uuid(), vm.name()});
  }
  return refs;
}

absl::StatusOr<VmRef> ResolveVm(Session& session, absl::string_view text) {
  if (IsUuid(text)) {
    return VmRef{absl::AsciiStrToLower(text), ""};
  }
  CS_ASSIGN_OR_RETURN(const std::vector<VmRef> vms, ListVmRefs(session));
  absl::StatusOr<VmRef> vm = PickVm(vms, text);
  if (absl::IsNotFound(vm.status())) {
    absl::Status status = vm.status();
    status.SetPayload(kAddressPayload, absl::Cord(session.options().AddressOf(Peer::kMonitor)));
    return status;
  }
  return vm;
}

}  // namespace cloudscale::cli
