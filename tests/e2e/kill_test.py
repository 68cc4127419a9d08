#!/usr/bin/env python3
"""P2, P4: the five services as processes of their own over real cgroups; each is killed with SIGKILL in turn.

While a process is dead, and after it is back, no cap goes down because of it; the journal of the scaler stays whole.
The load is constant, so that every lowered cap is a fault.
"""
import os
import sqlite3
import subprocess
import sys
import time
import unittest
from pathlib import Path

from harness import BIN, Daemon, ctl, ctl_json, temporary_directory, wait_until

CPU_TREE = Path("/sys/fs/cgroup/cpu")
DEAD_SECONDS = 4.0
# A cap may breathe by the dead band while everything lives; more than that is a shrink.
TOLERANCE = 0.12
# Of the journal (services/scaler/journal.h): the last stage, and how an action ended well.
DONE, SUCCEEDED, SKIPPED, SUPERSEDED = 4, 6, 9, 10


def why_not_here():
    if os.geteuid() != 0:
        return "needs root to make cgroups"
    if not os.access(CPU_TREE / "cpu.cfs_quota_us", os.F_OK) and not (CPU_TREE / "cpu.shares").exists():
        return "needs the cgroup v1 cpu controller"
    return None


class KillEachProcess(unittest.TestCase):
    def setUp(self):
        self.directory = temporary_directory()
        self.addCleanup(self.directory.cleanup)
        self.daemons = {}
        self.load = None
        self.addCleanup(self.stop_everything)
        self.start_load()
        self.start_services()

    def start_load(self):
        ready = Path(self.directory.name) / "load"
        log = open(Path(self.directory.name) / "load.log", "wb")
        self.addCleanup(log.close)
        self.load = subprocess.Popen(
            [BIN / "cloudscale-real-load", "--steady", "--total_peak_cores=0.9", f"--ready_file={ready}",
             f"--report_directory={self.directory.name}"], stdout=log, stderr=log)
        wait_until(lambda: ready.exists() and ready.read_text().strip(), "the load runs")
        self.parent = ready.read_text().strip()

    def configure(self, name, text):
        path = Path(self.directory.name) / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return f"--config={path}"

    def launch(self, service, text):
        flags = [self.configure(service, text), "--listen=127.0.0.1:0"]
        daemon = Daemon(self.directory.name, f"cloudscale-{service}", *flags).start()
        # A restart must be found where the others look for it.
        daemon.arguments = [a if not a.startswith("--listen=") else f"--listen={daemon.address}"
                            for a in daemon.arguments]
        self.daemons[service] = daemon
        return daemon.address

    def start_services(self):
        hypervisor = f"hypervisor: {{cgroup: {{parent_group: {self.parent}}}}}\nhost_id: kill-test\n"
        state = self.directory.name
        predictor = self.launch("predictor", f"step: 1s\nhorizons: [1s, 10s]\nstate_path: {state}/predictor.db\n"
                                             "checkpoint_period: 1s\n")
        monitor = self.launch("monitor", hypervisor + "sampling_period: 0.25s\n"
                                         f"predictor_address: \"{predictor}\"\n")
        lbctl = self.launch("lbctl", f"fake: {{}}\nstate_path: {state}/lbctl.db\n")
        scaler = self.launch("scaler", hypervisor +
                             f"step: 1s\nmode: auto\nmonitor_address: \"{monitor}\"\n"
                             f"predictor_address: \"{predictor}\"\nlbctl_address: \"{lbctl}\"\n"
                             f"journal_path: {state}/scaler.db\n"
                             "limits: {warm_up_samples: 5, max_actions_per_minute: 600, "
                             "max_actions_per_vm_per_minute: 60}\n"
                             "default_policy: {mode: auto, cpu: {cool_down_down: 2s, dead_band_ratio: 0.1}}\n")
        self.launch("sla", f"predictor_address: \"{predictor}\"\nscaler_addresses: [\"{scaler}\"]\n"
                           f"state_path: {state}/sla.db\n")

    def stop_everything(self):
        for daemon in self.daemons.values():
            daemon.stop()
        if self.load and self.load.poll() is None:
            self.load.terminate()
            self.load.wait(20)

    def caps(self):
        """Cap in cores per group, from the kernel itself; a group without a cap counts as unlimited."""
        caps = {}
        for group in sorted((CPU_TREE / self.parent).iterdir()):
            if group.is_dir():
                quota = int((group / "cpu.cfs_quota_us").read_text())
                period = int((group / "cpu.cfs_period_us").read_text())
                caps[group.name] = quota / period if quota > 0 else float("inf")
        return caps

    def settle(self):
        """Waits until all groups are capped and the caps have been the same for a while."""
        last = [self.caps(), time.monotonic()]

        def stable():
            now = self.caps()
            if now != last[0] or any(c == float("inf") for c in now.values()):
                last[:] = [now, time.monotonic()]
            return time.monotonic() - last[1] > 3.0 and now

        return wait_until(stable, f"caps settle, now {self.caps()}", 90)

    def assert_no_cap_went_down(self, before, exact, what):
        for name, cap in self.caps().items():
            if exact:
                self.assertEqual(cap, before[name], f"{what}: cap of {name} changed while nobody may change it")
            else:
                self.assertGreaterEqual(cap, before[name] * (1 - TOLERANCE), f"{what}: cap of {name} went down")

    def assert_healthy(self, service):
        address = self.daemons[service].address
        wait_until(lambda: ctl("health", address=address, check=False)[0] == 0, f"{service} SERVING again", 60)

    def assert_journal_is_whole(self):
        path = Path(self.directory.name) / "scaler.db"
        self.daemons["scaler"].stop()
        with sqlite3.connect(path) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchone()[0], "ok")
            rows = db.execute("SELECT action_id, stage, state FROM actions").fetchall()
        self.assertGreater(len(rows), 0)
        for action_id, stage, state in rows:
            self.assertEqual(stage, DONE, f"action {action_id} was left in stage {stage} (state {state})")

    def test_P2_P4_kill_each_process_in_turn(self):
        self.settle()
        for service in ("predictor", "sla", "lbctl", "monitor", "scaler"):
            with self.subTest(killed=service):
                before = self.settle()
                self.daemons[service].kill()
                exact = service in ("monitor", "scaler")
                end = time.monotonic() + DEAD_SECONDS
                while time.monotonic() < end:
                    self.assert_no_cap_went_down(before, exact, f"{service} dead")
                    time.sleep(0.1)
                self.daemons[service].start()
                self.assert_healthy(service)
                self.assert_no_cap_went_down(before, False, f"{service} back")
        status = ctl_json("call", "cloudscale.scaler.v1.ScalerService/GetStatus", "{}",
                          address=self.daemons["scaler"].address)
        self.assertEqual(int(status["totals"].get("failed_action_count", 0)), 0)
        self.assert_journal_is_whole()


if __name__ == "__main__":
    if why_not_here():
        print(f"skipped: {why_not_here()}")
        sys.exit(77)
    sys.exit(unittest.main())
