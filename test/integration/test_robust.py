#!/usr/bin/env python3
"""What the sidecar promises under bad luck: bounded memory, cancellation to the end, no harm by garbage.

Each bar prints what it measured, so that a log of the suite is a record.
"""
import contextlib
import os
import random
import resource as limits
import select
import selectors
import socket
import struct
import threading
import time

import harness
from harness import component, resource, stream, until

MIB = 1 << 20


def settle(sidecar):
    """RSS once it has stopped changing: two equal readings, or the last one of many."""
    last, same, end = 0, 0, time.monotonic() + 10
    while same < 5 and time.monotonic() < end:
        now = sidecar.rss()
        same = same + 1 if abs(now - last) < 64 << 10 else 0
        last = now
        select.select([], [], [], 0.1)  # the sampling interval of a measurement
    return last


class Peak(threading.Thread):
    """The highest RSS of some sidecars while it runs."""

    def __init__(self, *sidecars):
        super().__init__(daemon=True)
        self.sidecars, self.over = sidecars, threading.Event()
        self.idle = [settle(s) for s in sidecars]
        self.top = list(self.idle)
        self.start()

    def run(self):
        while not self.over.wait(0.01):
            for i, s in enumerate(self.sidecars):
                with contextlib.suppress(OSError):
                    self.top[i] = max(self.top[i], s.rss())

    def grown(self):
        self.over.set()
        self.join()
        return [t - i for t, i in zip(self.top, self.idle)]


class Server:
    """Raw connections: `serve(socket)` runs in a thread for each."""

    def __init__(self, case, serve):
        self.serve, self.socks = serve, []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(2048)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        case.addCleanup(self.close)

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.socks.append(s)
            threading.Thread(target=self.one, args=(s,), daemon=True).start()

    def one(self, s):
        with contextlib.suppress(OSError, ValueError):
            head = read_head(s)
            if b"/dapr/" in head.split(b"\r\n")[0]:
                s.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                self.serve(s, head)
        with contextlib.suppress(OSError):
            s.close()

    def close(self):
        self.listener.close()
        for s in self.socks:
            with contextlib.suppress(OSError):
                s.close()


def read_head(s):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(4096)
        if not piece:
            raise OSError("closed")
        data += piece
    return data


class Robust(harness.Case):
    def say(self, text):
        print(f"\n    [{self._testMethodName}] {text}", end=" ", flush=True)

    def chain(self, port, hops):
        """The sidecar that callers talk to, all sidecars on the way, the callee's app id."""
        config = self.hosts_config()
        b = self.sidecar("callee", None, app_port=port, config=config)
        if hops == 1:
            return b, [b]
        a = self.sidecar("caller", config=config)
        return a, [a, b]


class Cancel(Robust):
    def cancelled(self, hops, warm, upload=False):
        began, seen = threading.Event(), threading.Event()
        when = []

        def serve(s, head):
            if b"/warm" in head:
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            began.set()
            s.settimeout(20)
            try:
                while s.recv(65536):
                    pass
            except OSError:
                pass
            when.append(time.monotonic())
            seen.set()
        app = Server(self, serve)
        a, all_ = self.chain(app.port, hops)
        for _ in range(warm):  # the first remote call is gRPC, later ones are plain HTTP
            self.assertEqual(a.get("/v1.0/invoke/callee/method/warm").status, 200)
        s = socket.create_connection(("127.0.0.1", a.http))
        if upload:
            s.sendall(b"POST /v1.0/invoke/callee/method/slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        else:
            s.sendall(b"GET /v1.0/invoke/callee/method/slow HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(began.wait(20))
        left = time.monotonic()
        s.close()
        self.assertTrue(seen.wait(5), "the app's connection stays open after its caller has left")
        self.assertLess(when[0] - left, 1)
        self.say(f"{hops} sidecar(s), {'warm' if warm else 'gRPC'}: {1000 * (when[0] - left):.0f} ms")

    def test_a_caller_that_leaves_cancels_its_call_over_one_sidecar(self):
        self.cancelled(1, 0)

    def test_a_caller_that_leaves_cancels_its_call_over_two_sidecars_by_grpc(self):
        self.cancelled(2, 0)

    def test_a_caller_that_leaves_cancels_its_call_over_two_sidecars_by_http(self):
        self.cancelled(2, 4)

    def test_a_caller_that_leaves_within_its_upload_cancels_over_one(self):
        self.cancelled(1, 0, upload=True)

    def test_a_caller_that_leaves_within_its_upload_cancels_over_two(self):
        self.cancelled(2, 0, upload=True)

    def test_a_caller_that_leaves_within_the_answer_cancels(self):
        for hops, warm in ((1, 0), (2, 0), (2, 4)):
            with self.subTest(hops=hops, warm=warm):
                seen = threading.Event()

                def serve(s, head):
                    if b"/warm" in head:
                        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        return
                    s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                    s.settimeout(20)
                    with contextlib.suppress(OSError):
                        while s.recv(65536):
                            pass
                    seen.set()
                app = Server(self, serve)
                a, _ = self.chain(app.port, hops)
                for _ in range(warm):
                    self.assertEqual(a.get("/v1.0/invoke/callee/method/warm").status, 200)
                c = harness.connection(a.http)
                c.request("GET", "/v1.0/invoke/callee/method/slow")
                self.assertEqual(c.getresponse().read(3), b"abc")
                left = time.monotonic()
                c.sock.shutdown(socket.SHUT_RDWR)
                c.close()
                self.assertTrue(seen.wait(5))
                self.assertLess(time.monotonic() - left, 1)


class Memory(Robust):
    def test_callers_that_do_not_read_hold_at_most_a_mebibyte_each(self):
        """10 callers, answers of 64 MiB, nobody reads: the kernel's buffers are not ours."""
        block = b"x" * 65536

        def serve(s, head):
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
            for _ in range(64 * MIB // len(block)):
                s.sendall(block)
        for warm in (0, 4):
            app = Server(self, serve if not warm else lambda s, head: s.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") if b"/warm" in head else serve(s, head))
            a, all_ = self.chain(app.port, 2)
            for _ in range(warm):
                self.assertEqual(a.get("/v1.0/invoke/callee/method/warm").status, 200)
            peak = Peak(*all_)
            socks = []
            for _ in range(10):
                s = socket.socket()
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                s.connect(("127.0.0.1", a.http))
                s.sendall(b"GET /v1.0/invoke/callee/method/big HTTP/1.1\r\nHost: x\r\n\r\n")
                socks.append(s)
            for s in socks:  # every answer has begun
                self.assertEqual(s.recv(12)[:8], b"HTTP/1.1")
            for s in all_:
                settle(s)
            grown = peak.grown()
            self.say(f"{'warm' if warm else 'gRPC'}: " + ", ".join(f"{g / MIB / 10:.2f} MiB a caller" for g in grown))
            for s in socks:
                s.close()
            for g in grown:
                self.assertMemory(g, 10 * MIB)

    def test_ten_thousand_idle_connections_cost_at_most_8_kib_each(self):
        n = 10000
        soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
        if hard != limits.RLIM_INFINITY and hard < n + 500:
            self.skipTest(f"the limit of descriptors can't be raised over {hard}")
        limits.setrlimit(limits.RLIMIT_NOFILE, (max(soft, n + 500), hard))
        self.addCleanup(limits.setrlimit, limits.RLIMIT_NOFILE, (soft, hard))
        s = self.sidecar()
        before = settle(s)
        socks = []
        self.addCleanup(lambda: [c.close() for c in socks])
        for _ in range(n):
            c = socket.create_connection(("127.0.0.1", s.http), timeout=30)
            c.sendall(b"GET /v1.0/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            socks.append(c)
        for c in socks:
            self.assertIn(b" 204 ", c.recv(4096))
        each = (settle(s) - before) / n
        self.say(f"{each / 1024:.2f} KiB each")
        self.assertMemory(each, 8192)
        self.assertEqual(s.get("/v1.0/healthz").status, 204)

    def test_a_thousand_uploads_of_a_mebibyte_stay_within_64_mib(self):
        n, size = 1000, MIB
        soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
        if hard != limits.RLIM_INFINITY and hard < 4 * n + 500:
            self.skipTest(f"the limit of descriptors can't be raised over {hard}")
        limits.setrlimit(limits.RLIMIT_NOFILE, (max(soft, 4 * n + 500), hard))
        self.addCleanup(limits.setrlimit, limits.RLIMIT_NOFILE, (soft, hard))
        for warm in (0, 4):
          with self.subTest(warm=warm):
            app = SlowReader(self, rate=64 * MIB)
            a, all_ = self.chain(app.port, 2)
            for _ in range(warm):
                self.assertEqual(a.post("/v1.0/invoke/callee/method/warm", b"").status, 200)
            peak = Peak(*all_)
            start = time.monotonic()
            done, failed = upload_all(a.http, n, size)
            grown = peak.grown()
            self.say(f"{'warm' if warm else 'gRPC'}: {done} done, {failed} failed in {time.monotonic() - start:.1f} s; "
                     + ", ".join(f"+{g / MIB:.1f} MiB" for g in grown))
            self.assertEqual((done, failed), (n, 0))
            for g in grown:
                self.assertMemory(g, 64 * MIB)

    def test_memory_comes_back_after_large_requests(self):
        app = self.app()
        s = self.sidecar("me", app)
        body = os.urandom(3 * MIB)
        s.post("/v1.0/invoke/me/method/m", body)
        before = settle(s)
        for _ in range(100):
            self.assertEqual(s.post("/v1.0/invoke/me/method/m", body).status, 200)
        grown = settle(s) - before
        self.say(f"{grown / MIB:.1f} MiB after 100 requests of 3 MiB")
        self.assertMemory(grown, 50 * MIB)


class SlowReader:
    """An app that reads all connections together at `rate` bytes a second, in small pieces."""

    def __init__(self, case, rate):
        self.rate = rate
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        case.addCleanup(self.close)

    def close(self):
        self.over = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()

    def run(self):
        budget, last = 0.0, time.monotonic()
        while not self.over:
            now = time.monotonic()
            budget = min(budget + (now - last) * self.rate, self.rate / 50)
            last = now
            for key, _ in self.selector.select(0.02):
                if key.data is None:
                    with contextlib.suppress(OSError):
                        s, _ = self.listener.accept()
                        s.setblocking(False)
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
                        self.selector.register(s, selectors.EVENT_READ, bytearray())
                elif budget > 0:
                    budget -= self.read(key)

    def read(self, key):
        s, state = key.fileobj, key.data
        try:
            piece = s.recv(8192)
        except BlockingIOError:
            return 0
        except OSError:
            piece = b""
        if not piece:
            self.selector.unregister(s)
            s.close()
            return 0
        # Only the tail matters: the end of a chunked body, or so many bytes after the head.
        state += piece
        head_end = state.find(b"\r\n\r\n")
        done = False
        if head_end >= 0 and not hasattr(self, "_"):
            head = bytes(state[:head_end]).lower()
            if b"transfer-encoding: chunked" in head:
                done = state.endswith(b"0\r\n\r\n") and len(state) > head_end + 4
                if len(state) > head_end + 70000:
                    del state[head_end + 4:-16]
            else:
                length = [l for l in head.split(b"\r\n") if l.startswith(b"content-length:")]
                want = int(length[0].split(b":")[1]) if length else 0
                done = len(state) - head_end - 4 >= want
        if done:
            state.clear()
            with contextlib.suppress(OSError):
                s.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return len(piece)


def upload_all(port, n, size):
    """n uploads at once; how many got a 200, and how many something else."""
    selector = selectors.DefaultSelector()
    head = b"POST /v1.0/invoke/callee/method/up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    data = memoryview(head + b"z" * size)
    for _ in range(n):
        s = socket.create_connection(("127.0.0.1", port), timeout=30)
        s.setblocking(False)
        selector.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE, [0])
    done = failed = 0
    end = time.monotonic() + 150
    while selector.get_map() and time.monotonic() < end:
        for key, mask in selector.select(1):
            s, state = key.fileobj, key.data
            try:
                if mask & selectors.EVENT_READ:
                    answer = s.recv(4096)
                    done += answer.startswith(b"HTTP/1.1 200")
                    failed += not answer.startswith(b"HTTP/1.1 200")
                    selector.unregister(s)
                    s.close()
                    continue
                state[0] += s.send(data[state[0]:state[0] + 65536])
                if state[0] == len(data):
                    selector.modify(s, selectors.EVENT_READ, state)
            except BlockingIOError:
                pass
            except OSError:
                failed += 1
                selector.unregister(s)
                s.close()
    failed += len(selector.get_map())
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    selector.close()
    return done, failed


class Garbage(Robust):
    def test_random_bytes_on_all_ports_do_no_harm(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[component("store", "state.in-memory"), component("bus", "pubsub.in-memory")])
        seed = random.randrange(1 << 32)
        self.say(f"seed {seed}")
        r = random.Random(seed)
        starts = [b"", b"GET / HTTP/1.1\r\n", b"POST /v1.0/state/store HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n",
                  b"POST /v1.0/publish/bus/t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 0)[1:] + b"\x04\x00\0\0\0\0",
                  b"GET /v1.0/invoke/me/method/m HTTP/1.1\r\nHost: x\r\nproa-direct: me\r\n\r\n"]
        for port in (s.http, s.grpc, s.internal, s.metrics_port):
            for start in starts:
                for n in (0, 1, 30, 500, 20000):
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as c:
                        c.settimeout(0.05 if n else 0.01)
                        c.sendall(start + r.randbytes(n))
                        if r.random() < 0.5:
                            c.shutdown(socket.SHUT_WR)
                        while c.recv(65536):
                            pass
        self.assertIsNone(s.process.poll())
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)
        self.assertEqual(s.post("/v1.0/state/store", '[{"key":"k","value":1}]').status, 204)

    def test_random_json_to_every_route_gives_answers(self):
        s = self.sidecar("me", self.app(), resources=[component("store", "state.in-memory"), component("bus", "pubsub.in-memory")])
        r = random.Random(7)
        bodies = ['null', '[]', '{}', '[null]', '[[]]', '[{}]', '[{"key":null}]', '{"operations":null}', '{"operations":{}}',
                  '{"operations":[null]}', '{"operations":[{"operation":null,"request":7}]}', '{"keys":7}', '{"keys":{"a":1}}',
                  '[' * 3000, '{"a":' * 3000, '"' + "\\ud800" * 10 + '"', '[{"key":"k","value":1,"metadata":7,"options":7,"etag":7}]',
                  '[{"entryId":7,"event":null}]', '\x00', '{"data":' + '9' * 5000 + '}', '{"operation":"create","metadata":[1]}']
        for path in ("/v1.0/state/store", "/v1.0/state/store/bulk", "/v1.0/state/store/transaction",
                     "/v1.0-alpha1/state/store/query", "/v1.0/publish/bus/t", "/v1.0/publish/bulk/bus/t",
                     "/v1.0/bindings/x", "/v1.0/invoke/me/method/m", "/v1.0/metadata/x"):
            for body in bodies:
                for type_ in ("application/json", "application/cloudevents+json"):
                    answer = s.call("PUT", path, body, {"Content-Type": type_})
                    self.assertIn(answer.status, (200, 204, 400, 404, 500), (path, body[:50], answer))

    def test_paths_and_headers_of_every_kind(self):
        s = self.sidecar("me", self.app())
        for target in ("/" * 3000, "/v1.0/" + "../" * 500, "/v1.0/state/" + "%41" * 1000 + "/k", "/v1.0/invoke/" + "a" * 3000,
                       "/v1.0/invoke/http://%00/method/x", "/v1.0/invoke/http://[::1/method/x", "/v1.0/invoke/http:///method/x",
                       "/v1.0/invoke/http://127.0.0.1:99999/method/x", "/v1.0/secrets/%ff/%fe", "/v1.0/publish//", "/v1.0/publish/bulk",
                       "*", "http://other/v1.0/healthz"):
            with self.subTest(target[:40]):
                out = harness.raw_exchange(s.http, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                self.assertRegex(out[:12], rb"HTTP/1\.1 [2-5]\d\d")
        out = harness.raw_exchange(s.http, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 10000 + b"\r\n\r\n")
        self.assertIn(b" 431 ", out[:20])
        self.assertEqual(s.get("/v1.0/healthz").status, 204)


if __name__ == "__main__":
    harness.main()
