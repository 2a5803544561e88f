#!/usr/bin/env python3
"""'proa run' with kind Scale and the real sidecar: instances come and go, an app sleeps and wakes, and is
restarted one by one. What is asserted is what happened, and that no call failed; never how long it took.
"""
import http.client
import json
import os
import threading
import unittest

from test_run import Run, free_port, until

APP = '''
import http.server, json, os, signal, threading, time
me = os.environ["APP_ID"]
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def out(self, code, body=b""):
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        subscriptions = [{"pubsubname": "bus", "topic": "t", "route": "/t"}] if me == "work" else []
        self.out(200, json.dumps(subscriptions).encode() if self.path == "/dapr/subscribe" else b"hello")
    def read(self):
        if "chunked" not in (self.headers.get("transfer-encoding") or ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b""
        while n := int(self.rfile.readline(), 16):
            body += self.rfile.read(n)
            self.rfile.readline()
        self.rfile.readline()
        return body
    def do_POST(self):
        body = self.read()
        if self.path == "/t":
            with open("../seen", "a") as f:
                f.write(str(json.loads(body)["data"]["n"]) + "\\n")
        time.sleep(float(os.environ.get("TAKES", "0.05")))
        self.out(200, str(os.getpid()).encode())
    def log_message(self, *a):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), H).serve_forever()
'''

RESOURCES = '''
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: { name: bus }
spec:
  type: pubsub.sqlite
  version: v1
  metadata: [{ name: connectionString, value: %(dir)s/bus.db }]
---
apiVersion: proa.dev/v1alpha1
kind: Scale
metadata: { name: work }
scopes: [work]
spec:
%(spec)s
'''

TEMPLATE = '''
    version: 1
    name: scale
    common: { resourcesPath: res }
    apps:
      - { appID: front, appDirPath: orders, appPort: 0, command: [sleep, "1000"] }
      - appID: work
        appDirPath: stock
        appPort: %d
        instances: %d
        command: [PYTHON, ../app.py]
'''

SPEC = '''
  min: %d
  max: 4
  metrics: [{ type: concurrency, target: 2 }]
  stableWindow: 1s
  panicWindow: 500ms
  scaleDownDelay: 500ms
  zeroGrace: 500ms
'''


class Scaled(Run):
    def __init__(self, test, minimum, instances=1, spec=SPEC):
        self.spec = spec % minimum
        super().__init__(test, "-f", ".", template=TEMPLATE % (free_port(), instances))

    def prepare(self):
        with open(os.path.join(self.dir, "app.py"), "w") as f:
            f.write(APP)
        os.makedirs(os.path.join(self.dir, "res"), exist_ok=True)
        self.write_resources(self.spec)

    def write_resources(self, spec):
        with open(os.path.join(self.dir, "res", "all.yaml"), "w") as f:
            f.write(RESOURCES % {"dir": self.dir, "spec": spec})

    def of(self, app):
        return [i for s in self.feed()["services"] if s["id"] == app for i in s["instances"]]

    def scale(self):
        return next((s for s in self.feed()["scale"] if s["app"] == "work"), None)

    def connect(self):
        port = self.of("front")[0]["http_port"]
        return http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def seen(self):
        try:
            with open(os.path.join(self.dir, "seen")) as f:
                return [int(line) for line in f.read().split()]
        except FileNotFoundError:
            return []


class Load:
    """Callers that call 'work' through the sidecar of 'front', each one call after the other."""

    def __init__(self, run, callers):
        self.run, self.ending, self.calls, self.failed, self.pids = run, False, 0, [], set()
        self.threads = [threading.Thread(target=self.call) for _ in range(callers)]
        for t in self.threads:
            t.start()

    def call(self):
        c = self.run.connect()
        while not self.ending:
            c.request("POST", "/v1.0/invoke/work/method/do", b"x")
            r = c.getresponse()
            body = r.read()
            self.calls += 1
            if r.status != 200:
                self.failed.append((r.status, body))
            else:
                self.pids.add(body)
        c.close()

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join()


class ScaleTest(unittest.TestCase):
    def check(self, run, load):
        self.assertEqual(load.failed, [], run.log())
        self.assertGreater(load.calls, 0)

    def test_instances_come_with_the_load_and_go_with_it_and_no_call_fails(self):
        run = Scaled(self, 1)
        run.wait_healthy(2)
        load = Load(run, 8)
        until("more instances", lambda: len(run.of("work")) == 4)
        until("all of them work", lambda: len(load.pids) >= 4)
        load.end()
        self.check(run, load)
        one = Load(run, 1)
        until("back to one", lambda: [i["name"] for i in run.of("work")] == ["work-1"])
        one.end()
        self.check(run, one)
        s = run.scale()
        self.assertEqual((s["min"], s["max"], s["metric"]), (1, 4, "concurrency"))
        self.assertEqual(run.process.poll(), None)

    def test_restart_one_by_one_fails_no_call(self):
        run = Scaled(self, 2, instances=2)
        run.wait_healthy(3)
        load = Load(run, 4)
        until("both work", lambda: len(load.pids) == 2)
        before = {i["name"]: i["pid"] for i in run.of("work")}
        r = run.command("restart", "work")
        self.assertEqual((r.returncode, r.stdout), (0, "work: restarted\n"), r.stderr)
        until("only new ones", lambda: {i["name"] for i in run.of("work")} >= set(before) and
              not {i["pid"] for i in run.of("work")} & set(before.values()))
        load.pids.clear()
        until("they work", lambda: load.pids)
        load.end()
        self.check(run, load)

    def test_idle_app_sleeps_and_the_first_call_is_answered(self):
        run = Scaled(self, 0)
        run.wait_healthy(2)
        for _ in range(2):
            until("it sleeps", lambda: run.of("work")[0]["state"] == "asleep")
            self.assertEqual(run.of("work")[0]["pid"], 0)
            until("the feed says so", lambda: run.scale()["instances"] == 0)
            c = run.connect()
            c.request("POST", "/v1.0/invoke/work/method/do", b"x")
            r = c.getresponse()
            pid = r.read()
            self.assertEqual(r.status, 200, pid)
            until("it's up", lambda: run.of("work")[0]["pid"] == int(pid) or run.of("work")[0]["pid"] == 0)
            c.close()

    def test_event_wakes_a_sleeping_app(self):
        run = Scaled(self, 0)
        run.wait_healthy(2)
        until("it sleeps", lambda: run.of("work")[0]["state"] == "asleep")
        c = run.connect()
        for n in range(5):
            c.request("POST", "/v1.0/publish/bus/t", json.dumps({"n": n}), {"content-type": "application/json"})
            r = c.getresponse()
            r.read()
            self.assertEqual(r.status, 204)
        c.close()
        until("delivered", lambda: sorted(run.seen()) == list(range(5)))

    def test_calls_while_it_falls_asleep_and_wakes_never_fail(self):
        run = Scaled(self, 0, spec=SPEC.replace("zeroGrace: 500ms", "zeroGrace: 200ms").replace("Delay: 500ms", "Delay: 0s")
                     .replace("stableWindow: 1s", "stableWindow: 400ms").replace("panicWindow: 500ms", "panicWindow: 400ms"))
        run.wait_healthy(2)
        c, pids = run.connect(), set()
        def call():
            c.request("POST", "/v1.0/invoke/work/method/do", b"x")
            r = c.getresponse()
            pid = r.read()
            self.assertEqual(r.status, 200, pid)
            pids.add(pid)
            return len(pids) >= 4
        for pause in range(200):
            if call():
                break
            threading.Event().wait(0.05 * (pause % 20))
        self.assertGreaterEqual(len(pids), 2, "it slept in between")
        c.close()

    def test_restart_wants_a_token_and_an_app(self):
        run = Scaled(self, 1)
        run.wait_healthy(2)
        token = run.control()["token"]
        self.assertEqual(run.request("POST", "/control/restart?app=work")[0].status, 401)
        self.assertEqual(run.request("POST", "/control/restart?app=none", token=token)[0].status, 404)
        r = run.command("restart", "none")
        self.assertEqual(r.returncode, 1)
        self.assertIn("there is no such app", r.stderr)
        r = run.command("status")
        self.assertRegex(r.stdout, r"(?m)^work +1 +1 +1 +4 +concurrency ")

    def test_rule_that_changes_counts_at_once(self):
        run = Scaled(self, 1)
        run.wait_healthy(2)
        run.write_resources(SPEC % 3)
        until("three", lambda: len(run.of("work")) == 3)
        run.write_resources("  min: nonsense\n")
        run.wait_log('nonsense.. is not a whole number')
        self.assertEqual(run.scale()["min"], 3, "what is wrong changes nothing")


if __name__ == "__main__":
    unittest.main()
