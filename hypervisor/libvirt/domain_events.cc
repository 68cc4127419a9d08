#include "hypervisor/libvirt/domain_events.h"

#include <utility>

#include "hypervisor/libvirt/handles.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

// More are not told apart from each other any longer than until the next reading.
constexpr size_t kMaxUuids = 4096;

}  // namespace

void DomainEvents::Inbox::Note(virDomainPtr domain) {
  absl::StatusOr<std::string> uuid = UuidOf(domain);
  MutexLock lock(&mutex);
  if (uuid.ok() && uuids.size() < kMaxUuids) {
    uuids.insert(*std::move(uuid));
  }
}

void DomainEvents::OnEvent(virDomainPtr domain, void* inbox) {
  (*static_cast<std::shared_ptr<Inbox>*>(inbox))->Note(domain);
}

DomainEvents::DomainEvents(virConnectPtr connection)
    : connection_(connection), inbox_(std::make_shared<Inbox>()) {
  // libvirt takes callbacks of all kinds as one type and calls each as what it is.
  const auto listen = [this](int kind, auto callback) {
    auto* inbox = new std::shared_ptr<Inbox>(inbox_);
    const virFreeCallback free_inbox = [](void* opaque) {
      delete static_cast<std::shared_ptr<Inbox>*>(opaque);
    };
    const int id =
        virConnectDomainEventRegisterAny(connection_, nullptr, kind,
                                         reinterpret_cast<virConnectDomainEventGenericCallback>(
                                             reinterpret_cast<void (*)()>(callback)),
                                         inbox, free_inbox);
    if (id >= 0) {
      callbacks_.push_back(id);
    } else {
      delete inbox;
    }
  };
  listen(VIR_DOMAIN_EVENT_ID_LIFECYCLE,
         virConnectDomainEventCallback(
             [](virConnectPtr, virDomainPtr domain, int, int, void* opaque) -> int {
               OnEvent(domain, opaque);
               return 0;
             }));
  listen(VIR_DOMAIN_EVENT_ID_TUNABLE,
         virConnectDomainEventTunableCallback([](virConnectPtr, virDomainPtr domain,
                                                 virTypedParameterPtr, int,
                                                 void* opaque) { OnEvent(domain, opaque); }));
  listen(VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
         virConnectDomainEventMetadataChangeCallback(
             [](virConnectPtr, virDomainPtr domain, int, const char*, void* opaque) {
               OnEvent(domain, opaque);
             }));
  const virConnectDomainEventDeviceAddedCallback on_device = [](virConnectPtr, virDomainPtr domain,
                                                                const char*, void* opaque) {
    OnEvent(domain, opaque);
  };
  listen(VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, on_device);
  listen(VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, on_device);
}

DomainEvents::~DomainEvents() {
  for (const int id : callbacks_) {
    virConnectDomainEventDeregisterAny(connection_, id);
  }
}

std::set<std::string> DomainEvents::Take() {
  MutexLock lock(&inbox_->mutex);
  return std::exchange(inbox_->uuids, {});
}

}  // namespace cloudscale::hypervisor::libvirt
