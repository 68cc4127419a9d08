#!/usr/bin/env python3
"""The house-rule checker finds each kind of fault in a small tree, and nothing in a clean one."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECKER = Path(__file__).resolve().parents[2] / "tools" / "tidy" / "check.py"


class HouseRules(unittest.TestCase):
    def run_on(self, path, text):
        with tempfile.TemporaryDirectory() as root:
            file = Path(root) / path
            file.parent.mkdir(parents=True)
            file.write_text(text)
            result = subprocess.run([sys.executable, CHECKER, root], capture_output=True, text=True, check=False)
            return result.returncode, result.stdout

    def assert_refused(self, path, text, expected):
        code, output = self.run_on(path, text)
        self.assertEqual(code, 1, output)
        self.assertIn(expected, output)

    def test_clean_file_passes(self):
        code, output = self.run_on("services/scaler/a.cc", '#include "services/scaler/a.h"\n#include <vector>\n')
        self.assertEqual(code, 0, output)

    def test_domain_may_not_include_another_service(self):
        self.assert_refused("services/scaler/a.cc", '#include "services/monitor/b.h"\n', "may not include")

    def test_domain_may_not_include_grpc(self):
        self.assert_refused("services/scaler/a.cc", "#include <grpcpp/grpcpp.h>\n", "domain code")

    def test_xen_headers_stay_in_the_module(self):
        self.assert_refused("hypervisor/xen/a.cc", "#include <libxl.h>\n", "domain code")
        code, output = self.run_on("hypervisor/xen/module/a.cc", "#include <libxl.h>\n#include <xenstat.h>\n")
        self.assertEqual(code, 0, output)

    def test_rpc_may_not_include_foreign_proto(self):
        self.assert_refused("services/monitor/rpc/a.cc", '#include "cloudscale/sla/v1/sla.pb.h"\n', "may not include")

    def test_nothing_depends_on_tests(self):
        self.assert_refused("common/a.cc", '#include "tests/x.h"\n', "nothing may depend")

    def test_testing_helpers_stay_in_tests(self):
        self.assert_refused("common/a.cc", '#include "common/testing/temp_dir.h"\n', "only tests")

    def test_clock_calls_are_banned(self):
        self.assert_refused("services/sla/a.cc", "auto t = absl::Now();\n", "banned call")

    def test_sleeps_are_banned_in_tests_too(self):
        self.assert_refused("services/sla/a_test.cc", "std::this_thread::sleep_for(x);\n", "banned call")

    def test_banned_words_in_comments_and_strings_do_not_count(self):
        code, output = self.run_on("services/sla/a.cc", '// absl::Now() is banned\nauto s = "absl::Now()";\n')
        self.assertEqual(code, 0, output)

    def test_leftovers_are_found(self):
        self.assert_refused("cli/a.cc", "// TO" + "DO later\n", "leftover")


if __name__ == "__main__":
    unittest.main()
