#!/usr/bin/env python3
"""Overload control: who comes in, who waits, who is turned away, and what travels along the chain.

Only behaviour is looked at, never how long something takes; figures are bench/overload_bench.py's.
"""
import json
import os
import tempfile
import threading
import unittest

import harness
from harness import component, resource, until
from redis_servers import Server

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e47{:02x}-00f067aa0ba902b7-01"


def overload(name="test", **spec):
    return resource("Overload", name, spec, version="proa.dev/v1alpha1")


class Gate:
    """An app's function that answers when it's told to; calls are let through one by one."""

    def __init__(self, answer=(200, b"done")):
        self.open, self.inside, self.answer = threading.Semaphore(0), 0, answer
        self.lock = threading.Lock()

    def __call__(self, r):
        with self.lock:
            self.inside += 1
        self.open.acquire(timeout=harness.WAIT)
        return self.answer

    def let(self, n=1):
        for _ in range(n):
            self.open.release()


class Background:
    """A call in a thread of its own."""

    def __init__(self, *args, **more):
        self.answer = None
        self.thread = threading.Thread(target=self.run, args=args, kwargs=more, daemon=True)
        self.thread.start()

    def run(self, function, *args, **more):
        self.answer = function(*args, **more)

    def done(self):
        return until("the call in the background is answered", lambda: self.answer)


class Overload(harness.Case):
    def one_at_a_time(self, args=("--app-max-concurrency", "1"), bare=False, **spec):
        """A sidecar whose app works on one call, which is in it, until the gate lets it go.
        bare: without a resource."""
        gate = Gate()
        app = self.app({"/slow": gate})
        s = self.sidecar("callee", app, args=args, resources=[] if bare else [overload(**spec)])
        self.addCleanup(gate.let, 1000)  # before the sidecar ends
        first = Background(s.get, "/v1.0/invoke/callee/method/slow")
        until("a call is in the app", lambda: gate.inside == 1)
        return s, app, gate, first

    def wait_queued(self, s, n, kind="call"):
        until(f"{n} {kind}s wait", lambda: s.metric("proa_overload_queued", kind=kind) == n)

    def assertShed(self, answer, reason, status=503):
        self.assertError(answer, status, "ERR_OVERLOADED")
        self.assertEqual(answer.headers["proa-shed"], reason)
        if status == 503:
            self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)

    def test_full_queue_sheds_the_least_important_first(self):
        s, app, gate, first = self.one_at_a_time(queue={"max": 1})
        low = Background(s.get, "/v1.0/invoke/callee/method/slow?low", {"proa-priority": "low"})
        self.wait_queued(s, 1)
        self.assertShed(s.get("/v1.0/invoke/callee/method/slow", {"proa-priority": "background"}), "queue")
        high = Background(s.get, "/v1.0/invoke/callee/method/slow?high", {"proa-priority": "high"})
        self.assertShed(low.done(), "priority")
        gate.let(2)
        self.assertEqual((first.done().status, high.done().status), (200, 200))
        self.assertEqual([r.query for r in app.got("/slow")], ["", "high"])
        self.assertEqual(s.metric("proa_overload_shed_total", priority="low", reason="priority"), 1)
        self.assertEqual(s.metric("proa_overload_shed_total", priority="background", reason="queue"), 1)
        feed = json.loads(s.get("/proa/v1/feed").body)["overload"]
        self.assertEqual((feed["limit"], feed["inflight"]), (1, 0))
        self.assertEqual(feed["admitted"], s.metric("proa_overload_admitted_total"))
        self.assertGreaterEqual(feed["admitted"], 2)  # what the app is asked at the start counts, too
        self.assertEqual(feed["shed"], {"critical": 0, "high": 0, "normal": 0, "low": 1, "background": 1})
        self.assertEqual(feed["reasons"], {"limit": 0, "queue": 1, "deadline": 0, "priority": 1, "rate": 0})

    def test_more_important_calls_go_first(self):
        s, app, gate, first = self.one_at_a_time()
        waiting = []
        for n, p in enumerate(("background", "low", "normal", "high", "critical"), 1):
            waiting.append(Background(s.get, f"/v1.0/invoke/callee/method/slow?{p}", {"proa-priority": p}))
            self.wait_queued(s, n)
        gate.let(6)
        for call in [first, *waiting]:
            self.assertEqual(call.done().status, 200)
        self.assertEqual([r.query for r in app.got("/slow")][1:],
                         ["critical", "high", "normal", "low", "background"])

    def test_refusal_reaches_the_caller_through_its_own_sidecar(self):
        gate = Gate()
        app = self.app({"/slow": gate})
        a, b = self.pair(app, callee_args=("--app-max-concurrency", "1"),
                         callee_resources=[overload(queue={"max": 1})])
        self.addCleanup(gate.let, 1000)
        inside = Background(b.get, "/v1.0/invoke/callee/method/slow")
        until("a call is in the app", lambda: gate.inside == 1)
        waits = Background(b.get, "/v1.0/invoke/callee/method/slow")
        self.wait_queued(b, 1)
        for way in ("grpc", "direct"):
            with self.subTest(way):
                r = a.get("/v1.0/invoke/callee/method/slow")
                self.assertShed(r, "queue")
                self.assertNotIn("proa-load", r.headers)
        self.assertEqual(b.metric("proa_overload_shed_total", reason="queue"), 2)  # each was asked once
        gate.let(2)
        self.assertEqual((inside.done().status, waits.done().status), (200, 200))

    def test_deadline_ends_the_call_and_work_past_it_is_never_begun(self):
        s, app, gate, first = self.one_at_a_time()
        r = s.get("/v1.0/invoke/callee/method/slow?late", {"proa-timeout": "50m"})
        self.assertShed(r, "deadline", 504)
        gate.let()
        self.assertEqual(first.done().status, 200)
        r = s.get("/v1.0/invoke/callee/method/slow?begun", {"proa-timeout": "50m"})
        self.assertError(r, 504, "ERR_DEADLINE_EXCEEDED")
        self.assertEqual([r.query for r in app.got("/slow")], ["", "begun"])

    def test_what_is_left_of_the_deadline_and_the_priority_go_on(self):
        app = self.app()
        a, b = self.pair(app)
        for way in ("grpc", "direct"):
            with self.subTest(way):
                r = a.get("/v1.0/invoke/callee/method/m", {"proa-timeout": "20S", "proa-priority": "high/7"})
                self.assertEqual(r.status, 200)
                got = app.got("/m")[-1].headers
                self.assertEqual(got["proa-priority"], "high/7")
                left = got["proa-timeout"]
                self.assertEqual(left[-1], "u")
                self.assertTrue(0 < int(left[:-1]) < 20_000_000, left)
        a.get("/v1.0/invoke/callee/method/plain")
        got = app.got("/plain")[-1].headers
        self.assertNotIn("proa-timeout", got)
        self.assertNotIn("proa-priority", got)

    def test_priority_and_deadline_are_inherited_by_the_trace(self):
        last = self.app()
        holder = {}

        def middle(r):
            headers = {"traceparent": r.headers["traceparent"]} if "/own" not in r.path else {
                "traceparent": r.headers["traceparent"], "proa-priority": "low"}
            return holder["a"].get("/v1.0/invoke/callee/method/last", headers).status, b""
        first = self.app({"/middle": middle, "/middle/own": middle})
        a, b = self.pair(last, caller_app=first)
        holder["a"] = a
        given = {"proa-priority": "critical/5", "proa-timeout": "25S"}
        r = a.get("/v1.0/invoke/caller/method/middle", {**given, "traceparent": TRACE.format(1)})
        self.assertEqual(r.status, 200)
        got = last.got("/last")[-1].headers
        self.assertEqual(got["proa-priority"], "critical/5")
        self.assertIn("proa-timeout", got)
        a.get("/v1.0/invoke/caller/method/middle/own", {**given, "traceparent": TRACE.format(2)})
        self.assertEqual(last.got("/last")[-1].headers["proa-priority"], "low")
        a.get("/v1.0/invoke/caller/method/middle", {"traceparent": TRACE.format(3)})
        self.assertNotIn("proa-priority", last.got("/last")[-1].headers)
        # the call is over: its trace means nothing any more
        a.get("/v1.0/invoke/callee/method/last", {"traceparent": TRACE.format(1)})
        self.assertNotIn("proa-priority", last.got("/last")[-1].headers)

    def test_malformed_headers_are_refused(self):
        s = self.sidecar("callee", self.app())
        for name, value in (("proa-priority", "urgent"), ("proa-priority", "high/128"), ("proa-timeout", "5s"),
                            ("proa-timeout", "123456789m"), ("proa-timeout", "m")):
            with self.subTest(name, value=value):
                r = s.get("/v1.0/invoke/callee/method/m", {name: value})
                self.assertIn(name, self.assertError(r, 400, "ERR_MALFORMED_REQUEST")["message"])

    def test_deliveries_wait_and_are_never_shed(self):
        gate = Gate()
        app = harness.App({"/slow": gate}, subscribe=[{"pubsubname": "ps", "topic": "t", "route": "/event"}])
        self.addCleanup(app.close)
        s = self.sidecar("callee", app, args=("--app-max-concurrency", "1"),
                         resources=[overload(queue={"max": 1}), component("ps", "pubsub.in-memory")])
        self.addCleanup(gate.let, 1000)
        s.wait_log("app is subscribed to topic t")
        first = Background(s.get, "/v1.0/invoke/callee/method/slow")
        until("a call is in the app", lambda: gate.inside == 1)
        published = [Background(s.post, "/v1.0/publish/ps/t", json.dumps({"n": i}), # waits as well, in the end
                                {"Content-Type": "application/json"}) for i in range(5)]
        until("deliveries wait", lambda: s.metric("proa_overload_queued", kind="delivery") >= 1)
        self.assertEqual(app.got("/event"), [])
        gate.let(1000)
        app.wait_for("/event", 5)
        self.assertEqual([p.done().status for p in published], [204] * 5)
        self.assertEqual(first.done().status, 200)
        self.assertFalse(s.metric("proa_overload_shed_total"))

    def test_streams_hold_no_places(self):
        release = threading.Event()

        def events(r):
            h = r.handler
            h.send_response_only(200)
            h.send_header("Content-Type", "text/event-stream")
            h.send_header("Transfer-Encoding", "chunked")
            h.end_headers()
            h.wfile.write(b"7\r\ndata: 1\r\n")
            h.wfile.flush()
            release.wait(harness.WAIT)
            h.wfile.write(b"0\r\n\r\n")
        app = self.app({"/events": events})
        s = self.sidecar("callee", app, resources=[overload(limit={"min": 2, "max": 2})])
        self.addCleanup(release.set)
        for n in range(1, 7):  # one after the other: each is in the app before the next comes
            Background(s.get, "/v1.0/invoke/callee/method/events")
            until(f"{n} streams are open", lambda: len(app.got("/events")) == n)
        until("none of them holds a place", lambda: s.metric("proa_overload_inflight") == 0)
        self.assertEqual(s.get("/v1.0/invoke/callee/method/m").status, 200)

    def test_rate_limits_by_key(self):
        rates = [{"name": "users", "route": "/search*", "key": {"header": "x-user"}, "rate": 2, "per": "1h", "burst": 2}]
        s = self.sidecar("callee", self.app(), resources=[overload(rates=rates)])

        def search(user, path="/search/a"):
            return s.get("/v1.0/invoke/callee/method" + path, {"x-user": user})
        self.assertEqual([search("ann").status for _ in range(3)], [200, 200, 503])
        r = search("ann")
        self.assertShed(r, "rate")
        self.assertGreater(int(r.headers["retry-after"]), 60)
        self.assertEqual(search("bob").status, 200)
        self.assertEqual(search("ann", "/other").status, 200)

    def test_rate_limit_is_shared_through_redis_and_survives_it(self):
        server = Server(self)
        rates = [{"name": "all", "rate": 3, "per": "1h", "burst": 3, "store": "store"}]
        resources = [overload(rates=rates), component("store", "state.redis", redisHost=f"127.0.0.1:{server.port}")]
        one, two = (self.sidecar("callee", self.app(), resources=resources, directory=tempfile.mkdtemp(dir=self.directory()))
                    for _ in range(2))
        statuses = [s.get("/v1.0/invoke/callee/method/m").status for s in (one, two, one, two, one)]
        self.assertEqual(statuses, [200, 200, 200, 503, 503])
        self.assertShed(two.get("/v1.0/invoke/callee/method/m"), "rate")
        server.kill()
        statuses = [one.get("/v1.0/invoke/callee/method/m").status for _ in range(5)]
        self.assertEqual(statuses, [200, 200, 200, 503, 503])  # its own bucket, which was full
        self.assertEqual(one.metric("proa_overload_rate_fallbacks_total", rate="all"), 5)

    def test_priorities_by_caller_route_and_header(self):
        rules = [{"caller": "caller", "priority": "high"}, {"route": "/report*", "priority": "background"},
                 {"header": "x-tier", "value": "gold", "priority": "critical", "force": True}]
        gate = Gate()
        app = self.app({"/slow": gate, "/report": gate})
        a, b = self.pair(app, callee_args=("--app-max-concurrency", "1"),
                         callee_resources=[overload(priorities=rules, default="low")])
        self.addCleanup(gate.let, 1000)
        calls = [Background(b.get, "/v1.0/invoke/callee/method/slow")]
        until("a call is in the app", lambda: gate.inside == 1)
        for n, (s, path, query, headers) in enumerate((
                (b, "report", "report", {}), (b, "slow", "default", {}), (b, "slow", "said", {"proa-priority": "normal"}),
                (a, "slow", "caller", {}), (b, "slow", "gold", {"x-tier": "gold", "proa-priority": "background"})), 1):
            # who calls is what its sidecar says; a call that comes in at the callee's is its own
            calls.append(Background(s.get, f"/v1.0/invoke/callee/method/{path}?{query}", headers))
            self.wait_queued(b, n)
        gate.let(6)
        for call in calls:
            self.assertEqual(call.done().status, 200)
        order = [r.query for r in app.requests if r.path in ("/slow", "/report")]
        self.assertEqual(order[1:], ["gold", "caller", "said", "default", "report"])

    def test_resource_is_reloaded(self):
        s = self.sidecar("callee", self.app(), resources=[overload()])
        self.assertEqual([s.get("/v1.0/invoke/callee/method/m").status for _ in range(3)], [200] * 3)
        path = os.path.join(s.resources, "r0.yaml")
        with open(path + ".tmp", "w") as f:
            f.write(overload(rates=[{"name": "all", "rate": 1, "per": "1h", "burst": 1}]))
        os.rename(path + ".tmp", path)
        s.wait_log("Resources of proa.dev updated")
        self.assertEqual(s.get("/v1.0/invoke/callee/method/m").status, 200)
        self.assertShed(s.get("/v1.0/invoke/callee/method/m"), "rate")
        os.unlink(path)
        until("the defaults are back", lambda: s.get("/v1.0/invoke/callee/method/m").status == 200)
        self.assertEqual(s.log().count("dapr initialized"), 1)

    def test_what_is_wrong_is_said_with_its_place(self):
        s = self.sidecar("callee", self.app(), resources=[
            "apiVersion: proa.dev/v1alpha1\nkind: Overload\nmetadata:\n  name: bad\nspec:\n"
            "  limit:\n    min: 9\n    max: 3\n  priorities:\n  - caller: x\n    priority: urgent\n"])
        log = s.log()
        self.assertIn("limit.min is larger than limit.max", log)
        self.assertIn("r0.yaml:10:", log)
        self.assertIn('urgent\\" is none of critical, high, normal, low and background', log)
        self.assertEqual(s.get("/v1.0/invoke/callee/method/m").status, 200)

    def test_switched_off_or_without_a_resource_nobody_is_turned_away(self):
        for how in ({"bare": True}, {"enabled": False, "queue": {"max": 1}}):
            with self.subTest(how):
                s, app, gate, first = self.one_at_a_time(**how)
                waiting = [Background(s.get, "/v1.0/invoke/callee/method/slow") for _ in range(5)]
                self.wait_queued(s, 5)
                gate.let(6)
                for call in [first, *waiting]:
                    self.assertEqual(call.done().status, 200)

    def test_room_for_more_instances_is_what_scale_allows_beyond_those_registered(self):
        scale = resource("Scale", "callee", {"max": 3}, version="proa.dev/v1alpha1")
        s = self.sidecar("callee", self.app(), config=self.hosts_config(), resources=[scale])
        until("it's alone", lambda: s.metric("proa_scale_room") == 2)
        harness.fake_host(self.directory(), "callee", "127.0.0.1:1")
        until("another one has come", lambda: s.metric("proa_scale_room") == 1)
        harness.fake_host(self.directory(), "other", "127.0.0.1:2")
        harness.fake_host(self.directory(), "callee", "127.0.0.1:3")
        until("all are there", lambda: s.metric("proa_scale_room") == 0)
        path = os.path.join(s.resources, "r0.yaml")
        with open(path + ".tmp", "w") as f:
            f.write(scale.replace('"max": 3', '"max": 9'))
        os.rename(path + ".tmp", path)
        until("more are allowed", lambda: s.metric("proa_scale_room") == 6)
        os.unlink(path)
        until("it isn't scaled", lambda: s.metric("proa_scale_room") == 0)

    def test_a_burst_of_calls_waits_without_a_resource(self):
        gate = Gate()
        s = self.sidecar("callee", self.app({"/slow": gate}))
        self.addCleanup(gate.let, 1000)
        calls = [Background(s.get, "/v1.0/invoke/callee/method/slow") for _ in range(100)]
        until("all are in the app", lambda: gate.inside == 100)
        gate.let(100)
        self.assertEqual({call.done().status for call in calls}, {200})


if __name__ == "__main__":
    harness.main()
