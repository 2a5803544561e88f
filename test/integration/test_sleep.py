#!/usr/bin/env python3
"""An app that sleeps: its sidecar holds what comes for it until whoever started it has brought it back."""
import json
import unittest

import harness
from harness import until
from test_overload import Background, Gate


class Sleep(harness.Case):
    def asleep(self, s):
        return json.loads(s.get("/proa/v1/feed").body)["sleep"]

    def test_calls_wait_for_a_sleeping_app_and_are_answered_when_it_is_back(self):
        app = self.app({"/hi": (200, b"hello")})
        s = self.sidecar("sleeper", app)
        port = app.port
        self.assertEqual(s.post("/proa/v1/sleep").status, 200)
        app.close()
        calls = [Background(s.get, "/v1.0/invoke/sleeper/method/hi") for _ in range(5)]
        until("they wait", lambda: self.asleep(s) == {"asleep": True, "waiting": 5})
        self.assertEqual(s.metric("proa_scale_waiting"), 5)
        self.assertEqual(s.post("/proa/v1/wake").status, 204)
        self.app({"/hi": (200, b"again")}, port=port)
        self.assertEqual([c.done().body for c in calls], [b"again"] * 5)
        self.assertEqual(self.asleep(s), {"asleep": False, "waiting": 0})

    def test_app_at_work_is_not_put_to_sleep(self):
        gate = Gate()
        s = self.sidecar("sleeper", self.app({"/slow": gate, "/hi": (200, b"hello")}))
        self.addCleanup(gate.let, 1000)
        first = Background(s.get, "/v1.0/invoke/sleeper/method/slow")
        until("it's inside", lambda: gate.inside == 1)
        sleep = Background(s.post, "/proa/v1/sleep")
        until("the door is shut", lambda: self.asleep(s)["asleep"])
        second = Background(s.get, "/v1.0/invoke/sleeper/method/hi")
        self.assertEqual(sleep.done().status, 409, "somebody came")
        self.assertEqual(second.done().body, b"hello")
        gate.let()
        self.assertEqual(first.done().status, 200)

    def test_sidecar_without_an_app_has_nothing_that_could_sleep(self):
        s = self.sidecar("alone")
        self.assertEqual(s.post("/proa/v1/sleep").status, 409)


if __name__ == "__main__":
    unittest.main()
