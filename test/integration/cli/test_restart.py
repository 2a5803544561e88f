#!/usr/bin/env python3
"""'proa restart' with the real sidecar, under load that never pauses: callers over HTTP, over the gRPC API and
proxied to a gRPC app, and events on their way. No call fails, and each event is done once.

Needs grpcio (requirements.txt); where it isn't there the tests are skipped visibly.
"""
import itertools
import json
import os
import sys

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import http.client
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from test_run import Run, free_port, until
from test_scale import APP
from wire import field, parse

RPC_APP = '''
import concurrent.futures, grpc, os, time
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.look) if details.method == "/shop.Stock/Look" else None
    def look(self, data, context):
        time.sleep(0.05)
        return str(os.getpid()).encode()
server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((Handler(),))
server.add_insecure_port("127.0.0.1:" + os.environ["APP_PORT"])
server.start()
server.wait_for_termination()
'''

TEMPLATE = '''
    version: 1
    name: restart
    common: { resourcesPath: res }
    apps:
      - { appID: front, appDirPath: orders, appPort: 0, daprGRPCPort: %d, command: [sleep, "1000"] }
      - { appID: work, appDirPath: stock, appPort: %d, instances: 2, command: [PYTHON, ../app.py] }
      - { appID: rpc, appDirPath: stock, appPort: %d, appProtocol: grpc, instances: 2, command: [PYTHON, ../rpc_app.py] }
'''

BUS = '''
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: { name: bus }
spec:
  type: pubsub.sqlite
  version: v1
  metadata: [{ name: connectionString, value: %s/bus.db }]
'''


class Shop(Run):
    def __init__(self, test):
        self.grpc = free_port()
        super().__init__(test, "-f", ".", template=TEMPLATE % (self.grpc, free_port(), free_port()))
        self.wait_healthy(5)
        self.http = self.of("front")[0]["http_port"]

    def prepare(self):
        os.makedirs(os.path.join(self.dir, "res"), exist_ok=True)
        for name, text in (("app.py", APP), ("rpc_app.py", RPC_APP), ("res/bus.yaml", BUS % self.dir)):
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)

    def of(self, app):
        return [i for s in self.feed()["services"] if s["id"] == app for i in s["instances"]]

    def seen(self):
        try:
            with open(os.path.join(self.dir, "seen")) as f:
                return [int(line) for line in f.read().split()]
        except FileNotFoundError:
            return []


class Load:
    """Threads that call again and again: one(n) gives the pid that answered, or raises."""

    def __init__(self, test, make, threads=2):
        self.ending, self.calls, self.failed, self.pids = False, 0, [], set()
        self.number, self.lock = itertools.count(), threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(make,)) for _ in range(threads)]
        for t in self.threads:
            t.start()
        test.addCleanup(self.end)

    def work(self, make):
        one = make()
        while not self.ending:
            try:
                pid, why = one(next(self.number)), None
            except Exception as e:  # whatever it is, the call has failed
                pid, why = None, repr(e)
            with self.lock:
                self.calls += 1
                if why:
                    self.failed.append(why)
                elif pid:
                    self.pids.add(pid)

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join()


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class RestartTest(unittest.TestCase):
    def setUp(self):
        self.run_ = Shop(self)

    # ---- callers ----

    def over_http(self, path, body=lambda n: b"x", want=200):
        def make():
            c = http.client.HTTPConnection("127.0.0.1", self.run_.http, timeout=60)
            self.addCleanup(c.close)

            def one(n):
                c.request("POST", path, body(n), {"content-type": "application/json"})
                r = c.getresponse()
                answer = r.read()
                if r.status != want:
                    raise AssertionError(f"{r.status} {answer!r}")
                return answer.decode()
            return one
        return make

    def unary(self, method, data, metadata=None):
        """A call of the gRPC API, or of a service behind it, on a channel of its own."""
        def make():
            channel = grpc.insecure_channel(f"127.0.0.1:{self.run_.grpc}", [("grpc.use_local_subchannel_pool", 1)])
            self.addCleanup(channel.close)
            call = channel.unary_unary(method)
            return lambda n: call(data, timeout=60, metadata=metadata)
        return make

    def over_grpc(self):
        request = field(1, "work") + field(3, field(1, "do") + field(2, field(2, b"x")) + field(4, field(1, 3)))
        make = self.unary("/dapr.proto.runtime.v1.Dapr/InvokeService", request)

        def made():
            one = make()
            return lambda n: parse(parse(one(n))[1][0])[2][0].decode()
        return made

    def proxied(self):
        make = self.unary("/shop.Stock/Look", b"", (("dapr-app-id", "rpc"),))

        def made():
            one = make()
            return lambda n: one(n).decode()
        return made

    # ---- the restart ----

    def restart(self, app, *loads):
        before = {str(i["pid"]) for i in self.run_.of(app)}
        for load in loads:
            until("both instances answer", lambda: load.pids >= before)
        r = self.run_.command("restart", app)
        self.assertEqual((r.returncode, r.stdout), (0, f"{app}: restarted\n"), r.stderr)
        until("two new ones", lambda: len(self.run_.of(app)) == 2 and
              not before & {str(i["pid"]) for i in self.run_.of(app)})
        for load in loads:
            load.pids.clear()
            until("the new ones answer", lambda: load.pids and not load.pids & before)

    def test_no_call_fails_and_no_event_is_lost_or_done_twice(self):
        http_load, grpc_load, proxy_load = (Load(self, make) for make in (
            self.over_http("/v1.0/invoke/work/method/do"), self.over_grpc(), self.proxied()))
        events = Load(self, self.over_http("/v1.0/publish/bus/t", lambda n: json.dumps({"n": n}).encode(), 204))
        until("events come", self.run_.seen)
        self.restart("work", http_load, grpc_load)
        self.restart("rpc", proxy_load)
        for load in (http_load, grpc_load, proxy_load, events):
            load.end()
            self.assertEqual(load.failed, [], self.run_.log())
            self.assertGreater(load.calls, 0)
        until("all events are done", lambda: len(self.run_.seen()) >= events.calls, 120)
        self.assertEqual(sorted(self.run_.seen()), list(range(events.calls)))


if __name__ == "__main__":
    unittest.main()
