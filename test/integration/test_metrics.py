#!/usr/bin/env python3
"""The metrics endpoint against the contract: every name with its labels (facts 7), and what the Configuration's
metrics section changes."""
import json
import os
import re
import unittest

import harness
from harness import component, configuration, resource, until

CALL = {"method", "path", "status"}
OPERATION = {"component", "namespace", "operation", "success"}
EGRESS = {"component", "namespace", "success", "topic"}
BULK = {"component", "namespace", "process_status", "topic"}
INGRESS = BULK | {"status"}
POLICY = {"name", "policy", "namespace", "flow_direction", "target", "status"}

# name: (kind, labels besides app_id)
TABLE = {
    "dapr_http_server_request_count": ("counter", CALL),
    "dapr_http_server_latency": ("histogram", CALL),
    "dapr_http_server_response_count": ("counter", CALL),
    "dapr_http_server_request_bytes": ("histogram", set()),
    "dapr_http_server_response_bytes": ("histogram", set()),
    "dapr_http_client_completed_count": ("counter", CALL),
    "dapr_http_client_roundtrip_latency": ("histogram", CALL),
    "dapr_http_client_sent_bytes": ("histogram", CALL),
    "dapr_http_client_received_bytes": ("histogram", set()),
    "dapr_http_healthprobes_completed_count": ("counter", {"status"}),
    "dapr_http_healthprobes_roundtrip_latency": ("histogram", {"status"}),
    "dapr_component_pubsub_ingress_count": ("counter", INGRESS),
    "dapr_component_pubsub_ingress_latencies": ("histogram", INGRESS),
    "dapr_component_pubsub_ingress_bulk_count": ("counter", BULK),
    "dapr_component_pubsub_ingress_bulk_event_count": ("counter", BULK),
    "dapr_component_pubsub_ingress_bulk_latencies": ("histogram", BULK),
    "dapr_component_pubsub_egress_count": ("counter", EGRESS),
    "dapr_component_pubsub_egress_latencies": ("histogram", EGRESS),
    "dapr_component_pubsub_egress_bulk_count": ("counter", EGRESS),
    "dapr_component_pubsub_egress_bulk_latencies": ("histogram", EGRESS),
    "dapr_component_input_binding_count": ("counter", {"component", "namespace", "success"}),
    "dapr_component_input_binding_latencies": ("histogram", {"component", "namespace", "success"}),
    "dapr_component_output_binding_count": ("counter", OPERATION),
    "dapr_component_output_binding_latencies": ("histogram", OPERATION),
    "dapr_component_state_count": ("counter", OPERATION),
    "dapr_component_state_latencies": ("histogram", OPERATION),
    "dapr_component_secret_count": ("counter", OPERATION),
    "dapr_component_secret_latencies": ("histogram", OPERATION),
    "dapr_component_configuration_count": ("counter", OPERATION),
    "dapr_component_configuration_latencies": ("histogram", OPERATION),
    "dapr_component_crypto_count": ("counter", OPERATION),
    "dapr_component_crypto_latencies": ("histogram", OPERATION),
    "dapr_runtime_component_loaded": ("gauge", set()),
    "dapr_runtime_component_init_total": ("counter", {"component"}),
    "dapr_runtime_component_init_fail_total": ("counter", {"component", "reason", "componentName"}),
    "dapr_runtime_acl_global_policy_action_allowed_total": ("counter", {"trustDomain", "namespace"}),
    "dapr_runtime_acl_global_policy_action_blocked_total": ("counter", {"trustDomain", "namespace"}),
    "dapr_runtime_service_invocation_req_sent_total": ("counter", {"dst_app_id", "type"}),
    "dapr_runtime_service_invocation_req_recv_total": ("counter", {"src_app_id"}),
    "dapr_runtime_service_invocation_res_sent_total": ("counter", {"dst_app_id", "status"}),
    "dapr_runtime_service_invocation_res_recv_total": ("counter", {"src_app_id", "status", "type"}),
    "dapr_runtime_service_invocation_res_recv_latency_ms": ("histogram", {"src_app_id", "status"}),
    "dapr_resiliency_loaded": (None, {"name", "namespace"}),
    "dapr_resiliency_count": ("counter", POLICY),
    "dapr_resiliency_activations_total": ("counter", POLICY),
    "dapr_resiliency_cb_state": ("gauge", POLICY),
    "dapr_error_code_total": ("counter", {"error_code", "category"}),
}
# What is ours, and the process's own.
MORE = re.compile("process_|proa_|dapr_grpc_io_")

# Counted in block/crypto.c; there is no engine yet that could be called here.
ELSEWHERE = {"dapr_component_crypto_count", "dapr_component_crypto_latencies"}


def series(text):
    """{name: (kind, [labels of each line])}, histograms without their suffixes and le."""
    out = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        out[name] = (kind, [])
        suffix = "(?:_bucket|_sum|_count)" if kind == "histogram" else ""
        for labels in re.findall(rf"^{name}{suffix}(?:{{(.*)}})? \S+$", text, re.M):
            keys = re.findall(r'(\w+)="', re.sub(r'\\.', "", labels))
            out[name][1].append([k for k in keys if k != "le"])
    return out


class Names(harness.Case):
    def everything(self):
        """Two sidecars in which as much as can be has happened once."""
        path = os.path.join(self.directory(), "secrets.json")
        with open(path, "w") as f:
            json.dump({"one": "1"}, f)
        out = self.app()
        subscriptions = [
            {"pubsubname": "bus", "topic": "t", "route": "/t"},
            {"pubsubname": "bus", "topic": "many", "route": "/many",
             "bulkSubscribe": {"enabled": True, "maxMessagesCount": 1, "maxAwaitDurationMs": 10}}]
        app = self.app({"/fail": (503,), "/many": lambda r: (200, {"statuses": [
            {"entryId": e["entryId"], "status": "SUCCESS"} for e in r.json()["entries"]]})}, subscribe=subscriptions)
        resources = [
            component("store", "state.in-memory"), component("bus", "pubsub.in-memory"),
            component("vault", "secretstores.local.file", secretsFile=path),
            component("settings", "configuration.sqlite",
                      connectionString=os.path.join(self.directory(), "settings.db")),
            component("out", "bindings.http", url=f"http://127.0.0.1:{out.port}"),
            component("tick", "bindings.cron", schedule="@every 1s", direction="input"),
            json.dumps({"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "broken"},
                        "spec": {"type": "state.sqlite", "version": "v1", "ignoreErrors": True, "metadata": []}}),
            resource("Resiliency", "r", {
                "policies": {"timeouts": {"t": "5s"}, "retries": {"r": {"policy": "constant", "duration": "1ms",
                                                                        "maxRetries": 1}},
                             "circuitBreakers": {"c": {"trip": "consecutiveFailures > 100"}}},
                "targets": {"apps": {"callee": {"timeout": "t", "retry": "r", "circuitBreaker": "c"}}}}),
        ]
        config = self.hosts_config(metrics={"recordErrorCodes": True}, accessControl={"defaultAction": "allow"})
        deny = self.hosts_config(accessControl={"defaultAction": "deny"})
        b = self.sidecar("callee", app, config=config)
        closed = self.sidecar("closed", app, config=deny)
        a = self.sidecar("caller", app, config=config, resources=resources,
                         args=["--enable-app-health-check", "--app-health-check-path", "/ok",
                               "--app-health-probe-interval", 1])
        a.post("/v1.0/state/store", '[{"key":"k","value":1}]')
        a.get("/v1.0/secrets/vault/one")
        a.get("/v1.0/configuration/settings?key=x")
        a.post("/v1.0/bindings/out", '{"operation":"get"}')
        a.post("/v1.0/publish/bulk/bus/t", json.dumps(
            [{"entryId": "1", "event": "x", "contentType": "text/plain"}]))
        a.get("/v1.0/invoke/callee/method/m")
        a.get("/v1.0/invoke/callee/method/fail")
        a.get("/v1.0/invoke/closed/method/m")
        a.get("/v1.0/state/none/k")
        until("the binding's event has come", lambda: a.metric("dapr_component_input_binding_count"))
        until("a message has come", lambda: a.post("/v1.0/publish/bus/t", "{}").status == 204 and
              a.metric("dapr_component_pubsub_ingress_count"))
        until("a bulk has come", lambda: a.post("/v1.0/publish/bus/many", "{}").status == 204 and
              a.metric("dapr_component_pubsub_ingress_bulk_count"))
        return a, b, closed

    def test_every_name_has_the_contracts_labels(self):
        sidecars = self.everything()
        text = sidecars[0].metrics()
        seen = series(text)
        for name, (kind, labels) in [x for s in sidecars[1:] for x in series(s.metrics()).items()]:
            seen.setdefault(name, (kind, []))[1].extend(labels)
        for name, (kind, lines) in seen.items():
            if MORE.match(name):
                continue
            with self.subTest(name):
                self.assertIn(name, TABLE)
                self.assertEqual(kind, TABLE[name][0] or kind)
                for keys in lines:
                    self.assertEqual(keys[0], "app_id")
                    self.assertEqual((set(keys[1:]), len(keys)), (TABLE[name][1], len(TABLE[name][1]) + 1))
        self.assertEqual(set(TABLE) - set(seen) - ELSEWHERE, set())
        self.assertIn("process_resident_memory_bytes ", text)

    def test_values_of_some_s62_s76(self):
        a, b, closed = self.everything()
        self.assertEqual(a.metric("dapr_component_configuration_count", operation="get", success="true"), 1)
        # s76: a literal text, and recordings rather than events
        self.assertGreaterEqual(a.metric("dapr_component_pubsub_ingress_bulk_event_count", component="pubsubName",
                                         process_status="success", topic="many"), 1)
        self.assertEqual(a.metric("dapr_runtime_component_init_fail_total", component="state.sqlite",
                                  componentName="broken"), 1)
        self.assertEqual(a.metric("dapr_error_code_total", error_code="ERR_STATE_STORE_NOT_FOUND",
                                  category="state"), 1)
        # s62: no peer has an identity without mTLS
        self.assertEqual(b.metric("dapr_runtime_acl_global_policy_action_allowed_total", app_id=""), 3)
        self.assertEqual(closed.metric("dapr_runtime_acl_global_policy_action_blocked_total", app_id=""), 1)


class Config(harness.Case):
    def http(self, app=None, **more):
        s = self.sidecar("me", app or self.app(), config=configuration({"metrics": {"http": more}}),
                         resources=[component("store", "state.in-memory")])
        return s

    def test_s61_low_cardinality_hides_what_callers_vary(self):
        s = self.http(increasedCardinality=False)
        s.wait_log(r'metric spec: {\"enabled\":true,\"recordErrorCodes\":false,'
                   r'\"http\":{\"increasedCardinality\":false')
        s.get("/v1.0/invoke/me/method/a/b")
        self.assertEqual(s.metric("dapr_http_server_request_count", method="GET", path="", status="200"), 1)
        self.assertEqual(s.metric("dapr_http_client_completed_count", method="GET", path="", status="200"), 1)
        self.assertEqual(s.metric("dapr_http_client_completed_count", path="/dapr/config"), 1)
        self.assertIsNone(s.metric("dapr_http_server_response_count"))

    def test_the_default_is_high_cardinality(self):
        s = self.http()
        s.wait_log(r'\"increasedCardinality\":true')
        s.get("/v1.0/invoke/me/method/a/b")
        self.assertEqual(s.metric("dapr_http_server_response_count", path="/v1.0/invoke/me/method/a/b"), 1)
        self.assertEqual(s.metric("dapr_http_client_completed_count", path="/a/b"), 1)

    def test_s61_excluded_verbs_are_empty_on_both_sides(self):
        s = self.http(excludeVerbs=True)
        s.post("/v1.0/invoke/me/method/m", "12345")
        self.assertEqual(s.metric("dapr_http_server_request_count", method="", status="200"), 1)
        self.assertEqual(s.metric("dapr_http_client_completed_count", method="", path="/m"), 1)
        self.assertEqual(s.metric("dapr_http_client_sent_bytes_sum", method="", path="/m"), 5)

    def test_patterns_name_paths_of_the_api_and_of_the_app(self):
        patterns = ["/orders/{orderID}", "/orders/{orderID}/items/", "/v1.0/invoke/me/method/orders/{orderID}"]
        for increased in (False, True):
            with self.subTest(increased):
                s = self.http(increasedCardinality=increased, pathMatching=patterns)
                for path in ("orders/1", "orders/2", "orders/3/items/a/b", "other/x"):
                    self.assertEqual(s.get("/v1.0/invoke/me/method/" + path).status, 200)
                got = {p: s.metric("dapr_http_server_request_count", path=p, method="GET") for p in (
                    "/v1.0/invoke/me/method/orders/{orderID}",
                    "/v1.0/invoke/{app_id}/method/orders/{orderID}/items/",
                    "/v1.0/invoke/me/method/other/x" if increased else "")}
                self.assertEqual(list(got.values())[:2], [2, 1], got)
                self.assertGreaterEqual(list(got.values())[2], 1)
                self.assertEqual(s.metric("dapr_http_client_completed_count", path="/orders/{orderID}"), 2)
                self.assertEqual(s.metric("dapr_http_client_completed_count", path="/orders/{orderID}/items/"), 1)

    def test_rules_rewrite_labels(self):
        s = self.sidecar("me", self.app(), config=configuration({"metrics": {"rules": [
            {"name": "dapr_http_server_request_count", "labels": [
                {"name": "path", "regex": {"/orders/{id}": "/orders/[^/]+"}},
                {"name": "method", "regex": {"READ": "GET|HEAD"}}]}]}}))
        for i in range(3):
            s.get(f"/v1.0/invoke/me/method/orders/{i}")
        self.assertEqual(s.metric("dapr_http_server_request_count", method="READ",
                                  path="/v1.0/invoke/me/method/orders/{id}", status="200"), 3)
        self.assertEqual(s.metric("dapr_http_server_latency_count", method="GET",
                                  path="/v1.0/invoke/me/method/orders/1"), 1)

    def test_what_can_t_be_read_stops_the_start(self):
        for metrics, text in (
                ({"http": {"pathMatching": ["orders"]}}, "metrics.http.pathMatching: "),
                ({"rules": [{"name": "dapr_x", "labels": [{"name": "y", "regex": {"a": "("}}]}]}, "metrics.rules: ")):
            with self.subTest(text):
                s = self.sidecar(config=configuration({"metrics": metrics}), wait=None, expect=1)
                self.assertEqual(s.wait_exit(), 1)
                self.assertIn("Fatal error from runtime: " + text, s.log())

    def test_s60_metrics_wins_over_metric_field_by_field(self):
        s = self.sidecar("me", self.app(), config=configuration({
            "metric": {"recordErrorCodes": True, "http": {"increasedCardinality": False, "excludeVerbs": True}},
            "metrics": {"http": {"excludeVerbs": False}}}))
        s.get("/v1.0/invoke/me/method/m")
        s.get("/v1.0/state/none/k")
        self.assertEqual(s.metric("dapr_http_server_request_count", method="GET", path="", status="200"), 1)
        self.assertEqual(s.metric("dapr_error_code_total", category="state"), 1)  # health counts its own

    def test_error_codes_are_counted_only_when_asked_for(self):
        s = self.sidecar("me", config=configuration({}))
        s.get("/v1.0/state/none/k")
        self.assertIsNone(s.metric("dapr_error_code_total"))

    def test_the_settings_survive_sighup(self):
        s = self.http(increasedCardinality=False, pathMatching=["/a/{b}"])
        s.get("/v1.0/invoke/me/method/a/1")
        with open(os.path.join(s.dir, "me-config.yaml"), "w") as f:
            f.write(configuration({"metrics": {"http": {"pathMatching": ["/c/{d}"]}}}))
        s.send_signal(1)
        s.wait_log(r'\"pathMatching\":[\"/c/{d}\"]')
        s.wait_ready()
        s.get("/v1.0/invoke/me/method/a/1")
        s.get("/v1.0/invoke/me/method/c/1")
        for path, n in (("/a/{b}", 1), ("/a/1", 1), ("/c/{d}", 1)):
            self.assertEqual(s.metric("dapr_http_client_completed_count", path=path), n, path)


class ApiLog(harness.Case):
    def lines(self, s):
        return [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', l)) for l in s.log().splitlines()
                if "HTTP API Called" in l]

    def test_rows_have_the_contracts_fields(self):
        app = self.app()
        s = self.sidecar("testapp", app, args=["--enable-api-logging"])
        s.post("/v1.0/invoke/testapp/method/hi", "x", {"User-Agent": "me/1"})
        row = until("the row", lambda: [l for l in self.lines(s) if "/v1.0/invoke" in l["method"]])[0]
        self.assertEqual((row["method"], row["scope"], row["level"], row["useragent"], row["code"], row["size"]),
                         ('"POST /v1.0/invoke/testapp/method/hi"', "dapr.runtime.http-info", "info", "me/1", "200", "1"))
        self.assertRegex(row["duration"], r"^\d+$")

    def test_obfuscated_rows_name_the_endpoint_alone(self):
        s = self.sidecar("testapp", self.app(), resources=[component("store", "state.in-memory")],
                         config=configuration({"logging": {"apiLogging": {"enabled": True, "obfuscateURLs": True}}}))
        s.get("/v1.0/invoke/testapp/method/private/path")
        s.get("/private/path", {"dapr-app-id": "testapp"})
        s.get("/private/nobody")
        s.get("/v1.0/state/store/private")
        until("the rows", lambda: {"InvokeService/testapp", "InvokeService", "GetState"} <=
              {l["method"] for l in self.lines(s)})
        self.assertNotIn("private", s.log())

    def test_the_flag_wins_over_the_file(self):
        s = self.sidecar(args=["--enable-api-logging=false"], config=configuration(
            {"logging": {"apiLogging": {"enabled": True}}}))
        s.get("/v1.0/metadata")
        self.assertEqual(self.lines(s), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
