#!/usr/bin/env python3
"""Apps that speak gRPC, from outside: each callback, verdict and error; called over HTTP and gRPC, over one
sidecar and over two.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly.
"""
import json
import os
import sys

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import unittest

import harness
from harness import component, resource, until
from wire import field, parse
if grpc:
    from grpc import StatusCode as Code
    from grpc_app import (DROP, RETRY, SUCCESS, Event, GrpcApp, Refusal, entry, invoke_response, kvs, struct_of,
                          subscription)

MEMORY = component("p", "pubsub.in-memory")
GRPC = ["--app-protocol", "grpc"]


def error_info(code, message, reason="WHY"):
    """google.rpc.Status with an ErrorInfo, and a detail of a type that nobody knows."""
    info = field(1, reason) + field(2, "test.io") + field(3, entry("k", "v"))
    detail = field(1, "type.googleapis.com/google.rpc.ErrorInfo") + field(2, info)
    other = field(1, "type.googleapis.com/own.Type") + field(2, b"\x08\x01")
    return field(1, code) + field(2, message) + field(3, detail) + field(3, other)


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Case(harness.Case):
    def grpc_app(self, on=None, **more):
        a = GrpcApp(on, **more)
        self.addCleanup(a.close)
        return a

    def beside(self, a, *resources, args=(), **more):
        return self.sidecar("app", a, args=GRPC + list(args), resources=resources, **more)


class Invoke(Case):
    def echo(self, call, context):
        m = parse(call.message)
        context.send_initial_metadata((("x-back", "1"), ("data-bin", b"\x00\xff")))
        return invoke_response(parse(m.get(2, [b""])[0]).get(2, [b""])[0], m.get(3, [b""])[0].decode())

    def each(self, a):
        """A caller beside the app, and one at another sidecar, twice: it learns who its peer is."""
        caller, callee = self.pair(a, callee_args=GRPC)
        return [("own", callee), ("first", caller), ("again", caller)]

    def test_headers_become_metadata_and_registered_ones_are_renamed_s48(self):
        a = self.grpc_app({"OnInvoke": self.echo})
        for name, s in self.each(a):
            with self.subTest(name):
                r = s.call("PUT", "/v1.0/invoke/callee/method/a%20b/%C3%BC?q=1&r=%3F", b"body", {
                    "Content-Type": "text/x", "X-One": "1", "User-Agent": "me", "Grpc-Foo": "2", "Connection": "X-Hop",
                    "X-Hop": "3", "proa-grpc": "evil", "x-bytes-bin": "AAE=",
                    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"})
                self.assertEqual((r.status, r.body, r.headers["content-type"]), (200, b"body", "text/x"))
                self.assertEqual(r.headers["x-back"], "1")
                self.assertEqual([h for h in r.headers if "bin" in h or "grpc" in h or "proa" in h], [])
                call = a.got("OnInvoke")[-1]
                m = parse(call.message)
                self.assertEqual((m[1], m[3]), ([("a b/ü").encode()], [b"text/x"]))
                self.assertEqual(parse(m[2][0]), {2: [b"body"]})
                self.assertEqual(parse(m[4][0]), {1: [4], 2: [b"q=1&r=%3F"]})
                got = call.metadata
                self.assertEqual((got["x-one"], got["dapr-user-agent"], got["dapr-content-type"], got["dapr-grpc-foo"]),
                                 ("1", "me", "text/x", "2"))
                self.assertEqual((got["dapr-caller-app-id"], got["dapr-callee-app-id"]), (s.app_id, "callee"))
                for gone in ("x-hop", "connection", "dapr-connection", "content-length", "proa-direct", "proa-grpc"):
                    self.assertNotIn(gone, got)

    def test_grpcs_app_is_called_by_tls_without_verification(self):
        cert, key = harness.Pki(self.directory()).sign("app", alternative="DNS:not.this.host")
        a = self.grpc_app({"OnInvoke": self.echo}, tls=(harness.Pki.text(cert), harness.Pki.text(key)))
        for args in (["--app-protocol", "grpcs"], GRPC + ["--app-ssl"]):
            with self.subTest(args):
                s = self.sidecar("app", a, args=args)
                r = s.post("/v1.0/invoke/app/method/m", b"body", {"Content-Type": "text/x"})
                self.assertEqual((r.status, r.body), (200, b"body"))

    def test_statuses_are_mapped_and_the_body_is_the_status(self):
        want = {1: 408, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501,
                13: 500, 14: 503, 15: 500, 16: 401}

        def fail(call, context):
            raise Refusal(codes[int(parse(call.message)[1][0])], "no: ü\n%")
        codes = {c.value[0]: c for c in Code}
        a = self.grpc_app({"OnInvoke": fail})
        for name, s in self.each(a):
            for code, status in want.items():
                with self.subTest(f"{name} {code}"):
                    r = s.get(f"/v1.0/invoke/callee/method/{code}")
                    self.assertEqual((r.status, r.headers["content-type"]), (status, "application/json"))
                    self.assertEqual(json.loads(r.body), {"code": code, "message": "no: ü\n%"})

    def test_details_of_a_status_are_in_its_json(self):
        def fail(call, context):
            raise Refusal(Code.ABORTED, "no", error_info(10, "no"))
        a = self.grpc_app({"OnInvoke": fail})
        for name, s in self.each(a):
            with self.subTest(name):
                self.assertEqual(json.loads(s.get("/v1.0/invoke/callee/method/m").body), {
                    "code": 10, "message": "no", "details": [
                        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "WHY", "domain": "test.io",
                         "metadata": {"k": "v"}},
                        {"@type": "type.googleapis.com/own.Type", "value": "CAE="}]})

    def test_an_app_without_the_callback_is_501(self):
        s = self.beside(self.grpc_app())
        r = s.get("/v1.0/invoke/app/method/m")
        self.assertEqual((r.status, json.loads(r.body)["code"]), (501, 12))

    def test_bodies_of_any_size_pass(self):
        a = self.grpc_app({"OnInvoke": self.echo}, options=(("grpc.max_receive_message_length", -1),))
        for name, s in self.each(a):
            for n in (0, 1, 16384, 100000, 4000000):
                for chunked in (False, True):
                    with self.subTest(f"{name} {n} {chunked}"):
                        body = os.urandom(n)
                        r = s.post("/v1.0/invoke/callee/method/m", iter([body]) if chunked and n else body)
                        self.assertEqual(r.status, 200)
                        self.assertTrue(r.body == body)

    def test_the_apps_token_goes_along(self):
        a = self.grpc_app({"OnInvoke": self.echo})
        s = self.beside(a, env={"APP_API_TOKEN": "secret"})
        s.get("/v1.0/invoke/app/method/m", {"dapr-api-token": "mine"})
        self.assertEqual(a.got("OnInvoke")[0].metadata["dapr-api-token"], "secret")

    def test_an_app_that_has_left_is_an_error_that_says_so(self):
        a = self.grpc_app({"OnInvoke": self.echo})
        s = self.beside(a)
        self.assertEqual(s.get("/v1.0/invoke/app/method/m").status, 200)
        a.close()
        self.assertError(s.get("/v1.0/invoke/app/method/m"), 500, "ERR_DIRECT_INVOKE")


if __name__ == "__main__":
    harness.main()
