#!/usr/bin/env python3
"""Configuration stores from outside: reading, and changes told to the app over HTTP and gRPC."""
import os
import sys

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import json
import signal
import sqlite3
import unittest

import harness
from harness import component, resource, until
from wire import field, parse

SERVICE = "dapr.proto.runtime.v1.Dapr"


def text(message, number):
    return message[number][0].decode() if number in message else ""


def entries(message, number):
    """A map<string, ConfigurationItem> as {key: (value, version)}."""
    out = {}
    for e in message.get(number, []):
        m = parse(e)
        item = parse(m[2][0]) if 2 in m else {}
        out[text(m, 1)] = (text(item, 1), text(item, 2))
    return out


class ConfigurationCase(harness.Case):
    def setUp(self):
        self.path = os.path.join(self.directory(), "configuration.db")

    def start(self, app=None, resources=(), **more):
        store = component("c", "configuration.sqlite", connectionString=self.path)
        self.s = self.sidecar("app", app, resources=[store, *resources], **more)
        return self.s

    def set(self, **items):
        """As an operator would with the sqlite3 shell; None deletes."""
        db = sqlite3.connect(self.path, timeout=20)
        with db:
            for k, v in items.items():
                if v is None:
                    db.execute("DELETE FROM configuration WHERE key = ?", (k,))
                else:
                    db.execute("INSERT INTO configuration (key, value) VALUES (?, ?) "
                               "ON CONFLICT (key) DO UPDATE SET value = excluded.value", (k, v))
        db.close()


class Http(ConfigurationCase):
    def test_values_are_read(self):
        self.start()
        self.assertEqual(self.s.get("/v1.0/configuration/c").status, 204)
        self.set(a="1", b="<2>")
        for version in ("v1.0", "v1.0-alpha1"):
            r = self.s.get(f"/{version}/configuration/c?key=a&key=b&key=none")
            self.assertEqual((r.status, json.loads(r.body)),
                             (200, {"a": {"value": "1", "version": "1"}, "b": {"value": "<2>", "version": "1"}}))
        self.set(a="2")
        self.assertEqual(json.loads(self.s.get("/v1.0/configuration/c?key=a").body),
                         {"a": {"value": "2", "version": "2"}})
        self.assertEqual(self.s.metric("dapr_component_configuration_count", operation="get", success="true"), 4)

    def test_stores_that_are_not_there(self):
        self.start()
        self.assertError(self.s.get("/v1.0/configuration/x"), 400, "ERR_CONFIGURATION_STORE_NOT_FOUND",
                         "configuration store x not found")
        bare = self.sidecar("bare")
        self.assertError(bare.get("/v1.0/configuration/x"), 500, "ERR_CONFIGURATION_STORE_NOT_CONFIGURED",
                         "configuration stores not configured")

    def test_without_an_app_nobody_can_be_told(self):
        self.start()
        self.assertError(self.s.get("/v1.0/configuration/c/subscribe"), 500, "ERR_APP_CHANNEL_NIL")

    def test_s78_changes_are_posted_to_the_app(self):
        app = self.app()
        self.start(app)
        self.set(a="1", b="1", other="1")
        r = self.s.get("/v1.0/configuration/c/subscribe?key=a&key=b")
        self.assertEqual(r.status, 200)
        id = json.loads(r.body)["id"]
        self.set(a="2", b="2", other="2")
        seen = {}
        for key in "ab":
            got = app.wait_for(f"/configuration/c/{key}")[0]
            self.assertEqual((got.method, got.headers["content-type"]), ("POST", "application/json"))
            seen[key] = got.json()
        self.assertEqual(seen["a"], seen["b"])
        self.assertEqual(seen["a"], {"id": id, "items": {"a": {"value": "2", "version": "2"},
                                                         "b": {"value": "2", "version": "2"}}})
        self.assertEqual(app.got("/configuration/c/other"), [])
        r = self.s.get(f"/v1.0/configuration/c/{id}/unsubscribe")
        self.assertEqual((r.status, json.loads(r.body)), (200, {"ok": True}))
        r = self.s.get(f"/v1.0/configuration/c/{id}/unsubscribe")
        self.assertEqual((r.status, list(json.loads(r.body))), (500, ["message"]))

    def test_the_alpha_paths_do_the_same(self):
        app = self.app()
        self.start(app)
        self.set(a="1")
        path = "/v1.0-alpha1/configuration/c"
        self.assertEqual(json.loads(self.s.get(f"{path}?key=a").body), {"a": {"value": "1", "version": "1"}})
        id = json.loads(self.s.get(f"{path}/subscribe?key=a").body)["id"]
        self.set(a="2")
        app.wait_for("/configuration/c/a")
        r = self.s.get(f"/v1.0-alpha1/configuration/c/{id}/unsubscribe")
        self.assertEqual((r.status, json.loads(r.body)), (200, {"ok": True}))

    def test_an_update_that_the_app_refuses_is_tried_again(self):
        answers = [500, 204, 200]
        app = self.app({"/configuration/c/a": lambda r: (answers.pop(0),)})
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"few": {"policy": "constant", "duration": "10ms", "maxRetries": 5}}},
            "targets": {"components": {"c": {"inbound": {"retry": "few"}}}}})
        self.start(app, [policy])
        self.assertEqual(self.s.get("/v1.0/configuration/c/subscribe").status, 200)
        self.set(a="1")
        app.wait_for("/configuration/c/a", 3)
        self.assertEqual(answers, [])


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Grpc(ConfigurationCase):
    def connect(self):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.s.grpc}")
        self.addCleanup(self.channel.close)

    def rpc(self, method, data=b""):
        return parse(self.channel.unary_unary(f"/{SERVICE}/{method}")(data, timeout=20))

    def subscribe(self, *keys, method="SubscribeConfiguration"):
        request = field(1, "c") + b"".join(field(2, k) for k in keys)
        call = self.channel.unary_stream(f"/{SERVICE}/{method}")(request, timeout=60)
        self.addCleanup(call.cancel)
        first = parse(next(call))
        self.assertEqual(list(first), [1])  # the id alone
        return call, first[1][0].decode()

    def test_values_are_read(self):
        self.start()
        self.connect()
        self.assertEqual(self.rpc("GetConfiguration", field(1, "c")), {})
        self.set(a="1", b="2")
        r = self.rpc("GetConfigurationAlpha1", field(1, "c") + field(2, "b"))
        self.assertEqual(entries(r, 1), {"b": ("2", "1")})
        with self.assertRaises(grpc.RpcError) as e:
            self.rpc("GetConfiguration", field(1, "x"))
        self.assertEqual(e.exception.code().name, "INVALID_ARGUMENT")
        self.assertEqual(e.exception.details(), "configuration store x not found")

    def test_changes_are_streamed_until_unsubscribed(self):
        self.start()
        self.connect()
        call, id = self.subscribe("b", "a")
        for i in range(3):
            self.set(a=str(i), other=str(i))
            m = parse(next(call))
            self.assertEqual((text(m, 1), entries(m, 2)), (id, {"a": (str(i), str(i + 1))}))
        self.set(a=None)
        self.assertEqual(entries(parse(next(call)), 2), {"a": ("", "")})
        self.assertEqual(self.rpc("UnsubscribeConfiguration", field(1, "c") + field(2, id)), {1: [1]})
        self.assertEqual(list(call), [])
        self.assertEqual(call.code().name, "OK")
        r = self.rpc("UnsubscribeConfigurationAlpha1", field(1, "c") + field(2, id))
        self.assertNotIn(1, r)
        self.assertIn(b"failed to unsubscribe", r[2][0])

    def test_a_client_that_leaves_is_forgotten(self):
        self.start()
        self.connect()
        call, id = self.subscribe(method="SubscribeConfigurationAlpha1")
        call.cancel()
        until("the subscription is gone", lambda: 1 not in self.rpc(
            "UnsubscribeConfiguration", field(1, "c") + field(2, id)))

    def test_open_streams_end_with_the_sidecar(self):
        self.start()
        self.connect()
        calls = [self.subscribe()[0] for _ in range(5)]
        self.s.send_signal(signal.SIGTERM)
        self.assertEqual(self.s.wait_exit(20), 0)
        for call in calls:
            with self.subTest(), self.assertRaises((StopIteration, grpc.RpcError)):
                next(call)


if __name__ == "__main__":
    harness.main()
