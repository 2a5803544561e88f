#!/usr/bin/env python3
"""Calls to an app of several instances: balance, ejection, retries within budgets, copies, kind Traffic."""

import collections
import concurrent.futures
import json
import os
import signal
import threading
import time
import unittest

import harness
from harness import resource, until

PATH = "/v1.0/invoke/orders/method"


def traffic(**spec):
    return resource("Traffic", "t", spec, version="proa.dev/v1alpha1")


class Instance:
    """One instance of an app: how it answers can be changed while it runs."""

    def __init__(self, test, name):
        self.name, self.status, self.delay, self.headers = name, 200, 0, {}
        self.app = test.app({"*": self.answer})

    def answer(self, r):
        if self.delay:
            time.sleep(self.delay)
        return self.status, self.name, self.headers

    def calls(self):
        return len(self.app.got())


class Chain(harness.Case):
    """front -> a -> b -> c, with retries configured at each of the three hops."""

    def chain(self, pass_on=("traceparent",)):
        config, self.ids, self.apps, self.sidecars = self.hosts_config(), "abc", {}, {}
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "1ms", "maxRetries": 3}}},
            "targets": {"apps": {i: {"retry": "often"} for i in self.ids}}})
        self.status = 200

        def middle(me, to):
            def answer(r):
                headers = {k: r.headers[k] for k in pass_on}
                ok = self.sidecars[me].get(f"/v1.0/invoke/{to}/method/x", headers).status == 200
                return 200 if ok else 500, b""  # its own failure: nothing of the other one is passed on
            return answer
        on = {"a": middle("a", "b"), "b": middle("b", "c"), "c": lambda r: (self.status, b"")}
        for i in self.ids:
            self.apps[i] = self.app({"*": on[i]})
            self.sidecars[i] = self.sidecar(i, self.apps[i], config=config, resources=[policy])
        self.front = self.sidecar("front", config=config, resources=[policy])

    def ask(self, n):
        def one(_):
            parent = f"00-{os.urandom(16).hex()}-00f067aa0ba902b7-00"
            return self.front.get("/v1.0/invoke/a/method/x", {"traceparent": parent})
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(one, range(n)))

    def count(self):
        return [len(self.apps[i].got()) for i in self.ids]

    def test_only_the_hop_next_to_the_failure_retries(self):
        self.chain()
        self.assertEqual({r.status for r in self.ask(20)}, {200})
        self.assertEqual(self.count(), [20, 20, 20])
        self.status, calls = 500, 300
        answers = self.ask(calls)
        self.assertEqual({(r.status, r.headers.get("proa-retried")) for r in answers}, {(500, "1")})
        a, b, c = self.count()
        self.assertEqual((a, b), (20 + calls, 20 + calls))
        self.assertGreater(c, 20 + calls)
        for s, n in ((self.front, calls), (self.sidecars["a"], calls), (self.sidecars["b"], None)):
            self.assertEqual(s.metric("proa_traffic_retries_total", reason="marked") or None, n)
        self.assertLessEqual(c - 20, 1.2 * (20 + calls) + 20)  # and the floor
        self.status = 200
        self.assertEqual({r.status for r in self.ask(20)}, {200})

    def test_without_the_trace_each_hop_has_its_budget(self):
        self.chain(pass_on=())
        self.status = 500
        self.assertEqual({r.status for r in self.ask(100)}, {500})
        a, b, c = self.count()
        self.assertTrue(100 < a < b < c <= 100 + 3 * 40 + 60, (a, b, c))  # what the mark is for


class Traffic(harness.Case):
    def fleet(self, n=5, resources=(), app_id="orders"):
        self.config = self.hosts_config()
        self.instances = [Instance(self, f"i{k}") for k in range(n)]
        self.sidecars = [self.sidecar(app_id, i.app, config=self.config) for i in self.instances]
        self.caller = self.sidecar("caller", config=self.config, resources=list(resources))

    def more(self, app_id):
        """One instance of another app."""
        i = Instance(self, app_id)
        self.sidecar(app_id, i.app, config=self.config)
        return i

    def load(self, n, path="/x", method="GET", headers=None, threads=8):
        """n calls, some at a time; the answers."""
        def one(k):
            own = headers(k) if callable(headers) else headers
            return self.caller.call(method, PATH + path, None, own)
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(n)))

    def count(self):
        return [i.calls() for i in self.instances]

    def ejected(self):
        return self.caller.metric("proa_traffic_instance_ejected") or 0

    def load_until(self, what, condition):
        """Calls until that is so."""
        def step():
            self.load(20)
            return condition()
        until(what, step)

    def feed(self):
        return json.loads(self.caller.get("/proa/v1/feed").body)

    def test_all_instances_share_the_calls(self):
        self.fleet()
        answers = self.load(500)
        self.assertEqual({r.status for r in answers}, {200})
        for n in self.count():
            self.assertGreater(n, 50)
        shown = [i for i in self.feed()["instances"] if i["app"] == "orders"]
        self.assertEqual(len(shown), 5)
        self.assertEqual(sum(i["calls"] for i in shown), 500)
        self.assertEqual({i["state"] for i in shown}, {"ok"})
        self.assertEqual({i["inflight"] for i in shown}, {0})
        self.assertEqual(self.caller.metric("proa_traffic_instance_calls_total", dst_app_id="orders"), 500)

    def test_an_instance_that_fails_is_ejected_and_comes_back(self):
        self.fleet()
        self.load(50)
        sick = self.instances[2]
        sick.status = 500
        self.load_until("the sick one is ejected", lambda: self.ejected() == 1)
        self.assertIn("ejected", {i["state"] for i in self.feed()["instances"]})
        self.assertEqual([b["state"] for b in self.feed()["breakers"] if "orders@" in b["target"]], ["open"])
        before = sick.calls()
        answers = self.load(500)
        # What it still gets are probes, one for each time of ejection.
        self.assertLessEqual(sick.calls() - before, 4)
        self.assertLessEqual(sum(r.status != 200 for r in answers), 4)
        sick.status = 200
        self.load_until("it is back", lambda: self.ejected() == 0)
        before = sick.calls()
        self.load_until("it has calls again", lambda: sick.calls() > before + 5)

    def test_an_instance_that_is_20_times_slower_is_ejected(self):
        self.fleet()
        for i in self.instances:
            i.delay = 0.05
        self.load(200)
        sick = self.instances[1]
        sick.delay = 1
        self.load_until("the slow one is ejected", lambda: self.ejected() >= 1)
        shown = {i["address"]: i for i in self.feed()["instances"]}
        self.assertEqual(shown[f"127.0.0.1:{self.sidecars[1].internal}"]["state"], "ejected")
        before = sick.calls()
        self.load(500)
        self.assertLessEqual(sick.calls() - before, 5)

    def test_when_all_fail_all_are_used(self):
        self.fleet(3)
        self.load(30)
        for i in self.instances:
            i.status = 500
        self.load(200)
        for i in self.instances:
            i.status = 200
        before = self.count()
        answers = self.load(100)
        self.assertGreaterEqual(sum(r.status == 200 for r in answers), 99)
        self.assertGreater(sum(a > b for a, b in zip(self.count(), before)), 1)

    def test_no_idempotent_call_fails_when_an_instance_is_killed(self):
        self.fleet()
        for i in self.instances:
            i.delay = 0.003
        self.load(100)
        done, answers = threading.Event(), []
        def caller():
            while not done.is_set():
                answers.append(self.caller.get(PATH + "/killed").status)
        threads = [threading.Thread(target=caller) for _ in range(8)]
        for t in threads:
            t.start()
        for victim in (0, 3):
            n = len(answers)
            until("calls are under way", lambda: len(answers) > n + 100)
            self.sidecars[victim].expect = -signal.SIGKILL
            self.sidecars[victim].send_signal(signal.SIGKILL)
            self.sidecars[victim].wait_exit()
            n = len(answers)
            until("calls go on", lambda: len(answers) > n + 200)
        done.set()
        for t in threads:
            t.join()
        self.assertEqual(collections.Counter(answers).keys(), {200})

    def test_retries_of_a_failing_app_stay_within_the_budget(self):
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "1ms", "maxRetries": 3}}},
            "targets": {"apps": {"orders": {"retry": "often"}}}})
        self.fleet(3, [policy])
        self.assertEqual({r.status for r in self.load(20)}, {200})
        for i in self.instances:
            i.status = 500
        before, calls = sum(self.count()), 600
        answers = self.load(calls)
        self.assertEqual({r.status for r in answers}, {500})
        attempts = sum(self.count()) - before
        self.assertGreater(attempts, calls)
        self.assertLessEqual(attempts, 1.2 * (calls + 20) + 20)  # and the floor
        for i in self.instances:
            i.status = 200
        self.assertGreaterEqual(sum(r.status == 200 for r in self.load(100)), 99)

    def test_a_component_that_is_down_sees_few_retries(self):
        policy = resource("Resiliency", "r", {
            "policies": {"retries": {"often": {"policy": "constant", "duration": "1ms", "maxRetries": 9}}},
            "targets": {"apps": {"http://127.0.0.1:1": {"retry": "often"}}}})
        app = self.app({"*": (500, b"")})
        base = f"http://127.0.0.1:{app.port}"
        s = self.sidecar("caller", resources=[policy.replace("http://127.0.0.1:1", base)])
        for _ in range(300):
            s.get(f"/v1.0/invoke/{base}/method/x")
        self.assertGreater(len(app.got()), 300)
        self.assertLessEqual(len(app.got()), 1.2 * 300 + 20)  # and the floor

    def test_what_was_shed_is_tried_once_elsewhere(self):
        self.fleet(2)
        self.load(20)
        full = self.instances[0]
        full.status, full.headers = 503, {"proa-shed": "limit", "retry-after": "1"}
        answers = self.load(16, method="POST")
        self.assertEqual({r.status for r in answers}, {200})
        self.assertEqual(self.ejected(), 0)
        self.assertGreater(self.caller.metric("proa_traffic_retries_total", reason="shed"), 0)
        other = self.instances[1]
        other.status, other.headers = full.status, full.headers
        before = sum(self.count())
        r = self.caller.get(PATH + "/x")
        self.assertEqual((r.status, r.headers["proa-shed"], r.headers["retry-after"]), (503, "limit", "1"))
        self.assertEqual(sum(self.count()) - before, 2)

    def test_one_that_drains_is_left_at_once_and_serves_what_still_comes(self):
        self.config = self.hosts_config()
        self.instances = [Instance(self, f"i{k}") for k in range(2)]
        block = ["--dapr-block-shutdown-duration", "180s"]
        self.sidecars = [self.sidecar("orders", i.app, config=self.config, args=args)
                         for i, args in zip(self.instances, (block, []))]
        self.caller = self.sidecar("caller", config=self.config)
        self.load(20)
        one, i = self.sidecars[0], self.instances[0]
        one.send_signal(signal.SIGTERM)
        one.wait_log("Blocking graceful shutdown")
        states = lambda: {x["address"].rsplit(":", 1)[1]: x["state"] for x in self.feed()["instances"]}
        port = str(one.internal)
        answers = []

        def is_left():
            answers.extend(self.load(4))
            return states().get(port, "draining") == "draining"
        until("it is left", is_left)
        before = i.calls()
        answers += self.load(100)
        self.assertEqual(i.calls(), before)
        self.assertEqual({r.status for r in answers}, {200})
        self.assertFalse([r for r in answers if "proa-draining" in r.headers])
        one.expect = -signal.SIGKILL
        one.send_signal(signal.SIGKILL)

    def test_split_and_mirror(self):
        self.fleet(1, [traffic(apps=["orders"], split=[{"app": "orders", "weight": 80}, {"app": "next", "weight": 20}],
                               mirror={"app": "shadow", "percent": 50, "maxConcurrent": 100})])
        new, shadow = self.more("next"), self.more("shadow")
        answers = collections.Counter(r.body for r in self.load(400, headers={"x-a": "b"}))
        self.assertEqual(sum(answers.values()), 400)
        self.assertTrue(40 <= answers[b"next"] <= 120, answers)
        self.assertEqual(answers[b"next"], new.calls())
        def copies():
            return sum(self.caller.metric("proa_traffic_copies_total", kind=k) or 0 for k in ("mirror", "mirror-dropped"))
        self.assertTrue(140 <= copies() <= 260, copies())
        until("each copy has come", lambda: shadow.calls() == self.caller.metric("proa_traffic_copies_total", kind="mirror"))
        got = shadow.app.got()[0]
        self.assertEqual((got.headers["x-a"], got.headers["dapr-callee-app-id"]), ("b", "shadow"))
        self.assertIn(got.headers["proa-mirror"], ("orders", "next"))
        shadow.status = 500
        self.assertEqual({r.status for r in self.load(20)}, {200})

    def test_a_split_by_key_is_the_same_for_the_same_key(self):
        self.fleet(1, [traffic(apps=["orders"], hash={"header": "x-user"},
                               split=[{"app": "orders", "weight": 1}, {"app": "next", "weight": 1}])])
        self.more("next")
        seen = collections.defaultdict(set)
        for k, r in enumerate(self.load(200, headers=lambda k: {"x-user": f"u{k % 20}"})):
            seen[k % 20].add(r.body)
        self.assertEqual({len(s) for s in seen.values()}, {1})
        self.assertEqual(set().union(*seen.values()), {b"i0", b"next"})

    def test_hashing_keeps_a_key_at_its_instance(self):
        self.fleet(5, [traffic(apps=["orders"], hash={"header": "x-user", "query": "user", "boundedLoad": 400},
                               outliers={"slowFactor": 0})])  # a busy machine makes some seem slow
        seen = collections.defaultdict(set)
        for k, r in enumerate(self.load(400, headers=lambda k: {"x-user": f"u{k % 50}"}, threads=2)):
            seen[k % 50].add(r.body)
        self.assertEqual({len(s) for s in seen.values()}, {1})
        self.assertGreaterEqual(len(set().union(*seen.values())), 4)
        self.assertEqual({self.caller.get(PATH + "/x?user=u7").body}, seen[7])

    def test_sticky_sessions(self):
        self.fleet(5, [traffic(apps=["orders"], sticky={"cookie": "at", "ttl": "1h"}, outliers={"slowFactor": 0},
                               routes=[{"path": "/header/*", "sticky": {"cookie": "", "header": "x-at"}}])])
        first = self.caller.get(PATH + "/x")
        cookie = first.headers["set-cookie"]
        self.assertRegex(cookie, r"^at=[0-9a-f]{16}; Path=/; Max-Age=3600; HttpOnly$")
        answers = self.load(50, headers={"Cookie": "other=1; " + cookie.split(";")[0]})
        self.assertEqual({r.body for r in answers}, {first.body})
        self.assertTrue(all("set-cookie" not in r.headers for r in answers))
        first = self.caller.get(PATH + "/header/x")
        answers = self.load(50, "/header/x", headers={"x-at": first.headers["x-at"]})
        self.assertEqual({r.body for r in answers}, {first.body})
        gone = next(k for k, i in enumerate(self.instances) if i.name.encode() == first.body)
        self.sidecars[gone].stop()
        moved = self.caller.get(PATH + "/header/x", {"x-at": first.headers["x-at"]})
        self.assertEqual(moved.status, 200)
        self.assertNotEqual(moved.headers["x-at"], first.headers["x-at"])

    def test_a_hedge_answers_for_a_slow_instance(self):
        self.fleet(3, [traffic(apps=["orders"], hedge={"enabled": True, "after": "20ms"},
                               outliers={"slowFactor": 0})])
        self.load(60)
        self.instances[0].delay = 0.4
        answers = self.load(200, threads=2)
        self.assertEqual({r.status for r in answers}, {200})
        sent = self.caller.metric("proa_traffic_copies_total", kind="hedge")
        self.assertGreaterEqual(sent, 1)
        self.assertLessEqual(sent, 0.05 * 260)
        self.assertGreaterEqual(self.caller.metric("proa_traffic_copies_total", kind="hedge-won"), 1)
        before = sent
        self.load(30, method="POST", threads=3)
        self.assertEqual(self.caller.metric("proa_traffic_copies_total", kind="hedge"), before)

    def test_traffic_is_reloaded_while_it_serves(self):
        self.fleet(1, [traffic(apps=["orders"], split=[{"app": "orders", "weight": 1}])])
        self.more("next")
        self.assertEqual({r.body for r in self.load(20)}, {b"i0"})
        path = os.path.join(self.caller.resources, "r0.yaml")
        with open(path + ".tmp", "w", encoding="utf-8") as f:
            f.write(traffic(apps=["orders"], split=[{"app": "next", "weight": 1}]))
        os.rename(path + ".tmp", path)
        until("the new split counts", lambda: {r.body for r in self.load(10)} == {b"next"})
        self.assertEqual(self.caller.log().count("dapr initialized"), 1)
        os.unlink(path)
        until("no split any more", lambda: {r.body for r in self.load(10)} == {b"i0"})


if __name__ == "__main__":
    harness.main()
