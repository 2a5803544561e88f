#!/usr/bin/env python3
"""gRPC proxying: calls of any service to an app, through its own sidecar and across two.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly.
"""
import concurrent.futures
import contextlib
import functools
import os
import queue
import socket
import struct
import sys
import threading

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import unittest

import harness
from harness import fake_host, resource, until

ECHO = "test.v1.Echo"
GenericHandler = grpc.GenericRpcHandler if grpc else object


class EchoHandler(GenericHandler):
    """Whatever is called: the method's name says what it does; each call's metadata is kept."""

    def __init__(self):
        self.calls, self.ended, self.failures = [], [], {}
        self.gate = threading.Semaphore(0)
        self.waiting = 0
        self.says, self.refuses = (), None  # trailers of "Unary", and the status if it isn't OK
        self.lock = threading.Lock()

    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        with self.lock:
            self.calls.append((details.method, details.invocation_metadata))
        for name, kind in (("Unary", grpc.unary_unary_rpc_method_handler), ("Fail", grpc.unary_unary_rpc_method_handler),
                           ("Flaky", grpc.unary_unary_rpc_method_handler), ("Gather", grpc.stream_unary_rpc_method_handler),
                           ("Spread", grpc.unary_stream_rpc_method_handler), ("Both", grpc.stream_stream_rpc_method_handler),
                           ("First", grpc.stream_stream_rpc_method_handler), ("Wait", grpc.unary_unary_rpc_method_handler),
                           ("Hang", grpc.unary_unary_rpc_method_handler), ("Hold", grpc.unary_stream_rpc_method_handler)):
            if method == name:
                return kind(getattr(self, name.lower()))
        return None

    def metadata(self, i=-1):
        return {k: v for k, v in self.calls[i][1]}

    def unary(self, data, context):
        context.send_initial_metadata((("x-initial", "1"), ("x-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-trailing", "2"), *self.says))
        if self.refuses:
            context.abort(self.refuses, "no")
        return data

    def fail(self, data, context):
        context.set_trailing_metadata((("x-trailing", "2"), ("grpc-status-details-bin", b"\x08\x05")))
        context.abort(grpc.StatusCode.NOT_FOUND, "nothing: ä%")

    def flaky(self, data, context):
        with self.lock:
            n = self.failures[data] = self.failures.get(data, 0) + 1
        if n < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"try {n}")
        return data + str(n).encode()

    def gather(self, it, context):
        return b"".join(it)

    def spread(self, data, context):
        for i in range(5):
            yield data + str(i).encode()

    def both(self, it, context):
        for data in it:
            yield b"<" + data + b">"

    def first(self, it, context):
        yield b"hello"
        for data in it:
            yield data

    def wait(self, data, context):
        with self.lock:
            self.waiting += 1
        self.gate.acquire(timeout=harness.WAIT)
        return data

    def hold(self, data, context):
        yield data
        self.gate.acquire(timeout=120)

    def hang(self, data, context):
        done = threading.Event()
        if not context.add_callback(done.set): # it has ended already
            done.set()
        done.wait(harness.WAIT)
        self.ended.append(data)
        return data


class GrpcApp:
    def __init__(self, workers=16, options=()):
        self.echo = EchoHandler()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(workers), handlers=(self.echo,), options=options)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def close(self):
        for _ in range(3000):
            self.echo.gate.release()
        self.server.stop(0)


class Proxied:
    """What must hold however many sidecars are in between."""

    def call(self, kind, method, data, timeout=20, metadata=(), service=ECHO, **more):
        return getattr(self.channel, kind)(f"/{service}/{method}")(data, timeout=timeout,
                                                                   metadata=[("dapr-app-id", "callee"), *metadata], **more)

    def refused(self, *args, **more):
        with self.assertRaises(grpc.RpcError) as e:
            r = self.call(*args, **more)
            if not isinstance(r, bytes):
                list(r)
        return e.exception

    def test_unary_with_metadata_both_ways(self):
        answer, info = self.channel.unary_unary(f"/{ECHO}/Unary").with_call(
            b"\x00data", timeout=20, metadata=[("dapr-app-id", "callee"), ("x-mine", "v"), ("x-mine-bin", b"\x01\xfe")])
        self.assertEqual(answer, b"\x00data")
        initial, trailing = dict(info.initial_metadata()), dict(info.trailing_metadata())
        self.assertEqual((initial["x-initial"], initial["x-bin"], trailing["x-trailing"]), ("1", b"\x00\xff", "2"))
        got = self.echo.metadata()
        self.assertEqual((got["x-mine"], got["x-mine-bin"]), ("v", b"\x01\xfe"))
        self.assertNotIn("dapr-app-id", got)

    def test_a_failure_comes_back_as_it_is(self):
        e = self.refused("unary_unary", "Fail", b"")
        self.assertEqual((e.code().name, e.details()), ("NOT_FOUND", "nothing: ä%"))
        trailing = dict(e.trailing_metadata())
        self.assertEqual((trailing["x-trailing"], trailing["grpc-status-details-bin"]), ("2", b"\x08\x05"))
        self.assertEqual(self.refused("unary_unary", "Nonsense", b"").code().name, "UNIMPLEMENTED")

    def test_streams_in_all_directions(self):
        self.assertEqual(self.call("stream_unary", "Gather", iter([b"a", b"b", b""] * 100)), b"ab" * 100)
        self.assertEqual(list(self.call("unary_stream", "Spread", b"x")), [b"x0", b"x1", b"x2", b"x3", b"x4"])
        big = [os.urandom(200000) for _ in range(10)]
        self.assertEqual(list(self.call("stream_stream", "Both", iter(big))), [b"<" + b + b">" for b in big])

    def test_each_side_may_speak_first_and_both_at_once(self):
        send = queue.Queue()
        stream = self.call("stream_stream", "First", iter(send.get, None))
        self.assertEqual(next(stream), b"hello")
        for i in range(50):
            send.put(str(i).encode())
            self.assertEqual(next(stream), str(i).encode())
        send.put(None)
        self.assertEqual(list(stream), [])

    def test_a_caller_that_gives_up_is_told_to_the_app(self):
        self.assertEqual(self.refused("unary_unary", "Hang", b"1", timeout=0.5).code().name, "DEADLINE_EXCEEDED")
        until("the app was told", lambda: self.echo.ended == [b"1"])
        call = self.channel.unary_unary(f"/{ECHO}/Hang").future(b"2", metadata=[("dapr-app-id", "callee")])
        until("called", lambda: len(self.echo.calls) == 2)
        call.cancel()
        until("the app was told", lambda: self.echo.ended == [b"1", b"2"])

    def test_a_message_over_the_limit_is_refused(self):
        e = self.refused("unary_unary", "Unary", b"x" * (5 << 20))
        self.assertEqual(e.code().name, "RESOURCE_EXHAUSTED", e.details())
        self.assertEqual(len(self.call("unary_unary", "Unary", b"x" * (3 << 20))), 3 << 20)

    def test_methods_are_normalised_and_never_unescaped_s5(self):
        for asked, got in (("test%2FUnary", f"/{ECHO}/test%2FUnary"), ("./x/../Unary", f"/{ECHO}/Unary"), ("/Unary/", f"/{ECHO}/Unary")):
            try:
                self.call("unary_unary", asked, b"")
            except grpc.RpcError as e:
                self.assertEqual(e.code().name, "UNIMPLEMENTED")
            self.assertEqual(self.echo.calls[-1][0], got)

    def test_proxied_calls_are_counted(self):
        self.call("unary_unary", "Unary", b"x" * 3000)
        self.refused("unary_unary", "Fail", b"")
        list(self.call("unary_stream", "Spread", b"y" * 400))
        labels = {"grpc_client_method": f"/{ECHO}/Unary"}
        self.assertEqual(self.s.metric("dapr_grpc_io_client_completed_rpcs", grpc_client_status="OK", **labels), 1)
        self.assertEqual(self.s.metric("dapr_grpc_io_client_roundtrip_latency_count", **labels), 1)
        for name in ("sent", "received"):
            self.assertEqual(self.s.metric(f"dapr_grpc_io_client_{name}_bytes_per_rpc_sum", **labels), 3000)
        self.assertGreaterEqual(self.s.metric("dapr_grpc_io_client_completed_rpcs", grpc_client_method=f"/{ECHO}/Fail",
                                              grpc_client_status="NotFound"), 1)
        labels = {"grpc_client_method": f"/{ECHO}/Spread"}
        self.assertEqual(self.s.metric("dapr_grpc_io_client_sent_bytes_per_rpc_sum", **labels), 400)
        self.assertEqual(self.s.metric("dapr_grpc_io_client_received_bytes_per_rpc_sum", **labels), 5 * 401)

    def test_more_calls_than_a_connection_of_the_app_takes_s52(self):
        n = 2149
        with concurrent.futures.ThreadPoolExecutor(1):
            calls = [self.channel.unary_unary(f"/{ECHO}/Wait").future(str(i).encode(), timeout=120,
                                                                      metadata=[("dapr-app-id", "callee")]) for i in range(n)]
            until("200 at once", lambda: self.echo.waiting >= 200)
            for _ in range(n):
                self.echo.gate.release()
            self.assertEqual([c.result() for c in calls], [str(i).encode() for i in range(n)])


class Refusing:
    """A server that speaks just enough HTTP/2 to refuse its first streams with REFUSED_STREAM, as servers do that
    have too many, and to echo what comes on later ones."""
    HEAD = b"\x88\x00\x0ccontent-type\x10application/grpc"
    TRAILERS = b"\x00\x0bgrpc-status\x010"

    def __init__(self, refuse, answer=None):
        self.refuse, self.answer, self.streams, self.lock = refuse, answer, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=self.listener.accept()[:1], daemon=True).start()

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def serve(self, s):
        with s, s.makefile("rb") as f, contextlib.suppress(OSError):
            f.read(24)  # the preface
            s.sendall(self.frame(4, 0, 0))
            bodies = {}
            while head := f.read(9):
                size, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
                payload = f.read(size)
                if kind == 4 and not flags & 1:
                    s.sendall(self.frame(4, 1, 0))
                if kind == 1:
                    with self.lock:
                        self.streams += 1
                        refused = self.streams <= self.refuse
                    if refused:
                        s.sendall(self.frame(3, 0, stream, struct.pack(">I", 7)))
                    else:
                        bodies[stream] = b""
                if kind == 0 and stream in bodies:
                    bodies[stream] += payload
                if kind in (0, 1) and flags & 1 and stream in bodies:
                    body = bodies.pop(stream) if self.answer is None else self.answer
                    s.sendall(self.frame(1, 4, stream, self.HEAD) + self.frame(0, 0, stream, body) +
                              self.frame(1, 5, stream, self.TRAILERS))

    def close(self):
        self.listener.close()


class GrpcCase(harness.Case):
    def grpc_app(self, **more):
        app = GrpcApp(**more)
        self.addCleanup(app.close)
        return app

    def channel_of(self, sidecar):
        channel = grpc.insecure_channel(f"127.0.0.1:{sidecar.grpc}", options=[("grpc.max_receive_message_length", -1)])
        self.addCleanup(channel.close)
        return channel

    H2C = ["--app-protocol", "h2c", "--disable-init-endpoints", "config,subscribe"]


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class OwnApp(Proxied, GrpcCase):
    def setUp(self):
        # A thread for each call. The core refuses streams (REFUSED_STREAM) while ended ones hold their memory.
        self.a = self.grpc_app(workers=2200, options=[("grpc.max_concurrent_streams", 100), ("grpc.server.max_pending_requests", 100000),
                                                    ("grpc.server.max_pending_requests_hard_limit", 100000), ("grpc.max_receive_message_length", -1)])
        self.echo = self.a.echo
        self.s = self.sidecar("callee", app_port=self.a.port, args=self.H2C,
                              env={"DAPR_API_TOKEN": "", "APP_API_TOKEN": "for-the-app"})
        self.channel = self.channel_of(self.s)

    def test_the_apps_token_and_not_ours_goes_along(self):
        self.call("unary_unary", "Unary", b"", metadata=[("dapr-api-token", "other")])
        self.assertEqual(self.echo.metadata()["dapr-api-token"], "for-the-app")

    def test_without_a_target_the_call_is_refused(self):
        with self.assertRaises(grpc.RpcError) as e:
            self.channel.unary_unary(f"/{ECHO}/Unary")(b"", timeout=20)
        self.assertEqual(e.exception.code().name, "UNKNOWN")
        self.assertIn("required metadata dapr-callee-app-id or dapr-app-id not found", e.exception.details())

    def test_max_concurrency_serialises(self):
        s = self.sidecar("callee", app_port=self.a.port, args=[*self.H2C, "--app-max-concurrency", 1])
        self.channel = self.channel_of(s)
        held = self.call("unary_stream", "Hold", b"x", timeout=60)
        self.assertEqual(next(held), b"x")
        self.assertEqual(self.refused("unary_unary", "Unary", b"", timeout=0.5).code().name, "DEADLINE_EXCEEDED")
        self.assertEqual(len(self.echo.calls), 1, "it waits for its place, and doesn't take it any more")
        waiting = self.channel.unary_unary(f"/{ECHO}/Unary").future(b"later", timeout=60, metadata=[("dapr-app-id", "callee")])
        self.echo.gate.release()
        self.assertEqual((list(held), waiting.result()), ([], b"later"))
        for _ in range(3): # no place was lost
            self.assertEqual(self.call("unary_unary", "Unary", b"x"), b"x")

    def test_an_app_that_has_gone_is_unavailable(self):
        self.a.close()
        self.assertEqual(self.refused("unary_unary", "Unary", b"").code().name, "UNAVAILABLE")


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class ManyStreams(GrpcCase):
    def test_a_thousand_open_streams_take_little_memory(self):
        n, mib = 1000, 40
        app = self.grpc_app(workers=n + 8, options=[("grpc.max_concurrent_streams", 5000),
                                                    ("grpc.server.max_pending_requests", 100000),
                                                    ("grpc.server.max_pending_requests_hard_limit", 100000)])
        config = self.hosts_config()
        callee = self.sidecar("callee", app_port=app.port, args=self.H2C, config=config)
        caller = self.sidecar("caller", config=config)
        self.channel = self.channel_of(caller)
        call = functools.partial(Proxied.call, self)
        self.assertEqual(call("unary_unary", "Unary", b"x"), b"x")
        idle = [s.rss() for s in (callee, caller)]
        streams = [call("unary_stream", "Hold", b"x", timeout=120) for _ in range(n)]
        for s in streams:
            self.assertEqual(next(s), b"x")
        grown = [(s.rss() - before) / 2**20 for s, before in zip((callee, caller), idle)]
        print(f"{n} open streams through two sidecars: +{grown[0]:.1f} and +{grown[1]:.1f} MiB (at most {mib} in each)",
              file=sys.stderr)
        self.assertMemory(max(grown), mib)
        for _ in range(n):
            app.echo.gate.release()
        for s in streams:
            self.assertEqual(list(s), [])


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class TwoSidecars(Proxied, GrpcCase):
    def setUp(self):
        # A thread for each call. The core refuses streams (REFUSED_STREAM) while ended ones hold their memory.
        self.a = self.grpc_app(workers=2200, options=[("grpc.max_concurrent_streams", 100), ("grpc.server.max_pending_requests", 100000),
                                                    ("grpc.server.max_pending_requests_hard_limit", 100000), ("grpc.max_receive_message_length", -1)])
        self.echo = self.a.echo
        config = self.hosts_config()
        self.callee = self.sidecar("callee", app_port=self.a.port, args=self.H2C, config=config)
        self.s = self.sidecar("caller", config=config, args=["--enable-chaos"])
        self.channel = self.channel_of(self.s)

    def test_who_calls_is_told(self):
        self.call("unary_unary", "Unary", b"")
        got = self.echo.metadata()
        self.assertEqual((got["dapr-caller-app-id"], got["dapr-callee-app-id"]), ("caller", "callee"))

    def test_how_busy_the_app_is_stays_between_the_sidecars(self):
        rpc = self.channel.unary_unary(f"/{ECHO}/Unary").with_call(b"x", timeout=20, metadata=[("dapr-app-id", "callee")])[1]
        self.assertFalse([k for k, _ in rpc.trailing_metadata() if k.startswith("proa-")])
        with grpc.insecure_channel(f"127.0.0.1:{self.callee.internal}") as direct:
            rpc = direct.unary_unary(f"/{ECHO}/Unary").with_call(b"x", timeout=20, metadata=[("dapr-callee-app-id", "callee")])[1]
        self.assertIn(("proa-load", "0"), [tuple(m) for m in rpc.trailing_metadata()])

    def test_a_fault_on_purpose_has_a_code_or_no_answer(self):
        def fault(**f):
            answer = self.s.call("POST", "/proa/v1/chaos", json_body={"name": "x", "method": f"/{ECHO}/*", **f})
            self.assertEqual(answer.status, 200, answer)
            return self.refused("unary_unary", "Unary", b"x")
        for f, code, text in (({"fault": "error", "status": "RESOURCE_EXHAUSTED"}, "RESOURCE_EXHAUSTED", "on purpose"),
                              ({"fault": "error", "status": 404}, "NOT_FOUND", "on purpose"),
                              ({"fault": "reset"}, "UNAVAILABLE", "broken")):
            e = fault(**f)
            self.assertEqual(e.code().name, code, f)
            self.assertIn(text, e.details())
        self.s.call("DELETE", "/proa/v1/chaos")
        self.assertEqual(self.call("unary_unary", "Unary", b"x"), b"x")

    def test_an_unknown_app_is_unavailable(self):
        with self.assertRaises(grpc.RpcError) as e:
            self.channel.unary_unary(f"/{ECHO}/Unary")(b"", timeout=20, metadata=[("dapr-app-id", "nobody")])
        self.assertEqual(e.exception.code().name, "UNAVAILABLE")


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Policies(Proxied, GrpcCase):
    """With a retry policy: the cases above hold for streams that say so."""
    test_more_calls_than_a_connection_of_the_app_takes_s52 = None

    def setUp(self):
        self.a = self.grpc_app(options=[("grpc.max_receive_message_length", -1)])
        self.echo = self.a.echo
        config = self.hosts_config()
        policy = resource("Resiliency", "r", {"policies": {"retries": {"again": {"policy": "constant", "duration": "10ms", "maxRetries": 3}}},
                                              "targets": {"apps": {"callee": {"retry": "again"}}}})
        self.callee = self.sidecar("callee", app_port=self.a.port, args=self.H2C, config=config)
        self.s = self.sidecar("caller", config=config, resources=[policy])
        self.channel = self.channel_of(self.s)

    def call(self, kind, method, data, timeout=20, metadata=(), **more):
        if kind != "unary_unary":
            metadata = [*metadata, ("dapr-stream", "true")]
        return super().call(kind, method, data, timeout, metadata, **more)

    def test_a_unary_call_is_tried_again(self):
        self.assertEqual(self.call("unary_unary", "Flaky", b"x"), b"x3")

    def test_the_last_failure_comes_back_as_it_is(self):
        e = self.refused("unary_unary", "Flaky", b"y", metadata=[("dapr-stream", "true")])
        self.assertEqual((e.code().name, e.details()), ("UNAVAILABLE", "try 1"))
        self.assertEqual(len(self.echo.calls), 1)

    def test_a_second_message_is_refused_without_dapr_stream_s51(self):
        with self.assertRaises(grpc.RpcError) as e:
            self.channel.stream_unary(f"/{ECHO}/Gather")(iter([b"a", b"b"]), timeout=20, metadata=[("dapr-app-id", "callee")])
        self.assertEqual(e.exception.code().name, "FAILED_PRECONDITION")
        self.assertIn("cannot use resiliency policies with retries on streaming RPCs", e.exception.details())
        self.assertEqual(self.call("stream_unary", "Gather", iter([b"a", b"b"])), b"ab")

    def test_a_failure_comes_back_as_it_is(self):
        e = self.refused("unary_unary", "Fail", b"")
        self.assertEqual((e.code().name, e.details()), ("NOT_FOUND", "nothing: ä%"))
        self.assertEqual(len(self.echo.calls), 4)


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Refused(GrpcCase):
    """A stream that was refused has not been looked at: it's made again, with what was sent of it."""

    def start(self, refuse, answer=None, protocol=None):
        app = Refusing(refuse, answer)
        self.addCleanup(app.close)
        s = self.sidecar("callee", app_port=app.port, args=protocol or self.H2C)
        self.channel = self.channel_of(s)
        return app, s

    def call(self, *args, **more):
        return Proxied.call(self, *args, **more)

    def test_unary_calls_and_streams_are_made_again(self):
        app, _ = self.start(3)
        self.assertEqual(self.call("unary_unary", "Unary", b"x" * 5000), b"x" * 5000)
        self.assertEqual(app.streams, 4)
        app.refuse = 6
        self.assertEqual(list(self.call("stream_stream", "Both", iter([b"a", b"b"]))), [b"a", b"b"])
        self.assertEqual(app.streams, 7)

    def test_not_for_ever(self):
        app, _ = self.start(100)
        with self.assertRaises(grpc.RpcError) as e:
            self.call("unary_unary", "Unary", b"x")
        self.assertEqual((e.exception.code().name, app.streams), ("UNAVAILABLE", 9))

    def test_callbacks_are_made_again(self):
        app, s = self.start(2, answer=bytes(5), protocol=["--app-protocol", "grpc", "--disable-init-endpoints", "config,subscribe"])
        self.assertEqual(s.get("/v1.0/invoke/callee/method/m").status, 200)
        self.assertEqual(app.streams, 3)


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class PlayedPeer(GrpcCase):
    """A daprd as the callee's sidecar is any gRPC server that takes the call on its internal port."""

    def test_what_a_peer_gets(self):
        peer = self.grpc_app()
        config = self.hosts_config()
        s = self.sidecar("caller", config=config)
        fake_host(self.directory(), "callee", f"127.0.0.1:{peer.port}")
        answer = self.channel_of(s).unary_unary(f"/{ECHO}/Unary")(b"x", timeout=20, metadata=[("dapr-app-id", "callee"), ("a", "b")])
        got = peer.echo.metadata()
        self.assertEqual((answer, got["dapr-caller-app-id"], got["dapr-callee-app-id"], got["a"]), (b"x", "caller", "callee", "b"))
        self.assertNotIn("dapr-app-id", got)

    def two(self, says, resources=()):
        """Two peers, the first of which adds says to its trailers; a call that tells who answered."""
        peers = [self.grpc_app() for _ in range(2)]
        s = self.sidecar("caller", config=self.hosts_config(), resources=resources)
        for p in peers:
            fake_host(self.directory(), "callee", f"127.0.0.1:{p.port}")
        peers[0].echo.says = says
        unary = self.channel_of(s).unary_unary(f"/{ECHO}/Unary")

        def call():
            answer, rpc = unary.with_call(b"x", timeout=20, metadata=[("dapr-app-id", "callee")])
            trailers = dict(rpc.trailing_metadata())
            self.assertEqual((answer, trailers.get("x-trailing")), (b"x", "2"))
            self.assertFalse({"proa-load", "proa-draining"} & trailers.keys())
        return s, peers, call

    def test_the_busier_of_two_gets_less(self):
        _, peers, call = self.two([("proa-load", "1000")])
        peers[1].echo.says = [("proa-load", "0")]
        for _ in range(60):
            call()
        self.assertLess(len(peers[0].echo.calls), 15)

    def test_one_that_drains_is_left_at_once(self):
        _, peers, call = self.two([("proa-draining", "1")])
        until("it has been asked", lambda: call() or peers[0].echo.calls)
        for _ in range(40):
            call()
        self.assertEqual(len(peers[0].echo.calls), 1)

    def test_what_was_shed_is_tried_once_elsewhere(self):
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"again": {"policy": "constant", "duration": "10s", "maxRetries": 3}},
                         "circuitBreakers": {"b": {"maxRequests": 1, "timeout": "60s", "trip": "consecutiveFailures > 0"}}},
            "targets": {"apps": {"callee": {"retry": "again", "circuitBreaker": "b"}}}})
        s, peers, call = self.two([("proa-shed", "limit")], [policy])
        peers[0].echo.refuses = grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(20):
            call()
        self.assertGreater(len(peers[0].echo.calls), 0)
        self.assertEqual(s.metric("proa_traffic_retries_total", reason="shed"), len(peers[0].echo.calls))
        peers[1].echo.says, peers[1].echo.refuses = peers[0].echo.says, peers[0].echo.refuses
        before = sum(len(p.echo.calls) for p in peers)
        with self.assertRaises(grpc.RpcError) as e:
            call()
        self.assertEqual((e.exception.code().name, dict(e.exception.trailing_metadata())["proa-shed"]),
                         ("RESOURCE_EXHAUSTED", "limit"))
        self.assertEqual(sum(len(p.echo.calls) for p in peers) - before, 2)

    def test_another_apps_sidecar_is_told_apart(self):
        config = self.hosts_config()
        other = self.sidecar("other", config=config)
        s = self.sidecar("caller", config=config)
        fake_host(self.directory(), "callee", f"127.0.0.1:{other.internal}")
        with self.assertRaises(grpc.RpcError) as e:
            self.channel_of(s).unary_unary(f"/{ECHO}/Unary")(b"x", timeout=20, metadata=[("dapr-app-id", "callee")])
        self.assertEqual(e.exception.code().name, "UNAVAILABLE")
        self.assertIn("this is the sidecar of other", e.exception.details())


if __name__ == "__main__":
    harness.main()
