#!/usr/bin/env python3
"""The rest of the HTTP API: secrets, metadata, health, tokens, lists, CORS, pipelines, listeners, metrics."""
import json
import os
import re
import socket
import subprocess
import threading
import time

import harness
from harness import call, component, configuration, resource, until


class Secrets(harness.Case):
    def setUp(self):
        path = os.path.join(self.directory(), "secrets.json")
        with open(path, "w") as f:
            json.dump({"one": "1", "two": "<2>", "deep": {"a": "x", "b": {"c": "y"}}}, f)
        self.vault = component("vault", "secretstores.local.file", secretsFile=path)
        self.path = path

    def test_get_and_bulk(self):
        s = self.sidecar(resources=[self.vault])
        self.assertEqual(json.loads(s.get("/v1.0/secrets/vault/one").body), {"one": "1"})
        self.assertEqual(json.loads(s.get("/v1.0/secrets/vault/deep:b:c").body), {"deep:b:c": "y"})
        all_ = json.loads(s.get("/v1.0/secrets/vault/bulk").body)
        self.assertEqual(all_["two"], {"two": "<2>"})
        self.assertEqual(set(all_), {"one", "two", "deep:a", "deep:b:c"})

    def test_s17_errors(self):
        s = self.sidecar(resources=[self.vault])
        self.assertError(s.get("/v1.0/secrets/other/one"), 401, "ERR_SECRET_STORE_NOT_FOUND",
                         "failed finding secret store with key other")
        self.assertError(s.get("/v1.0/secrets/vault/none"), 500, "ERR_SECRET_GET")
        none = self.sidecar("none")
        self.assertError(none.get("/v1.0/secrets/vault/one"), 500, "ERR_SECRET_STORES_NOT_CONFIGURED")

    def test_s21_scopes_deny_one_and_filter_all(self):
        for scope, allowed in (({"allowedSecrets": ["one"]}, {"one"}),
                               ({"deniedSecrets": ["one", "deep:a", "deep:b:c"]}, {"two"}),
                               ({"defaultAccess": "deny"}, set()),
                               ({"defaultAccess": "deny", "allowedSecrets": ["two"]}, {"two"})):
            with self.subTest(scope):
                s = self.sidecar(resources=[self.vault], config=configuration(
                    {"secrets": {"scopes": [dict(scope, storeName="vault")]}}))
                for name in ("one", "two"):
                    r = s.get(f"/v1.0/secrets/vault/{name}")
                    if name in allowed:
                        self.assertEqual(r.status, 200)
                    else:
                        self.assertError(r, 403, "ERR_PERMISSION_DENIED")
                self.assertEqual(set(json.loads(s.get("/v1.0/secrets/vault/bulk").body)), allowed)

    def test_components_may_take_their_metadata_from_secrets(self):
        with open(self.path, "w") as f:
            json.dump({"db": os.path.join(self.directory(), "from-secret.db")}, f)
        s = self.sidecar(resources=[self.vault, json.dumps({
            "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "store"},
            "auth": {"secretStore": "vault"},
            "spec": {"type": "state.sqlite", "version": "v1", "metadata": [
                {"name": "connectionString", "secretKeyRef": {"name": "db", "key": "db"}}]}})])
        self.assertEqual(s.post("/v1.0/state/store", '[{"key":"k","value":1}]').status, 204)
        self.assertTrue(os.path.exists(os.path.join(self.directory(), "from-secret.db")))

    def test_environment_store(self):
        s = self.sidecar(resources=[component("env", "secretstores.local.env")], env={"MY_SECRET": "s3"})
        self.assertEqual(json.loads(s.get("/v1.0/secrets/env/MY_SECRET").body), {"MY_SECRET": "s3"})
        r = s.get("/v1.0/secrets/env/DAPR_API_TOKEN")
        self.assertNotIn(b"token", r.body.lower().replace(b"dapr_api_token", b""))


class Metadata(harness.Case):
    def test_metadata_says_what_is_there(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[
            component("store", "state.in-memory"), component("bus", "pubsub.in-memory"),
            resource("HTTPEndpoint", "out", {"baseUrl": "http://x"})],
            args=["--app-max-concurrency", 7, "--enable-app-health-check"])
        r = s.get("/v1.0/metadata")
        self.assertEqual(r.headers["content-type"], "application/json")
        m = json.loads(r.body)
        self.assertEqual(m["id"], "me")
        components = {c["name"]: c for c in m["components"]}
        self.assertEqual((components["store"]["type"], components["store"]["version"]), ("state.in-memory", "v1"))
        self.assertTrue({"ETAG", "TRANSACTIONAL", "ACTOR"} <= set(components["store"]["capabilities"]))
        self.assertEqual(m["httpEndpoints"], [{"name": "out"}])
        a = m["appConnectionProperties"]
        self.assertEqual((a["port"], a["protocol"], a["channelAddress"], a["maxConcurrency"]),
                         (app.port, "http", "127.0.0.1", 7))
        self.assertEqual(a["health"], {"healthCheckPath": "/healthz", "healthProbeInterval": "5s",
                                       "healthProbeTimeout": "500ms", "healthThreshold": 3})
        self.assertIn("daprRuntimeVersion", m["extended"])
        self.assertIn("runtimeVersion", m)

    def test_blocks_that_are_not_there_say_so(self):
        s = self.sidecar()
        for path in ("/v1.0/actors/t/1/state/k", "/v1.0/workflows/dapr/w/start", "/v1.0-alpha1/workflows/dapr/1",
                     "/v1.0-beta1/workflows/dapr/1/terminate", "/v1.0/jobs/nightly", "/v1.0-alpha1/jobs/nightly",
                     "/v1.0-alpha1/conversation/llm/converse", "/v1.0-alpha2/conversation/llm/converse"):
            for method in ("GET", "POST", "DELETE"):
                with self.subTest((method, path)):
                    self.assertError(s.call(method, path), 501, "ERR_API_UNIMPLEMENTED",
                                     "this API is currently not implemented")

    def test_put_sets_an_attribute(self):
        s = self.sidecar()
        self.assertEqual(s.call("PUT", "/v1.0/metadata/my%20key", 'a "raw" value').status, 204)
        self.assertEqual(s.call("PUT", "/v1.0/metadata/k2", "1").status, 204)
        self.assertEqual(s.call("PUT", "/v1.0/metadata/k2", "2").status, 204)
        extended = json.loads(s.get("/v1.0/metadata").body)["extended"]
        self.assertEqual((extended["my key"], extended["k2"]), ('a "raw" value', "2"))


class Health(harness.Case):
    def test_s68_healthz_waits_for_the_app_and_outbound_does_not(self):
        port = harness.free_port()
        s = self.sidecar("me", app_port=port, wait="/v1.0/healthz/outbound")
        self.assertError(s.get("/v1.0/healthz"), 500, "ERR_HEALTH_NOT_READY")
        s.wait_log("waiting for application to listen on port")
        s.wait_log("This will block until the app is listening on that port.")
        app = self.app(port=port)
        s.wait_ready()
        s.wait_log("application discovered on port")
        s.wait_log("dapr initialized. Status: Running. Init Elapsed ")
        self.assertEqual(len(app.got("/dapr/config")), 1)

    def test_app_id_of_healthz_must_match(self):
        s = self.sidecar("me")
        self.assertEqual(s.get("/v1.0/healthz?appid=me").status, 204)
        self.assertError(s.get("/v1.0/healthz?appid=you"), 500, "ERR_HEALTH_APPID_NOT_MATCH")

    def test_healthz_has_neither_body_nor_type(self):
        r = self.sidecar().get("/v1.0/healthz")
        self.assertEqual((r.body, r.headers.get("content-type")), (b"", None))


class Probes(harness.Case):
    """What Kubernetes asks: started, ready, alive."""

    def answers(self, where):
        return [harness.call(where, "GET", path).status
                for path in ("/proa/v1/startupz", "/proa/v1/readyz", "/proa/v1/livez")]

    def test_a_sidecar_lives_before_its_app_does_and_is_ready_after(self):
        port, public = harness.free_port(), harness.free_port()
        s = self.sidecar("me", app_port=port, wait="/v1.0/healthz/outbound", args=["--dapr-public-port", public])
        self.assertEqual(self.answers(s.http), [503, 503, 204])
        self.assertError(s.get("/proa/v1/readyz"), 503, "ERR_HEALTH_NOT_READY")
        self.app(port=port)
        s.wait_ready()
        self.assertEqual(self.answers(s.http), [204, 204, 204])
        self.assertEqual(self.answers(public), [204, 204, 204])

    def test_an_unhealthy_app_makes_it_unready_and_nothing_else(self):
        app = self.app()
        s = self.sidecar("me", app, args=["--enable-app-health-check", "--app-health-probe-interval", 1,
                                          "--app-health-threshold", 1])
        until("the app is healthy", lambda: self.answers(s.http) == [204, 204, 204])
        app.on["/healthz"] = (500,)
        until("the app is unhealthy", lambda: self.answers(s.http) == [204, 503, 204])
        app.on["/healthz"] = (200,)
        until("the app is healthy", lambda: self.answers(s.http) == [204, 204, 204])

    def test_probes_need_no_token(self):
        s = self.sidecar("me", env={"DAPR_API_TOKEN": "secret"})
        self.assertEqual(self.answers(s.http), [204, 204, 204])

    def test_zone_and_region_are_in_the_metadata(self):
        s = self.sidecar("me", args=["--zone", "a", "--region", "eu"])
        extended = json.loads(s.get("/v1.0/metadata").body)["extended"]
        self.assertEqual((extended["proaZone"], extended["proaRegion"]), ("a", "eu"))


class Token(harness.Case):
    def test_s7_token_is_asked_for_except_by_health(self):
        app = self.app()
        s = self.sidecar("me", app, env={"DAPR_API_TOKEN": "right"}, resources=[component("store", "state.in-memory")])
        for path in ("/v1.0/healthz", "/v1.0/healthz/outbound"):
            self.assertEqual(s.get(path).status, 204)
        for headers in ({}, {"dapr-api-token": "wrong"}, {"dapr-api-token": "right2"}, {"dapr-api-token": "righ"}):
            with self.subTest(headers):
                for path in ("/v1.0/metadata", "/v1.0/state/store/k", "/v1.0/invoke/me/method/m", "/none"):
                    r = s.get(path, headers)
                    self.assertEqual((r.status, r.body, r.headers["content-type"][:10]),
                                     (401, b"invalid api token", "text/plain"))
        r = s.get("/v1.0/invoke/me/method/m", {"dapr-api-token": "right"})
        self.assertEqual(r.status, 200)
        self.assertNotIn("dapr-api-token", app.got("/m")[0].headers)
        self.assertNotIn("right", s.log())


class Lists(harness.Case):
    def config(self, **api):
        return configuration({"api": api})

    def test_s12_denied_endpoints_are_as_if_not_there(self):
        s = self.sidecar(resources=[component("store", "state.in-memory"), component("bus", "pubsub.in-memory")],
                         config=self.config(denied=[{"name": "state", "version": "v1", "protocol": "http"},
                                                    {"name": "publish", "version": "v1", "protocol": ""},
                                                    {"name": "healthz", "version": "v1", "protocol": "http"}]))
        self.assertError(s.get("/v1.0/state/store/k"), 404, "ERR_DIRECT_INVOKE")
        self.assertEqual(s.post("/v1.0/publish/bus/t", "1").status, 204)  # no protocol: applies to nothing
        self.assertEqual(s.get("/v1.0/healthz").status, 204)

    def test_s12_an_allow_list_is_exclusive_and_deny_comes_first(self):
        s = self.sidecar(resources=[component("store", "state.in-memory"), component("bus", "pubsub.in-memory")],
                         config=self.config(allowed=[{"name": "state", "version": "v1", "protocol": "http"},
                                                     {"name": "publish", "version": "v1", "protocol": "http"}],
                                            denied=[{"name": "publish", "version": "v1", "protocol": "http"}]))
        self.assertEqual(s.get("/v1.0/state/store/k").status, 204)
        self.assertError(s.post("/v1.0/publish/bus/t", "1"), 404, "ERR_DIRECT_INVOKE")
        self.assertError(s.get("/v1.0/metadata"), 404, "ERR_DIRECT_INVOKE")

    def test_legacy_rules_are_prefixes(self):
        s = self.sidecar(resources=[component("store", "state.in-memory")],
                         config=self.config(denied=[{"name": "state", "version": "v1.0-alpha1", "protocol": "http"}]))
        self.assertError(s.post("/v1.0-alpha1/state/store/query", "{}"), 404, "ERR_DIRECT_INVOKE")
        self.assertEqual(s.get("/v1.0/state/store/k").status, 204)


class AccessControl(harness.Case):
    def test_s62_a_peer_without_identity_gets_the_global_default(self):
        for action, status in (("deny", 403), ("allow", 200)):
            app = self.app()
            config = self.hosts_config(accessControl={"defaultAction": action, "trustDomain": "public"})
            b = self.sidecar("callee-" + action, app, config=config)
            a = self.sidecar("caller-" + action, config=self.hosts_config())
            for way in ("grpc", "direct"):
                with self.subTest(way, action=action):
                    r = a.get(f"/v1.0/invoke/callee-{action}/method/m", {"dapr-caller-app-id": "friend"})
                    self.assertEqual(r.status, status, r)
            self.assertEqual(b.get(f"/v1.0/invoke/callee-{action}/method/own").status, 200)
            self.assertEqual(len(app.got("/m")), 2 if action == "allow" else 0)
            word = "allowed" if action == "allow" else "blocked"
            self.assertEqual(b.metric(f"dapr_runtime_acl_global_policy_action_{word}_total"), 2)


class Cors(harness.Case):
    PREFLIGHT = {"Origin": "http://ok.example", "Access-Control-Request-Method": "POST"}

    def test_s8_without_origins_a_preflight_is_an_invocation(self):
        s = self.sidecar()
        self.assertError(s.call("OPTIONS", "/v1.0/metadata", headers=self.PREFLIGHT), 404, "ERR_DIRECT_INVOKE")

    def test_s8_preflights_pass_before_the_token(self):
        s = self.sidecar(args=["--allowed-origins", "http://ok.example,http://two.example"],
                         env={"DAPR_API_TOKEN": "t"})
        r = s.call("OPTIONS", "/v1.0/metadata", headers=self.PREFLIGHT)
        self.assertEqual((r.status // 100, r.headers["access-control-allow-origin"]), (2, "http://ok.example"))
        self.assertIn("POST", r.headers["access-control-allow-methods"])
        bad = s.call("OPTIONS", "/v1.0/metadata", headers=dict(self.PREFLIGHT, Origin="http://evil.example"))
        self.assertNotIn("access-control-allow-origin", bad.headers)

    def test_simple_requests_get_the_origin_back(self):
        s = self.sidecar(args=["--allowed-origins", "http://ok.example"])
        r = s.get("/v1.0/metadata", {"Origin": "http://ok.example"})
        self.assertEqual(r.headers.get("access-control-allow-origin"), "http://ok.example")
        r = s.get("/v1.0/metadata", {"Origin": "http://evil.example"})
        self.assertNotIn("access-control-allow-origin", r.headers)

    def test_star_allows_all(self):
        s = self.sidecar(args=["--allowed-origins", "*"])
        r = s.call("OPTIONS", "/v1.0/metadata", headers=self.PREFLIGHT)
        self.assertIn(r.headers["access-control-allow-origin"], ("*", "http://ok.example"))


class Pipelines(harness.Case):
    def test_http_pipeline_upper_cases_requests(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[component("up", "middleware.http.uppercase")],
                         config=configuration({"httpPipeline": {"handlers": [
                             {"name": "up", "type": "middleware.http.uppercase"},
                             {"name": "gone", "type": "middleware.http.uppercase"}]}}))
        self.assertEqual(s.post("/v1.0/invoke/me/method/m", b"abc").body, b"ABC")

    def test_app_pipeline_wraps_calls_to_the_app_but_not_probes(self):
        app = self.app({"/healthz": (200,)})
        s = self.sidecar("me", app, args=["--enable-app-health-check"], resources=[
            component("up", "middleware.http.uppercase", direction="response"), component("bus", "pubsub.in-memory")],
            config=configuration({"appHttpPipeline": {"handlers": [
                {"name": "up", "type": "middleware.http.uppercase"}]}}))
        until("the app is healthy", lambda: "App entered healthy status" in s.log())
        self.assertEqual(s.post("/v1.0/invoke/me/method/m", b"abc").body, b"ABC")

    def test_route_alias_turns_a_path_into_another(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[component("alias", "middleware.http.routeralias", routes=json.dumps(
            {"/short/{id}": "/v1.0/invoke/me/method/long"}))],
            config=configuration({"httpPipeline": {"handlers": [
                {"name": "alias", "type": "middleware.http.routeralias"}]}}))
        self.assertEqual(s.get("/short/42?x=1").status, 200)
        got = app.got("/long")[0]
        self.assertEqual(sorted(got.query.split("&")), ["id=42", "x=1"])


class Listeners(harness.Case):
    def test_s7_public_port_has_health_and_metadata_without_token(self):
        port = harness.free_port()
        s = self.sidecar(args=["--dapr-public-port", port, "--dapr-public-listen-address", "127.0.0.1"],
                         env={"DAPR_API_TOKEN": "t"}, resources=[component("store", "state.in-memory")])
        self.assertEqual(call(port, "GET", "/v1.0/healthz").status, 204)
        self.assertEqual(call(port, "GET", "/v1.0/healthz/outbound").status, 204)
        self.assertEqual(json.loads(call(port, "GET", "/v1.0/metadata").body)["id"], "app")
        for path in ("/v1.0/state/store/k", "/v1.0/invoke/app/method/m", "/x"):
            self.assertEqual(call(port, "GET", path).status, 404)

    def test_unix_sockets_replace_the_ports_and_go_away(self):
        folder = os.path.join(self.directory(), "socks")
        os.makedirs(folder)
        s = self.sidecar(args=["--unix-domain-socket", folder], wait=None)
        path = os.path.join(folder, "dapr-app-http.socket")
        until("the socket answers", lambda: os.path.exists(path) and call(path, "GET", "/v1.0/healthz").status == 204)
        self.assertTrue(os.path.exists(os.path.join(folder, "dapr-app-grpc.socket")))
        with self.assertRaises(ConnectionRefusedError):
            s.get("/v1.0/healthz")
        self.assertEqual(s.stop(), 0)
        self.assertEqual(os.listdir(folder), [])

    def test_a_port_in_use_is_fatal_and_says_so(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            s = harness.Sidecar(self, "app", args=["--dapr-http-port", taken.getsockname()[1]], wait=None, expect=1)
            self.assertEqual(s.wait_exit(), 1)
        self.assertIn("Fatal error from runtime: could not listen on any endpoint", s.log())


class Flags(harness.Case):
    def run_it(self, *args, name=None):
        exe = harness.PROA
        argv = [exe, "sidecar"]
        if name:
            link = os.path.join(self.directory(), name)
            if not os.path.lexists(link):
                os.symlink(exe, link)
            argv = [link]
        return subprocess.run(argv + list(args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def test_unknown_flag_is_status_2_with_a_hint(self):
        r = self.run_it("--app-idd", "x")
        self.assertEqual(r.returncode, 2)
        self.assertIn("unknown flag: --app-idd", r.stderr)

    def test_bad_values_are_status_2(self):
        for args in (["--app-port", "x"], ["--dapr-http-port", "70000"], ["--max-body-size", "much"],
                     ["--log-as-json=maybe"], ["--app-id"]):
            with self.subTest(args):
                self.assertEqual(self.run_it(*args).returncode, 2)

    def test_what_cannot_start_is_status_1_and_says_why(self):
        for args, text in (([], "app-id"), (["--app-id", "a.b"], "dot"), (["--app-id", "a", "--mode", "x"], "mode"),
                           (["--app-id", "a", "--app-port", "3500"], "dapr-http-port"),
                           (["--app-id", "a", "--app-health-probe-timeout", "6000"], "app-health-probe-timeout"),
                           (["--app-id", "a", "--disable-init-endpoints", "x"], "disable-init-endpoints"),
                           (["--app-id", "a", "--log-level", "loud"], "log-level")):
            with self.subTest(args):
                r = self.run_it(*args)
                self.assertEqual(r.returncode, 1, r)
                self.assertIn("Fatal error from runtime: ", r.stdout)
                self.assertIn(text, r.stdout)

    def test_version_and_build_info(self):
        self.assertRegex(self.run_it("--version", name="daprd").stdout, r"^\d+\.\d+\.\d+\n$")
        self.assertIn("Version", self.run_it("--build-info").stdout)

    def test_s11_one_dash_is_as_good_and_deprecated_flags_are_taken(self):
        s = self.sidecar()
        self.assertEqual(s.stop(), 0)
        s.argv = [a.replace("--", "-", 1) if a.startswith("--") else a for a in s.argv] + [
            "-dapr-http-max-request-size", "1", "-dapr-http-read-buffer-size", "8", "-placement-host-address", "x:1",
            "-enable-mtls=false", "-components-path", s.resources, "-enable-metrics=true"]
        s.start()
        s.wait_ready()
        s.wait_log("has no effect yet")

    def test_flags_of_parts_that_do_not_exist_are_taken_and_told(self):
        flags = {"--profile-port": "7778", "--enable-profiling": "true", "--control-plane-address": "x:1",
                 "--scheduler-host-address": "x:1", "--scheduler-job-streams": "3",
                 "--actors-disseminate-timeout": "30s", "--disable-builtin-k8s-secret-store": "true",
                 "--reminders-service": "x", "--actors-service": "x"}
        s = self.sidecar(args=[f"{k}={v}" for k, v in flags.items()])
        for flag in flags:
            s.wait_log(f"{flag} has no effect yet")

    def test_the_log_goes_to_a_file_and_workers_may_be_chosen(self):
        path = os.path.join(self.directory(), "sidecar.log")
        s = self.sidecar(args=["--log-file", path, "--workers", "1"])
        self.assertEqual(s.stop(), 0)
        with open(path) as f:
            self.assertIn("Daprd shutdown gracefully", f.read())
        self.assertNotIn("Daprd shutdown gracefully", s.log())

    def test_the_app_may_listen_elsewhere(self):
        app = self.app({"/m": harness.echo})
        s = self.sidecar("me", app, args=["--app-channel-address", "localhost"])
        self.assertEqual(s.post("/v1.0/invoke/me/method/m", b"hi").body, b"hi")

    def test_s11_wait_ends_with_0_when_the_sidecar_is_ready(self):
        s = self.sidecar()
        r = self.run_it("--wait", "--dapr-http-port", str(s.http))
        self.assertEqual(r.returncode, 0)

    def test_s77_works_with_an_empty_environment(self):
        s = self.sidecar()
        s.stop()
        s.env = {}
        s.start()
        s.wait_ready()

    def test_json_logs_have_the_contracts_keys(self):
        s = self.sidecar(args=["--log-as-json"])
        for line in s.log().splitlines():
            self.assertTrue({"time", "level", "msg", "scope", "type", "instance", "ver", "app_id"} <= set(json.loads(line)))

    def test_s72_text_logs_quote_like_go(self):
        s = self.sidecar()
        self.assertRegex(s.log().splitlines()[0],
                         r'^time="[^"]+" level=info msg="[^"]+" app_id=app instance=\S+ scope=\S+ type=log ver=\S+$')


class Logs(harness.Case):
    def test_api_logging_names_the_call(self):
        app = self.app()
        for extra, want in (({}, "GET /v1.0/invoke/me/method/hi"), ({"obfuscateURLs": True}, "InvokeService")):
            s = self.sidecar("me", app, args=["--enable-api-logging"],
                             config=configuration({"logging": {"apiLogging": extra}}) if extra else None)
            s.get("/v1.0/invoke/me/method/hi", {"User-Agent": "tester/1"})
            line = until(f"a line about {want}", lambda: [
                x for x in s.log().splitlines() if "HTTP API Called" in x and want in x])[-1]
            for text in ("scope=dapr.runtime.http-info", "useragent=tester/1", "code=200", "duration="):
                self.assertIn(text, line)

    def test_api_logging_can_leave_health_out(self):
        s = self.sidecar(args=["--enable-api-logging"], config=configuration(
            {"logging": {"apiLogging": {"omitHealthChecks": True}}}))
        s.get("/v1.0/healthz")
        s.get("/v1.0/metadata")
        s.wait_log("/v1.0/metadata")
        self.assertNotIn("healthz", s.log().split("starting", 1)[1].replace("/healthz?", ""))

    def test_a_broken_component_is_fatal_with_the_contracts_words(self):
        s = self.sidecar(resources=[component("a", "state.sqlite")], wait=None, expect=1)
        self.assertEqual(s.wait_exit(), 1)
        for line in ("Failed to init component a (state.sqlite/v1): [INIT_COMPONENT_FAILURE]: initialization error "
                     "occurred for a (state.sqlite/v1): missing connection string",
                     "Error processing component, daprd will exit gracefully: process component a error: "
                     "[INIT_COMPONENT_FAILURE]: initialization error occurred for a (state.sqlite/v1): "
                     "[INIT_COMPONENT_FAILURE]: initialization error occurred for a (state.sqlite/v1): missing connection string"):
            self.assertIn(line, s.log())

    def test_a_broken_component_with_ignore_errors_is_told_and_passed_over(self):
        text = json.loads(component("a", "state.sqlite"))
        text["spec"]["ignoreErrors"] = True
        s = self.sidecar(resources=[json.dumps(text), component("b", "state.in-memory")])
        self.assertIn("Ignoring error processing component: process component a error: [INIT_COMPONENT_FAILURE]: "
                      "initialization error occurred for a (state.sqlite/v1): [INIT_COMPONENT_FAILURE]: initialization "
                      "error occurred for a (state.sqlite/v1): missing connection string", s.log())
        self.assertEqual(s.get("/v1.0/state/b/k").status, 204)

    def test_s65_duplicate_names_are_fatal_and_all_are_listed(self):
        s = self.sidecar(resources=[component("foo", "state.in-memory"), component("foo", "pubsub.in-memory"),
                                    component("bar", "state.in-memory"), component("bar", "pubsub.in-memory")],
                         wait=None, expect=1)
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn("Fatal error from runtime: failed to load resources from disk: duplicate definition of Component "
                      "name foo (pubsub.in-memory/v1) with existing foo (state.in-memory/v1)\\nduplicate definition "
                      "of Component name bar (pubsub.in-memory/v1) with existing bar (state.in-memory/v1)", s.log())

    def test_loaded_components_are_told(self):
        s = self.sidecar(resources=[component("dapr", "state.in-memory")])
        self.assertIn("Component loaded: dapr (state.in-memory/v1)", s.log())

    def test_a_secret_scope_without_its_store_is_told(self):
        s = self.sidecar(config=configuration({"secrets": {"scopes": [
            {"storeName": "customsecretstore1", "defaultAccess": "deny"}]}}))
        self.assertIn("Secrets configuration added for 'customsecretstore1', but no matching secret store was found",
                      s.log())

    def test_a_bad_resiliency_is_told_and_passed_over(self):
        s = self.sidecar(resources=[resource("Resiliency", "myresiliency", {
            "policies": {"timeouts": {"t": "soon"}}, "targets": {"apps": {"x": {"timeout": "t"}}}})])
        self.assertIn("Could not read resiliency policy myresiliency", s.log())


class Resources(harness.Case):
    def test_s58_configuration_files_expand_variables(self):
        s = self.sidecar(config=configuration({"api": {"denied": [
            {"name": "$WHAT", "version": "v1", "protocol": "http"}]}}), env={"WHAT": "metadata"})
        self.assertError(s.get("/v1.0/metadata"), 404, "ERR_DIRECT_INVOKE")

    def test_s66_a_component_whose_secret_store_is_missing_does_not_stop_the_start(self):
        s = self.sidecar(resources=[component("ok", "state.in-memory"), json.dumps({
            "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "parked"},
            "auth": {"secretStore": "later"},
            "spec": {"type": "state.sqlite", "version": "v1", "metadata": [
                {"name": "connectionString", "secretKeyRef": {"name": "db", "key": "db"}}]}})])
        self.assertEqual(s.get("/v1.0/state/ok/k").status, 204)
        self.assertError(s.get("/v1.0/state/parked/k"), 400, "ERR_STATE_STORE_NOT_FOUND")

    def test_s67_denied_component_types_are_not_loaded(self):
        s = self.sidecar(resources=[component("a", "state.in-memory"), component("b", "pubsub.in-memory")],
                         config=configuration({"components": {"deny": ["state.in-memory"]}}))
        self.assertError(s.get("/v1.0/state/a/k"), 500, "ERR_STATE_STORE_NOT_CONFIGURED")
        self.assertEqual(s.post("/v1.0/publish/b/t", "1").status, 204)


class Metrics(harness.Case):
    def test_names_and_labels(self):
        app = self.app()
        a, b = self.pair(app, resources=[component("store", "state.in-memory")], caller_app=self.app())
        for _ in range(3):
            a.get("/v1.0/invoke/callee/method/m")
        a.get("/v1.0/state/store/key1")
        a.get("/v1.0/invoke/caller/method/own")
        self.assertEqual(a.metric("dapr_http_server_request_count", app_id="caller", method="GET",
                                  path="/v1.0/invoke/callee/method/m", status="200"), 3)
        self.assertEqual(a.metric("dapr_http_server_request_count", path="/v1.0/state/store", status="204"), 1)  # s60
        self.assertEqual(a.metric("dapr_http_server_latency_count", path="/v1.0/invoke/callee/method/m"), 3)
        self.assertEqual(b.metric("dapr_http_client_completed_count", path="/m", method="GET", status="200"), 3)
        self.assertEqual(a.metric("dapr_runtime_service_invocation_req_sent_total", dst_app_id="callee"), 3)
        self.assertEqual(a.metric("dapr_runtime_service_invocation_res_recv_total", src_app_id="callee", status="200"), 3)
        self.assertEqual(b.metric("dapr_runtime_service_invocation_req_recv_total", src_app_id="caller"), 3)
        self.assertEqual(b.metric("dapr_runtime_service_invocation_res_sent_total", dst_app_id="caller", status="200"), 3)
        self.assertGreater(a.metric("process_resident_memory_bytes"), 1 << 20)
        self.assertEqual(a.metric("dapr_runtime_component_loaded"), 1)
        text = a.metrics()
        names = re.findall(r"^# TYPE (\S+)", text, re.M)
        self.assertEqual(len(names), len(set(names)))
        for line in text.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \S+ .+|\w+(\{(\w+="([^"\\]|\\.)*",?)*\})? -?[0-9.eE+]+)$')

    def test_histograms_are_cumulative_and_consistent(self):
        s = self.sidecar(resources=[component("store", "state.in-memory")])
        for i in range(10):
            s.post("/v1.0/state/store", json.dumps([{"key": "k", "value": "x" * (10 ** (i % 5))}]))
        rows = re.findall(r'^dapr_http_server_request_bytes_bucket\{app_id="app",le="([^"]+)"\} (\d+)$', s.metrics(), re.M)
        values = [int(n) for _, n in rows]
        self.assertEqual(values, sorted(values))
        self.assertEqual(rows[-1][0], "+Inf")
        self.assertEqual(values[-1], s.metric("dapr_http_server_request_bytes_count"))

    def test_s61_low_cardinality_and_excluded_verbs_keep_empty_labels(self):
        s = self.sidecar(resources=[component("store", "state.in-memory")], config=configuration(
            {"metrics": {"http": {"increasedCardinality": False, "excludeVerbs": True}}}))
        s.get("/v1.0/state/store/k")
        self.assertEqual(s.metric("dapr_http_server_request_count", method="", path="", status="204") >= 1, True)

    def test_latency_buckets_may_be_chosen(self):
        s = self.sidecar(resources=[component("store", "state.in-memory")], config=configuration(
            {"metrics": {"latencyDistributionBuckets": [7, 70, 700]}}))
        s.get("/v1.0/state/store/k")
        self.assertEqual(re.findall(r'dapr_component_state_latencies_bucket\{[^}]*le="([^"]+)"', s.metrics()),
                         ["7", "70", "700", "+Inf"])

    def test_labels_stay_bounded(self):
        app = self.app()
        s = self.sidecar("me", app)
        c = harness.connection(s.http)
        for i in range(5000):
            c.request("GET", f"/v1.0/invoke/me/method/path{i}")
            c.getresponse().read()
        c.close()
        text = s.metrics()
        for name in ("dapr_http_server_request_count", "dapr_http_client_completed_count"):
            with self.subTest(name):
                series = [l for l in text.splitlines() if l.startswith(name + "{")]
                self.assertLess(len(series), 1100)
                self.assertIn("_overflow", "".join(series))
                self.assertGreaterEqual(s.metric(name), 5000)
        self.assertLess(len(text), 16 << 20)
        self.assertEqual(call(s.metrics_port, "GET", "/").status, 200)

    def test_metrics_can_be_off(self):
        s = self.sidecar(args=["--enable-metrics=false"])
        with self.assertRaises(ConnectionRefusedError):
            s.metrics()
        s = self.sidecar(config=configuration({"metric": {"enabled": False}}))
        with self.assertRaises(ConnectionRefusedError):
            s.metrics()


class AppHealth(harness.Case):
    ARGS = ["--enable-app-health-check", "--app-health-probe-interval", 1, "--app-health-threshold", 2,
            "--app-health-check-path", "alive"]

    def test_an_unhealthy_app_is_not_called_and_comes_back(self):
        app = self.app({"/alive": (500,)})
        s = self.sidecar("me", app, args=self.ARGS, env={"APP_API_TOKEN": "t"}, resources=[component("bus", "pubsub.in-memory")])
        app.wait_for("/alive")
        self.assertNotIn("dapr-api-token", app.got("/alive")[0].headers)  # surprise 54
        body = self.assertError(s.get("/v1.0/invoke/me/method/m"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("app is not in a healthy state", body["message"])
        self.assertEqual(app.got("/dapr/subscribe"), [])
        app.on["/alive"] = (204,)
        s.wait_log("App entered healthy status")
        until("calls work", lambda: s.get("/v1.0/invoke/me/method/m").status == 200)
        app.wait_for("/dapr/subscribe")
        app.on["/alive"] = (500,)
        s.wait_log("App entered un-healthy status: ")
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 500)
        self.assertGreaterEqual(s.metric("dapr_http_healthprobes_completed_count", status="500"), 2)

    def test_subscriptions_pause_while_the_app_is_unhealthy(self):
        app = self.app({"/alive": (200,)})
        s = self.sidecar("me", app, args=self.ARGS, resources=[
            component("bus", "pubsub.sqlite", connectionString=os.path.join(self.directory(), "q.db")),
            resource("Subscription", "s", {"pubsubname": "bus", "topic": "t", "route": "/t"})])
        s.wait_log("App entered healthy status")
        s.wait_log("app is subscribed to topic t")
        app.on["/alive"] = (500,)
        s.wait_log("App entered un-healthy status: ")
        self.assertEqual(s.post("/v1.0/publish/bus/t", "1").status, 204)
        app.wait_for("/alive", len(app.got("/alive")) + 2)
        self.assertEqual(app.got("/t"), [])
        app.on["/alive"] = (200,)
        app.wait_for("/t")


    def test_s55_failures_add_up_over_successes_in_between(self):
        """With a threshold of 3: the first success counts at once, and the one in the middle takes nothing back."""
        answers = [204, 500, 500, 204, 500]
        app = self.app({"/alive": lambda r: (answers.pop(0) if answers else 204,)})
        s = self.sidecar("me", app, args=[*self.ARGS, "--app-health-threshold", 3])
        s.wait_log("App entered un-healthy status: ")
        until("the next success counts again", lambda: s.log().count("App entered healthy status") == 2)
        self.assertEqual(s.log().count("App entered un-healthy status: "), 1)


class Concurrency(harness.Case):
    def test_max_concurrency_serialises_calls(self):
        now, most, lock = [0], [0], threading.Lock()
        gate = threading.Semaphore(0)

        def work(r):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            gate.acquire(timeout=20)
            with lock:
                now[0] -= 1
            return 200, b"done"
        app = self.app({"/w": work})
        s = self.sidecar("me", app, args=["--app-max-concurrency", 2])
        results = []
        threads = [threading.Thread(target=lambda: results.append(s.get("/v1.0/invoke/me/method/w").status))
                   for _ in range(8)]
        for t in threads:
            t.start()
        until("two are in", lambda: now[0] == 2)
        for i in range(8):
            until("somebody is in", lambda: now[0] > 0)
            gate.release()
        for t in threads:
            t.join()
        self.assertEqual((results, most[0]), ([200] * 8, 2))

    def test_s56_a_slot_is_held_until_the_answer_is_read(self):
        gate = threading.Event()
        self.addCleanup(gate.set)

        def slow(r):
            h = r.handler
            h.send_response_only(200)
            h.send_header("Content-Length", "40000")
            h.end_headers()
            h.wfile.write(b"x" * 20000)
            h.wfile.flush()
            gate.wait(20)
            h.wfile.write(b"x" * 20000)
        app = self.app({"/slow": slow})
        s = self.sidecar("me", app, args=["--app-max-concurrency", 1])
        c = harness.connection(s.http)
        c.request("GET", "/v1.0/invoke/me/method/slow")
        r = c.getresponse()
        r.read(10000)
        with self.assertRaises(TimeoutError):
            s.get("/v1.0/invoke/me/method/m", timeout=0.5)
        gate.set()
        self.assertEqual(len(r.read()), 30000)
        c.close()
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)


class Bindings(harness.Case):
    def test_errors(self):
        s = self.sidecar(resources=[component("out", "bindings.http", url="http://127.0.0.1:1")])
        self.assertError(s.post("/v1.0/bindings/none", '{"operation":"create"}'), 500, "ERR_INVOKE_OUTPUT_BINDING")
        self.assertError(s.post("/v1.0/bindings/out", '{"data":1}'), 500, "ERR_INVOKE_OUTPUT_BINDING")
        self.assertError(s.post("/v1.0/bindings/out", '{'), 400, "ERR_MALFORMED_REQUEST")

    def test_http_binding_calls_and_shows_the_status(self):
        app = self.app({"/x": (200, b"hello"), "/no": (404, b"nope")})
        s = self.sidecar(resources=[component("out", "bindings.http", url=f"http://127.0.0.1:{app.port}")])
        r = s.post("/v1.0/bindings/out", '{"operation":"get","metadata":{"path":"/x"}}')
        self.assertEqual((r.status, r.body, r.headers["metadata.statuscode"]), (200, b"hello", "200"))
        r = s.post("/v1.0/bindings/out", '{"operation":"get","metadata":{"path":"/no"}}')
        self.assertError(r, 500, "ERR_INVOKE_OUTPUT_BINDING")
        self.assertEqual(r.headers["metadata.statuscode"], "404")

    def test_s53_a_policy_wants_200_and_any_2xx_will_do_in_the_end(self):
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"few": {"policy": "constant", "duration": "1ms", "maxRetries": 3}}},
            "targets": {"components": {"tick": {"inbound": {"retry": "few"}}}}})
        store = component("store", "state.in-memory")
        for status, calls, success in ((204, 4, "true"), (200, 1, "true"), (500, 4, "false")):
            with self.subTest(status):
                answer = {"state": [{"key": "k", "value": "v"}], "to": ["nobody"], "storeName": "store"}
                app = self.app({"/tick": (status, b"" if status == 204 else json.dumps(answer).encode())})
                s = self.sidecar("me", app, resources=[
                    component("tick", "bindings.cron", schedule="@every 1s", direction="input"), policy, store])
                until("an event has ended so", lambda: s.metric("dapr_component_input_binding_count", success=success))
                self.assertEqual(s.metric("dapr_component_input_binding_count"),
                                 s.metric("dapr_component_input_binding_count", success=success))
                self.assertEqual(s.get("/v1.0/state/store/k").status, 204, "what HTTP answers ask for is ignored")
                self.assertEqual(s.stop(), 0)  # which waits for an event in flight
                self.assertEqual(len(app.got("/tick")) % calls, 0)

    def test_cron_calls_the_app(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[component("tick", "bindings.cron", schedule="@every 1s", direction="input")])
        app.wait_for("/tick", 2)
        self.assertEqual(app.got("/tick")[0].method, "POST")
        self.assertEqual(app.got("/tick", "OPTIONS"), [])


if __name__ == "__main__":
    harness.main()
