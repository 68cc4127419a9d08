#!/usr/bin/env python3
"""All services in one process: serves, closes the loop, refuses bad configuration, stops cleanly."""
import json
import shutil
import subprocess
import sys
import unittest

from harness import BIN, Daemon, ctl, ctl_json, temporary_directory, wait_until

SERVICES = [
    "cloudscale.guest.v1.GuestReportService", "cloudscale.lbctl.v1.BalancerService",
    "cloudscale.monitor.v1.MonitorService", "cloudscale.predictor.v1.PredictorService",
    "cloudscale.scaler.v1.MigrationService", "cloudscale.scaler.v1.ReservationService",
    "cloudscale.scaler.v1.ScalerService", "cloudscale.sla.v1.SlaService",
]


class EmbeddedDefault(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = temporary_directory()
        cls.daemon = Daemon(cls.directory.name, "cloudscaled", "--listen=127.0.0.1:0", "--speed=100").start()
        cls.address = cls.daemon.address

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.stop()
        cls.directory.cleanup()
        assert code == 0, cls.daemon.log()

    def status(self):
        return ctl_json("call", "cloudscale.scaler.v1.ScalerService/GetStatus", "{}", address=self.address)

    def test_every_service_is_listed_and_serves(self):
        listed = ctl("list", address=self.address)[1]
        for service in SERVICES:
            self.assertIn(service, listed)

    def test_becomes_healthy(self):
        wait_until(lambda: ctl("health", address=self.address, check=False)[0] == 0, "health SERVING")

    def test_get_status_of_every_service_by_reflection(self):
        for service in SERVICES:
            if service.split(".")[-1] in ("GuestReportService", "MigrationService", "ReservationService"):
                continue
            answer = ctl_json("call", f"{service}/GetStatus", "{}", address=self.address)
            self.assertIsInstance(answer, dict)

    def test_loop_closes_caps_are_set_and_reasons_given(self):
        def acted():
            totals = self.status().get("totals", {})
            return int(totals.get("action_count", 0)) >= 5 and totals

        totals = wait_until(acted, "five actions", 60)
        self.assertEqual(int(totals.get("failed_action_count", 0)), 0)
        self.assertLess(float(totals["granted_cpu_cores"]), 16.0, "still as large as at first")
        why = ctl("why", "web-1", address=self.address)[1]
        self.assertIn("web-1", why)

    def test_shadow_is_compared_and_a_model_moves_as_a_file(self):
        said = ctl("model", "use", "cloudscale", "web-1", "--resource", "cpu", "--shadow", "--may-promote",
                   address=self.address)[1]
        self.assertIn("shadow cloudscale", said)

        def accuracies():
            rows = ctl_json("accuracy", "web-1", "--resource", "cpu", address=self.address).get("accuracies", [])
            return {(r["model"], r.get("is_shadow", False)): r for r in rows if int(r.get("step_count", 0)) > 0}

        rows = wait_until(lambda: {("portfolio", False), ("cloudscale", True)} <= accuracies().keys() and accuracies(),
                          "both models judged", 60)
        for row in rows.values():
            self.assertGreater(float(row["over_allocation_ratio"]), 0)
        league = ctl("accuracy", "--league", "--resource", "cpu", address=self.address)[1]
        self.assertRegex(league, r"(?m)^ *CPU +10s +portfolio ")
        forecast = ctl_json("forecast", "web-1", address=self.address)["forecast"]
        self.assertEqual(forecast["model"], "portfolio")
        self.assertIn("%", forecast["reason"])  # which experts count how much
        self.assertEqual([h["horizon"] for h in forecast["horizons"]], ["10s", "100s", "600s", "10800s"])
        path = f"{self.directory.name}/web-1.model"
        self.assertIn("2 series", ctl("model", "export", "web-1", "--to", path, address=self.address)[1])
        # What it has itself is newer.
        self.assertIn("0 series", ctl("model", "import", path, address=self.address)[1])
        code, _, error = ctl("model", "import", __file__, address=self.address, check=False)
        self.assertEqual(code, 2, error)
        self.assertIn("model export", error)
        code, _, error = ctl("model", "use", "oracle", address=self.address, check=False)
        self.assertEqual(code, 1)
        self.assertIn("oracle", error)
        ctl("model", "use", "default", "web-1", "--shadow", address=self.address)  # none again

    def test_P14_bad_request_names_field_value_and_range(self):
        code, _, error = ctl("call", "cloudscale.scaler.v1.ScalerService/SetMode",
                             '{"mode": "MODE_UNSPECIFIED", "request_id": "5c9a3c1e-7f0b-4f4e-9d53-3b1d2f6a7c01"}', address=self.address, check=False)
        self.assertEqual(code, 1)
        self.assertIn("mode", error)

    def test_unknown_vm_is_an_error_not_a_crash(self):
        code, _, error = ctl("why", "no-such-vm", address=self.address, check=False)
        self.assertNotEqual(code, 0)
        self.assertIn("no-such-vm", error)


    @unittest.skipUnless(shutil.which("grpcurl"), "grpcurl is not installed")
    def test_grpcurl_lists_and_calls_every_service(self):
        listed = subprocess.run(["grpcurl", "-plaintext", self.address, "list"], capture_output=True, text=True,
                                timeout=30, check=True).stdout
        for service in SERVICES:
            self.assertIn(service, listed)
        for call in ("monitor.v1.MonitorService/GetStatus", "predictor.v1.PredictorService/GetStatus",
                     "scaler.v1.ScalerService/GetStatus", "scaler.v1.MigrationService/ListMigrations",
                     "scaler.v1.ReservationService/ListReservations", "sla.v1.SlaService/GetStatus",
                     "lbctl.v1.BalancerService/GetStatus", "guest.v1.GuestReportService/StreamReports"):
            subprocess.run(["grpcurl", "-plaintext", "-max-time", "10", "-d", "", self.address, f"cloudscale.{call}"],
                           capture_output=True, text=True, timeout=30, check=True)


class GuestAgent(unittest.TestCase):
    def test_memory_as_the_guest_sees_it_reaches_the_monitor(self):
        with temporary_directory() as directory:
            daemon = Daemon(directory, "cloudscaled", "--listen=127.0.0.1:0", "--speed=1").start()
            agent = None
            try:
                wait_until(lambda: ctl("health", address=daemon.address, check=False)[0] == 0, "health SERVING")
                vm = ctl_json("vms", address=daemon.address)["vms"][0]
                agent = subprocess.Popen([BIN / "cloudscale-guest-agent", f"--monitor={daemon.address}",
                                          f"--vm-uuid={vm['vm_uuid']}"], stderr=subprocess.DEVNULL)

                def reported():
                    answer = ctl_json("call", "cloudscale.monitor.v1.MonitorService/GetVm",
                                      json.dumps({"vm_uuid": vm["vm_uuid"]}),
                                      address=daemon.address)
                    return "guest_report_age" in json.dumps(answer)

                wait_until(reported, "a guest report is merged", 20)
            finally:
                if agent:
                    agent.terminate()
                    self.assertEqual(agent.wait(10), 0)
                daemon.stop()


class BadConfiguration(unittest.TestCase):
    def refuse(self, text, *flags):
        with temporary_directory() as directory:
            path = f"{directory}/bad.yaml"
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            result = subprocess.run([BIN / "cloudscaled", f"--config={path}", *flags], capture_output=True, text=True,
                                    timeout=20, check=False)
        self.assertEqual(result.returncode, 2, result.stderr)
        return result.stderr

    def test_P14_all_faults_at_once_by_path_and_line(self):
        error = self.refuse("hypervisor: {fake: {cpu_cores: 3}}\nscaler:\n  stepp: 1s\n  mode: sometimes\n")
        for expected in ("hypervisor.fake.cpu_cores (line 1)", "scaler.stepp (line 3)", "scaler.mode (line 4)"):
            self.assertIn(expected, error)

    def test_P14_semantic_faults_of_all_services_at_once(self):
        error = self.refuse("hypervisor: {fake: {}}\nmonitor: {sampling_period: 0s, history_samples: 1}\n"
                            "predictor: {model: crystal-ball}\n")
        for expected in ("monitor.sampling_period", "monitor.history_samples", "predictor.model", "crystal-ball"):
            self.assertIn(expected, error)

    def test_P13_non_loopback_without_certificates_is_refused(self):
        error = self.refuse('hypervisor: {fake: {}}\nserver: {listen_address: "0.0.0.0:0"}\n')
        self.assertIn("server.listen_address", error)

    def test_hypervisor_that_this_version_lacks_is_refused_by_name(self):
        self.assertIn("hypervisor.libvirt.uri", self.refuse("hypervisor: {libvirt: {uri: \"kvm:///system\"}}\n"))

    def test_check_config_accepts_a_good_file_and_starts_nothing(self):
        with temporary_directory() as directory:
            path = f"{directory}/good.yaml"
            with open(path, "w", encoding="utf-8") as file:
                file.write("hypervisor: {fake: {}}\n")
            result = subprocess.run([BIN / "cloudscaled", f"--config={path}", "--check-config"], capture_output=True,
                                    text=True, timeout=20, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_broken_trace_names_file_and_line(self):
        with temporary_directory() as directory:
            path = f"{directory}/t.csv"
            with open(path, "w", encoding="utf-8") as file:
                file.write("t_seconds,value\n0,0.1\n1,zero\n")
            result = subprocess.run([BIN / "cloudscaled", f"--trace={path}"], capture_output=True, text=True,
                                    timeout=20, check=False)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("t.csv:3", result.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
