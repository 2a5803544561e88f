#!/usr/bin/env python3
"""Faults on purpose: /proa/v1/chaos, kind Chaos, --enable-chaos."""

import json
import os
import threading
import time
import unittest

import harness
from harness import resource, until

ORDERS = "/v1.0/invoke/orders/method"
ONCE = resource("Resiliency", "once", {  # no retries: what meets one try is what the caller sees
    "policies": {"timeouts": {"short": "1s"}, "retries": {"none": {"policy": "constant", "maxRetries": 0}}},
    "targets": {"apps": {"orders": {"retry": "none"}, "patient": {"retry": "none", "timeout": "short"}}}})


def chaos(name, **spec):
    return resource("Chaos", name, spec, version="proa.dev/v1alpha1")


class Chaos(harness.Case):
    def start(self, *args, resources=(), app_ids=("orders",), env=None, zones=("",)):
        config = self.hosts_config()
        self.apps = {}
        for app_id in app_ids:
            for zone in zones:
                app = self.apps[app_id, zone] = self.app({"*": (200, f"{app_id} {zone}")})
                self.sidecar(app_id, app, config=config, args=["--zone", zone] if zone else [])
        self.s = self.sidecar("caller", config=config, args=args, resources=[ONCE, *resources], env=env)

    def add(self, **fault):
        answer = self.s.call("POST", "/proa/v1/chaos", json_body=fault)
        self.assertEqual(answer.status, 200, answer)
        return json.loads(answer.body)["chaos"]

    def active(self):
        return {c["name"]: c for c in json.loads(self.s.get("/proa/v1/chaos").body)["chaos"]}

    def got(self, app_id="orders", zone=""):
        return len(self.apps[app_id, zone].got())

    # ---- each fault ----

    def test_an_error_is_answered_in_the_apps_place(self):
        self.start("--enable-chaos")
        self.assertEqual(self.s.get(ORDERS + "/x").status, 200)
        self.add(name="busy", fault="error", status=429, app="orders")
        answer = self.s.get(ORDERS + "/x")
        self.assertEqual((answer.status, answer.headers.get("proa-chaos"), answer.body), (429, "busy", b""))
        self.assertEqual(self.got(), 1)
        self.assertEqual(self.s.metric("proa_chaos_injected_total", fault="error"), 1)
        self.assertEqual(self.s.call("DELETE", "/proa/v1/chaos/busy").status, 200)
        self.assertEqual(self.s.get(ORDERS + "/x").status, 200)

    def test_a_grpc_code_is_an_http_status_for_http(self):
        self.start("--enable-chaos")
        self.add(name="gone", fault="error", status="NOT_FOUND")
        self.assertEqual(self.s.get(ORDERS + "/x").status, 404)

    def test_a_delay_holds_the_call(self):
        self.start("--enable-chaos")
        self.add(name="slow", fault="delay", delay="300ms-400ms")
        start = time.monotonic()
        self.assertEqual(self.s.get(ORDERS + "/x").status, 200)
        self.assertGreaterEqual(time.monotonic() - start, 0.3)
        self.assertEqual(self.active()["slow"]["injected"], 1)

    def test_a_reset_is_a_broken_connection(self):
        self.start("--enable-chaos")
        self.add(name="cut", fault="reset")
        body = self.assertError(self.s.get(ORDERS + "/x"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn('fault "cut" on purpose', body["message"])
        self.assertEqual(self.got(), 0)

    def test_a_blackhole_answers_nothing_until_the_deadline(self):
        self.start("--enable-chaos", app_ids=("patient",))
        self.add(name="hole", fault="blackhole")
        start = time.monotonic()
        answer = self.s.get("/v1.0/invoke/patient/method/x")
        self.assertGreaterEqual(answer.status, 500, answer)
        self.assertGreaterEqual(time.monotonic() - start, 1)
        self.assertEqual(self.got("patient"), 0)

    def test_whoever_is_held_is_let_go_when_the_fault_is_taken_away(self):
        self.start("--enable-chaos")
        self.add(name="slow", fault="delay", delay="1h")
        answers = []
        caller = threading.Thread(target=lambda: answers.append(self.s.get(ORDERS + "/x")))
        caller.start()
        until("the call is held", lambda: self.active()["slow"]["injected"])
        self.assertEqual(self.s.call("DELETE", "/proa/v1/chaos").status, 200)
        caller.join(harness.WAIT)
        self.assertEqual([a.status for a in answers], [200])

    # ---- which calls ----

    def test_other_apps_and_methods_go_on(self):
        self.start("--enable-chaos", app_ids=("orders", "other"))
        self.add(name="by-app", fault="error", app="other", status=500)
        self.assertEqual(self.s.get(ORDERS + "/x").status, 200)
        self.assertEqual(self.s.get("/v1.0/invoke/other/method/x").status, 500)
        self.add(name="by-method", fault="error", method="POST /reserve/*", status=502)
        for method, path, want in (("POST", "/reserve/1", 502), ("GET", "/reserve/1", 200), ("POST", "/free/1", 200),
                                   ("POST", "/reserve/1?reserve=2", 502)):
            answer = self.s.call(method, ORDERS + path)
            self.assertEqual(answer.status, want, (path, answer))

    def test_instances_of_other_zones_go_on(self):
        self.start("--enable-chaos", zones=("a", "b"))
        self.add(name="cut-b", fault="error", zone="b", status=500)
        def met():
            answer = self.s.get(ORDERS + "/x")
            self.assertIn((answer.status, answer.body), ((200, b"orders a"), (500, b"")))
            return self.active()["cut-b"]["injected"] and self.got(zone="a")
        until("calls go to both", met)
        self.assertEqual(self.got(zone="b"), 0)

    def test_a_percentage_of_the_calls_meets_it(self):
        self.start("--enable-chaos")
        self.add(name="some", fault="error", status=418, percent=30)
        n = 400
        bad = sum(self.s.get(ORDERS + "/x").status == 418 for _ in range(n))
        self.assertTrue(70 <= bad <= 170, f"{bad} of {n}")  # six deviations
        self.assertEqual(self.got(), n - bad)
        self.assertEqual(self.active()["some"]["injected"], bad)

    def test_retries_and_the_contract_meet_it_like_a_real_fault(self):
        self.start("--enable-chaos", zones=("a", "b"))
        self.add(name="cut", fault="reset", zone="b")
        for _ in range(20):  # the other instance is asked at once
            self.assertEqual(self.s.get(ORDERS + "/x").body, b"orders a")

    # ---- components ----

    def test_a_store_is_slow_or_fails_and_others_are_not(self):
        self.s = self.sidecar("caller", resources=[harness.component("db", "state.in-memory"), harness.component("other", "state.in-memory")],
                              args=["--enable-chaos"])
        def save(store):
            return self.s.call("POST", f"/v1.0/state/{store}", json_body=[{"key": "k", "value": 1}]).status
        self.assertEqual(save("db"), 204)
        self.add(name="down", fault="error", component="db", method="write")
        body = self.assertError(self.s.call("POST", "/v1.0/state/db", json_body=[{"key": "k", "value": 2}]), 500,
                                "ERR_STATE_SAVE")
        self.assertIn('fault "down" on purpose', body["message"])
        self.assertEqual([save("other"), self.s.get("/v1.0/state/db/k").body], [204, b"1"])
        self.add(name="slow", fault="delay", delay="300ms", component="d*")
        start = time.monotonic()
        self.assertEqual(self.s.get("/v1.0/state/db/k").body, b"1")
        self.assertGreaterEqual(time.monotonic() - start, 0.3)
        self.assertEqual([(c["component"], c["injected"]) for c in self.active().values()], [("db", 1), ("d*", 1)])

    def test_retries_of_a_component_meet_it_anew(self):
        retries = resource("Resiliency", "more", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "1ms", "maxRetries": 50}}},
            "targets": {"components": {"db": {"outbound": {"retry": "often"}}}}})
        self.s = self.sidecar("caller", resources=[harness.component("db", "state.in-memory"), retries], args=["--enable-chaos"])
        self.add(name="some", fault="reset", component="db", percent=50)
        def met():
            self.assertEqual(self.s.get("/v1.0/state/db/k").status, 204)
            return self.active()["some"]["injected"]
        until("a call has met it", met)

    def test_a_delivery_that_meets_one_is_made_again(self):
        subscription = resource("Subscription", "placed", {
            "pubsubname": "bus", "topic": "placed", "routes": {"default": "/placed"}}, version="dapr.io/v2alpha1")
        app = self.app({"/placed": (200, "")})
        self.s = self.sidecar("caller", app, resources=[harness.component("bus", "pubsub.sqlite", connectionString=os.path.join(self.directory(), "bus.db")), subscription], args=["--enable-chaos"])
        self.add(name="lost", fault="error", component="bus", method="deliver")
        self.assertEqual(self.s.call("POST", "/v1.0/publish/bus/placed", json_body={"n": 1}).status, 204)
        until("a delivery has met it", lambda: self.active()["lost"]["injected"])
        self.assertEqual(app.got("/placed"), [])
        self.assertEqual(self.s.call("DELETE", "/proa/v1/chaos").status, 200)
        until("the event is here", lambda: app.got("/placed"))

    # ---- what never meets one ----

    def test_health_feed_and_the_api_itself_are_left_alone(self):
        self.start("--enable-chaos")
        self.add(name="all", fault="error", status=500)
        self.assertEqual(self.s.get(ORDERS + "/x").status, 500)
        for path, want in (("/v1.0/healthz", 204), ("/v1.0/healthz/outbound", 204), ("/proa/v1/livez", 204),
                           ("/proa/v1/readyz", 204), ("/proa/v1/chaos", 200), ("/v1.0/metadata", 200)):
            self.assertEqual(self.s.get(path).status, want, path)
        feed = json.loads(self.s.get("/proa/v1/feed").body)["chaos"]
        self.assertEqual([(c["name"], c["fault"], c["percent"]) for c in feed], [("all", "error", 100)])
        self.assertTrue(0 < feed[0]["left_s"] <= 60, feed)

    # ---- who may ----

    def test_nothing_can_be_added_without_enable_chaos(self):
        self.start(resources=[chaos("x", fault="error")])
        for method, path in (("GET", "/proa/v1/chaos"), ("POST", "/proa/v1/chaos"), ("DELETE", "/proa/v1/chaos"),
                             ("DELETE", "/proa/v1/chaos/x")):
            self.assertError(self.s.call(method, path, json_body={"name": "x", "fault": "reset"}), 403,
                             "ERR_CHAOS_DISABLED")
        self.assertEqual(self.s.get(ORDERS + "/x").status, 200)
        self.assertIn('Chaos \\"x\\" is ignored', self.s.log())
        self.assertNotIn("chaos", json.loads(self.s.get("/proa/v1/feed").body))

    def test_the_environment_enables_it_and_the_token_guards_it(self):
        self.start(env={"PROA_ENABLE_CHAOS": "true", "DAPR_API_TOKEN": "secret"})
        body = {"name": "x", "fault": "reset"}
        self.assertEqual(self.s.call("POST", "/proa/v1/chaos", json_body=body).status, 401)
        answer = self.s.call("POST", "/proa/v1/chaos", json_body=body, headers={"dapr-api-token": "secret"})
        self.assertEqual(answer.status, 200)

    def test_what_is_wrong_with_a_fault_is_said(self):
        self.start("--enable-chaos")
        for body, want in ((b"{", "JSON"), (b"[]", "JSON object"), (b'{"name":"x"}', "none of delay"),
                           (b'{"name":"x","fault":"reset","for":"2h"}', "at most 1h"),
                           (b'{"name":"x","fault":"reset","every":1}', "every")):
            answer = self.s.call("POST", "/proa/v1/chaos", body)
            self.assertEqual(answer.status, 400, body)
            self.assertIn(want, json.loads(answer.body)["message"])
        self.assertEqual(self.s.call("DELETE", "/proa/v1/chaos/nobody").status, 404)
        for i in range(32):
            self.add(name=f"f{i}", fault="delay", delay="1ms", app="nobody")
        answer = self.s.call("POST", "/proa/v1/chaos", json_body={"name": "one-more", "fault": "reset"})
        self.assertEqual(answer.status, 429)
        self.assertEqual(len(self.active()), 32)

    # ---- its end ----

    def test_a_fault_ends_by_itself(self):
        self.start("--enable-chaos")
        self.add(name="short", fault="error", status=500, **{"for": "1s"})
        self.assertEqual(self.s.get(ORDERS + "/x").status, 500)
        until("the fault has ended", lambda: self.s.get(ORDERS + "/x").status == 200)
        self.assertEqual(self.active(), {})

    # ---- kind Chaos ----

    def test_resources_come_change_and_go(self):
        self.start("--enable-chaos", resources=[chaos("first", fault="error", status=500)])
        path = os.path.join(self.s.resources, "more.yaml")
        def write(text):
            with open(path + ".tmp", "w") as f:
                f.write(text)
            os.rename(path + ".tmp", path)
        self.assertEqual(self.s.get(ORDERS + "/x").status, 500)
        os.unlink(os.path.join(self.s.resources, "r1.yaml"))
        until("the first one is gone", lambda: not self.active())
        write(chaos("second", fault="error", status=502, app="orders"))
        until("the second one has come", lambda: "second" in self.active())
        self.assertEqual(self.s.get(ORDERS + "/x").status, 502)
        write(chaos("second", fault="error", status=503, app="orders"))
        until("it has changed", lambda: self.active()["second"]["status"] == "503")
        os.unlink(path)
        until("it is gone", lambda: not self.active())
        self.assertEqual(self.s.get(ORDERS + "/x").status, 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
