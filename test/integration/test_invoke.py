#!/usr/bin/env python3
"""Service invocation over HTTP: to our own app, to another's over the internal port, to endpoints."""
import contextlib
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
import unittest

import harness
from harness import basic, component, resource, stream, until

HOP = {"Connection": "X-Named", "X-Named": "1", "Keep-Alive": "timeout=9", "Proxy-Authorization": "x",
       "TE": "trailers", "Proxy-Connection": "x"}


class Connections(harness.Case):
    def test_a_connection_to_a_peer_that_is_idle_ends(self):
        env = {"DAPR_GRPC_MAX_CONN_IDLE": "1s", "DAPR_GRPC_CONN_COLLECTOR_INTERVAL": "500ms"}
        a, b = self.pair(self.app(), caller_args=["--log-level", "debug"], env=env)
        self.assertEqual(a.get("/v1.0/invoke/callee/method/m").status, 200)
        a.wait_log(f"expired gRPC connection(s) to 127.0.0.1:{b.internal}")

    def test_a_bad_idle_time_is_told(self):
        s = self.sidecar(env={"DAPR_GRPC_MAX_CONN_IDLE": "soon"}, wait=None, expect=2)
        self.assertEqual(s.wait_exit(), 2)
        self.assertIn("DAPR_GRPC_MAX_CONN_IDLE", s.log())


class Both(harness.Case):
    """Each test runs once over one sidecar and once over two."""

    def ways(self, app, args=(), **more):
        own = self.sidecar("callee", app, args=args, **more)
        yield "self", own, own
        a, b = self.pair(app, callee="callee2", callee_args=args, **more)
        for way in ("grpc", "direct"):  # the first call to a peer is gRPC, then Proa speaks HTTP to Proa
            yield way, a, b

    def test_request_and_answer_pass_unchanged(self):
        app = self.app({"/a/b": lambda r: (201, b"answer \x00\xff", {
            "Content-Type": "application/x-thing", "X-One": "1", "Set-Cookie": ["a=1", "b=2"]})})
        for way, s, peer in self.ways(app):
            with self.subTest(way):
                r = s.call("PUT", f"/v1.0/invoke/{peer.app_id}/method/a/b?x=1&y=%20z&x=2", b"body \x00\xff",
                           {"Content-Type": "text/weird", "X-Custom": "kept"})
                self.assertEqual((r.status, r.body), (201, b"answer \x00\xff"))
                self.assertEqual(r.headers["content-type"], "application/x-thing")
                self.assertEqual(r.headers["x-one"], "1")
                self.assertEqual(r.headers["set-cookie"], "a=1, b=2")
                got = app.got("/a/b")[-1]
                self.assertEqual((got.method, got.query, got.body),
                                 ("PUT", "x=1&y=%20z&x=2", b"body \x00\xff"))
                self.assertEqual(got.headers["content-type"], "text/weird")
                self.assertEqual(got.headers["x-custom"], "kept")

    def test_each_verb_reaches_the_app(self):
        app = self.app()
        for way, s, peer in self.ways(app):
            for verb in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"):
                with self.subTest(way, verb=verb):
                    r = s.call(verb, f"/v1.0/invoke/{peer.app_id}/method/verb")
                    self.assertEqual(r.status, 200)
                    self.assertEqual(app.got("/verb")[-1].method, verb)

    def test_head_has_the_headers_of_get_and_no_body(self):
        app = self.app({"/h": (200, b"12345", {"Content-Type": "a/b", "X-H": "1"})})
        for way, s, peer in self.ways(app):
            with self.subTest(way):
                r = s.call("HEAD", f"/v1.0/invoke/{peer.app_id}/method/h")
                self.assertEqual((r.status, r.body, r.headers["x-h"]), (200, b"", "1"))
                self.assertEqual(s.get(f"/v1.0/invoke/{peer.app_id}/method/h").body, b"12345")

    def test_hop_by_hop_headers_stay_behind(self):
        app = self.app({"/hop": (200, b"", {"X-Keep": "1", "Keep-Alive": "timeout=3"})})
        for way, s, peer in self.ways(app):
            with self.subTest(way):
                r = s.get(f"/v1.0/invoke/{peer.app_id}/method/hop", HOP)
                got = app.got("/hop")[-1].headers
                for name in ("x-named", "keep-alive", "proxy-authorization", "te", "proxy-connection"):
                    self.assertNotIn(name, got)
                self.assertNotIn("keep-alive", r.headers)
                self.assertEqual(r.headers["x-keep"], "1")

    def test_s47_dapr_app_id_never_reaches_the_app(self):
        app = self.app()
        for way, s, peer in self.ways(app):
            with self.subTest(way):
                self.assertEqual(s.get("/m", {"dapr-app-id": peer.app_id}).status, 200)
                self.assertNotIn("dapr-app-id", app.got("/m")[-1].headers)

    def test_the_path_is_decoded_once_and_cleaned(self):
        app = self.app()
        for way, s, peer in self.ways(app):
            for sent, want in (("a%2Fb", "/a/b"), ("admin%2F..%2Fpublic", "/public"), ("a//b/./c", "/a/b/c"),
                               ("a%20b", "/a%20b"), ("%C3%BC", "/%C3%BC"), ("a+b", "/a+b"),
                               ("a%22b", "/a%22b"), ("a*b", "/a*b"), ("a%5Cb", "/a%5Cb"),
                               ("x.y/z~", "/x.y/z~"), ("", "/")):
                with self.subTest(way, sent=sent):
                    r = s.get(f"/v1.0/invoke/{peer.app_id}/method/{sent}")
                    self.assertEqual(r.status, 200, r)
                    got = app.got()[-1].target
                    if sent not in ("a*b", "a+b"):
                        self.assertEqual(got, want)
                    else:
                        self.assertIn(got, (want, want.replace("*", "%2A").replace("+", "%2B")))

    def test_s4_reserved_characters_are_500(self):
        app = self.app()
        for way, s, peer in self.ways(app):
            for sent in ("a%23b", "a%3Fb", "a%00b", "a%0Ab", "a%7Fb", "a%25b", "a%2525b"[:5] + "25"):
                with self.subTest(way, sent=sent):
                    r = s.get(f"/v1.0/invoke/{peer.app_id}/method/{sent}")
                    self.assertError(r, 500, "ERR_DIRECT_INVOKE")
        self.assertEqual(app.got(), [])

    def test_basic_authentication_names_the_app(self):
        app = self.app()
        for way, s, peer in self.ways(app):
            with self.subTest(way):
                r = s.get("/m/n", {"Authorization": basic("dapr-app-id", peer.app_id)})
                self.assertEqual(r.status, 200)
                self.assertEqual(app.got()[-1].path, "/m/n")

    def test_s39_redirects_and_errors_are_passed_on_and_only_errors_count(self):
        app = self.app({f"/{n}": (n, f"s{n}", {"Location": "/elsewhere"})
                        for n in (204, 301, 307, 400, 404, 418, 500, 503, 599)})
        for way, s, peer in self.ways(app):
            for n in (301, 307, 400, 404, 418, 500, 503, 599):
                with self.subTest(way, status=n):
                    before = len(app.got(f"/{n}"))
                    r = s.get(f"/v1.0/invoke/{peer.app_id}/method/{n}")
                    self.assertEqual((r.status, r.body), (n, f"s{n}".encode()))
                    self.assertEqual(r.headers["location"], "/elsewhere")
                    self.assertEqual(len(app.got(f"/{n}")), before + 1)  # no retry of an answer
            self.assertEqual(app.got("/elsewhere"), [])

    def test_chunks_stream_up_while_the_answer_streams_down(self):
        """The app answers each chunk before the next one is sent: neither side may wait for the end."""
        @stream
        def ping(r):
            h = r.handler
            h.send_response_only(200)
            h.send_header("Transfer-Encoding", "chunked")
            h.end_headers()
            for chunk in r.chunks():
                h.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            h.wfile.write(b"0\r\n\r\n")
        app = self.app({"/ping": ping})
        for way, s, peer in self.ways(app):
            with self.subTest(way), socket.create_connection(("127.0.0.1", s.http), timeout=20) as c:
                c.sendall(f"POST /v1.0/invoke/{peer.app_id}/method/ping HTTP/1.1\r\nHost: x\r\n"
                          "Transfer-Encoding: chunked\r\n\r\n".encode())
                f = c.makefile("rb")
                for i in range(5):
                    data = b"piece %d" % i
                    c.sendall(b"%x\r\n%s\r\n" % (len(data), data))
                    if i == 0:
                        self.assertIn(b"200", f.readline())
                        while f.readline().strip():
                            pass
                    self.assertEqual(f.read(int(f.readline(), 16)), data)
                    f.readline()
                c.sendall(b"0\r\n\r\n")
                self.assertEqual(f.readline(), b"0\r\n")

    def test_server_sent_events_come_one_by_one(self):
        go = threading.Semaphore(0)

        def events(r):
            h = r.handler
            h.send_response_only(200)
            h.send_header("Content-Type", "text/event-stream")
            h.send_header("Connection", "close")
            h.end_headers()
            for i in range(3):
                h.wfile.write(b"data: %d\n\n" % i)
                go.acquire(timeout=20)
            h.close_connection = True
        app = self.app({"/events": events})
        for way, s, peer in self.ways(app):
            with self.subTest(way):
                c = harness.connection(s.http)
                c.request("GET", f"/v1.0/invoke/{peer.app_id}/method/events",
                          headers={"Accept": "text/event-stream"})
                r = c.getresponse()
                self.assertEqual(r.getheader("content-type"), "text/event-stream")
                for i in range(3):
                    self.assertEqual(r.readline(), b"data: %d\n" % i)
                    r.readline()
                    go.release()
                self.assertEqual(r.read(), b"")
                c.close()

    def test_large_bodies_pass_both_ways(self):
        app = self.app()
        body = os.urandom(3 << 20) + b"end"
        for way, s, peer in self.ways(app):
            for send in (body, iter([body[:100000], body[100000:]])):
                with self.subTest(way):
                    r = s.call("POST", f"/v1.0/invoke/{peer.app_id}/method/large", send)
                    self.assertEqual(r.status, 200)
                    self.assertTrue(r.body == body)

    def test_answers_of_the_app_have_no_limit_s10(self):
        app = self.app({"/big": (200, b"z" * (1 << 20))})
        for way, s, peer in self.ways(app, args=["--max-body-size", "64Ki"]):
            with self.subTest(way):
                r = s.get(f"/v1.0/invoke/{peer.app_id}/method/big")
                self.assertEqual((r.status, len(r.body)), (200, 1 << 20))

    def test_s6_a_body_over_the_limit_is_500_not_413(self):
        app = self.app()
        for way, s, peer in self.ways(app):
            if way == "direct":
                continue
            limited = self.sidecar("limited", app, args=["--max-body-size", "64Ki"]) if way == "self" else s
            if limited is s:
                continue
            for body in (b"x" * 70000, iter([b"x" * 40000, b"x" * 40000])):
                with self.subTest(way, body=type(body)):
                    r = limited.call("POST", "/v1.0/invoke/limited/method/m", body)
                    self.assertError(r, 500, "ERR_DIRECT_INVOKE")
            self.assertEqual(limited.post("/v1.0/invoke/limited/method/m", b"x" * 65536).status, 200)

    def test_trailers_and_declared_length_do_not_confuse_the_answer(self):
        def trailed(r):
            h = r.handler
            h.send_response_only(200)
            h.send_header("Transfer-Encoding", "chunked")
            h.send_header("Trailer", "X-Sum")
            h.end_headers()
            h.wfile.write(b"3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n")
        app = self.app({"/t": trailed})
        for way, s, peer in self.ways(app):
            with self.subTest(way):
                r = s.get(f"/v1.0/invoke/{peer.app_id}/method/t")
                self.assertEqual((r.status, r.body), (200, b"abc"))

    def test_an_answer_that_breaks_off_is_seen_to_break_off(self):
        def broken(r):
            h = r.handler
            h.send_response_only(200)
            h.send_header("Content-Length", "100000")
            h.end_headers()
            h.wfile.write(b"x" * 50000)
            h.wfile.flush()
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)
        app = self.app({"/broken": broken})
        for way, s, peer in self.ways(app):
            with self.subTest(way), contextlib.suppress(harness.http.client.IncompleteRead, ConnectionError):
                r = s.get(f"/v1.0/invoke/{peer.app_id}/method/broken")
                self.assertError(r, 500, "ERR_DIRECT_INVOKE")  # nothing of it had been passed on yet


class Self(harness.Case):
    def test_s45_identity_headers_are_stamped_anew(self):
        app = self.app()
        s = self.sidecar("me", app)
        s.get("/v1.0/invoke/me/method/m", {"dapr-caller-app-id": "liar", "dapr-callee-app-id": "liar",
                                           "dapr-caller-namespace": "liar"})
        got = app.got("/m")[0].headers
        self.assertEqual((got["dapr-caller-app-id"], got["dapr-callee-app-id"], got["dapr-caller-namespace"]),
                         ("me", "me", "default"))

    def test_s46_no_forwarded_headers_on_self_invocation(self):
        app = self.app()
        s = self.sidecar("me", app)
        s.get("/v1.0/invoke/me/method/m")
        got = app.got("/m")[0].headers
        for name in ("x-forwarded-for", "x-forwarded-host", "forwarded"):
            self.assertNotIn(name, got)

    def test_app_api_token_overrides_what_callers_send(self):
        app = self.app()
        s = self.sidecar("me", app, env={"APP_API_TOKEN": "app-secret"})
        s.get("/v1.0/invoke/me/method/m", {"dapr-api-token": "mine"})
        self.assertEqual(app.got("/m")[0].headers["dapr-api-token"], "app-secret")

    def test_one_dot_is_the_namespace_two_are_an_error(self):
        app = self.app()
        s = self.sidecar("me", app, env={"NAMESPACE": "ns1"})
        self.assertEqual(s.get("/v1.0/invoke/me.ns1/method/m").status, 200)
        self.assertError(s.get("/v1.0/invoke/me.a.b/method/m"), 500, "ERR_DIRECT_INVOKE")

    def test_s1_unmatched_routes_and_wrong_verbs_go_to_invocation(self):
        app = self.app()
        s = self.sidecar("me", app)
        for verb, path in (("GET", "/nowhere"), ("DELETE", "/v1.0/metadata"), ("GET", "/v1.0/publish/p/t"),
                           ("POST", "/"), ("GET", "/v1.0/invoke/me"), ("GET", "/v1.0/invoke/me/methods/x"),
                           ("GET", "/v1.0/invoke//method/x")):
            with self.subTest(verb=verb, path=path):
                self.assertError(s.call(verb, path), 404, "ERR_DIRECT_INVOKE")
        r = s.call("DELETE", "/v1.0/metadata", headers={"dapr-app-id": "me"})
        self.assertEqual((r.status, app.got("/v1.0/metadata")[0].method), (200, "DELETE"))

    def test_s2_a_known_route_wins_over_the_header(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[component("store", "state.in-memory")])
        r = s.get("/v1.0/state/store/k", {"dapr-app-id": "me"})
        self.assertEqual((r.status, app.got()), (204, []))

    def test_dapr_app_id_alone_with_the_root_path_reaches_the_app_root(self):
        app = self.app({"/": (404, b"no")})
        s = self.sidecar("me", app)
        self.assertEqual(s.post("/", b"", {"dapr-app-id": "me"}).status, 404)

    def test_without_an_app_the_error_says_so(self):
        s = self.sidecar("me")
        body = self.assertError(s.get("/v1.0/invoke/me/method/m"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("failed to invoke, id: me, err:", body["message"])
        self.assertIn("app channel is not initialized", body["message"])

    def test_an_app_that_went_away_gives_an_error_and_works_again_when_back(self):
        app = self.app()
        s = self.sidecar("me", app)
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)
        app.close()
        self.assertError(s.get("/v1.0/invoke/me/method/m"), 500, "ERR_DIRECT_INVOKE")
        back = harness.App(port=app.port)
        self.addCleanup(back.close)
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)

    def test_garbage_of_the_app_is_an_error_not_a_crash(self):
        def garbage(r):
            r.handler.wfile.write(b"\x00\x01 garbage, no HTTP\r\n\r\n")
            r.handler.close_connection = True
        app = self.app({"/g": garbage})
        s = self.sidecar("me", app)
        self.assertError(s.get("/v1.0/invoke/me/method/g"), 500, "ERR_DIRECT_INVOKE")
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)

    def test_retries_of_a_policy_repeat_a_failed_request_with_its_body(self):
        seen = []

        def flaky(r):
            seen.append(r.body)
            return (500, b"not yet") if len(seen) < 3 else (200, b"now")
        app = self.app({"/flaky": flaky})
        a, b = self.pair(app, resources=[resource("Resiliency", "r", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "10ms", "maxRetries": 5}}},
            "targets": {"apps": {"callee": {"retry": "often"}}}})])
        r = a.post("/v1.0/invoke/callee/method/flaky", b"again")
        self.assertEqual((r.status, r.body, seen), (200, b"now", [b"again"] * 3))

    def test_when_retries_are_used_up_the_last_answer_comes_back(self):
        app = self.app({"/bad": (503, b"sorry", {"X-Why": "tired"})})
        a, b = self.pair(app, resources=[resource("Resiliency", "r", {
            "policies": {"retries": {"twice": {"policy": "constant", "duration": "10ms", "maxRetries": 2}}},
            "targets": {"apps": {"callee": {"retry": "twice"}}}})])
        r = a.post("/v1.0/invoke/callee/method/bad", b"x")
        self.assertEqual((r.status, r.body, r.headers["x-why"]), (503, b"sorry", "tired"))
        self.assertEqual(len(app.got("/bad")), 3)

    def test_s40_a_request_of_unknown_length_is_never_retried(self):
        app = self.app({"/bad": (503, b"sorry")})
        a, b = self.pair(app, resources=[resource("Resiliency", "r", {
            "policies": {"retries": {"twice": {"policy": "constant", "duration": "10ms", "maxRetries": 2}}},
            "targets": {"apps": {"callee": {"retry": "twice"}}}})])
        r = a.call("POST", "/v1.0/invoke/callee/method/bad", iter([b"a", b"b"]))
        self.assertEqual((r.status, len(app.got("/bad"))), (503, 1))

    def test_a_timeout_of_a_policy_ends_the_call(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        app = self.app({"/slow": lambda r: gate.wait(20) and None or (200, b"late")})
        a, b = self.pair(app, resources=[resource("Resiliency", "r", {
            "policies": {"timeouts": {"short": "300ms"}},
            "targets": {"apps": {"callee": {"timeout": "short"}}}})])
        start = time.monotonic()
        self.assertError(a.get("/v1.0/invoke/callee/method/slow"), 500, "ERR_DIRECT_INVOKE")
        self.assertLess(time.monotonic() - start, 5)


@unittest.skipUnless(shutil.which("nghttpd"), "nghttpd isn't installed")
class Http2App(harness.Case):
    def h2_app(self):
        """nghttpd, that echoes what it gets; ended by its pid."""
        port = harness.free_port()
        process = subprocess.Popen(["nghttpd", "--no-tls", "--echo-upload", "-a", "127.0.0.1", str(port)],
                                   cwd=self.directory(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def listens():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return True
        until("nghttpd listens", listens)
        return port

    def test_an_h2c_app_is_called_by_http2(self):
        s = self.sidecar("me", app_port=self.h2_app(), args=["--app-protocol", "h2c"])
        for body in (b"hello", os.urandom(300000)):
            r = s.post("/v1.0/invoke/me/method/echo", body)
            self.assertEqual(r.status, 200)
            self.assertTrue(r.body == body)
        r = s.call("POST", "/v1.0/invoke/me/method/echo", iter([b"a" * 100000, b"b" * 100000]))
        self.assertEqual((r.status, len(r.body)), (200, 200000))


@unittest.skipUnless(shutil.which("nghttp"), "nghttp isn't installed")
class Http2Caller(harness.Case):
    def test_the_api_takes_http2_by_prior_knowledge_and_by_upgrade(self):
        app = self.app()
        s = self.sidecar("me", app)
        for extra in ([], ["--upgrade"]):
            with self.subTest(extra):
                r = subprocess.run(["nghttp", *extra, f"http://127.0.0.1:{s.http}/v1.0/invoke/me/method/h2?q=1"],
                                   capture_output=True, timeout=30)
                self.assertEqual((r.returncode, r.stderr), (0, b""))
                self.assertEqual(app.got("/h2")[-1].query, "q=1")


class Remote(harness.Case):
    def test_first_call_is_grpc_then_direct_and_both_carry_the_same(self):
        app = self.app()
        a, b = self.pair(app)
        seen = []
        for i in range(3):
            self.assertEqual(a.post("/v1.0/invoke/callee/method/m", b"x", {"X-A": "1"}).status, 200)
            got = app.got("/m")[-1]
            self.assertNotIn("proa-direct", got.headers)
            seen.append({k: v for k, v in got.headers.items() if k not in ("traceparent", "date")})
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[1], seen[2])

    def test_s46_forwarded_headers_and_identity_on_remote_calls(self):
        app = self.app()
        a, b = self.pair(app, env={"NAMESPACE": "prod"})
        for way in ("grpc", "direct"):
            with self.subTest(way):
                a.get("/v1.0/invoke/callee/method/m", {"dapr-caller-app-id": "liar"})
                got = app.got("/m")[-1].headers
                self.assertEqual(got["dapr-caller-app-id"].split(", ")[-1], "caller")
                self.assertEqual(got["dapr-callee-app-id"], "callee")
                self.assertEqual(got["dapr-caller-namespace"], "prod")
                self.assertEqual(got["x-forwarded-for"], "127.0.0.1")
                self.assertEqual(got["x-forwarded-host"], f"127.0.0.1:{a.http}")
                self.assertRegex(got["forwarded"], r"^for=127\.0\.0\.1;by=[^;]+;host=.+$")

    def test_unknown_app_is_an_error_that_names_it(self):
        app = self.app()
        a, b = self.pair(app)
        body = self.assertError(a.get("/v1.0/invoke/nobody/method/m"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("nobody", body["message"])

    def test_the_peers_error_reaches_the_caller(self):
        a, b = self.pair(None)  # the callee has no app
        for way in ("grpc", "direct"):
            with self.subTest(way):
                body = self.assertError(a.get("/v1.0/invoke/callee/method/m"), 500, "ERR_DIRECT_INVOKE")
                self.assertIn("app channel is not initialized", body["message"])

    def test_many_calls_at_once_all_come_back(self):
        app = self.app()
        a, b = self.pair(app)
        failed = []

        def some(i):
            for k in range(20):
                body = f"{i}/{k}".encode() * 50
                r = a.post("/v1.0/invoke/callee/method/m", body)
                if (r.status, r.body) != (200, body):
                    failed.append((i, k, r))
        threads = [threading.Thread(target=some, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        self.assertEqual(len(app.got("/m")), 320)

    def test_a_killed_peer_gives_a_clear_error_in_time_and_recovers(self):
        app = self.app()
        a, b = self.pair(app)
        for _ in range(2):
            self.assertEqual(a.get("/v1.0/invoke/callee/method/m").status, 200)
        b.process.kill()
        b.wait_exit()
        start = time.monotonic()
        body = self.assertError(a.get("/v1.0/invoke/callee/method/m"), 500, "ERR_DIRECT_INVOKE")
        self.assertLess(time.monotonic() - start, 15)
        self.assertIn("callee", body["message"])
        b.start()
        b.wait_ready()
        until("the caller finds its peer again",
              lambda: a.get("/v1.0/invoke/callee/method/m").status == 200)

    def hosts(self):
        db = sqlite3.connect(os.path.join(self.directory(), "hosts.db"), timeout=10)
        self.addCleanup(db.close)
        return {app: address for app, address in db.execute("SELECT app_id, address FROM hosts")}

    def test_s73_a_loopback_listen_address_is_advertised(self):
        config = self.hosts_config()
        s = self.sidecar("near", config=config)
        self.assertEqual(self.hosts(), {"near": f"127.0.0.1:{s.internal}"})

    def test_the_hosts_address_can_be_set(self):
        """DAPR_HOST_IP, unless the internal port listens on loopback alone (surprise 73)."""
        config, env = self.hosts_config(), {"DAPR_HOST_IP": "127.0.0.77"}
        far = self.sidecar("far", self.app(), config=config, env=env, args=["--dapr-internal-grpc-listen-address", ""])
        near = self.sidecar("near", config=config, env=env)
        self.assertEqual(self.hosts(), {"far": f"127.0.0.77:{far.internal}", "near": f"127.0.0.1:{near.internal}"})
        self.assertEqual(near.get("/v1.0/invoke/far/method/m").status, 200, "it's called there")

    def test_s74_mdns_finds_an_app_of_any_namespace(self):
        group = f"239.255.{random.randrange(256)}.{random.randrange(1, 255)}"
        spec = {"nameResolution": {"component": "mdns", "version": "v1", "configuration": {
            "group": group, "port": str(harness.free_port())}}}
        config = harness.configuration(spec)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.connect((group, 5353))
        except OSError as e:
            self.skipTest(f"this machine has no multicast: {e}")
        callee = self.sidecar("callee", self.app(), config=config, env={"NAMESPACE": "one"})
        if "local service entry announced" not in callee.log():
            self.skipTest("this machine has no multicast: see the log of callee")
        caller = self.sidecar("caller", config=config, env={"NAMESPACE": "two"})
        for name in ("callee", "callee.one", "callee.three"):
            self.assertEqual(caller.get(f"/v1.0/invoke/{name}/method/m").status, 200, name)

    def test_a_stopped_peer_gives_an_error_within_the_deadline(self):
        app = self.app()
        a, b = self.pair(app, resources=[resource("Resiliency", "r", {
            "policies": {"timeouts": {"t": "1s"}}, "targets": {"apps": {"callee": {"timeout": "t"}}}})])
        for _ in range(2):
            self.assertEqual(a.get("/v1.0/invoke/callee/method/m").status, 200)
        b.freeze()
        try:
            start = time.monotonic()
            self.assertError(a.get("/v1.0/invoke/callee/method/m"), 500, "ERR_DIRECT_INVOKE")
            self.assertLess(time.monotonic() - start, 5)
        finally:
            b.send_signal(harness.signal.SIGCONT)
        until("the peer answers again", lambda: a.get("/v1.0/invoke/callee/method/m").status == 200)


class Outside(harness.Case):
    def test_http_endpoint_is_called_by_name_with_its_headers(self):
        app = self.app()
        s = self.sidecar("me", None, resources=[resource("HTTPEndpoint", "out", {
            "baseUrl": f"http://127.0.0.1:{app.port}/base", "headers": [{"name": "X-Key", "value": "k"}]})])
        r = s.post("/v1.0/invoke/out/method/a/b?q=1", b"hi")
        self.assertEqual((r.status, r.body), (200, b"hi"))
        got = app.got()[0]
        self.assertEqual((got.target, got.headers["x-key"]), ("/base/a/b?q=1", "k"))
        self.assertEqual(got.headers["host"], f"127.0.0.1:{app.port}")

    def test_absolute_url_raw_and_escaped(self):
        app = self.app()
        s = self.sidecar("me")
        for id_ in (f"http://127.0.0.1:{app.port}", f"http%3A%2F%2F127.0.0.1%3A{app.port}"):
            with self.subTest(id_):
                r = s.get(f"/v1.0/invoke/{id_}/method/x/y?q=2")
                self.assertEqual(r.status, 200, r)
                self.assertEqual(app.got()[-1].target, "/x/y?q=2")

    def test_an_endpoint_that_is_down_is_an_error(self):
        s = self.sidecar("me")
        port = harness.free_port()
        body = self.assertError(s.get(f"/v1.0/invoke/http://127.0.0.1:{port}/method/x"), 500,
                                "ERR_DIRECT_INVOKE")
        self.assertIn(str(port), body["message"])

    def test_s49_redirects_of_an_absolute_url_are_passed_on(self):
        app = self.app({"/from": (302, b"", {"Location": "/to"})})
        s = self.sidecar("me")
        r = s.get(f"/v1.0/invoke/http://127.0.0.1:{app.port}/method/from")
        self.assertEqual((r.status, r.headers["location"]), (302, "/to"))


if __name__ == "__main__":
    harness.main()
