#pragma once

#include <libvirt/libvirt.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/sync/mutex.h"

namespace cloudscale::hypervisor::libvirt {

// Listens to what happens to the domains of a connection: start and end, migration, limits,
// devices, metadata, by whomever. Thread safety: confined to one thread; libvirt's event thread is
// inside.
class DomainEvents {
 public:
  // `connection` must outlive this. A driver without events is listened to in vain.
  explicit DomainEvents(virConnectPtr connection);
  ~DomainEvents();
  DomainEvents(const DomainEvents&) = delete;
  DomainEvents& operator=(const DomainEvents&) = delete;

  // UUIDs of the domains that something happened to since the last call.
  [[nodiscard]] std::set<std::string> Take();

 private:
  struct Inbox {
    Mutex mutex;
    std::set<std::string> uuids ABSL_GUARDED_BY(mutex);
    void Note(virDomainPtr domain);
  };
  static void OnEvent(virDomainPtr domain, void* inbox);

  const virConnectPtr connection_;
  const std::shared_ptr<Inbox> inbox_;
  std::vector<int> callbacks_;
};

}  // namespace cloudscale::hypervisor::libvirt
