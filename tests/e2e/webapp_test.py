#!/usr/bin/env python3
"""The web application experiment at its shortest: real parts, real caps, one table."""
import json
import os
import subprocess
import sys
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from harness import temporary_directory

HERE = Path(__file__).resolve().parents[2] / "bench/macro/webapp"
SKIP = 77


def run(program, *arguments, timeout=400):
    return subprocess.run([HERE / program, *arguments], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)


class WebappTest(unittest.TestCase):
    def test_compares_policies_under_the_same_load(self):
        with temporary_directory() as directory:
            done = run("webapp", "--quick", "--trace", "wave", "--json", "--output", directory)
            if done.returncode == SKIP:
                print(f"SKIPPED: no web application experiment: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr, flush=True)
                os._exit(SKIP)
            self.assertEqual(done.returncode, 0, done.stderr)
            for name in ("runs", "frontier"):
                ElementTree.parse(Path(directory) / f"{name}.svg")
        policies = {result["policy"]: result for result in json.loads(done.stdout)["policies"]}
        self.assertEqual(set(policies), {"uncapped", "static-peak", "reactive", "ours"})
        self.assertEqual(len({result["requests"] for result in policies.values()}), 1, "not the same load")
        for name, result in policies.items():
            with self.subTest(name):
                self.assertEqual(result["failed_requests"], 0)
                self.assertGreater(result["used_core_seconds"], 1)
                self.assertGreater(result["core_seconds"], result["used_core_seconds"])
        for name in ("static-peak", "reactive", "ours"):
            self.assertLess(policies[name]["core_seconds"], policies["uncapped"]["core_seconds"])
        self.assertEqual(policies["static-peak"]["cap_changes"], 0)
        self.assertGreater(policies["reactive"]["cap_changes"], 5)
        self.assertGreater(policies["ours"]["cap_changes"], 5)

    def test_memory_follows_a_swinging_working_set(self):
        with temporary_directory() as directory:
            done = run("memory_swing", "--trace", "wave", "--seconds", "15", "--warm-up", "4", "--policies", "static-mean,ours", "--json",
                       "--output", directory)
            if done.returncode == SKIP:
                self.skipTest(done.stderr.strip().splitlines()[-1])
            self.assertEqual(done.returncode, 0, done.stderr)
            for name in ("runs", "frontier"):
                ElementTree.parse(Path(directory) / f"{name}.svg")
        policies = {result["policy"]: result for result in json.loads(done.stdout)["policies"]}
        self.assertEqual(set(policies), {"unlimited", "static-mean", "ours"})
        # What does not fit is read back from swap, again and again.
        self.assertGreater(policies["static-mean"]["pages_read_back"], 1000)
        self.assertEqual(policies["unlimited"]["violation_seconds"], 0)
        self.assertLess(policies["ours"]["violation_seconds"], policies["static-mean"]["violation_seconds"])
        self.assertLess(policies["ours"]["mebibyte_seconds"], policies["unlimited"]["mebibyte_seconds"])
        self.assertGreater(policies["ours"]["limit_changes"], 3)
        self.assertEqual(policies["ours"]["kills"], 0)

    @unittest.skipIf(os.geteuid() != 0, "without root it refuses before it looks at values")
    def test_refuses_what_makes_no_sense(self):
        for program, arguments, text in (
                ("webapp", ["--seconds", "5"], "--seconds 5: 10 to 3600"), ("webapp", ["--ceiling", "0.01"], "--ceiling 0.01: 0.05 to"),
                ("webapp", ["--policies", "guess"], "guess"), ("memory_swing", ["--ceiling", "100"], "--ceiling 100.0: 208 to 16384"),
                ("memory_swing", ["--policies", "guess"], "guess")):
            with self.subTest(program, arguments=arguments):
                done = run(program, *arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
