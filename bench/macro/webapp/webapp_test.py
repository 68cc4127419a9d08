#!/usr/bin/env python3
"""What the experiment's load and figures must be, or its results mean nothing."""
import asyncio
import datetime
import gzip
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import load  # noqa: E402
import ours  # noqa: E402
import report  # noqa: E402
from session import is_genuine, sign  # noqa: E402


class RatesTest(unittest.TestCase):
    def test_are_relative_to_the_highest_of_the_stretch(self):
        self.assertEqual(load.rates([9, 1, 2, 4, 9], 1, 3, 3), [0.25, 0.5, 1.0])

    def test_squeezing_averages_and_stretching_repeats(self):
        self.assertEqual(load.rates([1, 3, 4, 4], 0, 4, 2), [0.5, 1.0])
        self.assertEqual(load.rates([2, 4], 0, 2, 4), [0.5, 0.5, 1.0, 1.0])

    def test_come_from_the_named_trace_only(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "traces.csv.gz"
            with gzip.open(path, "wt") as file:
                file.write("trace,t,value\na,0,1\nb,0,7\na,60,2\nb,60,8\n")
            self.assertEqual(load.read_trace(path, "b"), ([7.0, 8.0], 60.0))
            with self.assertRaisesRegex(SystemExit, "no trace 'c'"):
                load.read_trace(path, "c")


    def test_the_stretch_before_is_the_one_right_before(self):
        with tempfile.TemporaryDirectory() as directory:
            with gzip.open(Path(directory) / "traces.csv.gz", "wt") as file:
                file.write("trace,t,value\n" + "".join(f"a,{28800 * i},{i}\n" for i in range(9)))
            self.assertEqual(load.two_stretches(Path(directory), "a", 3), ([0, 1 / 5, 2 / 5], [3 / 5, 4 / 5, 1]))
            self.assertEqual(load.two_stretches(Path(directory), "a", 2, 6, 2), ([4 / 7, 5 / 7], [6 / 7, 1]))
            with self.assertRaisesRegex(SystemExit, "points 4 to 12"):
                load.two_stretches(Path(directory), "a", 2, 8, 4)

    def test_nobody_has_seen_the_crowd_before(self):
        before, stretch = load.two_stretches(None, "flash", 10)
        self.assertEqual(before, [0.1] * 10)
        self.assertEqual(stretch, [0.1] * 5 + [1.0] * 5)


class WorkingSetTest(unittest.TestCase):
    def test_touches_what_it_is_told_and_tells_how_long_that_took(self):
        with tempfile.TemporaryDirectory() as directory:
            sizes = Path(directory) / "sizes"
            sizes.write_text("45\n5\n")
            done = subprocess.run([sys.executable, str(HERE / "working_set.py"), str(sizes), repr(time.monotonic())], capture_output=True,
                                  text=True, timeout=60, check=True)
        rounds = [[float(field) for field in line.split()] for line in done.stdout.splitlines()]
        self.assertEqual([row[0] for row in rounds], sorted({row[0] for row in rounds}))
        self.assertEqual({row[2] for row in rounds}, {45.0, 5.0})
        self.assertTrue(all(row[1] >= 0 for row in rounds))
        self.assertEqual(rounds[-1][0], 1.9)
        most = max(row[3] for row in rounds)
        self.assertGreater(most, 45)
        self.assertLess(rounds[-1][3], most - 35, "what is no longer in the set is given back")


class PlanTest(unittest.TestCase):
    def test_is_the_same_for_the_same_seed_only(self):
        rates = [0.5] * 30
        self.assertEqual(load.plan(rates, 50, 1), load.plan(rates, 50, 1))
        self.assertNotEqual(load.plan(rates, 50, 1), load.plan(rates, 50, 2))

    def test_follows_the_rate_in_order_of_time(self):
        pages = load.plan([1.0] * 100 + [0.2] * 100, 100, 3)
        times = [page.at for page in pages]
        self.assertEqual(times, sorted(times))
        self.assertGreaterEqual(times[0], 0)
        self.assertLess(times[-1], 200)
        # Sessions last some seconds, so the first of the quiet ones still see the busy ones' pages.
        busy, quiet = sum(t < 100 for t in times), sum(t >= 120 for t in times)
        self.assertAlmostEqual(busy / 100, 100, delta=10)
        self.assertAlmostEqual(quiet / 80, 20, delta=4)

    def test_mixes_reading_and_writing(self):
        pages = load.plan([1.0] * 100, 100, 4)
        bids = sum(page.path.startswith("/bid") for page in pages)
        self.assertAlmostEqual(bids / len(pages), load.BID_SHARE, delta=0.03)
        session = pages[0].path.partition("session=")[2].partition(".")
        self.assertTrue(is_genuine(session[0], session[2]))
        self.assertFalse(is_genuine(session[0], sign("another")))


class ClientTest(unittest.TestCase):
    def play(self, pages, handler, timeout=None):
        """The outcomes of `pages` at a server that answers through `handler`, and how many connections it saw."""
        connections = []

        async def serve(reader, writer):
            connections.append(writer)
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await handler(head))
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass  # the client went away, or the test is over
            finally:
                writer.close()

        async def run():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            client = load.Client(server.sockets[0].getsockname()[1])
            await client.play(pages)
            server.close()
            return client.outcomes

        before = load.TIMEOUT_SECONDS
        load.TIMEOUT_SECONDS = timeout or before
        try:
            return asyncio.run(run()), len(connections)
        finally:
            load.TIMEOUT_SECONDS = before

    def test_waiting_for_a_slow_server_is_counted(self):
        lock = []

        async def one_at_a_time(_):
            if not lock:
                lock.append(asyncio.Lock())
            async with lock[0]:
                await asyncio.sleep(0.05)
            return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

        outcomes, _ = self.play([load.Page(0.0, "/")] * 8, one_at_a_time)
        self.assertEqual([o.status for o in outcomes], [200] * 8)
        # All were due at once: the last waited for the seven before it.
        self.assertGreaterEqual(max(o.seconds for o in outcomes), 0.4)

    def test_connections_are_kept_and_errors_told(self):
        async def busy(_):
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"

        outcomes, connections = self.play([load.Page(0.05 * i, "/") for i in range(6)], busy)
        self.assertEqual([o.status for o in outcomes], [503] * 6)
        self.assertEqual(connections, 1)

    def test_no_answer_in_time_is_a_failure(self):
        async def never(_):
            await asyncio.sleep(60)

        started = time.monotonic()
        outcomes, _ = self.play([load.Page(0.0, "/")], never, timeout=0.3)
        self.assertEqual(outcomes[0].status, 0)
        self.assertLess(time.monotonic() - started, 30)


def outcome(at, seconds, status=200):
    return load.Outcome(at, seconds, status)


class FiguresTest(unittest.TestCase):
    def test_quantile_is_the_nearest_rank(self):
        self.assertEqual(report.quantile([3, 1, 2, 4], 0.5), 2)
        self.assertEqual(report.quantile([3, 1, 2, 4], 0.95), 4)
        self.assertEqual(report.quantile(range(1, 101), 0.95), 95)
        self.assertIsNone(report.quantile([], 0.5))

    def test_a_window_is_bad_when_its_percentile_or_its_errors_are(self):
        slow = [outcome(s + 0.5, 0.5 if s == 10 else 0.01) for s in range(20)]
        bad = [is_bad for _, is_bad in report.windows(slow, 0, 20, 0.2, 0.95)]
        self.assertEqual([s for s, is_bad in enumerate(bad) if is_bad], list(range(10, 10 + report.WINDOW_SECONDS)))
        failing = [outcome(s + 0.5, 0.01, 503 if s == 3 else 200) for s in range(20)]
        bad = [is_bad for _, is_bad in report.windows(failing, 0, 20, 0.2, 0.95)]
        self.assertEqual([s for s, is_bad in enumerate(bad) if is_bad], list(range(3, 3 + report.WINDOW_SECONDS)))

    def test_core_seconds_are_caps_over_time_without_the_warm_up(self):
        rows = [(s + 0.5, 1.0, {"app": 0.2}, {"app": 1.0 if s < 5 else 0.4}) for s in range(15)]
        run = {"policy": "static-peak", "outcomes": [outcome(s + 0.5, 0.01) for s in range(15)], "rows": rows, "changes": 1}
        figures = report.figures(run, 5, 15, 0.2, 0.95)
        self.assertAlmostEqual(figures["core_seconds"], 4.0)
        self.assertAlmostEqual(figures["used_core_seconds"], 2.0)
        self.assertEqual((figures["violation_seconds"], figures["requests"]), (0, 10))
        self.assertIn("100.0 %", report.table([figures]))

    def test_a_violation_tells_what_was_done_about_it(self):
        violation = {"started_seconds": 3.25, "ended_seconds": 9.0, "observed_ms": 812.0, "threshold_ms": 200.0, "requests": 40,
                     "effects": ["boost vm a", "retrain vm a"]}
        self.assertEqual(report.story(violation).splitlines(),
                         ["objective missed from 3.2 to 9.0 s: at worst 812 ms, 200 allowed, 40 requests in that window",
                          "  boost vm a", "  retrain vm a"])
        self.assertIn("still open", report.story({**violation, "ended_seconds": None}))

    def test_violations_are_told_in_seconds_of_the_run(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "violations.json"
            path.write_text('{"violations": [{"started_at": "2026-01-01T00:00:12.5Z", "observed": 0.3, "threshold": 0.2, "request_count": "7"}]}')
            origin = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc).timestamp()
            self.assertEqual(ours.violations(Path(directory), origin),
                             [{"started_seconds": 12.5, "ended_seconds": None, "observed_ms": 300.0, "threshold_ms": 200.0, "requests": 7,
                               "effects": []}])

    def test_plots_are_well_formed(self):
        rows = [(s + 0.5, 1.0, {"app": 0.2}, {"app": 0.4}) for s in range(15)]
        run = {"policy": "a<b", "outcomes": [outcome(s + 0.5, 0.5) for s in range(15)], "rows": rows, "changes": 0}
        with tempfile.TemporaryDirectory() as directory:
            for name, draw in (("runs", lambda path: report.draw_runs(path, [run], ("app",), 5, 15, 0.2, 0.95)),
                               ("frontier", lambda path: report.draw_frontier(path, [report.figures(run, 5, 15, 0.2, 0.95)]))):
                path = Path(directory) / f"{name}.svg"
                draw(path)
                texts = [element.text for element in ElementTree.parse(path).iter() if element.tag.endswith("text")]
                self.assertIn("a<b", texts)


if __name__ == "__main__":
    unittest.main(verbosity=2)
