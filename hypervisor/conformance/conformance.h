#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "hypervisor/host_reader.h"
#include "hypervisor/types.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::conformance {

// What a test asks its VM to be.
struct VmSpec {
  std::string name = {};     // unique within the test; letters, digits and '-'
  int64_t vcpu_count = 1;    // >= 1
  double load_cores = 0;     // what its work wants, 0 <= x <= vcpu_count, steady
  int64_t memory_bytes = 0;  // what its work holds, steady
  int64_t memory_maximum_bytes = int64_t{256} << 20;
};

// A backend under test together with what is needed to judge it: VMs whose load is known, and a
// second, independent way to measure. One object serves one test case and cleans up when destroyed.
//
// Thread safety: confined to one thread.
class Backend {
 public:
  virtual ~Backend() = default;

  // Makes a VM whose load runs when this returns. Returns its uuid as the reader reports it.
  virtual absl::StatusOr<std::string> MakeVm(const VmSpec& spec) = 0;

  // Two VMs that want a whole core each and have one core between them. Returns their uuids.
  virtual absl::StatusOr<std::vector<std::string>> MakeContendingVms() = 0;

  // Ends the VM; later readings are without it.
  virtual absl::Status RemoveVm(const std::string& uuid) = 0;

  // Ends the VM and starts it again under the same uuid: its incarnation changes and its counters
  // begin anew. UNIMPLEMENTED skips the tests that need it.
  virtual absl::Status RestartVm(const std::string& uuid) = 0;

  virtual HostReader& reader() = 0;
  virtual VmActuator& actuator() = 0;

  // Lets the VMs run for `duration`: simulated time for a model, real time for a machine.
  virtual void Run(absl::Duration duration) = 0;

  // CPU time that the VM consumed since some fixed moment, by another source than the reader (the
  // processes' own accounting, the ground truth of a model).
  virtual absl::StatusOr<absl::Duration> IndependentCpuTime(const std::string& uuid) = 0;

  // The limits that the kernel or model holds, read past the actuator.
  virtual absl::StatusOr<Allocation> IndependentAllocation(const std::string& uuid) = 0;

  // How long a load must run for one measurement of CPU usage.
  [[nodiscard]] virtual absl::Duration measurement_time() const { return absl::Seconds(2); }
  // A target that a VM which holds 64 MiB can obey, in bytes: kernels need memory of their own.
  [[nodiscard]] virtual int64_t obeyable_memory_target() const { return int64_t{128} << 20; }
  // How long a memory target that was accepted may take to be reached, beyond that.
  [[nodiscard]] virtual absl::Duration memory_settling_time() const { return absl::ZeroDuration(); }
  // How far usage may be off, in cores, beside the independent source or a cap.
  [[nodiscard]] virtual double usage_tolerance_cores() const { return 0.03; }
  // How far the share of a contended core may be off what the weights say, as a fraction of it.
  [[nodiscard]] virtual double share_tolerance() const { return 0.1; }
  // Whether the reader sees how much of its memory a VM needs. False: only the guest knows.
  [[nodiscard]] virtual bool tells_memory_used() const { return true; }
};

// UNAVAILABLE or FAILED_PRECONDITION (no rights, no such kernel interface) skips the test with the
// message; any other error fails it.
using BackendFactory = std::function<absl::StatusOr<std::unique_ptr<Backend>>()>;

struct BackendParam {
  std::string name;  // letters, digits and '_'
  BackendFactory make;
};

// Instantiate the suite in one test file per backend:
//
//   INSTANTIATE_TEST_SUITE_P(Fake, ConformanceTest,
//                            ::testing::Values(BackendUnderTest("fake", &MakeFakeBackend)),
//                            BackendName);
//
// Parameters must come from `BackendUnderTest`: the call is what makes the linker keep the tests.
[[nodiscard]] BackendParam BackendUnderTest(std::string name, BackendFactory make);
[[nodiscard]] std::string BackendName(const ::testing::TestParamInfo<BackendParam>& info);

class ConformanceTest : public ::testing::TestWithParam<BackendParam> {
 protected:
  void SetUp() override;

  // Usage in cores over one measurement time, as the reader and as the independent source see it.
  struct Usage {
    double read_cores = 0;
    double independent_cores = 0;
  };
  [[nodiscard]] absl::StatusOr<std::vector<Usage>> Measure(const std::vector<std::string>& uuids);

  [[nodiscard]] absl::StatusOr<VmReading> ReadVm(const std::string& uuid);
  [[nodiscard]] static ActuationPermit Permit();

  std::unique_ptr<Backend> backend_;
};

}  // namespace cloudscale::hypervisor::conformance
