#!/usr/bin/env python3
"""House rules that a compiler does not check: who may include whom, banned calls, leftovers.

Usage: check.py [ROOT]   prints each fault as file:line: text; exit code 1 when there are any.
The table of who may use whom is the one in ARCHITECTURE.md.
"""
import re
import sys
from pathlib import Path

# Folder → project prefixes that it may include. Longest matching folder wins. Tests may also use `testing/` folders,
# their own folder's dependencies and the fakes.
ALLOWED = {
    "common": ["common/"],
    "common/rpc": ["common/", "cloudscale/"],
    "common/testing": ["common/"],
    "hypervisor": ["common/", "hypervisor/"],
    "hypervisor/factory": ["common/", "hypervisor/", "cloudscale/config/", "cloudscale/common/"],
    "agents/guest": ["common/", "agents/guest/"],
    "agents/guest/transport": ["common/", "agents/guest/", "cloudscale/guest/", "cloudscale/config/",
                               "cloudscale/common/"],
    "agents/guest/main": ["common/", "agents/guest/", "cloudscale/guest/", "cloudscale/config/",
                          "cloudscale/common/"],
    "cli": ["common/", "cli/", "cloudscale/", "sim/backtest/", "services/predictor/sizing/sizing_method.h"],
    "cloudscaled": ["common/", "hypervisor/", "services/", "cloudscaled/", "cloudscale/"],
    "sim": ["common/", "hypervisor/", "services/", "sim/"],
    "tools": ["common/", "hypervisor/cgroup/", "tools/"],
    "bench": [""],
    "tests": [""],
}
for service, others in {
    "lbctl": [], "monitor": ["predictor", "guest"], "predictor": [],
    "scaler": ["monitor", "predictor", "sla", "lbctl"], "sla": ["scaler", "predictor", "lbctl"],
}.items():
    base = f"services/{service}"
    seam = ["hypervisor/host_reader.h", "hypervisor/types.h", "hypervisor/vm_actuator.h",
            "hypervisor/actuation_permit.h"] if service in ("monitor", "scaler") else []
    own = [f"cloudscale/{service}/", "cloudscale/common/"]
    if service == "monitor":
        own.append("cloudscale/guest/")  # the monitor serves the guests' reports
    ALLOWED[base] = ["common/", base + "/"] + seam
    ALLOWED[base + "/rpc"] = ALLOWED[base] + own + ["cloudscale/config/"]
    if service == "monitor":
        ALLOWED[base + "/rpc"].append("cloudscale/predictor/")  # the telemetry it converts to
    ALLOWED[base + "/clients"] = ALLOWED[base] + own + [f"cloudscale/{o}/" for o in others]
    ALLOWED[base + "/main"] = ALLOWED[base] + own + [f"cloudscale/{o}/" for o in others] + [
        "cloudscale/config/", "hypervisor/"]

# Folders that must stay free of these system or library headers.
PURE_BANNED = re.compile(r'^(grpcpp|grpc|google/protobuf|libvirt|libxl|xen|sqlite3|httplib|yaml-cpp|thread$|chrono$)')
# Tests, benchmarks, and the headers that only they share.
TEST_CODE = re.compile(r"(_test|_bench)\.cc$|/testing/|/conformance/|fixture[a-z_]*\.h$|_test_[a-z_]+\.h$")
EDGE = re.compile(r"/(rpc|clients|main|journal|store|backends|transport|linux)/")

BANNED_CALLS = [
    (re.compile(r"\babsl::Now\("), "use the injected Clock", ("common/time/",)),
    (re.compile(r"\babsl::SleepFor\(|sleep_for\(|\busleep\(|\bsleep\("), "use Clock::SleepUntil or a condition",
     ("common/time/", "bench/")),
    (re.compile(r"(steady|system)_clock::now\("), "use the injected Clock (real I/O deadlines: common/rpc)",
     ("common/time/", "common/rpc/", "cli/", "/clients/", "/rpc/", "/transport/", "_test.cc", "bench/", "tests/",
      "tools/", "/testing/", "/main/")),
    (re.compile(r"\bgettimeofday\(|[^_\w:.>]time\(nullptr\)"), "use the injected Clock", ("common/time/",)),
    (re.compile(r"\brand\(\)|random_device|absl::BitGen"), "use the injected Rng", ("common/random/",)),
    (re.compile(r"\babsl::Mutex\b"), "use cloudscale::Mutex (ThreadSanitizer)", ()),
    (re.compile(r"\busing namespace\b"), "name what you use", ()),
]
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|farm|root)/")


def rule_for(path):
    best = None
    for folder in ALLOWED:
        if path.startswith(folder + "/") and (best is None or len(folder) > len(best)):
            best = folder
    return best


def check_includes(path, number, line, faults):
    quoted = re.match(r'\s*#include "([^"]+)"', line)
    angled = re.match(r"\s*#include <([^>]+)>", line)
    is_test = bool(TEST_CODE.search(path))
    folder = rule_for(path)
    included = (quoted or angled).group(1) if (quoted or angled) else None
    if included is None or folder is None:
        return
    project = included.startswith(("common/", "hypervisor/", "services/", "agents/", "cli/", "cloudscaled/", "sim/",
                                   "bench/", "tests/", "tools/", "cloudscale/"))
    if project:
        if included.startswith(("tests/", "bench/")) and not path.startswith(("tests/", "bench/")):
            faults.append(f"{path}:{number}: nothing may depend on {included}")
        elif "testing/" in included and not is_test and not path.startswith(("tests/", "bench/", "hypervisor/conformance")):
            faults.append(f"{path}:{number}: only tests may include {included}")
        elif not any(included.startswith(p) for p in ALLOWED[folder]):
            if is_test and included.startswith(("hypervisor/", "common/", "cloudscale/")):
                return
            faults.append(f"{path}:{number}: {folder} may not include {included}")
    is_domain = path.startswith(("services/", "hypervisor/", "agents/")) and not EDGE.search(path)
    is_adapter = path.startswith(("hypervisor/bounded/", "hypervisor/cgroup/", "hypervisor/fake/",
                                  "hypervisor/conformance/", "hypervisor/factory/", "hypervisor/libvirt/",
                                  "hypervisor/xen/module/"))
    if is_domain and not is_adapter and not is_test and PURE_BANNED.match(included):
        faults.append(f"{path}:{number}: domain code may not include {included}")
    if path.startswith("common/") and not path.startswith("common/rpc/") and re.match(
            r"(grpc|grpcpp|google/protobuf)", included):
        faults.append(f"{path}:{number}: only common/rpc may include {included}")


def check_file(root, path, faults):
    text = (root / path).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        code = re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]
        check_includes(path, number, line, faults)
        for pattern, instead, exempt in BANNED_CALLS:
            if pattern.search(code) and not any(e in path for e in exempt):
                faults.append(f"{path}:{number}: banned call: {instead}")
        if LEFTOVERS.search(line):
            faults.append(f"{path}:{number}: leftover {LEFTOVERS.search(line).group(1)}")
        if MACHINE_PATHS.search(line):
            faults.append(f"{path}:{number}: absolute path of a machine")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    faults = []
    folders = ["agents", "bench", "cli", "cloudscaled", "common", "hypervisor", "services", "sim", "tests", "tools"]
    files = [p.relative_to(root).as_posix() for f in folders for p in (root / f).rglob("*")
             if p.suffix in (".h", ".cc") and p.is_file()]
    for path in sorted(files):
        check_file(root, path, faults)
    for fault in faults:
        print(fault)
    print(f"house rules: {len(files)} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
