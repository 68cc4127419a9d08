#!/usr/bin/env python3
"""cloudscale-lbctl with a real HAProxy under steady load: changes, reloads, crashes of either side, agent checks, messages.

No request fails and no connection is lost because of lbctl or of a reload; while HAProxy is dead by SIGKILL requests fail,
and those are counted apart.
"""
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

from harness import Daemon, ctl, ctl_json, temporary_directory, wait_until
from web_load import WebLoad

HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
POLL_SECONDS = 0.2


def ask(path, command):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(str(path))
        s.sendall(command.encode() + b"\n")
        answer = b""
        while block := s.recv(65536):
            answer += block
        return answer.decode()


def server_of(path, backend, server):
    """The columns of `show stat`, or None."""
    try:
        rows = csv.DictReader(ask(path, "show stat").removeprefix("# ").splitlines())
        return next((r for r in rows if (r["pxname"], r["svname"]) == (backend, server)), None)
    except OSError:
        return None


class Haproxy:
    """In master-worker mode with its runtime socket, restarted and reloaded by the test."""

    def __init__(self, directory, name, servers, port=0):
        self.directory = Path(directory)
        self.socket = self.directory / f"{name}.sock"
        self.config = self.directory / f"{name}.cfg"
        self.log = self.directory / f"{name}.log"
        self.process = None
        if port == 0:
            with socket.socket() as probe:  # HAProxy cannot tell which port it took
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
        self.port = port
        lines = "\n".join(f"  server {line}" for line in servers)
        self.config.write_text(f"""global
  stats socket {self.socket} mode 600 level admin expose-fd listeners
  hard-stop-after 30s
defaults
  mode http
  option idle-close-on-response
  timeout connect 2s
  timeout client 20s
  timeout server 20s
frontend front
  bind 127.0.0.1:{port}
  default_backend web
backend web
  balance roundrobin
{lines}
""")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([HAPROXY, "-W", "-f", self.config], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True)

        def answers():
            try:
                return "Pid:" in ask(self.socket, "show info")
            except OSError:
                return False

        wait_until(answers, f"HAProxy ready: {self.log.read_text(errors='replace')}")
        return self

    def pid_of_worker(self):
        try:
            info = ask(self.socket, "show info")
            stopping = re.search(r"^Stopping: (\d)", info, re.MULTILINE)
            return None if stopping and stopping[1] != "0" else int(re.search(r"^Pid: (\d+)", info, re.MULTILINE)[1])
        except (OSError, TypeError):
            return None

    def reload(self):
        before = self.pid_of_worker()
        self.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: self.pid_of_worker() not in (None, before), "the new worker answers")

    def kill(self):
        """Master and workers, at once."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@unittest.skipIf(HAPROXY is None, "haproxy is not installed")
class HaproxyTest(unittest.TestCase):
    def setUp(self):
        self.directory = temporary_directory()
        self.addCleanup(self.directory.cleanup)
        self.load = WebLoad()
        self.addCleanup(self.load.stop)
        self.lbctl = None
        self.addCleanup(lambda: self.lbctl and self.lbctl.stop())

    def start_haproxy(self, servers, name="haproxy"):
        haproxy = Haproxy(self.directory.name, name, servers)
        self.addCleanup(haproxy.kill)
        return haproxy.start()

    def start_lbctl(self, haproxy, more=""):
        path = Path(self.directory.name) / "lbctl.yaml"
        path.write_text(f"""server:
  listen_address: 127.0.0.1:0
haproxy:
  socket_path: {haproxy.socket}
state_path: {self.directory.name}/lbctl.db
poll_period: {POLL_SECONDS}s
{more}""")
        self.lbctl = Daemon(self.directory.name, "cloudscale-lbctl", f"--config={path}").start()
        wait_until(lambda: self.status()["balancer"]["health"] == "LINK_HEALTH_UP", "lbctl sees the balancer")

    def lb(self, *arguments, check=True):
        return ctl("lb", *arguments, address=self.lbctl.address, check=check, timeout=60)

    def status(self):
        return ctl_json("call", "BalancerService/GetStatus", "{}", address=self.lbctl.address)

    def server(self, name):
        answer = ctl_json("call", "BalancerService/ListServers", '{"backend": "web"}', address=self.lbctl.address)
        return next((s for s in answer["servers"] if s["name"] == name), None)

    def drifts(self):
        code, out, error = ctl("--json", "lb", "drift", address=self.lbctl.address, check=False)
        self.assertTrue(out, error)
        drifts = json.loads(out)["drifts"]
        self.assertEqual(code, 1 if drifts else 0)
        return drifts

    def log_number(self, pattern):
        return int(wait_until(lambda: re.search(pattern, self.lbctl.log()), pattern)[1])

    def serve(self, names):
        return {name: self.load.serve(name) for name in names}

    def await_healed(self, what):
        """What is wanted is in force again; nothing differs."""
        def healed():
            code, out, _ = ctl("--json", "call", "BalancerService/ListServers", "{}", address=self.lbctl.address,
                               check=False)
            servers = {s["name"]: s for s in json.loads(out)["servers"]} if code == 0 else {}
            return (servers and not self.drifts()
                    and servers.get("web-1", {}).get("weight") == 10 and servers.get("web-4", {}).get("weight") == 50
                    and servers["web-3"]["port"] == self.ports["web-3b"])

        wait_until(healed, f"{what}: {self.lbctl.log()[-2000:]}")

    def test_changes_reloads_and_crashes_under_load(self):
        self.ports = ports = self.serve(["web-1", "web-2", "web-3", "web-3b", "web-4"])
        haproxy = self.start_haproxy([f"web-{i} 127.0.0.1:{ports[f'web-{i}']} weight 100" for i in (1, 2, 3)])
        self.start_lbctl(haproxy)
        self.load.start(haproxy.port)
        dead = []  # when HAProxy was dead by our hand

        with self.subTest("weights"):
            self.lb("weight", "web/web-1", "10")
            share = self.load.share_of("web-1", 3)
            self.assertLess(abs(share - 10 / 210), 0.04, f"share {share}")
        with self.subTest("drain until the last session is over"):
            code, out, _ = self.lb("drain", "web/web-2", "--for", "20s")
            self.assertIn("0 sessions left", out)
            self.assertEqual(self.load.share_of("web-2", 1), 0.0)
            self.lb("ready", "web/web-2")
            self.assertGreater(self.load.share_of("web-2", 2), 0.2)
        with self.subTest("address"):
            self.lb("address", "web/web-3", f"127.0.0.1:{ports['web-3b']}")
            wait_until(lambda: self.load.share_of("web-3", 0.3) == 0.0, "the old address gets nothing")
            self.assertGreater(self.load.share_of("web-3b", 1), 0.2)
        with self.subTest("a server comes and goes"):
            for kept in (False, True):
                self.lb("add", "web/web-4", f"127.0.0.1:{ports['web-4']}", "--weight", "50")
                self.assertGreater(self.load.share_of("web-4", 1), 0.05)
                if not kept:
                    self.lb("maint", "web/web-4")
                    wait_until(lambda: self.lb("remove", "web/web-4", check=False)[0] == 0, "web-4 is removed")
                    self.assertEqual(self.load.share_of("web-4", 0.5), 0.0)
        self.assertEqual(self.load.failures, [])

        with self.subTest("reloads"):
            for i in range(3):
                slow = self.load.slow()
                time.sleep(0.3)
                haproxy.reload()
                self.await_healed(f"reload {i + 1}")
                self.assertTrue(slow.result(20), "an answer that was under way came whole")
            self.assertEqual(self.load.failures, [])

        with self.subTest("a foreign change is reported and not fought"):
            ask(haproxy.socket, "set server web/web-1 weight 77")
            found = wait_until(self.drifts, "the drift is seen")
            self.assertEqual([(d["server"], d["field"], d["cause"]) for d in found],
                             [("web-1", "weight", "DRIFT_CAUSE_FOREIGN_CHANGE")])
            time.sleep(5 * POLL_SECONDS)
            self.assertEqual(self.server("web-1")["weight"], 77)
            self.lb("reconcile", "apply", "web/web-1")
            self.assertEqual(self.server("web-1")["weight"], 10)
            self.assertEqual(self.drifts(), [])

        with self.subTest("SIGKILL of HAProxy"):
            for _ in range(2):
                start = time.monotonic()
                haproxy.kill()
                wait_until(lambda: self.status()["balancer"]["health"] != "LINK_HEALTH_UP", "lbctl says so")
                code, _, error = self.lb("weight", "web/web-1", "20", check=False)
                self.assertEqual(code, 3, error)
                haproxy.start()
                dead.append((start, time.monotonic()))
                self.await_healed("after a crash of HAProxy")

        with self.subTest("SIGKILL of lbctl"):
            self.lbctl.kill()
            ask(haproxy.socket, "set server web/web-2 weight 33")
            ask(haproxy.socket, "set server web/web-1 weight 44")
            self.start_lbctl(haproxy)
            self.assertEqual([(d["server"], d["actual"]) for d in wait_until(self.drifts, "changed meanwhile")],
                             [("web-1", "44")])
            self.assertEqual(self.server("web-2")["weight"], 33, "nothing was wanted of it")
            self.lb("reconcile", "apply")
            self.await_healed("lbctl's wanted state was kept")
            self.lbctl.kill()
            haproxy.reload()
            self.start_lbctl(haproxy)
            self.await_healed("a reload while lbctl was dead")

        self.assertEqual(self.load.failures_outside(dead), [])
        print(f"answered {self.load.answered} and {self.load.reused} on kept connections; failed while HAProxy was dead: "
              f"{len(self.load.failures)} in {sum(end - start for start, end in dead):.1f} s; else 0")
        self.assertGreater(self.load.answered, 1000)

    def test_balancers_ask_for_weights_themselves(self):
        ports = self.serve(["web-1", "web-2"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            agent = probe.getsockname()[1]
        check = f"agent-check agent-addr 127.0.0.1 agent-port {agent} agent-inter 500ms"
        servers = [f'web-{i} 127.0.0.1:{ports[f"web-{i}"]} weight {w} {check} agent-send "web/web-{i}\\n"'
                   for i, w in ((1, 100), (2, 10))]
        told = self.start_haproxy(servers, "told")
        other = self.start_haproxy(servers, "other")  # lbctl does not know of it
        self.load.start(other.port)

        def weights(of):
            return [int(server_of(of.socket, "web", name)["uweight"]) for name in ("web-1", "web-2")]

        self.start_lbctl(told, f"agent_check:\n  listeners:\n  - listen_address: 127.0.0.1:{agent}\n")
        self.assertEqual(weights(other), [100, 10], "nothing is wanted yet")
        self.lb("weight", "web/web-1", "75")
        self.lb("weight", "web/web-2", "200")
        wait_until(lambda: weights(other) == [75, 200], "the other balancer asked")
        self.lb("drain", "web/web-1", "--for", "10s")
        wait_until(lambda: "DRAIN" in server_of(other.socket, "web", "web-1")["status"], "the other drains, too")
        self.lb("ready", "web/web-1")
        wait_until(lambda: "DRAIN" not in server_of(other.socket, "web", "web-1")["status"], "and takes traffic again")
        self.assertEqual(self.drifts(), [])
        other.reload()
        wait_until(lambda: weights(other) == [75, 200], "a reload is healed by the next checks")
        self.lbctl.kill()
        time.sleep(1)
        self.assertEqual(weights(other), [75, 200], "without answers all stays")
        self.start_lbctl(told, f"agent_check:\n  listeners:\n  - listen_address: 127.0.0.1:{agent}\n")

        # Somebody else's change that lbctl has seen is not overruled by the next checks; one that a check overtakes is.
        def is_seen():
            ask(told.socket, "set server web/web-1 weight 5")
            time.sleep(1.5 * POLL_SECONDS)
            return [d["actual"] for d in self.drifts()] == ["5"]

        wait_until(is_seen, "the drift is seen")
        time.sleep(1.5)
        self.assertEqual(weights(told)[0], 5)
        self.assertEqual(self.load.failures, [])

    def test_messages_apply_plans(self):
        ports = self.serve(["PHPSer1", "PHPSer2"])
        haproxy = self.start_haproxy([f"{name} 127.0.0.1:{port} weight 100" for name, port in ports.items()])
        self.load.start(haproxy.port)
        self.start_lbctl(haproxy, """messages:
  listen_address: 127.0.0.1:0
  messages:
  - {text: Load PHPSer1, plan: PLAN_SHIFT_AWAY, backend: web, server: PHPSer2, remaining_ratio: 0}
  - {text: Load PHPSer2, plan: PLAN_SHIFT_AWAY, backend: web, server: PHPSer1, remaining_ratio: 0}
  - {text: Balance, plan: PLAN_BALANCE, backend: web}
""")
        port = self.log_number(r"messages_listen port=(\d+)")

        def weights():
            return [self.server(name)["weight"] for name in ("PHPSer1", "PHPSer2")]

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for text, expected in (("Load PHPSer1", [100, 0]), ("Balance\n", [100, 100]), ("Load PHPSer2", [0, 100]),
                                   ("nonsense", [0, 100]), ("Balance", [100, 100])):
                sender.sendto(text.encode(), ("127.0.0.1", port))
                wait_until(lambda expected=expected: weights() == expected, f"{text}: {expected}")
        self.assertEqual(self.load.failures, [])

    def test_weights_follow_reported_capacity(self):
        ports = self.serve(["web-1", "web-2"])
        haproxy = self.start_haproxy([f"{name} 127.0.0.1:{port} weight 100" for name, port in ports.items()])
        self.load.start(haproxy.port)
        self.start_lbctl(haproxy, """servers:
- {backend: web, server: web-1, vm_uuid: vm-1}
- {backend: web, server: web-2, vm_uuid: vm-2}
follow_capacity:
- {backend: web, min_interval: 0.5s}
""")

        def report(host, vms):
            return ctl_json("call", "BalancerService/ReportCapacity", json.dumps({"host_id": host, "vms": vms}),
                            address=self.lbctl.address)

        report("a", [{"vm_uuid": "vm-1", "granted_cores": 6}])
        answer = report("b", [{"vm_uuid": "vm-2", "granted_cores": 2}])
        self.assertEqual([c["weight_after"] for c in answer["changes"]], [255, 85])
        self.assertLess(abs(self.load.share_of("web-1", 3) - 0.75), 0.08)
        time.sleep(0.6)
        answer = report("a", [{"vm_uuid": "vm-1", "granted_cores": 6, "coming_cores": 2}])
        self.assertEqual(len(answer["changes"]), 2)
        self.assertLess(abs(self.load.share_of("web-1", 3) - 0.5), 0.08)
        self.assertEqual(self.load.failures, [])

    def test_algorithms_by_hash_take_weights_only_when_consistent(self):
        port = self.load.serve("web")
        haproxy = Haproxy(self.directory.name, "haproxy", [f"web-1 127.0.0.1:{port} weight 100"])
        with open(haproxy.config, "a", encoding="utf-8") as config:
            for kind, hash_type in (("map", "map-based"), ("ring", "consistent")):
                for word in ("source", "uri", "hdr(host)", "url_param x"):
                    config.write(f"backend {kind}-{word.split('(')[0].split()[0]}\n  balance {word}\n"
                                 f"  hash-type {hash_type}\n  server s 127.0.0.1:{port} weight 100\n")
        self.addCleanup(haproxy.kill)
        haproxy.start()
        self.start_lbctl(haproxy)
        for word in ("source", "uri", "hdr", "url_param"):
            self.lb("weight", f"ring-{word}/s", "50")
            code, _, error = self.lb("weight", f"map-{word}/s", "50", check=False)
            self.assertEqual(code, 1)
            self.assertIn("takes no weights", error)

        def static():
            backends = ctl_json("call", "BalancerService/ListBackends", "{}", address=self.lbctl.address)["backends"]
            return {b["name"] for b in backends if not b["has_dynamic_weights"]}

        wait_until(lambda: static() == {f"map-{word}" for word in ("source", "uri", "hdr", "url_param")},
                   "what was refused is known")
        code, _, error = self.lb("weight", "web/none", "1", check=False)
        self.assertEqual(code, 1)
        self.assertIn("there are: web-1", error)


if __name__ == "__main__":
    if HAPROXY is None:
        print("skipped: haproxy is not installed")
        sys.exit(77)
    unittest.main(verbosity=2)
