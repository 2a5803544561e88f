#!/usr/bin/env python3
"""Hostile clients of the gRPC ports: their connection or call ends, memory stays bounded, and others are
served all the while. Frames are made by hand (RFC 9113, RFC 7541)."""
import contextlib
import random
import socket
import struct
import threading

import harness
from test_robust import MIB, Peak

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL, ENHANCE_YOUR_CALM = 8, 11
STATUS = bytes.fromhex("889acac8b21234da8f01")  # "grpc-status" in Huffman's code, and the length of its value


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(n, bits, first):
    """An integer of HPACK with a prefix of so many bits."""
    most = (1 << bits) - 1
    if n < most:
        return bytes([first | n])
    out, n = bytes([first | most]), n - most
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def literal(name, value, first=0):
    """A field as it is; first = 0x40 puts it into the table."""
    return bytes([first]) + number(len(name), 7, 0) + name + number(len(value), 7, 0) + value


def head(method=b"GetMetadata"):
    """POST, http, :path, and what makes it gRPC."""
    return (b"\x83\x86" + literal(b":path", b"/dapr.proto.runtime.v1.Dapr/" + method) +
            literal(b":authority", b"x") + literal(b"te", b"trailers") +
            literal(b"content-type", b"application/grpc"))


def message(data=b"", size=None):
    return b"\0" + struct.pack(">I", len(data) if size is None else size) + data


class Client:
    """A connection whose frames a thread of its own takes in."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=harness.WAIT)
        self.goaway, self.blocks, self.ended = None, {}, set()
        self.changed = threading.Condition()
        self.over = threading.Event()
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0)) +  # no table: answers are literal
                  frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def send(self, data):
        self.sock.sendall(data)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.sock.recv(n - len(data))
            if not piece:
                raise ConnectionError("the end")
            data += piece
        return data

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                h = self.exactly(9)
                payload = self.exactly(int.from_bytes(h[:3], "big"))
                kind, flags, stream = h[3], h[4], int.from_bytes(h[5:], "big")
                with self.changed:
                    if kind == PING and not flags & ACK:
                        self.send(frame(PING, ACK, 0, payload))
                    if kind == GOAWAY:
                        self.goaway = int.from_bytes(payload[4:8], "big")
                    if kind == HEADERS:
                        self.blocks[stream] = self.blocks.get(stream, b"") + payload
                    if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                        self.ended.add(stream)
                    self.changed.notify_all()
        with self.changed:
            self.over.set()
            self.changed.notify_all()

    def wait_ended(self, stream):
        """The header blocks of the stream's answer, once that has ended; they are for a look only."""
        with self.changed:
            if not self.changed.wait_for(lambda: stream in self.ended or self.over.is_set(), harness.WAIT):
                raise AssertionError(f"stream {stream} has no end")
        if stream not in self.ended:
            raise AssertionError(f"the connection ended before stream {stream}: GOAWAY {self.goaway}")
        return self.blocks.get(stream, b"")

    def call(self, stream=1, body=message(), **more):
        self.send(frame(HEADERS, END_HEADERS, stream, head(**more)) + frame(DATA, END_STREAM, stream, body))
        return self.wait_ended(stream)

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.sock.close()


class Others(threading.Thread):
    """Somebody who calls, again and again, over a connection of his own."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.client, self.served, self.wrong = Client(port), 0, None
        self.stop = threading.Event()
        self.start()

    def run(self):
        try:
            while not self.stop.is_set():
                self.client.call(2 * self.served + 1)
                self.served += 1
        except Exception as e:  # told by those who started it
            self.wrong = e


class Flood(harness.Case):
    @contextlib.contextmanager
    def hostile(self, most=64 * MIB, port="grpc", **more):
        """A client; at the end others were served, and the sidecar has not grown by more than `most`."""
        s = self.sidecar(**more)
        others = Others(s.grpc)
        self.addCleanup(others.client.close)
        harness.until("the first call of others", lambda: others.served or others.wrong)
        peak = Peak(s)
        client = Client(getattr(s, port))
        self.addCleanup(client.close)
        before = others.served
        yield client
        harness.until("others are served", lambda: others.served > before + 5 or others.wrong)
        others.stop.set()
        others.join()
        self.assertIsNone(others.wrong)
        grown = peak.grown()[0]
        print(f"\n    [{self._testMethodName}] +{grown / MIB:.1f} MiB", end=" ", flush=True)
        self.assertMemory(grown, most)

    def ends(self, client, pieces):
        """Sends until the connection is over; says why it ended."""
        with contextlib.suppress(OSError):
            for piece in pieces:
                if client.over.is_set():
                    break
                client.send(piece)
        self.assertTrue(client.over.wait(harness.WAIT), "the connection lives on")
        self.assertEqual(client.goaway, ENHANCE_YOUR_CALM)

    def test_rapid_resets(self):
        for port in ("grpc", "internal"):
            with self.subTest(port), self.hostile(port=port) as c:
                self.ends(c, (frame(HEADERS, END_HEADERS, i, head()) + frame(RST_STREAM, 0, i, bytes(4))
                              for i in range(1, 1 << 19, 2)))

    def test_pings(self):
        with self.hostile() as c:
            self.ends(c, (frame(PING, 0, 0, b"12345678") * 100 for _ in range(1000)))

    def test_settings(self):
        with self.hostile() as c:
            self.ends(c, (frame(SETTINGS, 0, 0, b"\0\4\0\1\0\0") * 100 for _ in range(1000)))

    def test_header_block_without_end(self):
        for size in (1, 1000, 16384):
            with self.subTest(size), self.hostile() as c:
                block = head() + literal(b"x", b"y") * 1000000
                pieces = [block[i:i + size] for i in range(0, len(block), size)]
                self.ends(c, [frame(HEADERS, 0, 1, pieces[0])] +
                          [frame(CONTINUATION, 0, 1, p) for p in pieces[1:]])

    def test_hpack_bomb(self):
        """Fields of 4,000 bytes that cost one, in requests that don't end."""
        with self.hostile() as c:
            c.send(frame(HEADERS, END_HEADERS, 1, head() + literal(b"x", b"y" * 4000, 0x40)))
            self.ends(c, (frame(HEADERS, END_HEADERS, i, head() + b"\xbe" * 240) for i in range(3, 20001, 2)))

    def test_fields_without_number(self):
        with self.hostile() as c:
            c.send(frame(HEADERS, END_HEADERS, 1, head() + literal(b"x", b"y" * 4000, 0x40)))
            self.ends(c, (frame(HEADERS, END_HEADERS, i, head() + b"\xbe" * 16000) for i in range(3, 2001, 2)))

    def test_messages_that_are_announced_and_never_come(self):
        with self.hostile(args=["--max-body-size", "4Mi"]) as c:
            c.send(b"".join(frame(HEADERS, END_HEADERS, i, head(b"SaveState")) +
                            frame(DATA, 0, i, message(b"x" * 100, 4 * MIB)) for i in range(1, 2001, 2)))
            c.call(2001)

    def test_messages_over_the_limit(self):
        with self.hostile(args=["--max-body-size", "64Ki"]) as c:
            for i in range(1, 401, 2):
                c.send(frame(HEADERS, END_HEADERS, i, head(b"SaveState")) +
                       frame(DATA, 0, i, message(b"x" * 16000, 0xffffffff)))
                self.assertIn(STATUS + b"8", c.wait_ended(i))
            c.call(401)

    def test_messages_that_are_none(self):
        seed = random.randrange(1 << 32)
        r = random.Random(seed)
        with self.subTest(seed=seed), self.hostile() as c:
            methods = [b"SaveState", b"GetState", b"PublishEvent", b"InvokeService", b"BulkPublishEventAlpha1"]
            bodies = [r.randbytes(r.randrange(2000)) for _ in range(1000)]
            bodies += [b"\x12\xff\xff\xff\xff\x0f", b"\x0b" * 5000, b"\x1a\x80" * 3000, b"\xff" * 11]
            for n, body in enumerate(bodies):
                self.assertTrue(c.call(2 * n + 1, message(body), method=r.choice(methods)))
            c.call(2 * len(bodies) + 1)


class Limits(harness.Case):
    """What is no attack, and must pass."""

    def call_with(self, client, stream, size, n):
        block = head() + b"".join(literal(b"x%d" % i, b"y" * size) for i in range(n))
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        client.send(frame(HEADERS, 0, stream, pieces[0]) +
                    b"".join(frame(CONTINUATION, 0, stream, p) for p in pieces[1:]) +
                    frame(CONTINUATION, END_HEADERS, stream) + frame(DATA, END_STREAM, stream, message()))
        return client.wait_ended(stream)

    def test_metadata_of_read_buffer_size_times_1024_passes_s9(self):
        for args, fits, over in (((), 80, 86), (("--read-buffer-size", "1Ki"), 15, 25)):  # 4 MiB, 1 MiB
            s = self.sidecar(args=args)
            client = Client(s.grpc)
            self.addCleanup(client.close)
            self.assertIn(STATUS + b"0", self.call_with(client, 1, 50000, fits))
            self.assertIn(b"\x03431", self.call_with(client, 3, 50000, over))
            self.assertIn(STATUS + b"0", client.call(5))  # the connection is as good as before
            self.assertEqual(s.get("/v1.0/healthz", {"X": "y" * 5000}).status, 431)

    def test_resets_of_a_caller_that_hedges_pass(self):
        client = Client(self.sidecar().grpc)
        self.addCleanup(client.close)
        for i in range(1, 6001, 2):
            if i % 100 == 1:
                self.assertIn(STATUS + b"0", client.call(i))  # so that handlers keep up
            else:
                client.send(frame(HEADERS, END_HEADERS, i, head()) +
                            frame(RST_STREAM, 0, i, struct.pack(">I", CANCEL)))
        self.assertIsNone(client.goaway)


if __name__ == "__main__":
    harness.main()
