#!/usr/bin/env python3
"""./run as a user runs it: ends by itself, prints one JSON summary, refuses bad options."""
import json
import math
import os
import pty
import select
import subprocess
import sys
import time
import unittest
from pathlib import Path

from harness import temporary_directory

RUN = Path(__file__).resolve().parents[2] / "run"


def run(*arguments, timeout=120):
    return subprocess.run([RUN, *arguments], capture_output=True, text=True, timeout=timeout, check=False,
                          stdin=subprocess.DEVNULL)


class Run(unittest.TestCase):
    @unittest.skipIf(os.geteuid() != 0, "needs root for namespaces and cgroups")
    def test_scales_containers_of_a_real_libvirtd(self):
        result = run("--libvirt", "--for", "25s", "--json", timeout=200)
        self.assertEqual(result.returncode, 0, result.stderr)
        summary = json.loads(result.stdout)
        self.assertEqual({vm["name"] for vm in summary["vms"]}, {"web-1", "db-1", "batch-1"})
        self.assertGreater(summary["actions"]["SET_CPU_CAP"]["count"], 3)
        self.assertEqual(summary["actions"]["SET_CPU_CAP"]["failed_count"], 0)

    def test_replays_a_trace_and_prints_a_summary(self):
        with temporary_directory() as directory:
            path = f"{directory}/wave.csv"
            with open(path, "w", encoding="utf-8") as file:
                file.write("t_seconds,value\n")
                for t in range(3000):
                    file.write(f"{t},{0.4 + 0.3 * math.sin(t / 40):.4f}\n")
            result = run("--trace", path, "--speed", "100", "--for", "12s", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        summary = json.loads(result.stdout)
        totals = summary["totals"]
        self.assertGreater(summary["actions"]["SET_CPU_CAP"]["count"], 3)
        self.assertEqual(summary["actions"]["SET_CPU_CAP"]["failed_count"], 0)
        self.assertLess(totals["mean_cap_cores"], 4.0, "the cap never came down from the full size")
        self.assertGreater(totals["mean_cap_cores"], totals["mean_demand_cores"])

    def test_ctrl_c_in_a_terminal_restores_the_original_sizes_and_says_so(self):
        process, terminal = pty.fork()
        if process == 0:
            os.environ["TERM"] = "xterm"
            os.execv(RUN, [RUN])
        shown, started, pressed = b"", time.monotonic(), False
        while time.monotonic() - started < 90:
            ready, _, _ = select.select([terminal], [], [], 0.5)
            try:
                chunk = os.read(terminal, 65536) if ready else None
            except OSError:  # the other end is closed
                break
            shown += chunk or b""
            if chunk == b"":
                break
            # An action was taken, so there is something to restore.
            if not pressed and b"web-1" in shown and time.monotonic() - started > 10:
                os.write(terminal, b"\x03")
                pressed = True
        _, status = os.waitpid(process, 0)
        text = shown.decode(errors="replace")
        self.assertTrue(pressed, text[-2000:])
        self.assertEqual(os.waitstatus_to_exitcode(status), 0, text[-2000:])
        self.assertIn("VMs keep these sizes", text[-2000:])

    @unittest.skipUnless(os.geteuid() == 0 and os.path.exists("/sys/fs/cgroup/cpu/cpu.shares"),
                         "needs root and the cgroup v1 cpu controller")
    def test_real_processes_are_really_capped(self):
        result = run("--real", "--for", "25s", "--json", timeout=200)
        self.assertEqual(result.returncode, 0, result.stderr)
        summary = json.loads(result.stdout)
        self.assertEqual({vm["name"] for vm in summary["vms"]}, {"web-1", "db-1", "batch-1"})
        self.assertGreaterEqual(summary["actions"]["SET_CPU_CAP"]["count"], 3)
        self.assertEqual(summary["actions"]["SET_CPU_CAP"]["failed_count"], 0)
        left = [name for name in os.listdir("/sys/fs/cgroup/cpu") if name.startswith("cloudscale-real-")]
        self.assertEqual(left, [], "groups were left behind")

    def test_refuses_bad_options_with_exit_code_2(self):
        for arguments in (["--nonsense"], ["--for", "soon"], ["--mode", "sometimes"], ["--trace", "/nonexistent"],
                          ["--trace"], ["--real", "--trace", __file__], ["--libvirt", "--real"], ["--libvirt="]):
            result = run(*arguments)
            self.assertEqual(result.returncode, 2, (arguments, result.stderr))
            self.assertIn("./run", result.stderr)

    def test_broken_trace_is_named_by_file_and_line(self):
        with temporary_directory() as directory:
            path = f"{directory}/t.csv"
            with open(path, "w", encoding="utf-8") as file:
                file.write("t_seconds,value\n0,0.1\n1,-3\n")
            result = run("--trace", path, "--for", "5s")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("t.csv:3", result.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
