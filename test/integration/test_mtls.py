#!/usr/bin/env python3
"""mTLS between sidecars: certificates from a sentry, who may call whom, and their renewal.

Needs grpcio and cryptography (requirements.txt); where they aren't there the tests are skipped visibly.
"""
import concurrent.futures
import contextlib
import http.client
import os
import signal
import socket
import ssl
import sys
import threading

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import cryptography
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import unittest

import harness
from harness import fake_host, raw_exchange, until

if grpc:
    from sentry import Authority, Sentry, down

ECHO = "/test.v1.Echo/Both"


class Echo(grpc.GenericRpcHandler if grpc else object):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(lambda it, context: (b"<" + m + b">" for m in it))


@unittest.skipIf(grpc is None, "grpcio and cryptography aren't installed: see requirements.txt")
class Mtls(harness.Case):
    def setUp(self):
        self.authority = Authority()
        self.sentry = Sentry(self.authority)
        self.addCleanup(lambda: self.sentry.close())

    def member(self, app_id, app=None, args=(), env=None, sentry=None, **more):
        """A sidecar of the fleet."""
        sentry = sentry or self.sentry
        return self.sidecar(
            app_id, app, args=["--enable-mtls", "--sentry-address", sentry.address, *args],
            env={"DAPR_TRUST_ANCHORS": self.authority.anchors, **(env or {})},
            config=more.pop("config", None) or self.hosts_config(**more.pop("spec", {})), **more)

    def grpc_app(self):
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((Echo(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(server.stop, None)
        return port

    def pair(self, on=None, **spec):
        app = self.app(on)
        b = self.member("callee", app, spec=spec)
        return self.member("caller"), b, app

    def connect(self, port, files=None, alpn="http/1.1"):
        """A TLS connection to a sidecar, with (certificate, key) of ours; the server isn't verified."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
        if files:
            context.load_cert_chain(*files)
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)

    def direct(self, port, app_id, path, files=None, headers=()):
        """What one Proa sends to another, from us."""
        c = self.connect(port, files)
        try:
            c.request("GET", path, headers={"proa-direct": app_id, **dict(headers)})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()


class Tap:
    """Passes connections on to a port and keeps what it has seen."""

    def __init__(self, port):
        self.to, self.seen = port, bytearray()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                one, _ = self.socket.accept()
                threading.Thread(target=self.serve, args=(one,), daemon=True).start()

    def serve(self, one):
        with one, socket.create_connection(("127.0.0.1", self.to)) as other:
            back = threading.Thread(target=self.carry, args=(other, one), daemon=True)
            back.start()
            self.carry(one, other)
            back.join()

    def carry(self, a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                self.seen += data
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)


class Calls(Mtls):
    def tap(self, sidecar):
        tap = Tap(sidecar.internal)
        self.addCleanup(tap.socket.close)
        return tap

    def test_calls_over_http_both_ways(self):
        apps = self.app(), self.app()
        a, b = (self.member(n, app) for n, app in zip(("a", "b"), apps))
        body = os.urandom(100000)
        for caller, callee, app in ((a, "b", apps[1]), (b, "a", apps[0])):
            for i in range(5):  # the first in gRPC, the next as one Proa to another
                r = caller.post(f"/v1.0/invoke/{callee}/method/m{i}", body)
                self.assertEqual((r.status, r.body == body), (200, True), r)
            self.assertEqual([q.body == body for q in app.got()], [True] * 5)
        self.assertNotIn("mTLS is disabled", a.log())
        a.wait_log("certificate of spiffe://public/ns/default/a is valid until")

    def test_nothing_between_sidecars_is_plain(self):
        """A wire tap between the two sees the words of no call."""
        a, b, app = self.pair()
        tap = self.tap(b)
        fake_host(self.directory(), "callee", f"127.0.0.1:{tap.port}")
        for i in range(20):
            self.assertEqual(a.post("/v1.0/invoke/callee/method/m", b"knock knock" * 10).status, 200)
        until("some calls went through the tap", lambda: tap.seen)
        self.assertNotIn(b"knock", bytes(tap.seen))
        self.assertNotIn(b"invoke", bytes(tap.seen))

    def test_grpc_is_proxied_and_invoked(self):
        self.member("callee", app_port=self.grpc_app(), args=["--app-protocol", "grpc"])
        a = self.member("caller")
        with grpc.insecure_channel(f"127.0.0.1:{a.grpc}") as channel:
            for _ in range(3):
                call = channel.stream_stream(ECHO)(iter([b"1", b"2"]), metadata=(("dapr-app-id", "callee"),), timeout=20)
                self.assertEqual(list(call), [b"<1>", b"<2>"])

    def test_the_namespace_is_a_part_of_who_one_is(self):
        app = self.app()
        self.member("callee", app, env={"NAMESPACE": "prod"})
        a = self.member("caller")
        self.assertEqual(a.get("/v1.0/invoke/callee.prod/method/m").status, 200)
        body = self.assertError(a.get("/v1.0/invoke/callee.test/method/m"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("wanted /ns/test/callee, but the certificate there is spiffe://public/ns/prod/callee", body["message"])
        self.assertEqual(len(app.got()), 1)

    def test_another_apps_sidecar_is_not_called(self):
        app = self.app()
        other = self.member("other", app)
        a = self.member("caller")
        fake_host(self.directory(), "victim", f"127.0.0.1:{self.tap(other).port}")
        body = self.assertError(a.post("/v1.0/invoke/victim/method/m", b"secret"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("wanted /ns/default/victim, but the certificate there is spiffe://public/ns/default/other", body["message"])
        self.assertEqual(a.get("/v1.0/invoke/other/method/m").status, 200)
        with grpc.insecure_channel(f"127.0.0.1:{a.grpc}") as channel:
            with self.assertRaises(grpc.RpcError) as e:
                list(channel.stream_stream(ECHO)(iter([b"x"]), metadata=(("dapr-app-id", "victim"),), timeout=20))
        self.assertIn("wanted /ns/default/victim", e.exception.details())
        self.assertEqual([r.path for r in app.got()], ["/m"])

    def test_a_sidecar_without_mtls_can_neither_call_nor_be_called(self):
        app = self.app()
        self.member("callee", app)
        plain = self.sidecar("plain", app, config=self.hosts_config())
        self.assertEqual(plain.get("/v1.0/invoke/callee/method/m").status, 500)
        self.assertEqual(self.member("caller").get("/v1.0/invoke/plain/method/m").status, 500)
        self.assertEqual(app.got(), [])


class Refused(Mtls):
    """Who has no certificate of the fleet gets nowhere."""

    def setUp(self):
        super().setUp()
        self.a = self.app()
        self.s = self.member("callee", self.a)

    def refused(self, function):
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.fail(f"answered: {function()}")
        self.assertEqual(self.a.got(), [])

    def test_plain_callers(self):
        self.assertNotIn(b"HTTP/", raw_exchange(self.s.internal, b"GET /m HTTP/1.1\r\nHost: x\r\nproa-direct: callee\r\n\r\n"))
        with grpc.insecure_channel(f"127.0.0.1:{self.s.internal}") as channel:
            with self.assertRaises(grpc.RpcError):
                list(channel.stream_stream(ECHO)(iter([b"x"]), metadata=(("dapr-app-id", "callee"),), timeout=20))
        self.assertEqual(self.a.got(), [])

    def test_callers_without_a_certificate(self):
        self.refused(lambda: self.direct(self.s.internal, "callee", "/m"))

    def test_callers_of_another_authority(self):
        files = Authority("other").files(self.directory(), "other", ["spiffe://public/ns/default/caller"])
        self.refused(lambda: self.direct(self.s.internal, "callee", "/m", files))

    def test_certificates_that_name_nobody_or_two(self):
        for uris in ([], ["spiffe://public/ns/default/a", "spiffe://public/ns/default/b"]):
            files = self.authority.files(self.directory(), f"n{len(uris)}", uris or ["spiffe://public/ns/default/a"] * 2)
            self.refused(lambda: self.direct(self.s.internal, "callee", "/m", files))

    def test_the_fleets_own_are_served(self):
        files = self.authority.files(self.directory(), "good", ["spiffe://elsewhere/ns/default/caller"])
        self.assertEqual(self.direct(self.s.internal, "callee", "/m", files)[0], 200)


class Access(Mtls):
    POLICY = {"accessControl": {"defaultAction": "deny", "trustDomain": "public", "policies": [
        {"appId": "good", "trustDomain": "public", "namespace": "default", "defaultAction": "allow",
         "operations": [{"name": "/secret", "httpVerb": ["*"], "action": "deny"}]}]}}

    def test_who_calls_decides(self):
        app = self.app()
        s = self.member("callee", app, spec=self.POLICY)
        good, bad = self.member("good"), self.member("bad")
        for _ in range(2):  # in gRPC, then directly
            self.assertEqual(good.get("/v1.0/invoke/callee/method/open").status, 200)
            self.assertEqual(good.get("/v1.0/invoke/callee/method/secret").status, 403)
            r = bad.get("/v1.0/invoke/callee/method/open", {"dapr-caller-app-id": "good"})
            self.assertEqual(r.status, 403)
        self.assertIn(b"id: spiffe://public/ns/default/bad operation: /open", r.body)
        self.assertEqual([r.path for r in app.got()], ["/open"] * 2)
        of = lambda app_id: {"app_id": app_id, "trustDomain": "public", "namespace": "default"}
        for name, caller in (("app_policy_action_allowed", "good"), ("app_policy_action_blocked", "good"),
                             ("global_policy_action_blocked", "bad")):
            self.assertEqual(s.metric(f"dapr_runtime_acl_{name}_total", **of(caller)), 2, name)
        self.assertIsNone(s.metric("dapr_runtime_acl_global_policy_action_allowed_total"))
        self.assertEqual((s.metric("dapr_runtime_acl_app_policy_action_allowed_total"),
                          s.metric("dapr_runtime_acl_app_policy_action_blocked_total")), (2, 2))

    def test_a_name_in_a_header_proves_nothing(self):
        app = self.app()
        s = self.member("callee", app, spec=self.POLICY)
        for uri, want in (("spiffe://public/ns/default/good", 200), ("spiffe://public/ns/default/bad", 403),
                          ("spiffe://other/ns/default/good", 403), ("spiffe://public/ns/prod/good", 403),
                          ("spiffe://public/sa/default/good", 403), ("https://public/ns/default/good", 403)):
            with self.subTest(uri):
                files = self.authority.files(self.directory(), "c", [uri])
                status, _ = self.direct(s.internal, "callee", "/m", files, {"dapr-caller-app-id": "good"})
                self.assertEqual(status, want)
        self.assertEqual(len(app.got()), 1)

    def test_proxied_grpc_is_checked_too(self):
        s = self.member("callee", app_port=self.grpc_app(), args=["--app-protocol", "grpc"], spec=self.POLICY)
        for app_id, allowed in (("good", True), ("bad", False)):
            a = self.member(app_id)
            with grpc.insecure_channel(f"127.0.0.1:{a.grpc}") as channel:
                call = channel.stream_stream(ECHO)(iter([b"1"]), metadata=(("dapr-app-id", "callee"),), timeout=20)
                if allowed:
                    self.assertEqual(list(call), [b"<1>"])
                else:
                    with self.assertRaises(grpc.RpcError) as e:
                        list(call)
                    self.assertEqual(e.exception.code(), grpc.StatusCode.PERMISSION_DENIED)
        self.assertEqual(s.metric("dapr_runtime_acl_global_policy_action_blocked_total", app_id="bad"), 1)


class Asking(Mtls):
    """What the sentry is asked, and what happens when it doesn't answer at the start."""

    def test_the_request_says_who_asks(self):
        token = os.path.join(self.directory(), "token")
        with open(token, "w") as f:
            f.write("t0ken\n")
        s = self.member("me", args=["--sentry-request-jwt-audiences", "a,b"], spec={"accessControl": {"trustDomain": "td"}},
                        env={"NAMESPACE": "prod", "DAPR_SENTRY_TOKEN_FILE": token})
        q = self.sentry.requests[0]
        self.assertEqual([q.get(n) for n in (1, 2, 3, 4, 6, 7)], [[b"me"], [b"t0ken"], [b"td"], [b"prod"], [3], [b"a", b"b"]])
        s.wait_log("certificate of spiffe://td/ns/prod/me is valid until")
        self.assertEqual(s.metric("dapr_runtime_mtls_init_total"), 1)
        self.assertIsNone(s.metric("dapr_runtime_mtls_init_fail_total"))

    def test_the_control_plane_may_be_elsewhere(self):
        sentry = Sentry(self.authority, "spiffe://cp.example/ns/dapr-system/dapr-sentry")
        self.addCleanup(sentry.close)
        self.member("flags", sentry=sentry, args=["--control-plane-trust-domain", "cp.example",
                                                  "--control-plane-namespace", "dapr-system"])
        self.member("environment", sentry=sentry, env={"DAPR_CONTROLPLANE_TRUST_DOMAIN": "cp.example",
                                                       "DAPR_CONTROLPLANE_NAMESPACE": "dapr-system"})
        q = [r for r in sentry.requests]
        self.assertEqual([r.get(1) for r in q], [[b"flags"], [b"environment"]])
        self.assertNotIn(2, q[0])

    def test_a_sentry_that_fails_at_first_is_asked_again(self):
        self.sentry.failures = 1
        s = self.member("me")
        s.wait_log("retry 1 of 5 in 3 s: UNAVAILABLE: the sentry is unwell")
        self.assertEqual(s.metric("dapr_runtime_mtls_init_fail_total", reason="UNAVAILABLE"), 1)
        self.assertEqual(s.metric("dapr_runtime_mtls_init_total"), 1)

    def test_a_certificate_for_another_is_not_taken(self):
        self.sentry.signs_for = "spiffe://public/ns/default/other"
        s = self.member("me", wait=None)
        s.wait_log("the sentry's certificate is for spiffe://public/ns/default/other, not for /ns/default/me")
        self.sentry.signs_for = None
        s.wait_ready()

    def test_no_sentry_is_fatal_after_its_retries(self):
        self.sentry.close()
        s = self.member("me", wait=None, expect=1)
        s.wait_exit(60)
        self.assertIn("retry 5 of 5", s.log())
        self.assertRegex(s.log(), f"Fatal error from runtime: no certificate from the sentry at {self.sentry.address}: ")
        self.sentry.start()

    def test_a_start_that_waits_for_the_sentry_can_be_ended(self):
        self.sentry.failures = None
        s = self.member("me", wait=None, expect=1)
        s.wait_log("retry 1 of 5")
        self.assertEqual(s.stop(), 1)
        self.assertIn("no certificate from the sentry at " + self.sentry.address + ": told to end", s.log())
        self.assertNotIn("retry 5 of 5", s.log())

    def test_an_impostor_gets_no_request(self):
        both = []
        for sentry, why in ((Sentry(self.authority, "spiffe://localhost/ns/default/other"),
                             "wanted spiffe://localhost/ns/default/dapr-sentry, but the certificate there is "
                             "spiffe://localhost/ns/default/other"),
                            (Sentry(Authority("other")), "unable to get local issuer certificate")):
            self.addCleanup(sentry.close)
            both.append((sentry, why, self.member("me", wait=None, expect=1, sentry=sentry)))
        for sentry, why, s in both:
            s.wait_exit(60)
            self.assertEqual(sentry.requests, [])
            self.assertIn(f"Fatal error from runtime: no certificate from the sentry at {sentry.address}: ", s.log())
            self.assertIn(why, s.log())

    def test_what_is_missing_is_fatal(self):
        address = ["--sentry-address", self.sentry.address]
        anchors = {"DAPR_TRUST_ANCHORS": self.authority.anchors}
        for args, env, want in ((address, {"DAPR_TRUST_ANCHORS": ""}, "trust anchors are required"),
                                (address, {"DAPR_TRUST_ANCHORS": "x"}, "DAPR_TRUST_ANCHORS: the CA certificate is no PEM"),
                                ([], anchors, "--enable-mtls needs --sentry-address"),
                                (address, {**anchors, "DAPR_SENTRY_TOKEN_FILE": "/no/such"},
                                 "DAPR_SENTRY_TOKEN_FILE: can't read a token")):
            with self.subTest(want):
                s = self.sidecar("me", args=["--enable-mtls", *args], env=env, wait=None, expect=1)
                s.wait_log(want)
                s.wait_exit(60)

    def test_without_mtls_nobody_is_asked(self):
        s = self.sidecar("me", args=["--sentry-address", self.sentry.address])
        s.wait_log("mTLS is disabled. Skipping certificate request and tls validation")
        self.assertEqual(self.sentry.requests, [])


class Renewal(Mtls):
    def load(self, sidecar, until_then, threads=4):
        """Calls all the time until the condition holds; every answer's status."""
        over, statuses = threading.Event(), []

        def run():
            while not over.is_set():
                statuses.append(sidecar.post("/v1.0/invoke/callee/method/m", b"x" * 3000).status)
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(run) for _ in range(threads)]
            try:
                until("the condition under load", until_then, 60)
            finally:
                over.set()
            for job in jobs:
                job.result()
        return statuses

    def test_renewal_under_load_loses_no_call(self):
        self.sentry.seconds = 5
        a, b, app = self.pair()
        rotations = lambda s: s.metric("dapr_runtime_mtls_workload_cert_rotated_total") or 0
        statuses = self.load(a, lambda: rotations(a) >= 3 and rotations(b) >= 3)
        self.assertEqual(set(statuses), {200})
        self.assertEqual(len(app.got()), len(statuses))
        # The first certificates have ended by now: a newcomer sees the present ones.
        c = self.member("newcomer", app)
        self.assertEqual(c.get("/v1.0/invoke/callee/method/m").status, 200)
        self.assertEqual(a.get("/v1.0/invoke/newcomer/method/m").status, 200)
        self.assertIsNone(a.metric("dapr_runtime_mtls_workload_cert_rotated_fail_total"))

    def test_a_sentry_that_is_down_is_tried_again(self):
        self.sentry.seconds = 8
        a, b, app = self.pair()
        call = lambda: a.get("/v1.0/invoke/callee/method/m").status
        self.assertEqual(call(), 200)
        with down(self.sentry):
            until("a renewal has failed", lambda: a.metric("dapr_runtime_mtls_workload_cert_rotated_fail_total",
                                                           reason="UNAVAILABLE"))
            self.assertEqual(call(), 200)
            a.wait_log("the certificate couldn't be renewed, trying again in 1 s")
        for s in (a, b):
            until("renewed", lambda: s.metric("dapr_runtime_mtls_workload_cert_rotated_total"))
        self.assertEqual(call(), 200)

    def test_a_hangup_asks_anew(self):
        a, b, app = self.pair()
        before = len(self.sentry.requests)
        a.send_signal(signal.SIGHUP)
        until("asked again", lambda: len(self.sentry.requests) > before)
        a.wait_ready()
        until("serves again", lambda: a.get("/v1.0/invoke/callee/method/m").status == 200)


if __name__ == "__main__":
    harness.main()
