"""The web application itself: HAProxy, two gunicorn servers and PostgreSQL, the last three each in a cgroup of its own."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")
TIERS = ("app-1", "app-2", "db")
WORKERS = 6  # processes of an application server
PERIOD_US = 100_000
START_LIMIT = 60

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE items (id int PRIMARY KEY, category int NOT NULL, name text NOT NULL, description text NOT NULL,
                    price numeric(12,2) NOT NULL, bid_count int NOT NULL DEFAULT 0, ends_at timestamptz NOT NULL);
CREATE TABLE bids (id bigserial PRIMARY KEY, item_id int NOT NULL, user_id int NOT NULL, amount numeric(12,2) NOT NULL,
                   placed_at timestamptz NOT NULL DEFAULT now());
INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, {users}) n;
INSERT INTO items SELECT n, 1 + n % {categories}, 'item ' || n, repeat('as good as new, one owner; ', 1 + n % 4), 1 + n % 500, 0,
                         now() + (n * 7919 % 100000) * interval '1 second' FROM generate_series(1, {items}) n;
CREATE INDEX ON items (category, ends_at, id);
CREATE INDEX ON bids (item_id, id);
ANALYZE;
"""


class Groups:
    """Cgroups of the tiers, v1 or v2, below a parent of their own."""

    def __init__(self, parent, tiers=TIERS):
        self.parent, self.tiers = parent, tiers
        self.is_v2 = (CGROUPS / "cgroup.controllers").exists()
        self._trees = [CGROUPS] if self.is_v2 else [CGROUPS / name for name in ("cpu", "cpuacct", "memory")]

    def create(self):
        for tree in self._trees:
            try:
                (tree / self.parent).mkdir()
            except OSError as error:
                raise Missing(f"no group can be made in {tree}: {error.strerror}") from error
            if self.is_v2:
                (tree / self.parent / "cgroup.subtree_control").write_text("+cpu +memory")
            for tier in self.tiers:
                (tree / self.parent / tier).mkdir()

    def remove(self):
        for tree in self._trees:
            if not (tree / self.parent).exists():
                continue
            for path in (*(tree / self.parent / tier for tier in self.tiers), tree / self.parent):
                deadline = time.monotonic() + 10
                while path.exists():
                    try:
                        path.rmdir()
                    except OSError:  # the kernel has not let go of the last process yet
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.05)

    def _path(self, tier, controller, file):
        return (CGROUPS if self.is_v2 else CGROUPS / controller) / self.parent / tier / file

    def enter(self, tier):
        """To be called in a child before it becomes the tier's program."""
        for tree in self._trees:
            (tree / self.parent / tier / "cgroup.procs").write_text(str(os.getpid()))

    def cpu_seconds(self, tier):
        if self.is_v2:
            return int(self._path(tier, "cpu", "cpu.stat").read_text().split()[1]) / 1e6
        return int(self._path(tier, "cpuacct", "cpuacct.usage").read_text()) / 1e9

    def cap(self, tier):
        """Cores; None without a cap."""
        if self.is_v2:
            quota, period = self._path(tier, "cpu", "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        quota = int(self._path(tier, "cpu", "cpu.cfs_quota_us").read_text())
        return None if quota < 0 else quota / int(self._path(tier, "cpu", "cpu.cfs_period_us").read_text())

    def set_cap(self, tier, cores):
        quota = "max" if cores is None else str(max(1000, round(cores * PERIOD_US)))
        if self.is_v2:
            self._path(tier, "cpu", "cpu.max").write_text(f"{quota} {PERIOD_US}")
            return
        self._path(tier, "cpu", "cpu.cfs_period_us").write_text(str(PERIOD_US))
        self._path(tier, "cpu", "cpu.cfs_quota_us").write_text("-1" if cores is None else quota)

    def memory_limit(self, tier):
        """Bytes; a very large number without a limit."""
        if self.is_v2:
            text = self._path(tier, "memory", "memory.max").read_text().strip()
            return 1 << 62 if text == "max" else int(text)
        return int(self._path(tier, "memory", "memory.limit_in_bytes").read_text())

    def set_memory_limit(self, tier, size):
        """Bytes, None for no limit. What is above it is swapped out meanwhile."""
        if self.is_v2:
            self._path(tier, "memory", "memory.max").write_text("max" if size is None else str(size))
        else:
            self._path(tier, "memory", "memory.limit_in_bytes").write_text("-1" if size is None else str(size))

    def memory_used(self, tier):
        return int(self._path(tier, "memory", "memory.current" if self.is_v2 else "memory.usage_in_bytes").read_text())

    def memory_events(self, tier):
        """(pages that had to be read back from disk or swap, processes killed for lack of memory) since the group was made."""
        stat = dict(line.split() for line in self._path(tier, "memory", "memory.stat").read_text().splitlines())
        kills = self._path(tier, "memory", "memory.events" if self.is_v2 else "memory.oom_control").read_text().splitlines()
        return int(stat["pgmajfault"]), int(dict(line.split() for line in kills)["oom_kill"])


class Missing(Exception):
    """What the experiment needs and this machine does not have."""


def need(program, package):
    found = shutil.which(program) or next((str(p) for p in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))), None)
    if found is None:
        raise Missing(f"{program} is not installed (tools/install_packages.sh webapp: {package})")
    return found


class Stack:
    """Starts everything, and ends what it started."""

    def __init__(self, directory, log_address=None):
        self.directory = Path(directory)
        self.groups = Groups(f"cloudscale-webapp-{os.getpid()}")
        self._processes = []
        self.log_address = log_address
        self.port = 0
        self.admin_socket = self.directory / "haproxy.sock"

    def __enter__(self):
        programs = {name: need(name, package) for name, package in (
            ("haproxy", "haproxy"), ("gunicorn", "gunicorn"), ("initdb", "postgresql-15"), ("postgres", "postgresql-15"),
            ("psql", "postgresql-client-15"), ("setpriv", "util-linux"))}
        self.directory.chmod(0o755)
        self.groups.create()
        try:
            self._start_database(programs)
            for tier in ("app-1", "app-2"):
                self._start(tier, tier, [
                    programs["gunicorn"], "--workers", str(WORKERS), "--bind", f"unix:{self.directory / tier}.sock", "--timeout", "60",
                    "--pythonpath", str(HERE), "--log-level", "warning", "app:application"],
                    environment={"WEBAPP_DATABASE": f"host={self.directory / 'db'} dbname=auction user=postgres"})
            self._wait("application servers", lambda: all((self.directory / f"{tier}.sock").exists() for tier in ("app-1", "app-2")))
            self._start_haproxy(programs["haproxy"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        self.groups.remove()

    def check(self):
        """Raises when a part has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise SystemExit(f"webapp: {process.args[0]} ended with {process.returncode}; see {self.directory}")

    def forget_bids(self):
        """The database as it was at the start."""
        self._sql("TRUNCATE bids; UPDATE items SET bid_count = 0 WHERE bid_count > 0; CHECKPOINT;", "auction")
        self._sql("VACUUM items;", "auction")

    def _start(self, name, tier, command, environment=None, user=None):
        def enter():
            if tier is not None:
                self.groups.enter(tier)

        if user is not None:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
        with open(self.directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, preexec_fn=enter,
                                       env={**os.environ, **(environment or {})})
        self._processes.append(process)
        return process

    def _wait(self, what, is_ready):
        deadline = time.monotonic() + START_LIMIT
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"webapp: {what} not up after {START_LIMIT} s; see {self.directory}")
            time.sleep(0.05)

    def _sql(self, text, database):
        return subprocess.run([need("psql", "postgresql-client-15"), "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.directory / "db"), "-U",
                               "postgres", database], input=text, capture_output=True, text=True, check=True, timeout=120).stdout

    def _start_database(self, programs):
        from load import CATEGORIES, ITEMS, USERS
        data = self.directory / "db"
        data.mkdir()
        shutil.chown(data, "postgres", "postgres")
        subprocess.run([programs["setpriv"], "--reuid=postgres", "--regid=postgres", "--init-groups", programs["initdb"], "-D", str(data), "-A",
                        "trust", "-N", "--no-locale", "-E", "UTF8"], check=True, capture_output=True, cwd="/", timeout=120)
        # Disk and housekeeping would add what no cap of a processor changes.
        settings = {"listen_addresses": "", "unix_socket_directories": str(data), "fsync": "off", "synchronous_commit": "off",
                    "full_page_writes": "off", "autovacuum": "off", "max_connections": "50", "shared_buffers": "64MB"}
        self._start("postgres", "db", [programs["postgres"], "-D", str(data), *(f"-c{key}={value}" for key, value in settings.items())],
                    user="postgres")

        def answers():
            try:
                return self._sql("SELECT 1;", "postgres").strip() == "1"
            except subprocess.CalledProcessError:
                return False

        self._wait("PostgreSQL", answers)
        self._sql("CREATE DATABASE auction;", "postgres")
        self._sql(SCHEMA.format(users=USERS, items=ITEMS, categories=CATEGORIES), "auction")

    def _start_haproxy(self, program):
        # HAProxy takes the listening socket over, so that no other program can be given the port in between.
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        self.port = listener.getsockname()[1]
        log = f"log {self.log_address} len 4096 format raw local0\n" if self.log_address else ""
        config = self.directory / "haproxy.cfg"
        config.write_text(f"""global
  stats socket {self.admin_socket} mode 600 level admin
  {log}defaults
  mode http
  {"log global" if log else ""}
  option httplog
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout queue 30s
frontend www
  bind fd@{listener.fileno()}
  default_backend web
backend web
  balance roundrobin
  server app-1 unix@{self.directory}/app-1.sock weight 100
  server app-2 unix@{self.directory}/app-2.sock weight 100
""")
        os.set_inheritable(listener.fileno(), True)
        with open(self.directory / "haproxy.log", "ab") as output:
            self._processes.append(subprocess.Popen([program, "-db", "-f", str(config)], stdin=subprocess.DEVNULL, stdout=output,
                                                    stderr=output, pass_fds=[listener.fileno()]))
        listener.close()
        self._wait("HAProxy", self.admin_socket.exists)


class CpuUse:
    """What each tier used since the call before and may use, in cores, for a Meter."""

    def __init__(self, groups, full_cores):
        self._groups, self._full = groups, full_cores
        self._time, self._counted = None, {}

    def __call__(self, now):
        counted = {tier: self._groups.cpu_seconds(tier) for tier in self._groups.tiers}
        length = now - self._time if self._time is not None else 1.0
        used = {tier: (counted[tier] - self._counted.get(tier, counted[tier])) / length for tier in counted}
        self._time, self._counted = now, counted
        caps = {tier: self._groups.cap(tier) for tier in self._groups.tiers}
        return used, {tier: self._full if cap is None else min(cap, self._full) for tier, cap in caps.items()}


class Meter:
    """Reads what each tier uses and may use, ten times a second, until stopped."""

    INTERVAL = 0.1

    def __init__(self, read):
        """`read(now)` gives {tier: used since the call before} and {tier: may use}."""
        self._read = read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure = None
        self.rows = []  # (seconds, length, {tier: used}, {tier: given})
        self.changes = 0
        self._start = 0.0

    def start(self, start):
        self._start = start
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self):
        try:
            last_time, last_given = None, {}
            while not self._stop.wait(self.INTERVAL):
                now = time.monotonic()
                used, given = self._read(now)
                if last_time is not None:
                    # Under way from one value to the next a limit is counted at the larger one.
                    self.rows.append((now - self._start, now - last_time, used, {tier: max(given[tier], last_given[tier]) for tier in given}))
                    self.changes += sum(given[tier] != last_given[tier] for tier in given)
                last_time, last_given = now, given
        except OSError as failure:
            self.failure = failure


def scratch_directory():
    return tempfile.mkdtemp(prefix="webapp-")
