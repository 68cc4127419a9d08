"""Web servers and an open-loop client on loopback, in one background thread, for tests with a real balancer in between."""
import asyncio
import threading
import time


class Failure:
    """A request that was not answered with 200, or a connection that ended without having said so."""

    def __init__(self, at, kind, error):
        self.at, self.kind, self.error = at, kind, error

    def __repr__(self):
        return f"{self.kind}@{self.at:.3f}: {self.error}"


class WebLoad:
    """`RATE` requests a second on connections of their own, whatever became of the earlier ones; and `KEPT` connections
    that are used again and again until the balancer announces their end. Times are of time.monotonic()."""
    RATE = 100
    KEPT = 4
    TIMEOUT = 8.0

    def __init__(self):
        self.failures = []
        self.answered = 0
        self.reused = 0
        self.served = {}  # by server
        self.port = None
        self._loop = asyncio.new_event_loop()
        self._stopping = False
        self._tasks = set()
        self._servers = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    # -- servers

    def serve(self, name):
        """Starts a server; returns its port."""
        return self._call(self._serve(name))

    async def _serve(self, name):
        self.served[name] = 0

        async def handle(reader, writer):
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    self.served[name] += 1
                    if head.startswith(b"GET /slow"):
                        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
                        for _ in range(60):
                            writer.write(b".")
                            await writer.drain()
                            await asyncio.sleep(0.1)
                    else:
                        await asyncio.sleep(0.005)
                        body = name.encode()
                        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                        await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=256)
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def _close_servers(self):
        for server in self._servers:
            server.close()

    # -- clients

    def start(self, port):
        self.port = port
        self._call(self._start())

    async def _start(self):
        for coroutine in [self._open_loop()] + [self._kept() for _ in range(self.KEPT)]:
            self._spawn(coroutine)

    def _spawn(self, coroutine):
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_loop(self):
        due = time.monotonic()
        while not self._stopping:
            self._spawn(self._once())
            due += 1.0 / self.RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _fail(self, kind, error):
        self.failures.append(Failure(time.monotonic(), kind, repr(error)))

    async def _ask(self, reader, writer, close, path="/"):
        """Returns whether the connection goes on."""
        connection = b"close" if close else b"keep-alive"
        writer.write(b"GET %s HTTP/1.1\r\nHost: t\r\nConnection: %s\r\n\r\n" % (path.encode(), connection))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(head.split(b"\r\n")[0].decode())
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        await reader.readexactly(int(fields[b"content-length"]))
        return fields.get(b"connection") != b"close"

    async def _once(self, path="/"):
        writer = None
        try:
            async with asyncio.timeout(self.TIMEOUT):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                await self._ask(reader, writer, close=True, path=path)
            self.answered += 1
            return True
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self._fail("request", error)
            return False
        finally:
            if writer is not None:
                writer.close()

    async def _kept(self):
        while not self._stopping:
            writer = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                goes_on = True
                while goes_on and not self._stopping:
                    async with asyncio.timeout(self.TIMEOUT):
                        goes_on = await self._ask(reader, writer, close=False)
                    self.reused += 1
                    await asyncio.sleep(0.05)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self._fail("connection", error)
                await asyncio.sleep(0.05)
            finally:
                if writer is not None:
                    writer.close()

    def slow(self):
        """A request whose answer takes six seconds; a future of whether it came whole."""
        return asyncio.run_coroutine_threadsafe(self._once("/slow"), self._loop)

    # -- results

    def share_of(self, name, seconds):
        """Share of the requests of the next `seconds` that `name` serves."""
        before = dict(self.served)
        time.sleep(seconds)
        after = dict(self.served)
        total = sum(after.values()) - sum(before.values())
        return (after[name] - before.get(name, 0)) / max(1, total)

    def failures_outside(self, windows):
        return [f for f in self.failures if not any(start <= f.at <= end for start, end in windows)]

    def stop(self):
        self._stopping = True
        deadline = time.monotonic() + self.TIMEOUT + 2
        while self._tasks and time.monotonic() < deadline:
            time.sleep(0.05)
        self._call(self._close_servers())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
