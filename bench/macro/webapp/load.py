"""Open-loop load: sessions arrive as a trace says, each asks for pages with pauses in between, all planned beforehand.

A page's time is in the plan, whatever became of the page before it, and its response time counts from there: waiting for a slow
server is never hidden. The same seed gives the same plan.
"""
import asyncio
import csv
import gzip
import math
import random
import time
from dataclasses import dataclass

from session import sign

DAY_SECONDS = 86400
ITEMS = 20000
CATEGORIES = 20
USERS = 1000
PAGES_PER_SESSION = 5
THINK_SECONDS = 1.5
BID_SHARE = 0.15  # of pages; RUBiS's bidding mix
TIMEOUT_SECONDS = 10
MAX_IN_FLIGHT = 2000
# Signed once, here: signing is work too.
SESSIONS = [f"user{number}.{sign(f'user{number}')}" for number in range(50)]


def read_trace(path, name):
    """Values of one trace of the long form (trace,t,value), and its step in seconds."""
    opener = gzip.open if str(path).endswith(".gz") else open
    values, times = [], []
    with opener(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["trace"] == name:
                times.append(float(row["t"]))
                values.append(float(row["value"]))
    if len(values) < 2:
        raise SystemExit(f"webapp: no trace '{name}' in {path}")
    return values, times[1] - times[0]


def rates(values, first, count, seconds):
    """Relative rate, 0 to 1, in each second of the run: `count` points from `first`, stretched or squeezed to `seconds`."""
    window = values[first:first + count]
    top = max(window)
    result = []
    for second in range(seconds):
        low, high = second * len(window) / seconds, (second + 1) * len(window) / seconds
        points = window[int(low):max(int(low) + 1, math.ceil(high))]
        result.append(sum(points) / len(points) / top)
    return result


def two_stretches(directory, name, seconds, first=None, points=None):
    """Relative rate in each of `seconds`, of a stretch of a recorded trace and of the one before it: of its second and first whole day when
    nothing is said. That was picked before anything was measured, and not by what it looks like. Made up are 'wave', and 'flash': quiet, and
    ten times as much from the middle on, which nobody has seen before."""
    if name in ("wave", "flash"):
        quiet = [0.1] * (seconds + seconds // 2)
        values = [0.2 + 0.15 * (1 + math.sin(i / 8)) + (0.35 if i % 45 < 6 else 0) for i in range(2 * seconds)] if name == "wave" else (
            quiet + [1.0] * (2 * seconds - len(quiet)))
        first, points = seconds, seconds
    else:
        values, step = read_trace(directory / "traces.csv.gz", name)
        day = int(DAY_SECONDS / step)
        first, points = first if first is not None else day, points or day
        if not (2 <= points <= first and first + points <= len(values)):
            raise SystemExit(f"points {first - points} to {first + points}, a stretch and one before it: trace {name} has 0 to {len(values)}")
    both = rates(values, first - points, 2 * points, 2 * seconds)
    return both[:seconds], both[seconds:]


@dataclass(frozen=True)
class Page:
    at: float  # seconds since the start
    path: str


def plan(relative_rates, peak_pages_per_second, seed):
    """All pages of the run in order of time."""
    rng = random.Random(seed)
    pages = []
    # A session's pages come over some seconds, so those that began before the start belong to it too.
    lead = math.ceil(2 * PAGES_PER_SESSION * THINK_SECONDS)
    for second in range(-lead, len(relative_rates)):
        mean = relative_rates[max(0, second)] * peak_pages_per_second / PAGES_PER_SESSION
        at = second + rng.expovariate(mean) if mean > 0 else math.inf
        while at < second + 1:
            when = at
            session = rng.choice(SESSIONS)
            for _ in range(PAGES_PER_SESSION):
                if 0 <= when < len(relative_rates):
                    pages.append(Page(when, f"{path(rng)}&session={session}"))
                when += rng.expovariate(1 / THINK_SECONDS)
            at += rng.expovariate(mean)
    return sorted(pages, key=lambda page: page.at)


def path(rng):
    kind = rng.random()
    number = min(ITEMS, int(rng.paretovariate(0.6)))  # some items draw most of the interest
    if kind < BID_SHARE:
        return f"/bid?id={number}&user={rng.randint(1, USERS)}&raise={rng.uniform(0.1, 5):.2f}"
    if kind < 0.6:
        return f"/item?id={number}"
    return f"/search?category={rng.randint(1, CATEGORIES)}&page={min(9, int(rng.expovariate(1)))}"


@dataclass
class Outcome:
    at: float        # planned
    seconds: float   # response time from then on
    status: int      # 0: none in time


class Client:
    """Plays a plan against one HTTP server on loopback over kept connections."""

    def __init__(self, port):
        self._port = port
        self._idle = []
        self._in_flight = 0
        self.outcomes = []

    async def play(self, pages, start=None):
        start = time.monotonic() if start is None else start
        tasks = set()
        for page in pages:
            delay = start + page.at - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            if self._in_flight >= MAX_IN_FLIGHT:
                self.outcomes.append(Outcome(page.at, TIMEOUT_SECONDS, 0))
                continue
            self._in_flight += 1
            task = asyncio.create_task(self._one(page, start))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks)
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _one(self, page, start):
        status = 0
        try:
            left = start + page.at + TIMEOUT_SECONDS - time.monotonic()
            status = await asyncio.wait_for(self._ask(page.path), max(0.001, left))
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass  # told by status 0
        finally:
            self._in_flight -= 1
            self.outcomes.append(Outcome(page.at, time.monotonic() - start - page.at, status))

    async def _ask(self, path):
        # A kept connection may have been closed by the server meanwhile; a fresh one is then tried, as browsers do.
        while self._idle:
            reader, writer = self._idle.pop()
            if reader.at_eof():
                writer.close()
                continue
            return await self._exchange(reader, writer, path)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        return await self._exchange(reader, writer, path)

    async def _exchange(self, reader, writer, path):
        done = False
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: auction\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            length, keeps = None, True
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                elif name.lower() == b"connection" and value.strip().lower() == b"close":
                    keeps = False
            if length is None:
                raise ValueError("no length")
            await reader.readexactly(length)
            done = keeps
            return int(lines[0].split(b" ")[1])
        finally:
            if done:
                self._idle.append((reader, writer))
            else:
                writer.close()
