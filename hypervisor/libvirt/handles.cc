#include "hypervisor/libvirt/handles.h"

#include <libvirt/virterror.h>
#include <signal.h>

#include <array>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr int kKeepAliveSeconds = 2;
constexpr unsigned kKeepAliveCount = 3;

// Keepalive answers and events come through here. Once for the process, as libvirt demands; nothing
// can be ended while connections of abandoned calls may still use it.
bool StartEventLoop() {
  static const bool is_started = [] {
    // libvirt writes to its socket from several threads and blocks this signal in only some of
    // them: a daemon that is killed must not take us with it.
    struct sigaction pipe{};
    if (sigaction(SIGPIPE, nullptr, &pipe) == 0 && pipe.sa_handler == SIG_DFL) {
      pipe.sa_handler = SIG_IGN;
      sigaction(SIGPIPE, &pipe, nullptr);
    }
    virSetErrorFunc(nullptr,
                    [](void*, virErrorPtr) {});  // we report errors, libvirt need not print
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) {
      return false;
    }
    std::thread([] {
      while (virEventRunDefaultImpl() >= 0) {
      }
    }).detach();
    return true;
  }();
  return is_started;
}

absl::StatusCode CodeOf(const virError& error) {
  switch (error.code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_DOMAIN_METADATA:
      return absl::StatusCode::kNotFound;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
    case VIR_ERR_UNKNOWN_HOST:
      return absl::StatusCode::kUnavailable;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case VIR_ERR_RESOURCE_BUSY:
      return absl::StatusCode::kDeadlineExceeded;
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
      return absl::StatusCode::kPermissionDenied;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
      return absl::StatusCode::kUnimplemented;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_OPERATION_FAILED:
      return absl::StatusCode::kFailedPrecondition;
    case VIR_ERR_INVALID_ARG:
    case VIR_ERR_XML_ERROR:
      return absl::StatusCode::kInvalidArgument;
    case VIR_ERR_OPERATION_ABORTED:
      return absl::StatusCode::kCancelled;
    case VIR_ERR_SYSTEM_ERROR:
      // Of the socket to the daemon, else of a file that the daemon wrote for us.
      if (error.domain == VIR_FROM_RPC || error.domain == VIR_FROM_REMOTE) {
        return error.int1 == EACCES || error.int1 == EPERM ? absl::StatusCode::kPermissionDenied
                                                           : absl::StatusCode::kUnavailable;
      }
      switch (error.int1) {
        case EBUSY:
        case ENOMEM:
          return absl::StatusCode::kFailedPrecondition;
        case EINVAL:
          return absl::StatusCode::kInvalidArgument;
        case EACCES:
        case EPERM:
        case EROFS:
          return absl::StatusCode::kPermissionDenied;
        case ENOENT:
        case ENODEV:
          return absl::StatusCode::kNotFound;
        default:
          return absl::StatusCode::kInternal;
      }
    case VIR_ERR_INTERNAL_ERROR:
      return error.domain == VIR_FROM_RPC || error.domain == VIR_FROM_REMOTE
                 ? absl::StatusCode::kUnavailable
                 : absl::StatusCode::kInternal;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status LastError(absl::string_view what) {
  const virErrorPtr error = virGetLastError();
  if (error == nullptr || error->code == VIR_ERR_OK) {
    return absl::InternalError(absl::StrCat(what, ": failed without telling why"));
  }
  const absl::string_view message = error->message != nullptr ? error->message : "";
  absl::StatusCode code = CodeOf(*error);
  // The daemon has no code of its own for a job that does not get its turn in 30 s.
  if (absl::StrContains(message, "cannot acquire state change lock")) {
    code = absl::StatusCode::kDeadlineExceeded;
  }
  return {code, absl::StrCat(what, ": ", message)};
}

absl::StatusOr<Connection> Connect(const std::string& uri, Access access) {
  if (!StartEventLoop()) {
    return LastError("libvirt's event loop");
  }
  Connection connection(access == Access::kReadOnly ? virConnectOpenReadOnly(uri.c_str())
                                                    : virConnectOpen(uri.c_str()));
  if (connection == nullptr) {
    const virErrorPtr error = virGetLastError();
    const absl::Status status = LastError(absl::StrCat("connect to ", uri));
    // The driver says so of a path that it does not know, with several codes.
    if (error != nullptr &&
        absl::StrContains(error->message != nullptr ? error->message : "", "URI")) {
      return absl::InvalidArgumentError(status.message());
    }
    return status;
  }
  // A driver inside this process has no daemon to keep alive.
  if (virConnectSetKeepAlive(connection.get(), kKeepAliveSeconds, kKeepAliveCount) < 0) {
    return LastError(absl::StrCat("keepalive of ", uri));
  }
  return connection;
}

absl::StatusOr<Domain> FindActiveDomain(virConnectPtr connection, const std::string& uuid) {
  Domain domain(virDomainLookupByUUIDString(connection, uuid.c_str()));
  if (domain == nullptr) {
    const absl::Status status = LastError(absl::StrCat("vm ", uuid));
    // What has not the form of a UUID is no domain either.
    return absl::IsInvalidArgument(status) ? absl::NotFoundError(status.message()) : status;
  }
  // Looked up with the domain, so that no further call is needed; -1 when it is only defined.
  if (virDomainGetID(domain.get()) == std::numeric_limits<unsigned>::max()) {
    return absl::NotFoundError(absl::StrCat("vm ", uuid, " is not running"));
  }
  return domain;
}

absl::StatusOr<std::string> UuidOf(virDomainPtr domain) {
  std::array<char, VIR_UUID_STRING_BUFLEN> text{};
  if (virDomainGetUUIDString(domain, text.data()) < 0) {
    return LastError("UUID of a domain");
  }
  return std::string(text.data());
}

Parameters::Parameters(Parameters&& other) noexcept
    : parameters_(std::exchange(other.parameters_, nullptr)),
      count_(std::exchange(other.count_, 0)) {}

std::optional<int64_t> FindParameter(const virTypedParameter* parameters, int count,
                                     absl::string_view field) {
  for (int i = 0; i < count; ++i) {
    const virTypedParameter& parameter = parameters[i];
    if (field != parameter.field) {
      continue;
    }
    switch (parameter.type) {
      case VIR_TYPED_PARAM_INT:
        return parameter.value.i;
      case VIR_TYPED_PARAM_UINT:
        return parameter.value.ui;
      case VIR_TYPED_PARAM_LLONG:
        return parameter.value.l;
      case VIR_TYPED_PARAM_ULLONG:
        return parameter.value.ul > std::numeric_limits<int64_t>::max()
                   ? std::numeric_limits<int64_t>::max()
                   : static_cast<int64_t>(parameter.value.ul);
      case VIR_TYPED_PARAM_BOOLEAN:
        return parameter.value.b != 0 ? 1 : 0;
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<int64_t> Parameters::Find(absl::string_view field) const {
  return FindParameter(parameters_, count_, field);
}

}  // namespace cloudscale::hypervisor::libvirt
