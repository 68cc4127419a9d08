#pragma once

#include <libvirt/libvirt.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Owning handles of libvirt's objects and its errors as statuses.
namespace cloudscale::hypervisor::libvirt {

struct CloseConnection {
  void operator()(virConnectPtr connection) const { virConnectClose(connection); }
};
struct FreeDomain {
  void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using Connection = std::unique_ptr<virConnect, CloseConnection>;
using Domain = std::unique_ptr<virDomain, FreeDomain>;

enum class Access { kReadOnly, kReadWrite };

// Connects, with keepalive messages to a remote or local daemon, so that the calls of one that
// stopped answering end within some 6 s. Starts libvirt's event loop on a thread that lives as long
// as the process, and ignores SIGPIPE from then on unless it has a handler. UNAVAILABLE without a
// daemon, PERMISSION_DENIED, INVALID_ARGUMENT for a URI that libvirt refuses.
[[nodiscard]] absl::StatusOr<Connection> Connect(const std::string& uri, Access access);

// libvirt's last error of this thread, with `what` in front. Codes:
//   no domain → NOT_FOUND; daemon away or connection broken → UNAVAILABLE; timed out, or the domain
//   is busy with another job → DEADLINE_EXCEEDED; access or authentication → PERMISSION_DENIED; not
//   supported → UNIMPLEMENTED; state forbids it, or the kernel refuses for want of memory →
//   FAILED_PRECONDITION; a value refused → INVALID_ARGUMENT; others → INTERNAL.
[[nodiscard]] absl::Status LastError(absl::string_view what);

// An active domain. NOT_FOUND when there is none, or it is not running.
[[nodiscard]] absl::StatusOr<Domain> FindActiveDomain(virConnectPtr connection,
                                                      const std::string& uuid);
[[nodiscard]] absl::StatusOr<std::string> UuidOf(virDomainPtr domain);

// Typed parameters that libvirt gave; frees them. Thread safety: thread-compatible.
class Parameters {
 public:
  Parameters() = default;
  Parameters(virTypedParameterPtr parameters, int count) : parameters_(parameters), count_(count) {}
  ~Parameters() { virTypedParamsFree(parameters_, count_); }
  Parameters(Parameters&& other) noexcept;
  Parameters& operator=(Parameters&&) = delete;

  // A whole number of any type; nullopt when it is not there. O(number of parameters).
  [[nodiscard]] std::optional<int64_t> Find(absl::string_view field) const;
  [[nodiscard]] const virTypedParameter* data() const { return parameters_; }
  [[nodiscard]] int size() const { return count_; }

 private:
  virTypedParameterPtr parameters_ = nullptr;
  int count_ = 0;
};
[[nodiscard]] std::optional<int64_t> FindParameter(const virTypedParameter* parameters, int count,
                                                   absl::string_view field);

}  // namespace cloudscale::hypervisor::libvirt
