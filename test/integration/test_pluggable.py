#!/usr/bin/env python3
"""Pluggable components from outside: plugin.py serves every kind of them on a unix socket.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly.
"""
import json
import os
import subprocess
import sys
import threading
import unittest

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc  # noqa: F401, what plugin.py runs on
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import harness
from harness import component, until

PLUGIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugin.py")


@unittest.skipUnless(grpc, "grpcio isn't there: test/integration/requirements.txt")
class Case(harness.Case):
    def setUp(self):
        super().setUp()
        self.sockets = self.directory()

    def plugin(self, name="mem", *args):
        """A process on <name>.sock; what stood there before is replaced."""
        p = subprocess.Popen([sys.executable, PLUGIN, os.path.join(self.sockets, name + ".sock"), *args],
                             stdout=subprocess.PIPE)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.assertEqual(p.stdout.readline(), b"ready\n")
        return p

    def start(self, *resources, **more):
        return self.sidecar(resources=resources, env={"DAPR_COMPONENTS_SOCKETS_FOLDER": self.sockets}, **more)

    def output(self, sidecar, operation, data=None, name="bind", **metadata):
        body = json.dumps({"operation": operation, "data": data, "metadata": metadata})
        r = sidecar.post(f"/v1.0/bindings/{name}", body)
        self.assertEqual(r.status, 200 if r.body else 204, r.body)
        return json.loads(r.body) if r.body else None

    def calls(self, sidecar, instance):
        return [method for method, name in self.output(sidecar, "log") if name == instance]


STORE, BINDING = component("store", "state.mem"), component("bind", "bindings.mem", direction="output")


class Discovery(Case):
    def test_components_of_each_kind_are_loaded_with_their_capabilities(self):
        self.plugin()
        s = self.start(STORE, BINDING, component("bus", "pubsub.mem"), component("vault", "secretstores.mem"))
        have = {c["name"]: set(c.get("capabilities", [])) for c in json.loads(s.get("/v1.0/metadata").body)["components"]}
        self.assertEqual(have, {
            "store": {"ETAG", "TRANSACTIONAL", "QUERY_API", "TTL", "ACTOR"},
            "bus": {"BULK_PUBSUB"},
            "bind": {"INPUT_BINDING", "OUTPUT_BINDING"},
            "vault": {"MULTIPLE_KEY_VALUES_PER_SECRET"},
        })
        self.assertIn("pluggable component 'mem' was successfully registered for 'state'", s.log())

    def test_init_features_and_ping_name_the_instance(self):
        self.plugin()
        s = self.start(STORE, component("other", "state.mem"), BINDING)
        log = self.output(s, "log")
        for name in ("store", "other"):
            self.assertEqual([m for m, i in log if i == name],
                             [f"StateStore/{m}" for m in ("Init", "Features", "Ping")] +
                             ["TransactionalStoreMultiMaxSize/MultiMaxSize"])

    def test_what_is_no_socket_or_silent_is_told_and_left_out(self):
        with open(os.path.join(self.sockets, "readme.txt"), "w") as f:
            f.write("hello")
        dead = subprocess.run([sys.executable, "-c", "import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])",
                               os.path.join(self.sockets, "dead.sock")], check=True)
        self.assertEqual(dead.returncode, 0)
        self.plugin()
        s = self.start(STORE)
        self.assertIn("could not use socket for file", s.log())
        self.assertIn("unable to list services", s.log())
        self.assertEqual(s.get("/v1.0/state/store/k").status, 204)

    def test_unknown_type_names_what_was_found(self):
        self.plugin()
        s = self.start(component("x", "state.men"), wait=None, expect=1)
        s.wait_exit()
        self.assertIn("did you mean \"state.mem\"", s.log().replace('\\"', '"'))

    def test_refused_init_ends_the_start_with_its_words(self):
        self.plugin()
        s = self.start(component("store", "state.mem", refuse="because"), wait=None, expect=1)
        s.wait_exit()
        self.assertIn("INIT_COMPONENT_FAILURE", s.log())
        self.assertIn("code = InvalidArgument desc = refused: because", s.log())

    def test_services_that_a_socket_lacks_are_not_supported(self):
        self.plugin("mem", "--without", "QueriableStateStore,TransactionalStateStore,InputBinding")
        s = self.start(STORE, BINDING)
        r = s.post("/v1.0/state/store/transaction", '{"operations":[{"operation":"upsert","request":{"key":"a","value":1}}]}')
        self.assertEqual((r.status, json.loads(r.body)["errorCode"]), (500, "ERR_STATE_STORE_NOT_SUPPORTED"))
        r = s.post("/v1.0-alpha1/state/store/query", "{}")
        self.assertEqual((r.status, json.loads(r.body)["errorCode"]), (500, "ERR_STATE_STORE_NOT_SUPPORTED"))
        kinds = {c["name"]: c.get("capabilities") for c in json.loads(s.get("/v1.0/metadata").body)["components"]}
        self.assertEqual(kinds["bind"], ["OUTPUT_BINDING"])


class State(Case):
    def setUp(self):
        super().setUp()
        self.process = self.plugin()
        self.s = self.start(STORE, BINDING)

    def save(self, *items):
        return self.s.post("/v1.0/state/store", json.dumps(list(items)))

    def error(self, r):
        return r.status, json.loads(r.body)["errorCode"]

    def test_values_etags_and_ttl_go_there_and_back(self):
        self.assertEqual(self.save({"key": "k", "value": {"a": 1}, "metadata": {"ttlInSeconds": "100"}}).status, 204)
        r = self.s.get("/v1.0/state/store/k")
        self.assertEqual((r.status, r.body), (200, b'{"a": 1}'))
        self.assertTrue(r.headers["etag"])
        self.assertRegex(r.headers["metadata.ttlexpiretime"], r"^20\d\d-.*Z$")
        self.assertEqual(self.s.call("DELETE", "/v1.0/state/store/k", headers={"If-Match": "77"}).status, 409)
        self.assertEqual(self.s.call("DELETE", "/v1.0/state/store/k").status, 204)
        self.assertEqual(self.s.get("/v1.0/state/store/k").status, 204)

    def test_several_items_are_one_bulk_call(self):
        self.assertEqual(self.save({"key": "a", "value": 1}, {"key": "b", "value": 2}).status, 204)
        r = self.s.post("/v1.0/state/store/bulk", '{"keys":["a","none","b","a"]}')
        self.assertEqual([(i["key"], i.get("data")) for i in json.loads(r.body)],
                         [("a", 1), ("none", None), ("b", 2), ("a", 1)])
        log = self.calls(self.s, "store")
        self.assertEqual([m for m in log if m in ("StateStore/Set", "StateStore/Get")], [])
        self.assertEqual(log.count("StateStore/BulkSet"), 1)
        self.assertEqual(log.count("StateStore/BulkGet"), 1)

    def test_transaction_is_all_or_nothing_and_has_a_limit(self):
        def operations(n):
            return json.dumps({"operations": [{"operation": "upsert", "request": {"key": f"k{i}", "value": i}} for i in range(n)]})
        self.assertEqual(self.s.post("/v1.0/state/store/transaction", operations(10)).status, 204)
        r = self.s.post("/v1.0/state/store/transaction", operations(11))
        self.assertEqual(self.error(r), (400, "ERR_STATE_STORE_TOO_MANY_TRANSACTIONS"))
        self.assertEqual(json.loads(r.body)["details"][-1]["reason"], "DAPR_STATE_TOO_MANY_TRANSACTIONS")
        self.assertIn("10", r.body.decode())
        stale = {"operations": [{"operation": "upsert", "request": {"key": "new", "value": 1}},
                                {"operation": "delete", "request": {"key": "k1", "etag": "none"}}]}
        self.assertEqual(self.error(self.s.post("/v1.0/state/store/transaction", json.dumps(stale))),
                         (500, "ERR_STATE_TRANSACTION"))
        self.assertEqual(self.s.get("/v1.0/state/store/new").status, 204)

    def test_query_filters_sorts_and_pages(self):
        for i, (city, n) in enumerate([("Bonn", 3), ("Kiel", 1), ("Bonn", 2), ("Bonn", 1)]):
            self.assertEqual(self.save({"key": f"q{i}", "value": {"city": city, "n": n}}).status, 204)
        query = {"filter": {"EQ": {"city": "Bonn"}}, "sort": [{"key": "n", "order": "DESC"}], "page": {"limit": 2}}
        r = json.loads(self.s.post("/v1.0-alpha1/state/store/query", json.dumps(query)).body)
        self.assertEqual([i["key"] for i in r["results"]], ["q0", "q2"])
        query["page"]["token"] = r["token"]
        r = json.loads(self.s.post("/v1.0-alpha1/state/store/query", json.dumps(query)).body)
        self.assertEqual([(i["key"], i["data"]) for i in r["results"]], [("q3", {"city": "Bonn", "n": 1})])

    def test_statuses_become_the_contracts_errors(self):
        rows = {"fail-mismatch": (409, "ERR_STATE_SAVE"), "fail-etag": (400, "ERR_STATE_SAVE"),
                "fail-argument": (500, "ERR_STATE_SAVE"), "fail-plain": (500, "ERR_STATE_SAVE")}
        for key, want in rows.items():
            with self.subTest(key):
                r = self.save({"key": key, "value": 1})
                self.assertEqual(self.error(r), want, r.body)
        self.assertIn("code = Internal desc = plain: 100% ünlucky", r.body.decode())

    def test_s19_an_own_error_keeps_its_status(self):
        flat = "api error: code = DataLoss desc = my own words"
        answers = {
            "ERR_STATE_GET": self.s.get("/v1.0/state/store/fail-kit"),
            "ERR_STATE_SAVE": self.save({"key": "fail-kit", "value": 1}),
            "ERR_STATE_DELETE": self.s.call("DELETE", "/v1.0/state/store/fail-kit"),
            "ERR_STATE_BULK_GET": self.s.post("/v1.0/state/store/bulk", '{"keys":["a","fail-kit"]}'),
        }
        for code, r in answers.items():
            with self.subTest(code):
                self.assertEqual(self.error(r), (507, code))
                self.assertIn(flat, r.body.decode())
                self.assertNotIn("details", json.loads(r.body))
        r = self.save({"key": "fail-kit", "value": 1}, {"key": "b", "value": 1})
        self.assertEqual(self.error(r), (507, "ERR_STATE_SAVE"))
        r = self.s.get("/v1.0/state/store/fail-kit-odd")
        self.assertEqual(self.error(r), (500, "ERR_STATE_GET"))

    def test_s19_a_query_shows_an_own_error_as_it_is(self):
        r = self.s.post("/v1.0-alpha1/state/store/query", '{"filter":{"KIT":{}}}')
        self.assertEqual((r.status, json.loads(r.body)), (507, {
            "errorCode": "ERR_OWN_TAG", "message": "my own words",
            "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "A_REASON",
                         "domain": "plugin.example", "metadata": None}]}))

    def test_bulk_get_tells_the_error_of_a_key(self):
        self.assertEqual(self.save({"key": "a", "value": 1}).status, 204)
        r = json.loads(self.s.post("/v1.0/state/store/bulk", '{"keys":["a","fail-plain"]}').body)
        self.assertEqual([(i["key"], i.get("data"), i.get("error")) for i in r], [("a", 1, None), ("fail-plain", None, "plain")])


class Life(Case):
    POLICY = harness.resource("Resiliency", "r", {
        "policies": {"timeouts": {"short": "300ms"}},
        "targets": {"components": {"store": {"outbound": {"timeout": "short"}}}}})

    def test_a_dead_process_is_told_and_a_new_one_is_initialised(self):
        process = self.plugin()
        s = self.start(STORE, BINDING)
        self.assertEqual(s.post("/v1.0/state/store", '[{"key":"k","value":1}]').status, 204)
        process.kill()
        process.wait()
        r = until("a call fails", lambda: (r := s.get("/v1.0/state/store/k")).status == 500 and r)
        self.assertIn("is it running?", r.body.decode())
        self.plugin()
        r = s.post("/v1.0/state/store", '[{"key":"k","value":2}]')
        self.assertEqual(r.status, 204, r.body)
        self.assertEqual(s.get("/v1.0/state/store/k").body, b"2")
        self.assertEqual(self.calls(s, "store")[:3], ["StateStore/Init", "StateStore/Features", "StateStore/Ping"])
        self.assertEqual(self.calls(s, "bind")[0], "InputBinding/Init")

    def test_a_silent_component_ends_with_its_deadline(self):
        self.plugin()
        s = self.start(STORE, self.POLICY)
        r = s.get("/v1.0/state/store/fail-slow", timeout=20)
        self.assertEqual(r.status, 500)
        # Either we find it first or the component, which knows the deadline too.
        self.assertRegex(r.body.decode(), "didn't answer in time|DeadlineExceeded")
        self.assertEqual(s.get("/v1.0/state/store/other").status, 204)


class Topics(Case):
    def setUp(self):
        super().setUp()
        self.process = self.plugin()

    def run_app(self, on):
        self.app_ = self.app(on, subscribe=[{"pubsubname": "bus", "topic": "t", "route": "/t"}])
        self.s = self.start(component("bus", "pubsub.mem"), BINDING, app=self.app_)
        return self.s

    def acks(self):
        return self.output(self.s, "acks").get("bus", [])

    def test_messages_are_delivered_and_acknowledged(self):
        s = self.run_app({"/t": (200,)})
        self.assertEqual(s.post("/v1.0/publish/bus/t", '{"n":1}', {"Content-Type": "application/json"}).status, 204)
        event = self.app_.wait_for("/t")[0]
        self.assertEqual(event.json()["data"], {"n": 1})
        acks = until("an ack", self.acks)
        self.assertEqual([(a["topic"], a["error"]) for a in acks], [("t", None)])

    def test_a_refused_message_comes_again(self):
        answers = iter([500, 500])
        s = self.run_app({"/t": lambda r: (next(answers, 200),)})
        self.assertEqual(s.post("/v1.0/publish/bus/t", "x").status, 204)
        self.app_.wait_for("/t", 3)
        acks = until("three acks", lambda: len(a := self.acks()) == 3 and a)
        self.assertEqual([bool(a["error"]) for a in acks], [True, True, False])

    def test_bulk_publish_is_one_call_and_tells_which_failed(self):
        s = self.run_app({"/t": (200,)})
        entries = [{"entryId": i, "event": e, "contentType": "text/plain"} for i, e in (("1", "a"), ("2", "fail-me"))]
        r = s.post("/v1.0/publish/bulk/bus/t", json.dumps(entries))
        self.assertEqual(r.status, 500)
        self.assertEqual([f["entryId"] for f in json.loads(r.body)["failedEntries"]], ["2"])
        self.app_.wait_for("/t")
        self.assertEqual(self.calls(s, "bus").count("PubSub/BulkPublish"), 1)

    def test_the_stream_is_opened_again_after_a_restart(self):
        s = self.run_app({"/t": (200,)})
        self.process.kill()
        self.process.wait()
        s.wait_log("the stream of messages ended")
        self.plugin()
        s.wait_log("the stream of messages is open again")

        def arrives():
            self.assertEqual(s.post("/v1.0/publish/bus/t", "x").status, 204)
            return self.app_.got("/t")
        until("a message", arrives)

    def test_work_is_paused_and_what_is_in_flight_acknowledged_before_the_end(self):
        go_on = threading.Event()
        s = self.run_app({"/t": lambda r: go_on.wait(harness.WAIT) and (200,)})
        for _ in range(2):
            self.assertEqual(s.post("/v1.0/publish/bus/t", "x").status, 204)
        self.app_.wait_for("/t")
        s.send_signal(harness.signal.SIGTERM)
        self.assertEqual(self.process.stdout.readline(), b"pause bus\n")
        go_on.set()
        self.assertEqual(s.wait_exit(), 0)
        self.assertEqual(self.process.stdout.readline(), b"ack t done\n")
        self.assertEqual(len(self.app_.got("/t")), 1)  # what came later is left to the component

    def test_a_component_that_cannot_pause_is_stopped_all_the_same(self):
        self.process.kill()
        self.process.wait()
        self.process = self.plugin("mem", "--no-pause")
        s = self.run_app({"/t": (200,)})
        self.assertEqual(s.post("/v1.0/publish/bus/t", "x").status, 204)
        self.app_.wait_for("/t")
        self.assertEqual(self.process.stdout.readline(), b"ack t done\n")
        self.assertEqual(s.stop(), 0)


class Rest(Case):
    def test_output_binding_gives_data_and_metadata_back(self):
        self.plugin()
        s = self.start(BINDING)
        r = s.post("/v1.0/bindings/bind", '{"operation":"create","data":{"a":1},"metadata":{"echo":"yes"}}')
        self.assertEqual((r.status, json.loads(r.body), r.headers["metadata.echo"]), (200, {"a": 1}, "yes"))
        r = s.post("/v1.0/bindings/bind", '{"operation":"fail"}')
        self.assertEqual((r.status, json.loads(r.body)["errorCode"]), (500, "ERR_INVOKE_OUTPUT_BINDING"))
        self.assertIn("it failed", r.body.decode())
        r = s.post("/v1.0/bindings/bind", '{"operation":"dance"}')
        self.assertIn("does not support operation dance", r.body.decode())

    def test_input_binding_delivers_and_answers_with_what_the_app_said(self):
        self.plugin()
        answers = iter([(200, b"fine"), (500, b"ill")])
        app = self.app({"POST /bind": lambda r: next(answers), "OPTIONS /bind": (200,)})
        s = self.start(component("bind", "bindings.mem"), app=app)

        def acks(n):
            return until(f"{n} acks", lambda: len(a := self.output(s, "acks").get("bind", [])) == n and a)
        self.output(s, "emit", {"n": 1}, mark="x")
        self.assertEqual([(a["data"], a["error"]) for a in acks(1)], [("fine", None)])
        request = app.got("/bind", "POST")[0]
        self.assertEqual((request.json(), request.headers["mark"]), ({"n": 1}, "x"))
        self.output(s, "emit", {"n": 2})
        self.assertIn("500", acks(2)[1]["error"])

    def test_secrets_are_read_also_by_other_components(self):
        self.plugin()
        store = json.loads(component("store", "state.mem"))
        store["spec"]["metadata"] = [{"name": "dir", "secretKeyRef": {"name": "many", "key": "a"}}]
        store["auth"] = {"secretStore": "vault"}
        s = self.start(component("vault", "secretstores.mem"), json.dumps(store))
        self.assertEqual(json.loads(s.get("/v1.0/secrets/vault/many").body), {"a": "x", "b": "ü"})
        self.assertEqual(json.loads(s.get("/v1.0/secrets/vault/bulk").body), {"one": {"one": "1"}, "many": {"a": "x", "b": "ü"}})
        r = s.get("/v1.0/secrets/vault/none")
        self.assertEqual((r.status, json.loads(r.body)["errorCode"]), (500, "ERR_SECRET_GET"))
        self.assertEqual(s.get("/v1.0/state/store/k").status, 204)


if __name__ == "__main__":
    unittest.main()
