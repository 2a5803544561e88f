#!/usr/bin/env python3
"""Streaming subscriptions (SubscribeTopicEventsAlpha1): events to a client that holds a stream open.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly.
"""
import json
import os
import queue
import sys
import time

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import threading
import unittest

import harness
from harness import component, resource, until
from wire import field, parse
if grpc:
    from grpc_app import DROP, RETRY, SUCCESS, Event, entry

METHOD = "/dapr.proto.runtime.v1.Dapr/SubscribeTopicEventsAlpha1"
MEMORY = component("p", "pubsub.in-memory")


class Stream:
    """A client: sends what it is told to, keeps what it gets. `answer` maps an event to a verdict in wire
    format; None: it isn't answered."""

    def __init__(self, test, s, topic="t", pubsub="p", dead=None, metadata=None, answer=lambda e: SUCCESS, raw=None,
                 wait=True):
        self.out, self.events, self.answer = queue.Queue(), [], answer
        self.error, self.hello = None, threading.Event()
        self.ended = threading.Event()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{s.grpc}")
        test.addCleanup(self.close)
        initial = field(1, pubsub) + field(2, topic)
        for k, v in (metadata or {}).items():
            initial += field(3, entry(k, v))
        if dead:
            initial += field(4, dead)
        self.out.put(field(1, initial) if raw is None else raw)
        self.call = self.channel.stream_stream(METHOD)(iter(self.out.get, None))
        threading.Thread(target=self.read, daemon=True).start()
        if wait:
            until("the stream is subscribed", lambda: self.hello.is_set() or self.error)
            test.assertTrue(self.hello.is_set(), self.error)

    def read(self):
        try:
            for data in self.call:
                m = parse(data)
                if 1 in m:
                    self.hello.set()
                    continue
                e = Event(m[2][0])
                self.events.append(e)
                verdict = self.answer(e)
                if verdict is not None:
                    self.ack(e.id, verdict)
        except grpc.RpcError as e:
            self.error = e
        self.ended.set()

    def ack(self, id_, verdict=SUCCESS):
        self.out.put(field(2, field(1, id_) + field(2, verdict)))

    def half_close(self):
        self.out.put(None)

    def wait(self, n=1):
        return until(f"{n} event(s); got {len(self.events)}, {self.error}", lambda: len(self.events) >= n and self.events)

    def wait_end(self):
        assert self.ended.wait(harness.WAIT), "the stream didn't end"
        return self.error.code().name, self.error.details()

    def close(self):
        self.call.cancel()
        self.channel.close()


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Streaming(harness.Case):
    def publish(self, s, body=b'{"a":1}', topic="t"):
        r = s.post(f"/v1.0/publish/p/{topic}", body, {"Content-Type": "application/json"})
        self.assertEqual(r.status, 204, r)

    def durable(self, **more):
        return component("p", "pubsub.sqlite", connectionString=os.path.join(self.directory(), "queue.db"), **more)

    def test_events_come_without_an_app(self):
        s = self.sidecar(resources=[MEMORY])
        stream = Stream(self, s)
        for n in range(3):
            self.publish(s, json.dumps({"n": n}).encode())
        got = stream.wait(3)
        self.assertEqual([json.loads(e.data)["n"] for e in got], [0, 1, 2])
        e = got[0]
        self.assertEqual((e.topic, e.pubsub, e.path, e.type, e.source, e.content_type),
                         ("t", "p", "/", "com.dapr.event.sent", "app", "application/json"))
        self.assertIn("time", e.extensions)
        subscription = json.loads(s.get("/v1.0/metadata").body)["subscriptions"][0]
        self.assertEqual((subscription["type"], subscription["rules"]), ("STREAMING", [{"path": "/"}]))
        stream.close()
        until("it is listed no more", lambda: not json.loads(s.get("/v1.0/metadata").body)["subscriptions"])

    def test_every_stream_gets_every_message_and_so_does_the_app_s31(self):
        for name, broker in (("memory", MEMORY), ("competing consumers", self.durable())):
            with self.subTest(name):
                a = self.app(subscribe=[{"pubsubname": "p", "topic": "t", "route": "/r"}] if name == "memory" else [])
                s = self.sidecar("app", a, resources=[broker])
                streams = [Stream(self, s) for _ in range(3)]
                for n in range(20):
                    self.publish(s, json.dumps({"n": n}).encode())
                for stream in streams:
                    until("all of them", lambda: {json.loads(e.data)["n"] for e in stream.events} == set(range(20)))
                if name == "memory":
                    until("the app too", lambda: len(a.got("/r")) == 20)
                s.close()

    def test_drop_and_what_a_policy_gives_up_are_dead_letters(self):
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"thrice": {"policy": "constant", "duration": "5ms", "maxRetries": 2}}},
            "targets": {"components": {"p": {"inbound": {"retry": "thrice"}}}}})
        s = self.sidecar(resources=[self.durable(), policy])
        verdicts = {"drop": DROP, "retry": RETRY, "odd": field(1, 7)}
        stream = Stream(self, s, dead="dlq", answer=lambda e: verdicts[json.loads(e.data)])
        dead = Stream(self, s, "dlq")
        for name, tries in (("drop", 1), ("retry", 3), ("odd", 3)):
            with self.subTest(name):
                self.publish(s, json.dumps(name).encode())
                until(f"{name} is a dead letter", lambda: name in [json.loads(e.data) for e in dead.events])
                self.assertEqual(len([e for e in stream.events if json.loads(e.data) == name]), tries)

    def test_raw_payloads_are_wrapped(self):
        s = self.sidecar(resources=[MEMORY])
        stream = Stream(self, s, metadata={"rawPayload": "true"})
        s.post("/v1.0/publish/p/t?metadata.rawPayload=true", b"\x00raw")
        e = stream.wait()[0]
        self.assertEqual((e.data, e.content_type), (b"\x00raw", "application/octet-stream"))

    def test_what_a_broken_stream_has_not_answered_goes_to_the_next(self):
        s = self.sidecar(resources=[self.durable(visibilityTimeout="60s")])
        first = Stream(self, s, answer=lambda e: None)
        for n in range(5):
            self.publish(s, json.dumps({"n": n}).encode())
        first.wait(1)
        first.close()
        second = Stream(self, s)
        until("all of them", lambda: {json.loads(e.data)["n"] for e in second.events} == set(range(5)))

    def test_answers_may_come_in_any_order_and_late(self):
        s = self.sidecar(resources=[self.durable()])
        stream = Stream(self, s, answer=lambda e: None)
        for n in range(4):
            self.publish(s, json.dumps({"n": n}).encode())
        ids = [e.id for e in stream.wait(4)]
        for id_ in ["nonsense", ""] + ids[::-1] + ids:
            stream.ack(id_)
        until("counted", lambda: s.metric("dapr_component_pubsub_ingress_count", topic="t", process_status="success") == 4)

    def test_refusals(self):
        s = self.sidecar(resources=[MEMORY, component("scoped", "pubsub.in-memory", subscriptionScopes="app=other")])
        for name, more, code, text in (
                ("no topic", {"topic": ""}, "INVALID_ARGUMENT", "topic is required"),
                ("no pubsub", {"pubsub": ""}, "INVALID_ARGUMENT", "pubsub_name is required"),
                ("unknown pubsub", {"pubsub": "gone"}, "NOT_FOUND", "pubsub gone is not found"),
                ("a scope", {"pubsub": "scoped"}, "PERMISSION_DENIED", "is not allowed"),
                ("an answer first", {"raw": field(2, field(1, "x"))}, "INVALID_ARGUMENT", "initial_request is required"),
                ("nothing in it", {"raw": b""}, "INVALID_ARGUMENT", "initial_request is required"),
                ("garbage", {"raw": b"\xff\xff"}, "INTERNAL", "unmarshalling")):
            with self.subTest(name):
                got, details = Stream(self, s, wait=False, **more).wait_end()
                self.assertEqual(got, code, details)
                self.assertIn(text, details)

    def test_a_second_initial_request_ends_it(self):
        s = self.sidecar(resources=[MEMORY])
        stream = Stream(self, s)
        stream.out.put(field(1, field(1, "p") + field(2, "t")))
        self.assertEqual(stream.wait_end(), ("INVALID_ARGUMENT", "duplicate initial request received"))

    def test_half_closing_ends_it_with_eof(self):
        s = self.sidecar(resources=[MEMORY])
        stream = Stream(self, s)
        stream.half_close()
        self.assertEqual(stream.wait_end(), ("UNKNOWN", "EOF"))
        self.assertEqual(json.loads(s.get("/v1.0/metadata").body)["subscriptions"], [])

    def test_open_streams_do_not_hold_up_the_end(self):
        """Idle ones, one with an unanswered event, and one whose client doesn't read."""
        s = self.sidecar(resources=[self.durable()], args=["--dapr-graceful-shutdown-seconds", "20"])
        streams = [Stream(self, s, topic) for topic in ("a", "b", "b")]
        silent = Stream(self, s, "c", answer=lambda e: None)
        self.publish(s, topic="c")
        silent.wait()
        stuck = threading.Event()
        deaf = Stream(self, s, "d", answer=lambda e: stuck.wait(60) and None)
        for _ in range(20):
            self.publish(s, json.dumps("x" * 1000000).encode(), topic="d")
        deaf.wait()
        start = time.monotonic()
        self.assertEqual(s.stop(), 0)
        self.assertLess(time.monotonic() - start, 10)
        for stream in streams + [silent]:
            self.assertEqual(stream.wait_end()[0], "UNAVAILABLE")
        stuck.set()

    def test_streams_come_and_go_while_messages_come(self):
        s = self.sidecar(resources=[self.durable()])
        steady = Stream(self, s)
        over = threading.Event()
        counts = []

        def churn():
            while not over.is_set():
                stream = Stream(self, s)
                counts.append(stream)
                stream.close()
        threads = [threading.Thread(target=churn) for _ in range(3)]
        for t in threads:
            t.start()
        for n in range(100):
            self.publish(s, json.dumps({"n": n}).encode())
        until("the steady one has all", lambda: {json.loads(e.data)["n"] for e in steady.events} == set(range(100)))
        over.set()
        for t in threads:
            t.join()
        self.assertGreater(len(counts), 3)


if __name__ == "__main__":
    harness.main()
