#!/usr/bin/env python3
"""The gRPC service between sidecars as daprd speaks it: we as the callee, and a fake daprd as the callee.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly. Messages are built
by hand, byte by byte, so that the wire format is what is tested.
"""
import concurrent.futures
import contextlib
import json
import os
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
from wire import field, parse

SERVICE = "dapr.proto.internals.v1.ServiceInvocation"
VERBS = {"GET": 1, "HEAD": 2, "POST": 3, "PUT": 4, "DELETE": 5}
FRAME = 2048


def metadata(pairs, number=2):
    return b"".join(field(number, field(1, k) + field(2, b"".join(field(1, v) for v in ([vs] if isinstance(vs, str) else vs))))
                    for k, vs in pairs.items())


def headers_of(entries):
    out = {}
    for e in entries:
        m = parse(e)
        out[m[1][0].decode().lower()] = [v.decode() for v in parse(m[2][0]).get(1, [])] if 2 in m else []
    return out


def invoke_request(method="m", verb="POST", headers={"X-A": "1"}, data=None, query="", type_="text/plain"):
    message = field(1, method) + (field(2, field(2, data)) if data is not None else b"")
    message += field(3, type_) + field(4, field(1, VERBS[verb]) + (field(2, query) if query else b""))
    return field(1, 1) + metadata(headers) + field(3, message)


def payload(data, seq):
    return field(1, data) + (field(2, seq) if seq else b"")


def stream_frames(body, **request):
    """As a daprd sends: the first frame has the request, each at most 2 KiB, numbered."""
    pieces = [body[i:i + FRAME] for i in range(0, len(body), FRAME)]
    yield field(1, invoke_request(**request)) + (field(2, payload(pieces[0], 0)) if pieces else b"")
    for seq, piece in enumerate(pieces[1:], 1):
        yield field(2, payload(piece, seq))


def response(status=200, headers={}, type_="text/plain", body=None):
    message = (field(1, field(2, body)) if body is not None else b"") + field(2, type_)
    return field(1, field(1, status)) + metadata(headers) + field(4, message)


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Callee(harness.Case):
    """daprd calls us."""

    def setUp(self):
        self.a = self.app()
        self.s = self.sidecar("callee", self.a)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.s.internal}")
        self.addCleanup(self.channel.close)

    def unary(self, data, timeout=20):
        return parse(self.channel.unary_unary(f"/{SERVICE}/CallLocal")(data, timeout=timeout))

    def stream(self, frames, timeout=20):
        return [parse(m) for m in self.channel.stream_stream(f"/{SERVICE}/CallLocalStream")(iter(frames), timeout=timeout)]

    def code(self, function, *args):
        with self.assertRaises(grpc.RpcError) as e:
            function(*args)
        return e.exception.code(), e.exception.details()

    def test_call_local(self):
        r = self.unary(invoke_request("a/b", "PUT", {"X-Custom": "v", "dapr-caller-app-id": "daprd"}, b"body", "q=1&r=2"))
        self.assertEqual(parse(r[1][0])[1], [200])
        message = parse(r[4][0])
        self.assertEqual((parse(message[1][0])[2], message[2]), ([b"body"], [b"text/plain"]))
        got = self.a.got("/a/b")[0]
        self.assertEqual((got.method, got.query, got.body, got.headers["x-custom"]), ("PUT", "q=1&r=2", b"body", "v"))
        self.assertEqual(got.headers["content-type"], "text/plain")
        until("counted", lambda: self.s.metric("dapr_runtime_service_invocation_req_recv_total", src_app_id="daprd") == 1)

    def test_s43_an_http_status_is_given_as_such_and_the_transport_is_ok(self):
        self.a.on["/teapot"] = (418, b"short", {"X-Why": "stout"})
        r = self.unary(invoke_request("teapot"))
        self.assertEqual(parse(r[1][0])[1], [418])
        self.assertEqual(headers_of(r[2])["x-why"], ["stout"])

    def test_s42_the_first_answer_frame_has_the_status_and_frames_are_small_and_numbered(self):
        body = os.urandom(100001)
        frames = self.stream(stream_frames(body, method="big"))
        self.assertEqual(self.a.got("/big")[0].body, body)
        first = parse(frames[0][1][0])
        self.assertEqual(parse(first[1][0])[1], [200])
        self.assertTrue(all(1 not in f for f in frames[1:]))
        payloads = [parse(f[2][0]) for f in frames if 2 in f]
        self.assertEqual([p.get(2, [0])[0] for p in payloads], list(range(len(payloads))))
        self.assertLessEqual(max(len(p[1][0]) for p in payloads if 1 in p), FRAME)
        self.assertEqual(b"".join(p[1][0] for p in payloads if 1 in p), body)

    def test_an_empty_body_and_an_empty_method(self):
        self.stream(stream_frames(b"", method="", verb="GET"))
        self.assertEqual((self.a.got("/")[0].method, self.a.got("/")[0].body), ("GET", b""))

    def test_the_method_is_taken_literally(self):
        self.stream(stream_frames(b"", method="a b/ü%41", verb="GET"))
        self.assertEqual(self.a.got()[0].target, "/a%20b/%C3%BC%2541")

    def test_content_length_goes_along_when_it_is_known(self):
        self.stream(stream_frames(b"12345", method="len", headers={"Content-Length": "5"}))
        self.assertEqual(self.a.got("/len")[0].headers.get("content-length"), "5")

    def test_a_large_body_of_known_length_arrives_whole(self):
        body = os.urandom(200000)
        self.stream(stream_frames(body, method="known", headers={"content-length": str(len(body))}))
        got = self.a.got("/known")[0]
        self.assertTrue(got.body == body)
        self.assertEqual(got.headers.get("content-length"), str(len(body)))

    def test_a_wrong_content_length_does_not_smuggle_a_request(self):
        evil = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        with contextlib.suppress(grpc.RpcError):  # an error, or all of it as one body
            self.stream(stream_frames(b"12345" + evil, method="len", headers={"content-length": "5"}))
        for length in (20000, 30000):  # too much, too little: the call ends at once
            with self.assertRaises(grpc.RpcError) as e:
                self.stream(stream_frames(b"x" * 20000 + evil, method="len", headers={"content-length": str(length)}))
            self.assertNotEqual(e.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertEqual(self.s.get("/v1.0/invoke/callee/method/after").status, 200)
        self.assertEqual(self.a.got("/smuggled"), [])

    def test_headers_that_are_none_of_http_stay_behind(self):
        self.stream(stream_frames(b"", method="h", verb="GET", headers={
            "grpc-x": "1", "x-bin": "AA==", ":path": "/evil", "X-Many": ["1", "2"], "Connection": "close", "bad\r\nname": "x",
            "x-bad": "a\r\nInjected: 1", "destination-app-id": "x"}))
        got = self.a.got("/h")[0].headers
        for name in ("grpc-x", "x-bin", ":path", "injected", "destination-app-id"):
            self.assertNotIn(name, got)
        self.assertEqual((got["x-many"], got["dapr-grpc-x"]), ("1, 2", "1"))

    def test_violations_are_invalid_argument(self):
        good = invoke_request()
        for name, frames in (("no request", [field(2, payload(b"x", 0))]),
                             ("no metadata", [field(1, field(1, 1) + field(3, field(1, "m")))]),
                             ("no message", [field(1, field(1, 1) + metadata({"a": "b"}))]),
                             ("sequence starts at 1", [field(1, good) + field(2, payload(b"x", 1))]),
                             ("garbage", [b"\xff\xff\xff"]), ("nothing", [])):
            with self.subTest(name):
                code, details = self.code(self.stream, frames)
                self.assertEqual(code, grpc.StatusCode.INVALID_ARGUMENT)
                self.assertIn("parsing InternalInvokeRequest error", details)
        self.assertEqual(self.code(self.unary, b"\xff\xff")[0], grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(self.a.got(), [])

    def test_a_gap_in_the_sequence_aborts(self):
        frames = [field(1, invoke_request("gap")) + field(2, payload(b"a", 0)), field(2, payload(b"b", 2))]
        with self.assertRaises(grpc.RpcError):
            self.stream(frames)

    def test_unknown_methods_are_unimplemented(self):
        for path in (f"/{SERVICE}/CallActor", f"/{SERVICE}/Nothing"):
            code, _ = self.code(self.channel.unary_unary(path), b"")
            self.assertEqual(code, grpc.StatusCode.UNIMPLEMENTED)

    def test_a_service_of_the_apps_wants_to_know_whose(self):
        code, details = self.code(self.channel.unary_unary("/x.Y/Z"), b"")
        self.assertEqual(code, grpc.StatusCode.UNKNOWN)
        self.assertIn("required metadata dapr-callee-app-id or dapr-app-id not found", details)

    def test_an_unreachable_app_is_an_error_that_says_so(self):
        self.a.close()
        code, details = self.code(self.unary, invoke_request())
        self.assertIn(code, (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE))
        self.assertTrue(details)

    def test_without_an_app_it_is_internal(self):
        s = self.sidecar("none")
        with grpc.insecure_channel(f"127.0.0.1:{s.internal}") as channel:
            with self.assertRaises(grpc.RpcError) as e:
                channel.unary_unary(f"/{SERVICE}/CallLocal")(invoke_request(), timeout=20)
        self.assertEqual(e.exception.code(), grpc.StatusCode.INTERNAL)
        self.assertIn("app channel is not initialized", e.exception.details())

    def test_many_streams_on_one_connection(self):
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            bodies = [os.urandom(5000 + i) for i in range(300)]
            results = list(pool.map(lambda b: self.stream(stream_frames(b, method="many")), bodies))
        for body, frames in zip(bodies, results):
            self.assertEqual(b"".join(parse(f[2][0]).get(1, [b""])[0] for f in frames if 2 in f), body)

    def test_a_caller_that_cancels_ends_the_call_at_the_app(self):
        entered, left = threading.Event(), threading.Event()

        def slow(r):
            entered.set()
            r.handler.connection.settimeout(20)
            if not r.handler.connection.recv(1):
                left.set()
            r.handler.close_connection = True
        self.a.on["/slow"] = slow
        call = self.channel.stream_stream(f"/{SERVICE}/CallLocalStream")(stream_frames(b"", method="slow", verb="GET"))
        self.assertTrue(entered.wait(20))
        call.cancel()
        self.assertTrue(left.wait(5))


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Caller(harness.Case):
    """We call a daprd: a gRPC server that knows nothing of Proa."""

    def daprd(self, stream=None, unary=None):
        calls = []

        class Generic(grpc.GenericRpcHandler):
            def service(self, details):
                name = details.method.rsplit("/", 1)[1]
                if name == "CallLocalStream" and stream:
                    return grpc.stream_stream_rpc_method_handler(lambda it, c: self.streamed(it, c))
                if name == "CallLocal" and unary:
                    calls.append(("unary", name))
                    return grpc.unary_unary_rpc_method_handler(unary)
                calls.append(("missing", name))
                return None

            def streamed(self, it, context):
                frames = []
                calls.append(("stream", frames))
                yield from stream(self.seen(it, frames), context)

            def seen(self, it, frames):
                for m in it:
                    frames.append(parse(m))
                    yield frames[-1]
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((Generic(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(server.stop, None)
        s = self.sidecar("caller", config=self.hosts_config(), resources=getattr(self, "resources", ()))
        fake_host(self.directory(), "daprd", f"127.0.0.1:{port}")
        return s, calls

    @staticmethod
    def echo(frames, context):
        body = b""
        for f in frames:
            if 2 in f:
                body += parse(f[2][0]).get(1, [b""])[0]
        pieces = [body[i:i + FRAME] for i in range(0, len(body), FRAME)]
        yield field(1, response(200, {"X-Back": "1", "Content-Type": "a/b"}, "a/b")) + (
            field(2, payload(pieces[0], 0)) if pieces else b"")
        for seq, p in enumerate(pieces[1:], 1):
            yield field(2, payload(p, seq))

    def test_frames_are_small_numbered_and_the_first_has_request_and_metadata(self):
        s, calls = self.daprd(self.echo)
        for body in (b"", b"x", os.urandom(FRAME), os.urandom(100001)):
            for send in (body, iter([body]) if body else body):
                with self.subTest(len(body)):
                    r = s.call("POST", "/v1.0/invoke/daprd/method/a%20b/%C3%BC?q=1", send, {"X-One": "1", "Content-Type": "a/b"})
                    self.assertEqual((r.status, r.headers["x-back"], r.headers["content-type"]), (200, "1", "a/b"))
                    self.assertTrue(r.body == body)
                    frames = calls[-1][1]
                    request = parse(frames[0][1][0])
                    message = parse(request[3][0])
                    self.assertEqual(message[1][0].decode(), "a b/ü")
                    extension = parse(message[4][0])
                    self.assertEqual((extension[1], extension[2]), ([VERBS["POST"]], [b"q=1"]))
                    self.assertEqual(request[1], [1])
                    h = headers_of(request[2])
                    self.assertEqual((h["x-one"], h["dapr-caller-app-id"], h["dapr-callee-app-id"]),
                                     (["1"], ["caller"], ["daprd"]))
                    self.assertTrue(all(1 not in f for f in frames[1:]))
                    payloads = [parse(f[2][0]) for f in frames if 2 in f]
                    self.assertEqual([p.get(2, [0])[0] for p in payloads], list(range(len(payloads))))
                    self.assertLessEqual(max([len(p.get(1, [b""])[0]) for p in payloads] or [0]), FRAME)

    def test_statuses_pass_and_grpc_codes_are_mapped(self):
        status = []

        def answer(frames, context):
            for _ in frames:
                pass
            yield field(1, response(status[-1], {"x-why": "1"}))
        s, calls = self.daprd(answer)
        for code, want in ((204, 204), (301, 301), (404, 404), (503, 503), (0, 200), (5, 404), (7, 403), (2, 500)):
            status.append(code)
            with self.subTest(code):
                self.assertEqual(s.get("/v1.0/invoke/daprd/method/m").status, want)

    def test_a_refusal_is_an_error_with_the_peers_words(self):
        def deny(frames, context):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "access control policy has denied access")
            yield
        s, _ = self.daprd(deny)
        body = self.assertError(s.get("/v1.0/invoke/daprd/method/m"), 403, "ERR_DIRECT_INVOKE")
        self.assertIn("access control policy has denied access", body["message"])

    def test_an_answer_without_a_status_first_is_an_error(self):
        def bad(frames, context):
            for _ in frames:
                pass
            yield field(2, payload(b"x", 0))
        s, _ = self.daprd(bad)
        self.assertError(s.get("/v1.0/invoke/daprd/method/m"), 500, "ERR_DIRECT_INVOKE")

    def test_a_gap_in_the_answer_breaks_it_off(self):
        def bad(frames, context):
            for _ in frames:
                pass
            yield field(1, response(200)) + field(2, payload(b"x" * 2000, 0))
            yield field(2, payload(b"x" * 2000, 5))
        s, _ = self.daprd(bad)
        with self.assertRaises((harness.http.client.HTTPException, ConnectionError)):
            s.get("/v1.0/invoke/daprd/method/m")

    def test_an_error_after_the_answer_began_breaks_it_off(self):
        def bad(frames, context):
            for _ in frames:
                pass
            yield field(1, response(200)) + field(2, payload(b"x" * 2000, 0))
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        s, _ = self.daprd(bad)
        with self.assertRaises((harness.http.client.HTTPException, ConnectionError)):
            s.get("/v1.0/invoke/daprd/method/m")

    def test_a_peer_without_streams_is_called_by_one_message(self):
        def unary(data, context):
            m = parse(parse(data)[3][0])
            return response(201, {"X-Back": "1"}, "a/b", body=m[1][0] + parse(m[2][0]).get(2, [b""])[0])
        s, calls = self.daprd(unary=unary)
        r = s.post("/v1.0/invoke/daprd/method/m", b"body")
        self.assertEqual((r.status, r.body, r.headers["x-back"], r.headers["content-type"]), (201, b"mbody", "1", "a/b"))
        self.assertEqual(calls, [("missing", "CallLocalStream"), ("unary", "CallLocal")])

    def test_a_peer_without_either_is_an_error_with_its_words(self):
        s, calls = self.daprd()
        self.assertError(s.post("/v1.0/invoke/daprd/method/m", b"body"), 500, "ERR_DIRECT_INVOKE")
        self.assertEqual(calls, [("missing", "CallLocalStream"), ("missing", "CallLocal")])

    def test_a_body_that_streams_is_not_sent_again(self):
        s, calls = self.daprd(unary=lambda data, context: b"")
        self.assertError(s.post("/v1.0/invoke/daprd/method/m", iter([b"body"])), 500, "ERR_DIRECT_INVOKE")
        self.assertEqual(calls, [("missing", "CallLocalStream")])

    def test_a_grpc_apps_failure_is_its_status_as_json_s44(self):
        def fail(frames, context):
            for _ in frames:
                pass
            detail = field(1, "type.googleapis.com/google.rpc.ErrorInfo") + field(2, field(1, "WHY"))
            yield field(1, field(1, field(1, 7) + field(2, "no") + field(3, detail)) + metadata({"x-bin": "AA==", "a": "b"}))
        s, _ = self.daprd(fail)
        r = s.get("/v1.0/invoke/daprd/method/m")
        self.assertEqual((r.status, r.headers["content-type"], r.headers["a"]), (403, "application/json", "b"))
        self.assertNotIn("x-bin", r.headers)
        self.assertEqual(json.loads(r.body), {"code": 7, "message": "no", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "WHY"}]})

    def test_server_streams_arrive_piece_by_piece(self):
        go = threading.Semaphore(0)

        def slow(frames, context):
            for _ in frames:
                pass
            yield field(1, response(200)) + field(2, payload(b"one\n", 0))
            go.acquire(timeout=20)
            yield field(2, payload(b"two\n", 1))
        s, _ = self.daprd(slow)
        c = harness.connection(s.http)
        self.addCleanup(c.close)
        c.request("GET", "/v1.0/invoke/daprd/method/m")
        r = c.getresponse()
        self.assertEqual(r.readline(), b"one\n")
        go.release()
        self.assertEqual(r.read(), b"two\n")

    def test_built_in_retries_s41(self):
        """Three more times on UNAVAILABLE, beside default policies; an entry of the app itself takes their place."""
        fast = {"policies": {"retries": {"DaprBuiltInServiceRetries": {"policy": "constant", "duration": "5ms"},
                                         "DefaultAppRetryPolicy": {"policy": "constant", "duration": "1ms", "maxRetries": 0}}},
                "targets": {}}
        fast["policies"]["retries"]["DaprBuiltInServiceRetries"]["maxRetries"] = 3
        own = json.loads(json.dumps(fast))
        own["targets"] = {"apps": {"daprd": {"timeout": "long"}}}
        own["policies"]["timeouts"] = {"long": "30s"}
        for name, spec, code, failures, status, calls in (
                ("heals", fast, grpc.StatusCode.UNAVAILABLE, 3, 200, 4), ("gives up", fast, grpc.StatusCode.UNAVAILABLE, 9, 500, 4),
                ("unauthenticated", fast, grpc.StatusCode.UNAUTHENTICATED, 1, 200, 2), ("others", fast, grpc.StatusCode.INTERNAL, 9, 500, 1),
                ("an entry", own, grpc.StatusCode.UNAVAILABLE, 9, 500, 1)):
            with self.subTest(name):
                count = []

                def flaky(frames, context):
                    for _ in frames:
                        pass
                    count.append(1)
                    if len(count) <= failures:
                        context.abort(code, "not now")
                    yield field(1, response(200))
                self.resources = [resource("Resiliency", "r", spec)]
                s, _ = self.daprd(flaky)
                self.assertEqual((s.post("/v1.0/invoke/daprd/method/m", b"x").status, len(count)), (status, calls))
                self.assertEqual(s.stop(), 0)

    def test_retries_of_a_policy_work_over_grpc(self):
        self.resources = [resource("Resiliency", "r", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "10ms", "maxRetries": 5}}},
            "targets": {"apps": {"daprd": {"retry": "often"}}}})]
        count = []

        def flaky(frames, context):
            for _ in frames:
                pass
            count.append(1)
            yield field(1, response(500 if len(count) < 3 else 200))
        s, _ = self.daprd(flaky)
        self.assertEqual((s.post("/v1.0/invoke/daprd/method/m", b"x").status, len(count)), (200, 3))


if __name__ == "__main__":
    harness.main()
