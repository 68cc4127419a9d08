#!/usr/bin/env python3
"""docs/metrics.md lists exactly the metrics that the code can expose."""
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def in_code():
    names = set()
    for folder in ("agents", "cloudscaled", "common", "services"):
        for path in (ROOT / folder).rglob("*.cc"):
            if not path.name.endswith(("_test.cc", "_bench.cc")):
                names.update(re.findall(r'"(cloudscale_[a-z_]+)"', path.read_text(encoding="utf-8")))
    return names


def in_document():
    return set(re.findall(r"^\| `(cloudscale_[a-z_]+)` \|", (ROOT / "docs/metrics.md").read_text(encoding="utf-8"),
                          re.MULTILINE))


class MetricsDocument(unittest.TestCase):
    def test_every_metric_is_documented_and_every_documented_one_exists(self):
        self.assertGreater(len(in_code()), 20)
        self.assertEqual(in_code() - in_document(), set(), "not in docs/metrics.md")
        self.assertEqual(in_document() - in_code(), set(), "in docs/metrics.md only")


if __name__ == "__main__":
    sys.exit(unittest.main())
