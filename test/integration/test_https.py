#!/usr/bin/env python3
"""TLS from the sidecar outwards: https endpoints and URLs, redirects, apps that speak https, bindings."""
import json
import os
import ssl
import unittest
import warnings

import harness
from harness import Pki, component, resource


class Tls(harness.Case):
    def setUp(self):
        self.pki = Pki(self.directory())

    def ca(self):
        return Pki.text(self.pki.path("ca.pem"))

    def endpoint(self, app, name="out", headers=(), scheme="https", host="127.0.0.1", base="", **tls):
        spec = {"baseUrl": f"{scheme}://{host}:{app.port}{base}", "headers": list(headers)}
        if tls:
            spec["clientTLS"] = tls
        return resource("HTTPEndpoint", name, spec)


class Endpoint(Tls):
    def test_https_endpoint_is_verified_by_its_root(self):
        app = self.app(tls=self.pki.server())
        s = self.sidecar("me", resources=[
            self.endpoint(app, "good", base="/base/", rootCA={"value": self.ca()}),
            self.endpoint(app, "unknown")])
        r = s.post("/v1.0/invoke/good/method/a/b?q=1", b"hi")
        self.assertEqual((r.status, r.body), (200, b"hi"))
        self.assertEqual(app.got()[0].target, "/base/a/b?q=1")
        self.assertEqual(app.got()[0].headers["host"], f"127.0.0.1:{app.port}")
        body = self.assertError(s.get("/v1.0/invoke/unknown/method/a"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("unable to get local issuer certificate", body["message"])
        self.assertEqual(len(app.got()), 1)

    def test_a_certificate_for_another_name_is_refused(self):
        app = self.app(tls=self.pki.server(alternative="DNS:example.org"))
        s = self.sidecar("me", resources=[self.endpoint(app, rootCA={"value": self.ca()})])
        body = self.assertError(s.get("/v1.0/invoke/out/method/a"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("IP address mismatch", body["message"])

    def test_client_certificate_comes_from_a_secret_store(self):
        app = self.app(tls=self.pki.server(client_ca=True))
        cert, key = self.pki.sign("client")
        secrets = os.path.join(self.directory(), "secrets.json")
        with open(secrets, "w") as f:
            json.dump({"tls-cert": Pki.text(cert), "tls-key": Pki.text(key)}, f)
        secret = lambda name: {"secretKeyRef": {"name": name, "key": name}}
        full = json.loads(self.endpoint(app, rootCA={"value": self.ca()}, certificate=secret("tls-cert"),
                                        privateKey=secret("tls-key")))
        full["auth"] = {"secretStore": "files"}
        s = self.sidecar("me", resources=[
            component("files", "secretstores.local.file", secretsFile=secrets), json.dumps(full),
            self.endpoint(app, "anonymous", rootCA={"value": self.ca()})])
        self.assertEqual(s.get("/v1.0/invoke/out/method/a").status, 200)
        body = self.assertError(s.get("/v1.0/invoke/anonymous/method/a"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("certificate required", body["message"])

    def test_s50_renegotiation_alone_is_no_error(self):
        app = self.app(tls=self.pki.server())
        s = self.sidecar("me", resources=[self.endpoint(app, renegotiation="RenegotiateFreelyAsClient")],
                         env={"SSL_CERT_FILE": self.pki.path("ca.pem")})
        self.assertEqual(s.get("/v1.0/invoke/out/method/a").status, 200)

    def test_unusable_certificates_stop_the_start(self):
        app = self.app(tls=self.pki.server())
        s = self.sidecar("me", resources=[self.endpoint(app, rootCA={"value": "nonsense"})], wait=None,
                         expect=1)
        s.wait_exit()
        self.assertIn("HTTPEndpoint out: the CA certificate is no PEM", s.log())

    def test_absolute_url_is_verified_by_the_systems_roots(self):
        app = self.app(tls=self.pki.server())
        trusting = self.sidecar("me", env={"SSL_CERT_FILE": self.pki.path("ca.pem")})
        path = f"/v1.0/invoke/https://localhost:{app.port}/method/x/y?q=2"
        self.assertEqual(trusting.get(path).status, 200)
        self.assertEqual(app.got()[-1].target, "/x/y?q=2")
        other = self.sidecar("other")
        body = self.assertError(other.get(path), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("certificate", body["message"])


class Redirects(Tls):
    """Surprise 49: the client of a named endpoint follows them, by the rules of Go's net/http."""

    def routes(self, app, other=None):
        def say(r):
            about = {k: v for k, v in r.headers.items() if k in ("authorization", "cookie", "x-key", "content-type")}
            return 200, {"method": r.method, "target": r.target, "body": r.body.decode(), "headers": about}
        app.on["/landed"] = app.on["/base/landed"] = say
        for status in (301, 302, 303, 307, 308):
            app.on[f"/base/{status}"] = (status, b"moved", {"Location": "/landed?x=1"})
        app.on["/base/relative"] = (302, b"", {"Location": "landed#here"})
        app.on["/base/nowhere"] = (302, b"stay")
        app.on["/base/loop"] = (302, b"", {"Location": "/base/loop"})
        app.on["/base/odd"] = (302, b"", {"Location": "ftp://127.0.0.1/"})
        if other:
            app.on["/base/away"] = (307, b"", {"Location": other})

    def open(self, other=None, **more):
        app = self.app(tls=self.pki.server())
        self.routes(app, other)
        s = self.sidecar("me", resources=[self.endpoint(app, base="/base", rootCA={"value": self.ca()},
                                                        headers=[{"name": "X-Key", "value": "k"}])], **more)
        return app, s

    def test_s49_methods_and_bodies_of_redirects(self):
        app, s = self.open()
        for status, method, want, body in (
                (301, "POST", "GET", ""), (302, "PUT", "GET", ""), (303, "DELETE", "GET", ""),
                (301, "GET", "GET", ""), (307, "POST", "POST", "hi"), (308, "PUT", "PUT", "hi")):
            with self.subTest(f"{status} {method}"):
                r = s.call(method, f"/v1.0/invoke/out/method/{status}", b"" if method == "GET" else b"hi",
                           {"Content-Type": "text/plain", "Authorization": "Bearer t"})
                self.assertEqual(r.status, 200, r)
                got = json.loads(r.body)
                self.assertEqual((got["method"], got["target"], got["body"]), (want, "/landed?x=1", body))
                self.assertEqual(got["headers"]["authorization"], "Bearer t")
                self.assertEqual(got["headers"]["x-key"], "k")
                self.assertEqual("content-type" in got["headers"], want == method, got)
        self.assertEqual(s.call("HEAD", "/v1.0/invoke/out/method/302").status, 200)
        self.assertEqual(app.got("/landed")[-1].method, "HEAD")

    def test_s49_what_is_no_redirect_or_leads_nowhere(self):
        app, s = self.open()
        r = s.get("/v1.0/invoke/out/method/relative")
        self.assertEqual(json.loads(r.body)["target"], "/base/landed")
        r = s.get("/v1.0/invoke/out/method/nowhere")
        self.assertEqual((r.status, r.body), (302, b"stay"))
        body = self.assertError(s.get("/v1.0/invoke/out/method/loop"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("stopped after 10 redirects", body["message"])
        self.assertEqual(len(app.got("/base/loop")), 10)
        body = self.assertError(s.get("/v1.0/invoke/out/method/odd"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("neither http:// nor https://", body["message"])

    def test_s49_a_streamed_body_is_not_sent_again(self):
        app, s = self.open()
        big = b"x" * 100000
        r = s.post("/v1.0/invoke/out/method/307", big)
        self.assertEqual((r.status, r.headers["location"]), (307, "/landed?x=1"))
        r = s.post("/v1.0/invoke/out/method/302", big)
        self.assertEqual((r.status, json.loads(r.body)["method"]), (200, "GET"))

    def test_s49_credentials_stay_with_their_host(self):
        other = self.app()
        self.routes(other)
        app, s = self.open(other=f"http://localhost:{other.port}/landed")
        r = s.post("/v1.0/invoke/out/method/away", b"hi", {"Authorization": "Bearer t", "Cookie": "a=b"})
        self.assertEqual(r.status, 200, r)
        got = json.loads(r.body)
        self.assertEqual((got["method"], got["body"]), ("POST", "hi"))
        self.assertEqual([k for k in got["headers"] if k != "content-type"], [])
        self.assertEqual(other.got()[0].headers["host"], f"localhost:{other.port}")

    def test_s49_a_plain_endpoint_may_lead_to_tls(self):
        secure = self.app(tls=self.pki.server())
        plain = self.app({"/go": (308, b"", {"Location": f"https://127.0.0.1:{secure.port}/landed"})})
        self.routes(secure)
        s = self.sidecar("me", resources=[self.endpoint(plain, scheme="http")],
                         env={"SSL_CERT_FILE": self.pki.path("ca.pem")})
        r = s.post("/v1.0/invoke/out/method/go", b"hi", {"Authorization": "Bearer t"})
        self.assertEqual(json.loads(r.body)["headers"].get("authorization"), "Bearer t")

    def test_retries_of_a_policy_begin_at_the_first_url(self):
        app = self.app(tls=self.pki.server())
        n = []

        def flaky(r):
            n.append(r.body)
            return (500, b"no") if len(n) < 3 else (200, r.body)
        app.on.update({"/go": (307, b"", {"Location": "/flaky"}), "/flaky": flaky})
        s = self.sidecar("me", resources=[
            self.endpoint(app, rootCA={"value": self.ca()}),
            resource("Resiliency", "r", {"policies": {"retries": {"often": {"policy": "constant",
                     "duration": "10ms", "maxRetries": 5}}}, "targets": {"apps": {"out": {"retry": "often"}}}})])
        r = s.post("/v1.0/invoke/out/method/go", b"hi")
        self.assertEqual((r.status, r.body, n), (200, b"hi", [b"hi"] * 3))
        self.assertEqual(len(app.got("/go")), 3)


class HttpsApp(Tls):
    def test_an_https_app_is_called_without_verification(self):
        app = self.app(tls=self.pki.server(alternative="DNS:not.this.host"),
                       subscribe=[{"pubsubname": "bus", "topic": "t", "route": "/on-t"}])
        s = self.sidecar("me", app, args=("--app-protocol", "https", "--enable-app-health-check",
                                          "--app-health-probe-interval", "1"),
                         resources=[component("bus", "pubsub.in-memory")])
        harness.until("the app is healthy", lambda: s.post("/v1.0/invoke/me/method/a?x=1", b"hi").body == b"hi")
        big = os.urandom(3 << 20)
        self.assertEqual(s.post("/v1.0/invoke/me/method/big", big).body, big)
        self.assertEqual(s.post("/v1.0/publish/bus/t", b'{"n":1}', {"Content-Type": "application/json"}).status, 204)
        app.wait_for("/on-t")
        app.wait_for("/healthz", 2)

    def test_app_ssl_means_https_and_is_warned_about(self):
        app = self.app(tls=self.pki.server())
        s = self.sidecar("me", app, args=("--app-ssl",))
        self.assertEqual(s.get("/v1.0/invoke/me/method/a").status, 200)
        self.assertIn("--app-ssl is deprecated: use --app-protocol https", s.log())
        self.assertEqual(json.loads(s.get("/v1.0/metadata").body)["appConnectionProperties"]["protocol"], "https")

    def test_a_plain_app_isnt_listening_for_tls(self):
        app = self.app()
        s = self.sidecar("me", app, args=("--app-protocol", "https"), wait=None)
        s.wait_log("application protocol: https. waiting on port")
        self.assertEqual(app.got(), [])


class Binding(Tls):
    def test_the_http_binding_speaks_https(self):
        app = self.app(tls=self.pki.server(client_ca=True))
        cert, key = self.pki.sign("client")
        s = self.sidecar("me", resources=[component(
            "hook", "bindings.http", url=f"https://127.0.0.1:{app.port}/in", MTLSRootCA=self.pki.path("ca.pem"),
            MTLSClientCert=Pki.text(cert), MTLSClientKey=key)])
        r = s.post("/v1.0/bindings/hook", json_body={"operation": "post", "data": "hi"})
        self.assertEqual((r.status, app.got()[0].target), (200, "/in"))

    def test_an_old_server_is_refused(self):
        context = self.pki.server()
        try:
            warnings.simplefilter("ignore", DeprecationWarning)
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        except (ssl.SSLError, ValueError):
            self.skipTest("no TLS 1.1 here to refuse")
        app = self.app(tls=context)
        s = self.sidecar("me", resources=[component(
            "hook", "bindings.http", url=f"https://127.0.0.1:{app.port}/", MTLSRootCA=self.pki.path("ca.pem"))])
        r = s.post("/v1.0/bindings/hook", json_body={"operation": "get"})
        self.assertError(r, 500, "ERR_INVOKE_OUTPUT_BINDING")
        self.assertEqual(app.got(), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
