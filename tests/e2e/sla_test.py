#!/usr/bin/env python3
"""The outer loop with a real HAProxy: its log, or its statistics, open a violation; corrections go out; recovery ends it.

Two small servers stand behind the balancer, one of which turns slow. The application is not touched.
"""
import http.client
import http.server
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

from harness import BIN, Daemon, ctl, ctl_json, temporary_directory, wait_until

HAPROXY = shutil.which("haproxy") or (Path("/usr/sbin/haproxy").exists() and "/usr/sbin/haproxy")
VM_QUICK = "aaaaaaaa-0000-4000-8000-000000000001"
VM_SLOW = "bbbbbbbb-0000-4000-8000-000000000002"
SLOW_SECONDS = 0.3
CONFIG = """
host_id: sla-test
state_directory: {directory}
hypervisor:
  fake:
    cpu_capacity_cores: 8
    time_factor: 1
    scenario:
      vms:
        - {{name: shop-1, vm_uuid: {quick}}}
        - {{name: shop-2, vm_uuid: {slow}}}
predictor: {{step: 1s, horizons: [1s, 10s]}}
scaler: {{mode: MODE_AUTO, default_policy: {{mode: MODE_AUTO}}, step: 1s}}
sla:
  objectives:
    - objective_id: shop-p90
      application: shop
      terms: {{latency: {{threshold: 0.1s, percentile_ratio: 0.9}}, window: 2s, target_ratio: 0.9, period: 3600s}}
      members:
        - {{vm_uuid: {quick}, backend: shop, server: s1}}
        - {{vm_uuid: {slow}, backend: shop, server: s2}}
{more}
"""


class Backend:
    """An HTTP server on a port chosen by the system; `delay` may change at any time."""

    def __init__(self):
        self.delay = 0.0
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                time.sleep(backend.delay)  # how slow this server is
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # a connection that the balancer closes is no fault

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Users:
    """Ask the balancer, each for the next thing as soon as the answer is there."""

    def __init__(self, port, count=4):
        self.port = port
        self.is_over = threading.Event()
        self.served = 0
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.is_over.wait(0.02):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/")
                if connection.getresponse().read() == b"ok":
                    self.served += 1
                connection.close()
            except OSError:
                pass  # the balancer starts or ends

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


@unittest.skipUnless(HAPROXY, "haproxy is not installed")
class SlaWithHaproxy(unittest.TestCase):
    def setUp(self):
        self.temporary = temporary_directory()
        self.addCleanup(self.temporary.cleanup)
        self.directory = Path(self.temporary.name)
        self.quick, self.slow = Backend(), Backend()
        self.addCleanup(self.quick.stop)
        self.addCleanup(self.slow.stop)
        # The balancer inherits the socket, so that no port has to be guessed.
        self.front = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.front.close)

    def start_cloudscaled(self, sla="", rest=""):
        config = self.directory / "cloudscaled.yaml"
        config.write_text(CONFIG.format(directory=self.directory, quick=VM_QUICK, slow=VM_SLOW, more=sla + "\n" + rest),
                          encoding="utf-8")
        self.daemon = Daemon(self.directory, "cloudscaled", f"--config={config}", "--listen=127.0.0.1:0").start()
        self.addCleanup(self.daemon.stop)
        # A restart must be found at the same place.
        self.daemon.arguments = [a if not a.startswith("--listen=") else f"--listen={self.daemon.address}"
                                 for a in self.daemon.arguments]
        wait_until(lambda: ctl("health", address=self.daemon.address, check=False)[0] == 0, "health SERVING")

    def start_haproxy(self, log=""):
        config = self.directory / "haproxy.cfg"
        config.write_text(f"""global
  stats socket {self.directory}/admin.sock mode 600 level admin
  {log}
defaults
  mode http
  log global
  option httplog
  timeout connect 2s
  timeout client 10s
  timeout server 10s
frontend in
  bind fd@{self.front.fileno()}
  default_backend shop
backend shop
  balance roundrobin
  server s1 127.0.0.1:{self.quick.port}
  server s2 127.0.0.1:{self.slow.port}
""", encoding="utf-8")
        haproxy = subprocess.Popen([HAPROXY, "-q", "-db", "-f", config], pass_fds=[self.front.fileno()],
                                   stdin=subprocess.DEVNULL)

        def end():
            haproxy.terminate()
            haproxy.wait(20)

        self.addCleanup(end)
        users = Users(self.front.getsockname()[1])
        self.addCleanup(users.stop)
        wait_until(lambda: users.served > 10, "the balancer serves")

    # What an operator sees.
    def violations(self):
        return ctl_json("violations", address=self.daemon.address).get("violations", [])

    def sla_status(self):
        return ctl_json("status", address=self.daemon.address)["sla"]

    def input(self, source):
        return next(i for i in self.sla_status()["inputs"] if i["source"] == source)

    def price_of(self, vm):
        forecast = ctl_json("forecast", vm, "--resource", "cpu", address=self.daemon.address)["forecast"]
        return float(forecast["violation_price"])

    def boosts_of(self, vm):
        answer = ctl_json("why", vm, "--resource", "cpu", address=self.daemon.address)
        return [b for b in answer.get("boosts", []) if b["is_granted"]]

    def wait_for_violation(self, seconds=60):
        return wait_until(self.violations, "a violation opens", seconds)[0]

    def wait_for_end(self):
        def ended():
            first = self.violations()[-1]
            return first["state"] == "VIOLATION_STATE_CLOSED" and first

        return wait_until(ended, "the violation ends", 60)

    def good_windows(self):
        kept = ctl_json("objectives", address=self.daemon.address)["compliances"][0]
        return int(kept["good_window_count"])

    def test_log_lines_open_a_violation_that_is_corrected_and_ends(self):
        self.start_cloudscaled('  haproxy_log: {is_enabled: true, listen_address: "127.0.0.1:0"}')
        address = self.input("haproxy")["address"]
        self.assertRegex(address, r"^127\.0\.0\.1:[1-9]")
        self.start_haproxy(f"log {address} local0")
        wait_until(lambda: self.good_windows() > 20, "windows are judged")
        self.assertEqual(self.violations(), [])
        before = wait_until(lambda: self.price_of("shop-2"), "a forecast")

        self.slow.delay = SLOW_SECONDS
        violation = self.wait_for_violation()
        self.assertEqual(violation["source"], "haproxy")
        self.assertEqual(violation["vm_uuids"], [VM_SLOW], "only the server that is slow")
        self.assertGreater(violation["observed"], 0.9 * SLOW_SECONDS)
        boost = wait_until(lambda: self.boosts_of("shop-2"), "the boost reaches the scaler")[0]
        self.assertEqual(boost["violation_id"], violation["violation_id"])
        self.assertEqual(self.boosts_of("shop-1"), [])
        wait_until(lambda: self.price_of("shop-2") > 1.5 * before, "the price is raised at the predictor")

        self.slow.delay = 0.0
        ended = self.wait_for_end()
        self.assertEqual(len([e for e in ended["effects"] if e.startswith("retrain")]), 1, ended["effects"])
        self.assertIn(f"price of vm {VM_SLOW} times 2 for 10m", ended["effects"])
        told = self.input("haproxy")
        self.assertEqual((told["dropped_count"], told["malformed_count"], told["unknown_count"]), ("0", "0", "0"))
        self.assertGreater(int(told["taken_count"]), 100)
        # Statistics of the simulated balancer are of other servers; nothing else was counted.
        self.assertEqual(self.input("haproxy-statistics")["taken_count"], "0")
        self.check_report()

    def check_report(self):
        address = self.daemon.address
        report = ctl_json("sla", "report", "--app", "shop", "--since", "10m", address=address)
        self.assertEqual(report["compliances"][0]["violation_count"], "1")
        self.assertLess(report["compliances"][0]["compliance_ratio"], 1)
        buckets = report["series"][0]["buckets"]
        self.assertEqual(sum(int(b["window_count"]) for b in buckets), int(report["compliances"][0]["window_count"]))
        self.assertGreater(max(float(b["latency_p99"][:-1]) for b in buckets), 0.9 * SLOW_SECONDS)
        plot = self.directory / "shop.svg"
        self.assertIn("shop-p90", ctl("sla", "report", "--since", "10m", f"--plot={plot}", address=address)[1])
        self.assertIn("</svg>", plot.read_text(encoding="utf-8"))

    def test_restart_goes_on_with_the_open_violation(self):
        log = self.directory / "log.sock"
        self.start_cloudscaled(f"  haproxy_log: {{is_enabled: true, listen_address: {log}}}")
        self.start_haproxy(f"log {log} len 4096 format rfc5424 local0")
        self.slow.delay = SLOW_SECONDS
        before = self.wait_for_violation()
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.process.wait()
        self.daemon.start()
        wait_until(lambda: int(self.input("haproxy")["taken_count"]) > 50, "lines come to the new process")
        violations = self.violations()
        self.assertEqual([v["violation_id"] for v in violations], [before["violation_id"]])
        self.assertEqual(violations[0]["state"], "VIOLATION_STATE_OPEN")
        self.slow.delay = 0.0
        ended = self.wait_for_end()
        for kind in ("retrain", "price"):  # not asked for anew
            self.assertEqual(len([e for e in ended["effects"] if e.startswith(kind)]), 1, ended["effects"])

    def test_statistics_do_where_no_lines_come(self):
        self.start_haproxy()
        self.start_cloudscaled(rest=f"lbctl: {{haproxy: {{socket_path: {self.directory}/admin.sock}}}}")
        wait_until(lambda: self.good_windows() > 5, "windows are judged")
        self.quick.delay = self.slow.delay = SLOW_SECONDS
        # Means over 1024 requests follow slowly.
        violation = self.wait_for_violation(150)
        self.assertEqual(violation["source"], "haproxy-statistics")


class ReportedLatencies(unittest.TestCase):
    def test_the_tool_reports_what_it_reads(self):
        with temporary_directory() as directory:
            config = Path(directory) / "sla.yaml"
            config.write_text("""
objectives:
  - objective_id: shop-p90
    application: shop
    terms: {latency: {threshold: 0.1s, percentile_ratio: 0.9}, window: 2s, target_ratio: 0.9, period: 3600s}
""", encoding="utf-8")
            daemon = Daemon(directory, "cloudscale-sla", f"--config={config}", "--listen=127.0.0.1:0").start()
            self.addCleanup(daemon.stop)
            command = [BIN / "cloudscalectl", f"--address={daemon.address}", "--json", "sla", "report-latencies",
                       "--app=shop", "--unit=ms"]
            result = subprocess.run(command, input="250\n" * 40 + "error\n", capture_output=True, text=True, timeout=30,
                                    check=True)
            self.assertEqual(json.loads(result.stdout)["accepted_count"], "1")
            violation = wait_until(lambda: ctl_json("violations", address=daemon.address).get("violations"),
                                   "a violation opens")[0]
            self.assertEqual((violation["source"], violation["slow_request_count"]), ("client", "40"))
            command[-2] = "--app=nobody"
            result = subprocess.run(command, input="250\n", capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual(result.returncode, 1, result.stderr)


class SlowNotifications(unittest.TestCase):
    def test_a_flood_of_notifications_is_bounded_and_opens_a_violation(self):
        with temporary_directory() as directory:
            config = Path(directory) / "sla.yaml"
            config.write_text("""
udp: {is_enabled: true, listen_address: "127.0.0.1:0", application: legacy, max_datagrams_per_second: 50}
objectives:
  - objective_id: legacy-slow
    application: legacy
    terms: {slow_rate: {max_per_second: 2}, window: 2s, target_ratio: 0.9, period: 3600s}
    members: [{vm_uuid: %s}]
""" % VM_SLOW, encoding="utf-8")
            daemon = Daemon(directory, "cloudscale-sla", f"--config={config}", "--listen=127.0.0.1:0").start()
            self.addCleanup(daemon.stop)

            def state():
                answer = ctl_json("call", "cloudscale.sla.v1.SlaService/GetStatus", "{}", address=daemon.address)
                return answer["inputs"][0]

            host, port = re.fullmatch(r"(.*):(\d+)", state()["address"]).groups()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.connect((host, int(port)))
                sender.send(b"slow\n")

                def opened():
                    for _ in range(20):
                        sender.send(b"\n")
                    return ctl_json("violations", "--open", address=daemon.address).get("violations", [])

                violation = wait_until(opened, "a violation opens")[0]
            self.assertEqual((violation["source"], violation["threshold"]), ("udp", 2))
            told = wait_until(lambda: int(state()["dropped_count"]) > 0 and state(), "the flood is bounded")
            self.assertEqual(told["malformed_count"], "1")
            wait_until(lambda: not ctl_json("violations", "--open", address=daemon.address).get("violations"),
                       "silence ends it")


if __name__ == "__main__":
    sys.exit(unittest.main())
