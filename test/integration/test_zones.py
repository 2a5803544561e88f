#!/usr/bin/env python3
"""Zones: calls stay near, a zone's loss is survived, its return is no herd. See docs/zones.md."""
import json
import os
import signal
import time

import harness
from harness import component, resource, until
from zone_fleet import ZONES, Fleet, Load, failed, local, shares

MOST_FAILED = 0.001  # of the idempotent calls
LOCAL = 0.98


class Zones(harness.Case):
    def start(self, **more):
        self.fleet = Fleet(self, **more)
        self.addCleanup(lambda: getattr(self, "load", None) and self.load.end())
        return self.fleet

    def run_load(self, **more):
        self.load = Load(self.fleet, **more)
        return self.load

    def assertFew(self, results):
        bad = failed(results)
        self.assertLessEqual(len(bad), len(results) * MOST_FAILED, f"{len(results)} calls, failed: {bad[:5]}")

    def assertFair(self, results, caller, zones):
        got = shares(results, caller)
        self.assertEqual(set(got), set(zones), got)
        for z in zones:
            self.assertAlmostEqual(got[z], 1 / len(zones), delta=0.1 / len(zones) + 0.03, msg=got)

    def test_calls_stay_in_their_zone(self):
        self.start()
        results = self.run_load().wait(700)
        self.load.end()
        self.assertEqual(failed(results), [])
        self.assertGreaterEqual(local(results), LOCAL)
        for z in ZONES:
            s = self.fleet.callers[z]
            zones = json.loads(s.get("/proa/v1/feed").body)["zones"]
            self.assertEqual((zones["own"], zones["region"]), (z, "eu"))
            self.assertGreaterEqual(zones["calls"][z], LOCAL * sum(zones["calls"].values()))
            self.assertEqual(s.metric("proa_zone_calls_total", zone=z, region="eu"), zones["calls"][z])
            self.assertEqual(s.metric("proa_zone_share_permille", zone=z, target_app_id="callee"), 1000)

    def test_a_killed_zone_is_replaced_by_the_others_fairly_and_comes_back_step_by_step(self):
        self.start(ramp="20s")
        load = self.run_load()
        load.wait(300)
        begin = load.mark()
        for s in self.fleet.callees["a"]:
            s.expect = -signal.SIGKILL
            s.send_signal(signal.SIGKILL)
        load.wait_for("nothing goes to a", lambda r: all(x.zone != "a" for x in r))
        after = load.wait(1500, of=("a",))
        self.assertFew(load.results[begin:])
        self.assertFair(after, "a", ("b", "c"))
        for z in ("b", "c"):
            self.assertGreaterEqual(local(after, z), LOCAL - 0.03)

        for s in self.fleet.callees["a"]:
            s.process.wait(30)
            s.expect = 0
            s.start()
        back = load.mark()
        until("a answers again", lambda: any(r.zone == "a" for r in load.results[back:]), timeout=60)
        with load.lock:
            first = next(i for i, r in enumerate(load.results) if i >= back and r.zone == "a")
        beginning = [r for r in load.wait(60, of=("a",), since=first) if r.caller == "a"][:60]
        self.assertLess(local(beginning), 0.7, "a herd")
        load.wait_for("a is local again", lambda r: local(r, "a") >= LOCAL, of=("a",))
        load.end()
        self.assertFew(load.results[begin:])

    def test_a_zone_that_is_cut_off_fails_few_calls(self):
        self.start()
        load = self.run_load()
        load.wait(1000)
        for s in self.fleet.callees["b"]:
            s.freeze()
        self.addCleanup(self.thaw, "b")
        load.wait_for("nothing goes to b", lambda r: all(x.zone != "b" for x in r))
        after = load.wait(1000, of=("b",))
        self.assertFair(after, "b", ("a", "c"))
        self.thaw("b")
        load.wait_for("b is local again", lambda r: local(r, "b") >= LOCAL, of=("b",))
        load.end()
        self.assertFew(load.results)

    def thaw(self, zone):
        for s in self.fleet.callees[zone]:
            s.send_signal(signal.SIGCONT)

    def test_a_zone_that_leaves_fails_no_call(self):
        self.start()
        load = self.run_load(method="POST")
        load.wait(200)
        for s in self.fleet.callees["c"]:
            s.send_signal(signal.SIGTERM)
        load.wait_for("nothing goes to c", lambda r: all(x.zone != "c" for x in r))
        load.end()
        self.assertEqual(failed(load.results), [])

    def test_a_zone_with_too_many_calls_is_helped_by_the_others_for_as_long(self):
        self.start(places=4, work=lambda: time.sleep(0.02))  # a zone does 8 at once
        calm = self.run_load(threads=1)
        self.assertGreaterEqual(local(calm.wait(100)), LOCAL)
        spike = Load(self.fleet, zones=("a",), threads=16)
        self.addCleanup(spike.end)

        def helped(r):
            got = shares(r, "a")
            return got.get("a", 0) > 0.3 and min(got.get("b", 0), got.get("c", 0)) > 0.1
        spike.wait_for("b and c help", helped, window=200, of=("a",))
        during = calm.wait(60)
        for z in ("b", "c"):
            self.assertGreaterEqual(local(during, z), 0.9)
        spike.end()
        calm.wait_for("a does its own calls again", lambda r: local(r, "a") >= LOCAL, of=("a",))
        calm.end()
        self.assertEqual(failed(calm.results + spike.results), [])

    def test_nothing_published_is_lost_with_a_zone(self):
        """The queue is a file that all zones of this machine share: who is left goes on with it."""
        path, hosts = os.path.join(self.directory(), "q.db"), self.hosts_config()
        bus = component("bus", "pubsub.sqlite", connectionString=path, consumerID="workers", visibilityTimeout="5s")
        topic = resource("Subscription", "s", {"pubsubname": "bus", "topic": "t", "route": "/t"})
        apps = {z: self.app() for z in ZONES}
        workers = {z: self.sidecar("worker", apps[z], config=hosts, resources=[bus, topic], args=["--zone", z],
                                   directory=os.path.join(self.directory(), z)) for z in ZONES}
        publisher = self.sidecar("publisher", config=hosts, resources=[bus])
        for n in range(300):
            if n == 100:
                workers["a"].expect = -signal.SIGKILL
                workers["a"].send_signal(signal.SIGKILL)
            r = publisher.post("/v1.0/publish/bus/t", str(n), {"Content-Type": "application/json"})
            self.assertEqual(r.status, 204)

        def got():
            return {r.json()["data"] for app in apps.values() for r in app.got("/t")}

        until("all events are delivered", lambda: got() == set(range(300)), timeout=60)

    def test_without_zones_calls_go_everywhere(self):
        fleet = self.start()
        lost = self.sidecar("lost", config=fleet.config, resources=fleet.resources)
        fleet.callers["a"] = lost
        results = self.run_load(zones=("a",)).wait(600, of=("a",))
        self.load.end()
        for z in ZONES:  # by load, not by zone: a third each only where all are as quick
            self.assertGreater(sum(r.zone == z for r in results), len(results) / 6)


if __name__ == "__main__":
    harness.main()
