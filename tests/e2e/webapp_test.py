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

WEBAPP = Path(__file__).resolve().parents[2] / "bench/macro/webapp/webapp"
SKIP = 77


def webapp(*arguments, timeout=400):
    return subprocess.run([WEBAPP, *arguments], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)


class WebappTest(unittest.TestCase):
    def test_compares_policies_under_the_same_load(self):
        with temporary_directory() as directory:
            done = webapp("--quick", "--trace", "wave", "--json", "--output", directory)
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

    @unittest.skipIf(os.geteuid() != 0, "without root it refuses before it looks at values")
    def test_refuses_what_makes_no_sense(self):
        for arguments, text in ((["--seconds", "5"], "--seconds 5: 10 to 3600"), (["--ceiling", "0.01"], "--ceiling 0.01: 0.1 to"),
                                (["--policies", "guess"], "guess")):
            with self.subTest(arguments):
                done = webapp(*arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
