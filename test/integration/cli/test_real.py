#!/usr/bin/env python3
"""'proa run' with the real sidecar: what the run promises about events when things are killed or stopped.

PROA is the binary that is installed. Uses the stub tests' way of starting and watching a run.
"""
import http.client
import json
import os
import signal
import unittest

from test_run import Run, free_port, until

APP = '''
import http.server, json, os, threading, time
me = os.environ["APP_ID"]
one_by_one = threading.Lock()
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def out(self, code, body=b""):
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        subscriptions = [{"pubsubname": "bus", "topic": "t", "route": "/t"}] if me == "sink" else []
        self.out(200, json.dumps(subscriptions).encode())
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
            with one_by_one:
                time.sleep(float(os.environ.get("SLOW", "0")))
                with open(os.environ["SEEN"], "a") as f:
                    f.write(str(json.loads(body)["data"]["n"]) + "\\n")
        self.out(200, body if self.path == "/echo" else b"")
    def do_OPTIONS(self):
        self.out(404)
    def log_message(self, *a):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), H).serve_forever()
'''

COMPONENTS = '''
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: { name: bus }
spec:
  type: pubsub.sqlite
  version: v1
  metadata:
    - { name: connectionString, value: %(dir)s/bus.db }
    - { name: visibilityTimeout, value: 2s }
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: { name: state }
spec:
  type: state.sqlite
  version: v1
  metadata: [{ name: connectionString, value: %(dir)s/state.db }]
'''

TEMPLATE = '''
    version: 1
    name: real
    common: { resourcesPath: res }
    apps:
      - { appID: source, appDirPath: orders, appPort: %d, command: [PYTHON, ../app.py] }
      - appID: sink
        appDirPath: stock
        appPort: %d
        command: [PYTHON, ../app.py]
        env: { SEEN: ../seen, SLOW: "%s" }
'''


class Real(Run):
    def __init__(self, test, slow="0", into=None, args=()):
        self.slow, self.into = slow, into
        super().__init__(test, "-f", ".", *args, template=TEMPLATE % (free_port(), free_port(), slow),
                         directory=into)

    def prepare(self):
        with open(os.path.join(self.dir, "app.py"), "w") as f:
            f.write(APP)
        os.makedirs(os.path.join(self.dir, "res"), exist_ok=True)
        with open(os.path.join(self.dir, "res", "all.yaml"), "w") as f:
            f.write(COMPONENTS % {"dir": self.dir})

    def seen(self):
        try:
            with open(os.path.join(self.dir, "seen")) as f:
                return [int(line) for line in f.read().split()]
        except FileNotFoundError:
            return []

    def connect(self):
        port = next(i["http_port"] for i in self.instances() if i["name"] == "source-1")
        return http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def api(self, method, path, body=None, connection=None):
        c = connection or self.connect()
        c.request(method, path, body, {"content-type": "application/json"})
        r = c.getresponse()
        answer = r.read()
        if not connection:
            c.close()
        return r.status, answer

    def publish(self, numbers):
        c = self.connect()
        for n in numbers:
            status, answer = self.api("POST", "/v1.0/publish/bus/t", json.dumps({"n": n}), c)
            assert status == 204, answer
        c.close()


class RealRuns(unittest.TestCase):
    def test_two_services_find_each_other_and_the_page_shows_it(self):
        run = Real(self)
        run.wait_healthy(2)
        self.assertEqual(run.api("POST", "/v1.0/invoke/sink/method/echo", '{"a":1}'), (200, b'{"a":1}'))
        self.assertEqual(run.api("POST", "/v1.0/state/state", '[{"key":"k","value":5}]')[0], 204)
        self.assertEqual(run.api("GET", "/v1.0/state/state/k"), (200, b"5"))
        run.publish(range(5))
        until("delivered", lambda: sorted(run.seen()) == list(range(5)))

        def edges():
            found = {(e["from"], e["to"], e["kind"]): e["total"] for e in run.feed()["edges"]}
            return found if ("topic:bus/t", "sink", "deliver") in found else None
        found = until("edges", edges)
        self.assertEqual(found[("source", "sink", "invoke")], 1)
        self.assertEqual(found[("source", "topic:bus/t", "publish")], 5)
        self.assertEqual(found[("source", "store:state@source", "state")], 2)
        self.assertEqual({r["name"] for r in run.feed()["resources"]}, {"bus", "state"})
        r = run.command("publish", "-i", "source", "-p", "bus", "-t", "t", "-d", '{"n":99}')
        self.assertEqual(r.returncode, 0, r.stderr)
        until("the command's event", lambda: 99 in run.seen())
        r = run.command("invoke", "-a", "sink", "-m", "echo", "-d", '"hi"')
        self.assertEqual((r.returncode, r.stdout), (0, '"hi"'), r.stderr)

    def test_faults_are_added_shown_and_removed_by_proa_chaos(self):
        run = Real(self, args=["--enable-chaos"])
        run.wait_healthy(2)
        self.assertEqual(run.api("POST", "/v1.0/invoke/sink/method/echo", "1"), (200, b"1"))
        r = run.command("chaos", "add", "busy", "--error", "418", "--app", "sink", "--method", "POST /echo", "--for", "1h")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(run.api("POST", "/v1.0/invoke/sink/method/echo", "1")[0], 418)
        self.assertEqual(run.command("chaos", "add", "--delay", "1ms-2ms", "--from", "source").returncode, 0)
        faults = {f["name"]: f for f in json.loads(run.command("chaos", "list", "--json").stdout)}
        self.assertEqual({n: (f["what"], f["app"], f["injected"], f["sidecars"]) for n, f in faults.items()},
                         {"busy": ("error 418", "sink", 1, 2), "delay": ("delay 1-2 ms", "", 0, 1)})
        self.assertTrue(3000 < faults["busy"]["left_s"] <= 3600, faults)
        r = run.command("chaos", "list", "--from", "source")
        self.assertIn("error 418", r.stdout)
        self.assertEqual(run.command("chaos", "remove", "delay").returncode, 0, "one of them hasn't got it")
        self.assertEqual(run.command("chaos", "remove", "busy").returncode, 0)
        self.assertEqual(run.command("chaos", "list").stdout, "no faults\n")
        self.assertEqual(run.api("POST", "/v1.0/invoke/sink/method/echo", "1"), (200, b"1"))
        for args, want in ((["remove", "nobody"], "no fault is called"), (["add", "--error", "200"], "status"),
                           (["list", "--from", "nobody"], "no sidecar")):
            r = run.command("chaos", *args)
            self.assertEqual(r.returncode, 1)
            self.assertIn(want, r.stderr)
        for args in (["add"], ["add", "--reset", "--blackhole"], ["remove"], ["lst"], []):
            self.assertEqual(run.command("chaos", *args).returncode, 2, args)

    def test_without_enable_chaos_proa_chaos_is_refused(self):
        run = Real(self)
        run.wait_healthy(2)
        r = run.command("chaos", "add", "--reset")
        self.assertEqual(r.returncode, 1)
        self.assertIn("--enable-chaos", r.stderr)

    def test_no_event_is_lost_when_the_consumer_is_killed(self):
        run = Real(self, slow="0.005")
        run.wait_healthy(2)
        token = run.control()["token"]
        for i, target in enumerate(("app", "sidecar", "app", "sidecar")):
            run.publish(range(i * 50, i * 50 + 50))
            r, body = run.request("POST", f"/control/kill?app=sink&target={target}", token=token)
            self.assertEqual(r.status, 200, body)
            until("it's back", lambda: run.instances()[1]["restarts"] == i + 1 and
                  run.instances()[1]["state"] == "healthy")
        until("all events", lambda: set(run.seen()) == set(range(200)))

    def test_an_orderly_stop_delivers_each_event_once(self):
        run = Real(self, slow="0.01")
        run.wait_healthy(2)
        run.publish(range(300))
        until("some are done", lambda: len(run.seen()) > 10)
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.process.wait(30), 0, run.log())
        done = len(run.seen())
        self.assertLess(done, 300, "it was stopped in the middle")
        again = Real(self, into=run.dir)
        again.wait_healthy(2)
        until("the rest", lambda: set(again.seen()) == set(range(300)))
        self.assertEqual(len(again.seen()), 300, "none came twice")


if __name__ == "__main__":
    unittest.main()
