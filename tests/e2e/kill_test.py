#!/usr/bin/env python3
"""P2, P4: the five services as processes of their own over real cgroups; each is killed with SIGKILL in turn.

While a process is dead, and after it is back, no cap goes down because of it; the journal of the scaler stays whole.
The load is constant but for a little noise.
"""
import json
import os
import sqlite3
import subprocess
import sys
import time
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from harness import BIN, Daemon, ctl, ctl_json, temporary_directory, wait_until

CPU_TREE = Path("/sys/fs/cgroup/cpu")
DEAD_SECONDS = 6.0
# Forecasts older than this are not used; from then on nothing may shrink while the predictor is dead.
FORECAST_AGE_SECONDS = 2.0
# While the loop lives, caps breathe with the noise of the load: a fall by this part is noise. While sla or lbctl is dead,
# a cap this far below the least of the window before the first kill must come from decisions on fresh forecasts; once a
# process is back, a cap this far below that just before its start is a fault.
WINDOW_SECONDS = 12.0
TOLERANCE = 0.25
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
        monitor = self.launch("monitor", hypervisor + "sampling_period: 0.5s\n"
                                         f"predictor_address: \"{predictor}\"\n")
        lbctl = self.launch("lbctl", f"fake: {{}}\nstate_path: {state}/lbctl.db\n")
        scaler = self.launch("scaler", hypervisor +
                             f"step: 1s\nmode: auto\nmonitor_address: \"{monitor}\"\n"
                             f"predictor_address: \"{predictor}\"\nlbctl_address: \"{lbctl}\"\n"
                             f"journal_path: {state}/scaler.db\n"
                             f"limits: {{max_forecast_age: {FORECAST_AGE_SECONDS}s, warm_up_samples: 5, "
                             "max_actions_per_minute: 600, max_actions_per_vm_per_minute: 60}\n"
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

    def wait_until_capped(self):
        wait_until(lambda: all(c != float("inf") for c in self.caps().values()), "every group has a cap", 60)

    def least_caps(self, seconds):
        """The least cap of each group over a window."""
        least = self.caps()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            least = {name: min(cap, least[name]) for name, cap in self.caps().items()}
            time.sleep(0.1)
        return least

    def assert_no_cap_below(self, floor, what):
        for name, cap in self.caps().items():
            self.assertGreaterEqual(cap, floor[name], f"{what}: cap of {name} went down")

    def assert_falls_are_measured(self, floor, since, what):
        """The loop goes on, so demand that really fell may take a cap along, but nothing else may."""
        for name, fallen in ((name, cap) for name, cap in self.caps().items() if cap < floor[name]):
            decisions = ctl_json("call", "cloudscale.scaler.v1.ScalerService/ListDecisions",
                                 json.dumps({"page_size": 1000, "changes_only": True, "start_time": since,
                                             "resource": "RESOURCE_CPU"}),
                                 address=self.daemons["scaler"].address)["decisions"]
            shrinks = [d for d in decisions if d["vm_name"] == name and d.get("action_id")
                       and d["target"] < d.get("previous", float("inf"))]
            self.assertTrue(shrinks, f"{what}: cap of {name} went down without a decision")
            for d in shrinks:
                self.assertFalse(d.get("is_reactive", False), f"{what}: {name} shrank without a forecast: {d}")
                self.assertLessEqual(float(d["forecast_age"].rstrip("s")), FORECAST_AGE_SECONDS, d)
                self.assertLessEqual(d["demand"], d["target"], f"{what}: {name} shrank below its demand")
            decided = min(d["target"] for d in shrinks)
            self.assertGreaterEqual(fallen, decided * 0.98, f"{what}: cap of {name} is below what was decided")

    def watch_dead(self, service, least):
        """Watches the caps while `service` is dead."""
        if service in ("monitor", "scaler"):
            before, exact = self.caps(), True  # nobody is left who may change anything
        elif service == "predictor":
            time.sleep(FORECAST_AGE_SECONDS + 1.5)  # the last forecasts may still be followed until they are too old
            before, exact = self.caps(), True
        else:
            before, exact = {name: cap * (1 - TOLERANCE) for name, cap in least.items()}, False
        # A little before the kill: the floor was measured then.
        since = (datetime.now(timezone.utc) - timedelta(seconds=WINDOW_SECONDS / 4)).isoformat()
        end = time.monotonic() + DEAD_SECONDS
        while time.monotonic() < end:
            if exact:
                self.assert_no_cap_below(before, f"{service} dead")
            else:
                self.assert_falls_are_measured(before, since, f"{service} dead")
            if exact:  # growing is allowed, and what was granted is kept
                before = {name: max(cap, before[name]) for name, cap in self.caps().items()}
            time.sleep(0.1)
        if service in ("monitor", "scaler"):
            self.assertEqual(self.caps(), before, f"{service} dead, and yet something was changed")

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
            self.assertIn(state, (SUCCEEDED, SKIPPED, SUPERSEDED), f"action {action_id}")

    def test_P2_P4_kill_each_process_in_turn(self):
        self.wait_until_capped()
        least = self.least_caps(WINDOW_SECONDS)
        for service in ("predictor", "sla", "lbctl", "monitor", "scaler"):
            with self.subTest(killed=service):
                if service == "scaler":
                    self.assert_no_action_failed()
                self.daemons[service].kill()
                self.watch_dead(service, least)
                before = {name: cap * (1 - TOLERANCE) for name, cap in self.caps().items()}
                self.daemons[service].start()
                self.assert_healthy(service)
                self.assert_no_cap_below(before, f"{service} back")
                least = self.least_caps(WINDOW_SECONDS / 2)
        self.assert_journal_is_whole()

    def assert_no_action_failed(self):
        status = ctl_json("call", "cloudscale.scaler.v1.ScalerService/GetStatus", "{}",
                          address=self.daemons["scaler"].address)
        self.assertEqual(int(status["totals"].get("failed_action_count", 0)), 0)


if __name__ == "__main__":
    if why_not_here():
        print(f"skipped: {why_not_here()}")
        sys.exit(77)
    sys.exit(unittest.main())
