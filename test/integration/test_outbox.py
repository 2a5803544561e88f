#!/usr/bin/env python3
"""The outbox, state encryption, and server-sent events: what a service counts on although things break."""
import base64
import json
import os
import signal
import sqlite3
import threading
import time

import harness
from harness import component, resource, stream, until


class OutboxCase(harness.Case):
    def start(self, app=None, app_id="app", resources=(), **metadata):
        d = self.directory()
        return self.sidecar(app_id, app, resources=[
            component("s", "state.sqlite", connectionString=os.path.join(d, "state.db"),
                      outboxPublishPubsub="p", outboxPublishTopic="orders", **metadata),
            component("p", "pubsub.sqlite", connectionString=os.path.join(d, "pubsub.db")), *resources])

    def subscriber(self):
        return self.app(subscribe=json.dumps([{"pubsubname": "p", "topic": "orders", "route": "/orders"}]).encode(),
                        on={"/orders": (200,)})

    def transact(self, s, *operations):
        return s.post("/v1.0/state/s/transaction", json.dumps({"operations": operations}))

    def upsert(self, key, value, **metadata):
        return {"operation": "upsert", "request": {"key": key, "value": value, "metadata": metadata}}

    def events(self, app, n):
        return [r.json() for r in app.wait_for("/orders", n, 40)]


class Outbox(OutboxCase):
    def test_a_transaction_is_published_once_it_has_happened(self):
        app = self.subscriber()
        s = self.start(app)
        r = self.transact(s, self.upsert("a", "text", **{"cloudevent.type": "order", "source": "shop", "id": "mine"}),
                          self.upsert("b", {"n": 1}, contentType="application/json"),
                          {"operation": "delete", "request": {"key": "c"}})
        self.assertEqual(r.status, 204)
        self.assertEqual(s.get("/v1.0/state/s/a").body, b'"text"')
        events = {json.dumps(e["data"]): e for e in self.events(app, 2)}
        self.assertEqual(len(events), 2)
        a, b = events['"text"'], events['{"n": 1}']
        self.assertTrue(a["id"].startswith("outbox-"))
        self.assertEqual((a["topic"], a["pubsubname"], a["source"], a["cloudevent.type"], a["datacontenttype"]),
                         ("orders", "p", "shop", "order", "text/plain"))
        self.assertEqual(b["datacontenttype"], "application/json")
        db = sqlite3.connect(os.path.join(self.directory(), "state.db"), timeout=20)
        self.addCleanup(db.close)
        until("the markers are gone", lambda: not db.execute(
            "SELECT 1 FROM state WHERE key LIKE '%outbox%'").fetchall())

    def test_a_projection_is_told_instead_and_not_stored(self):
        app = self.subscriber()
        s = self.start(app)
        self.assertEqual(self.transact(s, self.upsert("k", "secret"),
                                       self.upsert("k", "public", **{"outbox.projection": "true"})).status, 204)
        self.assertEqual([e["data"] for e in self.events(app, 1)], ["public"])
        self.assertEqual(s.get("/v1.0/state/s/k").body, b'"secret"')

    def test_what_has_not_happened_is_not_published(self):
        app = self.subscriber()
        s = self.start(app, outboxDiscardWhenMissingState="true")
        failing = self.upsert("a", "never")
        failing["request"]["etag"] = "0"
        self.assertError(self.transact(s, failing), 500, "ERR_STATE_TRANSACTION")
        self.assertEqual(self.transact(s, self.upsert("b", "yes")).status, 204)
        self.assertEqual([e["data"] for e in self.events(app, 1)], ["yes"])
        s.wait_log("discarding message", 40)
        self.assertEqual(len(app.got("/orders")), 1)

    def test_without_its_broker_nothing_is_changed(self):
        s = self.sidecar("app", resources=[
            component("s", "state.in-memory", outboxPublishPubsub="nobody", outboxPublishTopic="t")])
        body = self.assertError(self.transact(s, self.upsert("a", 1)), 500, "ERR_PUBLISH_OUTBOX")
        self.assertEqual(body["details"][-1]["reason"], "DAPR_PUBSUB_OUTBOX")
        self.assertEqual(s.get("/v1.0/state/s/a").status, 204)

    def test_acknowledged_transactions_are_published_after_kills(self):
        """Sidecars that are killed at any instant; whatever was acknowledged comes out."""
        acknowledged, stop = [], threading.Event()
        app = self.subscriber()  # from the beginning: a topic keeps events for those who have subscribed
        for round_ in range(3):
            s = self.start(app)

            def write():
                i = 0
                while not stop.is_set():
                    name = f"{round_}-{threading.get_ident()}-{i}"
                    try:
                        if self.transact(s, self.upsert(name, name)).status == 204:
                            acknowledged.append(name)
                    except OSError:
                        return
                    i += 1
            threads = [threading.Thread(target=write) for _ in range(3)]
            for t in threads:
                t.start()
            time.sleep(0.2 + 0.3 * round_)  # how long the writers run: the kill comes at any instant
            s.process.send_signal(signal.SIGKILL)
            s.process.wait()
            s.expect = -signal.SIGKILL
            for t in threads:
                t.join()
        self.assertGreater(len(acknowledged), 10)
        self.start(app)
        until(f"{len(acknowledged)} events", lambda: set(acknowledged) <= {
            r.json()["data"] for r in app.got("/orders")}, 120)


class Encryption(harness.Case):
    def start(self, app_id, **keys):
        d = self.directory()
        with open(os.path.join(d, "secrets.json"), "w") as f:
            json.dump({"old": "01" * 16, "new": "02" * 32}, f)
        rows = [{"name": "connectionString", "value": os.path.join(d, "state.db")},
                {"name": "keyPrefix", "value": "none"}]
        rows += [{"name": k, "secretKeyRef": {"name": v, "key": v}} for k, v in keys.items()]
        store = json.loads(resource("Component", "s", {"type": "state.sqlite", "version": "v1", "metadata": rows}))
        store["auth"] = {"secretStore": "secrets"}
        return self.sidecar(app_id, resources=[
            component("secrets", "secretstores.local.file", secretsFile=os.path.join(d, "secrets.json")),
            json.dumps(store)])

    def stored(self, key):
        db = sqlite3.connect(os.path.join(self.directory(), "state.db"), timeout=20)
        value, binary = db.execute("SELECT value, is_binary FROM state WHERE key = ?", (key,)).fetchone()
        db.close()
        return base64.b64decode(value) if binary else value.encode()

    def test_s15_values_are_encrypted_and_strings_lose_their_quotes(self):
        s = self.start("a", primaryEncryptionKey="old")
        for key, value, back in (("t", "value1", b"value1"), ("o", {"a": [1]}, b'{"a": [1]}'), ("n", 5, b"5")):
            r = s.post("/v1.0/state/s", json.dumps([{"key": key, "value": value}]))
            self.assertEqual(r.status, 204)
            self.assertEqual(s.get(f"/v1.0/state/s/{key}").body, back)
            text, name = self.stored(key).rsplit(b"||", 1)
            self.assertEqual((name, len(base64.b64decode(text))), (b"old", 12 + len(back) + 16))
        r = s.post("/v1.0/state/s/transaction", json.dumps({"operations": [
            {"operation": "upsert", "request": {"key": "x", "value": "in"}}]}))
        self.assertEqual((r.status, s.get("/v1.0/state/s/x").body), (204, b"in"))
        self.assertTrue(self.stored("x").endswith(b"||old"))

    def test_keys_change_over(self):
        s = self.start("a", primaryEncryptionKey="old")
        s.post("/v1.0/state/s", '[{"key":"k","value":"v"}]')
        s.stop()
        t = self.start("b", primaryEncryptionKey="new", secondaryEncryptionKey="old")
        self.assertEqual(t.get("/v1.0/state/s/k").body, b"v")
        t.post("/v1.0/state/s", '[{"key":"k2","value":"v2"}]')
        self.assertTrue(self.stored("k2").endswith(b"||new"))
        t.stop()
        u = self.start("c", primaryEncryptionKey="new")
        self.assertEqual(u.get("/v1.0/state/s/k2").body, b"v2")
        self.assertError(u.get("/v1.0/state/s/k"), 500, "ERR_STATE_GET")

    def test_what_was_changed_is_not_read(self):
        s = self.start("a", primaryEncryptionKey="old")
        s.post("/v1.0/state/s", '[{"key":"k","value":"v"}]')
        db = sqlite3.connect(os.path.join(self.directory(), "state.db"), timeout=20)
        text = bytearray(base64.b64decode(self.stored("k").split(b"||")[0]))
        text[-1] ^= 1
        with db:
            db.execute("UPDATE state SET value = ? WHERE key = 'k'", (base64.b64encode(
                base64.b64encode(bytes(text)) + b"||old").decode(),))
        db.close()
        self.assertError(s.get("/v1.0/state/s/k"), 500, "ERR_STATE_GET")


class Events(harness.Case):
    def serve(self):
        self.go = threading.Event()
        self.addCleanup(self.go.set)

        @stream
        def events(r):
            h = r.handler
            h.send_response(200)
            h.send_header("Content-Type", "text/event-stream")
            h.send_header("Cache-Control", "no-cache")
            h.end_headers()
            h.wfile.write(b"data: 1\n\n")
            h.wfile.flush()
            self.go.wait(20)
            h.wfile.write(b"data: 2\n\n")
            h.close_connection = True
        return self.app({"/events": events})

    def listen(self, port, app_id):
        c = harness.connection(port)
        self.addCleanup(c.close)
        c.request("GET", f"/v1.0/invoke/{app_id}/method/events", headers={"Accept": "text/event-stream"})
        r = c.getresponse()
        self.assertEqual((r.status, r.getheader("content-type"), r.getheader("cache-control")),
                         (200, "text/event-stream", "no-cache"))
        self.assertEqual(r.read(9), b"data: 1\n\n")  # while the app still waits
        self.go.set()
        self.assertEqual(r.read(), b"data: 2\n\n")

    def test_events_come_as_they_are_sent(self):
        s = self.sidecar("app", self.serve())
        self.listen(s.http, "app")

    def test_events_come_over_two_sidecars(self):
        caller, callee = self.pair(self.serve())
        self.listen(caller.http, "callee")


if __name__ == "__main__":
    harness.main()
