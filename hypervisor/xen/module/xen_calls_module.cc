// The module that links Xen's libraries: libxenstat for counters, libxl for changes, libxenctrl
// where libxl would ask the hypervisor many times for one answer. See xen_calls.h.
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "hypervisor/xen/xen_calls.h"

// Not all of them say themselves that they are C.
extern "C" {
#include <libxl.h>
#include <libxl_utils.h>
#include <xenctrl.h>
#include <xenstat.h>
#include <xenstore.h>
#include <xentoollog.h>
}

namespace cloudscale::hypervisor::xen {
namespace {

constexpr int64_t kSectorBytes = 512;
constexpr int64_t kPageKib = XC_PAGE_SIZE / 1024;

// Keeps the last error text of libxl, which its return codes do not tell.
struct LastMessageLogger {
  xentoollog_logger base = {&Message, &Progress, &Destroy};  // first: libxl knows only this part
  std::string message;

  static void Message(xentoollog_logger* logger, xentoollog_level level, int, const char*,
                      const char* format, va_list arguments) {
    if (level < XTL_ERROR) {
      return;
    }
    std::array<char, 512> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    reinterpret_cast<LastMessageLogger*>(logger)->message = text.data();
  }
  static void Progress(xentoollog_logger*, const char*, const char*, int, unsigned long,
                       unsigned long) {}
  static void Destroy(xentoollog_logger*) {}
};

XenErrorCode CodeFromErrno(int error) {
  switch (error) {
    case ESRCH:
    case ENOENT:
      return XenErrorCode::kNotFound;
    case EINVAL:
    case ERANGE:
      return XenErrorCode::kInvalid;
    case EPERM:
    case EACCES:
      return XenErrorCode::kDenied;
    case ENOSYS:
    case EOPNOTSUPP:
      return XenErrorCode::kUnsupported;
    case ENOMEM:
    case EBUSY:
      return XenErrorCode::kRefused;
    case ENODEV:
    case EIO:
    case EPIPE:
    case ECONNREFUSED:
    case ECONNRESET:
      return XenErrorCode::kUnavailable;
    default:
      return XenErrorCode::kInternal;
  }
}

XenErrorCode CodeFromLibxl(int result) {
  switch (result) {
    case ERROR_DOMAIN_NOTFOUND:
      return XenErrorCode::kNotFound;
    case ERROR_INVAL:
      return XenErrorCode::kInvalid;
    case ERROR_NOMEM:
    case ERROR_NOT_READY:
      return XenErrorCode::kRefused;
    case ERROR_NOPARAVIRT:
    case ERROR_NI:
    case ERROR_FEATURE_REMOVED:
      return XenErrorCode::kUnsupported;
    default:
      return XenErrorCode::kInternal;
  }
}

XenError FromErrno(const std::string& what, int error) {
  return {CodeFromErrno(error), what + ": " + std::strerror(error)};
}

XenScheduler SchedulerOf(libxl_scheduler scheduler) {
  switch (scheduler) {
    case LIBXL_SCHEDULER_CREDIT:
      return XenScheduler::kCredit;
    case LIBXL_SCHEDULER_CREDIT2:
      return XenScheduler::kCredit2;
    default:
      return XenScheduler::kOther;
  }
}

std::string UuidText(const xen_domain_handle_t& handle) {
  std::string text;
  for (size_t i = 0; i < sizeof(handle); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) {
      text += '-';
    }
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[handle[i] >> 4];
    text += kDigits[handle[i] & 0xf];
  }
  return text;
}

XenDomain FromDomainInfo(const xc_domaininfo_t& from) {
  XenDomain domain;
  domain.domain_id = from.domain;
  domain.uuid = UuidText(from.handle);
  domain.pool_id = from.cpupool;
  domain.is_paused = (from.flags & XEN_DOMINF_paused) != 0;
  domain.is_shut_down = (from.flags & XEN_DOMINF_shutdown) != 0;
  const uint32_t reason = (from.flags >> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
  domain.is_crashed = domain.is_shut_down && reason == SHUTDOWN_crash;
  domain.is_suspended = domain.is_shut_down && reason == SHUTDOWN_suspend;
  domain.is_dying = (from.flags & XEN_DOMINF_dying) != 0;
  domain.cpu_time_ns = static_cast<int64_t>(from.cpu_time);
  domain.current_kib = static_cast<int64_t>(from.tot_pages) * kPageKib;
  domain.limit_kib = static_cast<int64_t>(from.max_pages) * kPageKib;
  domain.claimed_kib = static_cast<int64_t>(from.outstanding_pages) * kPageKib;
  domain.online_vcpus = from.nr_online_vcpus;
  domain.maximum_vcpus =
      from.max_vcpu_id == XEN_INVALID_MAX_VCPU_ID ? 0 : int64_t{from.max_vcpu_id} + 1;
  return domain;
}

void Add(std::optional<int64_t>& sum, unsigned long long value) {
  sum = sum.value_or(0) + static_cast<int64_t>(value);
}

XenDomainStatistics FromXenstat(xenstat_domain* domain) {
  XenDomainStatistics result;
  result.domain_id = xenstat_domain_id(domain);
  if (const char* name = xenstat_domain_name(domain); name != nullptr) {
    result.name = name;
  }
  result.cpu_time_ns = static_cast<int64_t>(xenstat_domain_cpu_ns(domain));
  result.current_bytes = static_cast<int64_t>(xenstat_domain_cur_mem(domain));
  for (unsigned i = 0; i < xenstat_domain_num_vcpus(domain); ++i) {
    xenstat_vcpu* vcpu = xenstat_domain_vcpu(domain, i);
    result.vcpus.push_back(
        {xenstat_vcpu_online(vcpu) != 0, static_cast<int64_t>(xenstat_vcpu_ns(vcpu))});
  }
  for (unsigned i = 0; i < xenstat_domain_num_networks(domain); ++i) {
    xenstat_network* network = xenstat_domain_network(domain, i);
    // libxenstat tells what Dom-0's end of the wire counts: what that receives, the guest sent.
    Add(result.network_receive_bytes, xenstat_network_tbytes(network));
    Add(result.network_transmit_bytes, xenstat_network_rbytes(network));
  }
  for (unsigned i = 0; i < xenstat_domain_num_vbds(domain); ++i) {
    xenstat_vbd* vbd = xenstat_domain_vbd(domain, i);
    Add(result.disk_read_bytes, xenstat_vbd_rd_sects(vbd) * kSectorBytes);
    Add(result.disk_write_bytes, xenstat_vbd_wr_sects(vbd) * kSectorBytes);
  }
  return result;
}

class LibraryXenCalls final : public XenCalls {
 public:
  static std::unique_ptr<LibraryXenCalls> Open(XenError* error) {
    // Asked first: off Xen the libraries write to standard error.
    std::string capabilities;
    std::ifstream("/proc/xen/capabilities") >> capabilities;
    if (capabilities.find("control_d") == std::string::npos) {
      *error = {XenErrorCode::kUnavailable,
                "this is no Dom-0 of Xen: /proc/xen/capabilities does not say control_d"};
      return nullptr;
    }
    std::unique_ptr<LibraryXenCalls> calls(new LibraryXenCalls);
    if (libxl_ctx_alloc(&calls->libxl_, LIBXL_VERSION, 0, &calls->logger_.base) != 0) {
      *error = {XenErrorCode::kUnavailable, "cannot open libxl: " + calls->logger_.message};
      return nullptr;
    }
    calls->statistics_ = xenstat_init();
    calls->control_ = xc_interface_open(&calls->logger_.base, &calls->logger_.base, 0);
    calls->store_ = xs_open(0);
    if (calls->statistics_ == nullptr || calls->control_ == nullptr || calls->store_ == nullptr) {
      *error = FromErrno(calls->statistics_ == nullptr ? "cannot open libxenstat"
                         : calls->control_ == nullptr  ? "cannot open libxenctrl"
                                                       : "cannot open xenstore",
                         errno);
      error->code =
          errno == EACCES || errno == EPERM ? XenErrorCode::kDenied : XenErrorCode::kUnavailable;
      return nullptr;
    }
    return calls;
  }

  ~LibraryXenCalls() override {
    if (store_ != nullptr) {
      xs_close(store_);
    }
    if (control_ != nullptr) {
      xc_interface_close(control_);
    }
    if (statistics_ != nullptr) {
      xenstat_uninit(statistics_);
    }
    if (libxl_ != nullptr) {
      libxl_ctx_free(libxl_);
    }
  }
  LibraryXenCalls(const LibraryXenCalls&) = delete;
  LibraryXenCalls& operator=(const LibraryXenCalls&) = delete;

  // Not with libxl, which asks for a thousand at once: pages that are mapped and locked for it cost
  // more than all else in a reading.
  XenOr<std::vector<XenDomain>> ListDomains() override {
    std::array<xc_domaininfo_t, XC_PAGE_SIZE / sizeof(xc_domaininfo_t)> part{};
    std::vector<XenDomain> domains;
    uint32_t next = 0;
    while (true) {
      const int count =
          xc_domain_getinfolist(control_, next, static_cast<unsigned>(part.size()), part.data());
      if (count < 0) {
        XenError error = FromErrno("list of domains", errno);
        error.code = error.code == XenErrorCode::kDenied ? error.code : XenErrorCode::kUnavailable;
        return error;
      }
      for (int i = 0; i < count; ++i) {
        domains.push_back(FromDomainInfo(part[static_cast<size_t>(i)]));
      }
      if (static_cast<size_t>(count) < part.size()) {
        return domains;
      }
      next = domains.back().domain_id + 1;
    }
  }

  XenOr<std::vector<XenPool>> ListPools() override {
    int count = 0;
    libxl_cpupoolinfo* list = libxl_list_cpupool(libxl_, &count);
    if (list == nullptr) {
      return FromLibxl("list of CPU pools", ERROR_FAIL, XenErrorCode::kUnavailable);
    }
    std::vector<XenPool> pools;
    for (int i = 0; i < count; ++i) {
      pools.push_back({list[i].poolid, list[i].pool_name == nullptr ? "" : list[i].pool_name,
                       SchedulerOf(list[i].sched), libxl_bitmap_count_set(&list[i].cpumap)});
    }
    libxl_cpupoolinfo_list_free(list, count);
    return pools;
  }

  XenOr<XenStatistics> ReadStatistics() override {
    xenstat_node* node =
        xenstat_get_node(statistics_, XENSTAT_VCPU | XENSTAT_NETWORK | XENSTAT_VBD);
    if (node == nullptr) {
      XenError error = FromErrno("libxenstat", errno);
      error.code = XenErrorCode::kUnavailable;
      return error;
    }
    XenStatistics statistics;
    statistics.memory = {static_cast<int64_t>(xenstat_node_tot_mem(node)),
                         static_cast<int64_t>(xenstat_node_free_mem(node))};
    const unsigned count = xenstat_node_num_domains(node);
    statistics.domains.reserve(count);
    for (unsigned i = 0; i < count; ++i) {
      statistics.domains.push_back(FromXenstat(xenstat_node_domain_by_index(node, i)));
    }
    xenstat_free_node(node);
    return statistics;
  }

  XenOr<XenMemory> ReadMemory() override {
    xc_physinfo_t info{};
    if (xc_physinfo(control_, &info) != 0) {
      return FromErrno("memory of the host", errno);
    }
    return XenMemory{static_cast<int64_t>(info.total_pages) << XC_PAGE_SHIFT,
                     static_cast<int64_t>(info.free_pages) << XC_PAGE_SHIFT};
  }

  XenOr<std::optional<std::string>> ReadStore(const std::string& path) override {
    unsigned length = 0;
    errno = 0;
    std::unique_ptr<char, decltype(&std::free)> value(
        static_cast<char*>(xs_read(store_, XBT_NULL, path.c_str(), &length)), &std::free);
    if (value != nullptr) {
      return std::optional<std::string>(std::string(value.get(), length));
    }
    if (errno == ENOENT) {
      return std::optional<std::string>();
    }
    return FromErrno("xenstore " + path, errno);
  }

  // Directly from the hypervisor: libxl would look for the domain's pool and its name each time.
  XenOr<XenShare> GetShare(uint32_t domain_id, XenScheduler scheduler) override {
    if (scheduler == XenScheduler::kCredit) {
      xen_domctl_sched_credit share{};
      if (xc_sched_credit_domain_get(control_, domain_id, &share) == 0) {
        return XenShare{share.cap, share.weight};
      }
    } else {
      xen_domctl_sched_credit2 share{};
      if (xc_sched_credit2_domain_get(control_, domain_id, &share) == 0) {
        return XenShare{share.cap, share.weight};
      }
    }
    return FromErrno("share of domain " + std::to_string(domain_id), errno);
  }

  XenDone SetShare(uint32_t domain_id, XenScheduler scheduler, const XenShare& share) override {
    libxl_domain_sched_params parameters;
    libxl_domain_sched_params_init(&parameters);
    // Named, so that libxl refuses when the domain has moved to a pool of the other scheduler,
    // where the same numbers may mean something else.
    parameters.sched =
        scheduler == XenScheduler::kCredit ? LIBXL_SCHEDULER_CREDIT : LIBXL_SCHEDULER_CREDIT2;
    parameters.cap = static_cast<int>(share.cap_percent);
    parameters.weight = static_cast<int>(share.weight);
    const int result = libxl_domain_sched_params_set(libxl_, domain_id, &parameters);
    libxl_domain_sched_params_dispose(&parameters);
    return Finish("share of domain " + std::to_string(domain_id), result);
  }

  XenDone SetMemoryTarget(uint32_t domain_id, int64_t target_kib) override {
    const int result =
        libxl_set_memory_target(libxl_, domain_id, target_kib, /*relative=*/0, /*enforce=*/1);
    return Finish("memory target of domain " + std::to_string(domain_id), result);
  }

  XenDone SetOnlineVcpus(uint32_t domain_id, int64_t count) override {
    libxl_bitmap online;
    libxl_bitmap_init(&online);
    if (libxl_cpu_bitmap_alloc(libxl_, &online, static_cast<int>(count)) != 0) {
      return XenError{XenErrorCode::kInternal, "no memory for a set of vCPUs"};
    }
    for (int64_t i = 0; i < count; ++i) {
      libxl_bitmap_set(&online, static_cast<int>(i));
    }
    const int result = libxl_set_vcpuonline(libxl_, domain_id, &online, nullptr);
    libxl_bitmap_dispose(&online);
    return Finish("vCPUs of domain " + std::to_string(domain_id), result);
  }

  XenDone Resume(uint32_t domain_id) override {
    const int result = libxl_domain_resume(libxl_, domain_id, /*suspend_cancel=*/1, nullptr);
    return Finish("resume domain " + std::to_string(domain_id), result);
  }

 private:
  LibraryXenCalls() = default;

  XenError FromLibxl(const std::string& what, int result, XenErrorCode code) {
    return {code, what + ": libxl error " + std::to_string(result) +
                      (logger_.message.empty() ? "" : ": " + std::exchange(logger_.message, ""))};
  }

  XenDone Finish(const std::string& what, int result) {
    if (result == 0) {
      logger_.message.clear();
      return std::nullopt;
    }
    return FromLibxl(what, result, CodeFromLibxl(result));
  }

  LastMessageLogger logger_;
  libxl_ctx* libxl_ = nullptr;
  xenstat_handle* statistics_ = nullptr;
  xc_interface* control_ = nullptr;
  xs_handle* store_ = nullptr;
};

}  // namespace
}  // namespace cloudscale::hypervisor::xen

extern "C" {

__attribute__((visibility("default"))) int cloudscale_xen_calls_version() {
  return cloudscale::hypervisor::xen::kXenCallsVersion;
}

__attribute__((visibility("default"))) cloudscale::hypervisor::xen::XenCalls*
cloudscale_xen_calls_open(cloudscale::hypervisor::xen::XenError* error) {
  return cloudscale::hypervisor::xen::LibraryXenCalls::Open(error).release();
}

}  // extern "C"
