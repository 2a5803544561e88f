#!/usr/bin/env python3
"""proa scaler: KEDA's external scaler, asked as KEDA asks it, over sidecars that it finds by their addresses.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly.
"""
import os
import re
import signal
import subprocess
import unittest

from harness import PROA, resource, until
from test_grpc import GrpcCase, grpc
from test_overload import Background, Gate
from wire import field, parse

SERVICE = "externalscaler.ExternalScaler"


def scale(**spec):
    return resource("Scale", "work", spec, version="proa.dev/v1alpha1", scopes=["work"])


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Scaler(GrpcCase):
    def scaler(self, *resources):
        path = os.path.join(self.directory(), "scale")
        os.makedirs(path, exist_ok=True)
        for i, text in enumerate(resources):
            with open(os.path.join(path, f"{i}.yaml"), "w") as f:
                f.write(text)
        process = subprocess.Popen([PROA, "scaler", "--address", "127.0.0.1:0", "-d", path],
                                   stdout=subprocess.PIPE, text=True)
        def end():
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)
            process.stdout.close()
        self.addCleanup(end)
        port = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[1]
        self.channel = self.channel_of(port)

    def ask(self, method, ref, wrap=False):
        return self.rpc(method, field(1, ref) if wrap else ref, service=SERVICE)

    def ref(self, *sidecars, app="work"):
        address = ",".join(f"127.0.0.1:{s.metrics_port}" for s in sidecars)
        entries = [field(1, "app") + field(2, app), field(1, "address") + field(2, address)]
        return field(1, "work") + field(2, "default") + b"".join(field(3, e) for e in entries)

    def wanted(self, ref):
        return parse(self.ask("GetMetrics", ref, wrap=True)[1][0])[2][0]

    def test_instances_follow_what_the_sidecars_are_asked_for(self):
        gate = Gate()
        app = self.app({"/slow": gate})
        sidecars = [self.sidecar("work", app) for _ in range(2)]
        self.addCleanup(gate.let, 1000)
        self.scaler(scale(max=6, metrics=[{"type": "concurrency", "target": 1}],
                          stableWindow="2s", panicWindow="400ms", scaleDownDelay="0s"))
        ref = self.ref(*sidecars)
        spec = parse(self.ask("GetMetricSpec", ref)[1][0])
        self.assertEqual((spec[1][0], spec[2][0]), (b"proa-instances", 1))
        self.assertEqual(self.ask("IsActive", ref)[1][0], 1)
        calls = [Background(sidecars[i % 2].get, "/v1.0/invoke/work/method/slow") for i in range(5)]
        until("five wanted", lambda: self.wanted(ref) == 5)
        gate.let(5)
        for c in calls:
            self.assertEqual(c.done().status, 200)
        until("one wanted", lambda: self.wanted(ref) == 1)

    def test_idle_app_that_may_go_to_zero_is_told_inactive_as_it_happens(self):
        s = self.sidecar("work", self.app({"/hi": (200, b"hello")}))
        self.scaler(scale(min=0, stableWindow="1s", panicWindow="400ms", scaleDownDelay="0s", zeroGrace="300ms"))
        stream = self.channel.unary_stream(f"/{SERVICE}/StreamIsActive")(self.ref(s), timeout=60)
        self.addCleanup(stream.cancel)
        seen = []
        for message in stream:
            seen.append(parse(message).get(1, [0])[0])
            if seen[-1] == 0:
                break
        self.assertEqual(seen, [1, 0])

    def test_sidecars_that_dont_answer_change_nothing(self):
        s = self.sidecar("work", self.app({"/hi": (200, b"hello")}))
        self.scaler(scale(min=0, stableWindow="1s", panicWindow="400ms", scaleDownDelay="0s", zeroGrace="0s"))
        class Gone:
            metrics_port = 1
        self.assertEqual(self.wanted(self.ref(Gone)), 1)

    def test_what_is_wrong_is_told(self):
        self.scaler(scale(min=3, max=2))
        self.assertCode(self.refused("IsActive", field(1, "x"), service=SERVICE), "INVALID_ARGUMENT", "needs app")
        ref = field(3, field(1, "app") + field(2, "work"))
        self.assertCode(self.refused("IsActive", ref, service=SERVICE), "INVALID_ARGUMENT", "0.yaml:")
        self.assertCode(self.refused("Nothing", ref, service=SERVICE), "UNIMPLEMENTED", "no such method")
        self.assertCode(self.refused("GetMetrics", b"", service=SERVICE), "INVALID_ARGUMENT", "scaledObjectRef")


if __name__ == "__main__":
    unittest.main()
