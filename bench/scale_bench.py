#!/usr/bin/env python3
"""Autoscaling under 'proa run': load that steps from 1 to 10 and back, an app that sleeps, a restart under load.

usage: bench/scale_bench.py [--secs S] BINARY

An app that works on two calls at a time for 50 ms each (40 calls/s an instance) is called at a steady rate through the sidecar
of another one: 8 calls/s, then 80, then 8. Twice: with overload control, and without it. Until the others are up, what one
instance can't do waits in either case. Printed beside their bars: the 99th percentile from 5 s after the step up to the
step down against the target; changes of direction; failed calls; the time back to the minimum against the configured one;
then the first call to a sleeping app, and the failed calls while all instances are replaced one by one under load.
Exit status 1 when a bar isn't met: for people and releases, not for tests.
"""
import argparse
import http.client
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from bench import free_ports

APP = '''
import http.server, os, threading, time
places = threading.Semaphore(2)
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/work":
            with places:
                time.sleep(0.05)
        self.send_response(200 if self.path == "/work" else 404)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *a): pass
class S(http.server.ThreadingHTTPServer):
    request_queue_size = 256
S(("127.0.0.1", int(os.environ["APP_PORT"])), H).serve_forever()
'''
TEMPLATE = """version: 1
name: bench
common: {{ resourcesPath: ./resources }}
apps:
  - {{ appID: front, appDirPath: ., command: [sleep, "100000"] }}
  - {{ appID: work, appDirPath: ., appPort: {port}, command: ["{python}", app.py], instances: {instances} }}
"""
SCALE = """apiVersion: proa.dev/v1alpha1
kind: Scale
metadata: {{ name: work }}
scopes: [work]
spec:
  min: {minimum}
  max: 8
  metrics: [{{ type: concurrency, target: 1 }}]
  stableWindow: {stable}s
  panicWindow: 1s
  scaleDownDelay: {delay}s
  zeroGrace: 2s
---
apiVersion: proa.dev/v1alpha1
kind: Overload
metadata: {{ name: work }}
scopes: [work]
spec: {{ enabled: {shedding} }}
"""
STABLE, DELAY, TARGET_MS, LOW, HIGH, CALLERS = 10, 5, 250, 8, 80, 64
SHED = -1  # instead of a status


class Run:
    def __init__(self, binary, minimum, instances=1, shedding=True):
        self.dir = tempfile.mkdtemp(prefix="proa-bench-")
        os.mkdir(f"{self.dir}/resources")
        for name, text in (("app.py", APP), ("resources/scale.yaml", SCALE.format(minimum=minimum, stable=STABLE, delay=DELAY,
                                                                    shedding=str(shedding).lower())),
                           ("dapr.yaml", TEMPLATE.format(port=free_ports(1)[0], python=sys.executable, instances=instances))):
            with open(f"{self.dir}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.dir, HOME=self.dir)
        self.binary, self.log = binary, open(f"{self.dir}/log", "wb")
        self.process = subprocess.Popen([binary, "run", "-f", "."], cwd=self.dir, env=self.env, stdout=self.log,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.port = None
        self.until("it's up", lambda: self.feed() and all(i["state"] == "healthy" for s in self.feed()["services"]
                                                          for i in s["instances"]))
        self.front = next(s for s in self.feed()["services"] if s["id"] == "front")["instances"][0]["http_port"]

    def until(self, what, check, secs=60):
        end = time.monotonic() + secs
        while time.monotonic() < end:
            if check():
                return
            time.sleep(0.05)
        raise SystemExit(f"not within {secs} s: {what}; see {self.dir}/log")

    def feed(self):
        for root, _, files in os.walk(f"{self.dir}/proa"):
            if "control.json" in files:
                with open(f"{root}/control.json", encoding="utf-8") as f:
                    self.port = json.load(f)["port"]
        if not self.port:
            return None
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            c.request("GET", "/feed.json")
            r = c.getresponse()
            body = r.read()
            c.close()
            return json.loads(body) if r.status == 200 else None
        except OSError:
            return None

    def work(self):
        return next(s for s in self.feed()["services"] if s["id"] == "work")["instances"]

    def instances(self):
        return sum(i["state"] != "asleep" for i in self.work())

    def restart(self):
        return subprocess.run([self.binary, "restart", "work"], env=self.env, check=False).returncode

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Load:
    """Calls at a steady rate, whatever becomes of them; latency counts from when a call should have begun."""

    def __init__(self, run, rate):
        self.run, self.rate, self.ending = run, rate, False
        self.due, self.done = queue.Queue(), []
        self.threads = [threading.Thread(target=self.caller) for _ in range(CALLERS)] + [threading.Thread(target=self.clock)]
        for t in self.threads:
            t.start()

    def clock(self):
        at = time.monotonic()
        while not self.ending:
            self.due.put(at)
            at += 1 / self.rate
            time.sleep(max(0, at - time.monotonic()))
        for _ in range(CALLERS):
            self.due.put(None)

    def caller(self):
        c = http.client.HTTPConnection("127.0.0.1", self.run.front, timeout=60)
        while (at := self.due.get()) is not None:
            try:
                c.request("GET", "/v1.0/invoke/work/method/work")
                r = c.getresponse()
                r.read()
                status = SHED if r.getheader("proa-shed") else r.status
            except OSError:
                status = 0
                c.close()
            self.done.append((at, time.monotonic() - at, status))
        c.close()

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join()

    def p99_ms(self, since, to):
        took = sorted(t for at, t, _ in self.done if since <= at < to)
        return 1000 * took[int(0.99 * (len(took) - 1))] if took else float("nan")

    def failed(self):
        return [s for _, _, s in self.done if s not in (200, SHED)]

    def shed(self):
        return [s for _, _, s in self.done if s == SHED]


class Watch:
    """The number of instances, looked at ten times a second."""

    def __init__(self, run):
        self.run, self.ending, self.seen = run, False, []
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        while not self.ending:
            n = self.run.instances()
            if not self.seen or self.seen[-1][1] != n:
                self.seen.append((time.monotonic(), n))
            time.sleep(0.1)

    def end(self):
        self.ending = True
        self.thread.join()

    def turns(self):
        numbers = [n for _, n in self.seen]
        ways = [a < b for a, b in zip(numbers, numbers[1:])]
        return (1 if ways else 0) + sum(a != b for a, b in zip(ways, ways[1:]))


class Bars:
    def __init__(self):
        self.missed = 0

    def show(self, what, got, bar, good):
        self.missed += not good
        print(f"{what:<52} {got:>12}   bar {bar:<22} {'ok' if good else 'MISSED'}", flush=True)


def steps(binary, secs, shedding, bars):
    print(f"overload control {'on' if shedding else 'off'}:")
    run = Run(binary, 1, shedding=shedding)
    watch = Watch(run)
    loads = [Load(run, LOW)]
    time.sleep(secs)
    loads[0].rate = HIGH
    up = time.monotonic()
    time.sleep(5 + secs)
    down = time.monotonic()
    loads[0].rate = LOW
    run.until("back to one", lambda: run.instances() == 1, 120)
    back = time.monotonic() - down
    time.sleep(2)
    loads[0].end()
    watch.end()
    load = loads[0]
    print("  instances: " + " ".join(f"{n}@{at - up:+.1f}s" for at, n in watch.seen))
    for status in sorted({s for s in load.failed()}):
        at = [a - up for a, _, s in load.done if s == status]
        print(f"  status {status}: {len(at)} calls from {min(at):+.1f}s to {max(at):+.1f}s")
    print(f"  longest call, of the step: {max(t for at, t, _ in load.done if up <= at < up + 5):.1f} s")
    p99 = load.p99_ms(up + 5, down)
    bars.show("p99 from 5 s after the step, ms", f"{p99:.0f}", f"<= {TARGET_MS} (target)", p99 <= TARGET_MS)
    bars.show("changes of direction (up, down)", watch.turns(), "<= 2", watch.turns() <= 2)
    bars.show(f"failed calls of {len(load.done)}", len(load.failed()), "0", not load.failed())
    bars.show("turned away (503, retry-after)", len(load.shed()), "0", not load.shed())
    limit = STABLE + DELAY + 3  # and to drain
    bars.show("back at the minimum after, s", f"{back:.1f}", f"<= {limit} (windows, drain)", back <= limit)
    run.close()


def from_zero(binary, bars):
    run = Run(binary, 0)
    run.until("it sleeps", lambda: run.instances() == 0, 120)
    start = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", run.front, timeout=60)
    c.request("GET", "/v1.0/invoke/work/method/work")
    r = c.getresponse()
    r.read()
    took = time.monotonic() - start
    c.close()
    bars.show("first call to a sleeping app, s", f"{took:.2f}", "answered", r.status == 200)
    run.close()


def restart(binary, bars):
    run = Run(binary, 3, instances=3)
    load = Load(run, 40)
    time.sleep(2)
    before = {i["pid"] for i in run.work()}
    status = run.restart()
    time.sleep(2)
    load.end()
    after = {i["pid"] for i in run.work()}
    bars.show(f"failed calls of {len(load.done)} while 3 restart", len(load.failed()), "0", not load.failed())
    bars.show("instances that are still the old ones", len(before & after), "0", status == 0 and not before & after)
    run.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--secs", type=float, default=15, help="of each level of load")
    a = parser.parse_args()
    binary, bars = os.path.abspath(a.binary), Bars()
    for shedding in (True, False):
        steps(binary, a.secs, shedding, bars)
    from_zero(binary, bars)
    restart(binary, bars)
    return 1 if bars.missed else 0


if __name__ == "__main__":
    sys.exit(main())
