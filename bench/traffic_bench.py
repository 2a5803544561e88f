#!/usr/bin/env python3
"""What a sick instance, a killed one and a failing dependency do to the calls of one app to another.

usage: bench/traffic_bench.py [--rate N] [--secs S] [--only LEG] BINARY

Five instances of an app behind five sidecars, called at a steady rate through a sixth. The apps and the
caller are in this process. Printed beside their bars: the share of calls affected from 2 s on after an
instance begins to fail or becomes 20 times slower; the failed calls when one is killed; the attempts a
call while all fail for 10 s, and the share that succeeds from 2 s on after that; the same at the end of three
hops with retries at each. Exit status 1 when a bar isn't met: for people and releases, not for tests.
"""
import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bench import free_ports, wait

CONFIG = """apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {{name: bench}}
spec:
  nameResolution: {{component: sqlite, configuration: {{connectionString: "{d}/names.db"}}}}
"""
RETRIES = """apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: {name: retries}
spec:
  policies: {retries: {often: {policy: exponential, maxInterval: 100ms, maxRetries: 3}}}
  targets: {apps: {orders: {retry: often}, first: {retry: often}, second: {retry: often}}}
"""
INSTANCES, USUAL = 5, 0.01
GRACE = 2  # seconds until a sick instance may have no more calls


class Client:
    """Calls of one app through a sidecar."""

    def __init__(self, port, app_id):
        self.port, self.app_id, self.idle = port, app_id, []

    async def get(self, trace):
        """The status and number of the answer; status 0 = none."""
        try:
            r, w = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return 0, -1
        try:
            w.write(b"GET /v1.0/invoke/%s/method/x HTTP/1.1\r\nHost: x\r\ntraceparent: %s\r\n\r\n" %
                    (self.app_id.encode(), trace))
            head = await asyncio.wait_for(r.readuntil(b"\r\n\r\n"), 30)
            fields = fields_of(head)
            if b"transfer-encoding" in fields:  # what a peer answers before it's known to be a Proa
                body = (await r.readuntil(b"0\r\n\r\n")).split(b"\r\n")[1]
            else:
                body = await r.readexactly(int(fields.get(b"content-length", b"0")))
            self.idle.append((r, w))
            return int(head.split()[1]), int(body) if body.isdigit() else -1
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            w.close()
            return 0, -1


def fields_of(head):
    return dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if line)


class Instance:
    """An app: answers each request with its number."""

    def __init__(self, number):
        self.number, self.status, self.delay, self.calls = number, 200, USUAL, 0

    async def serve(self):
        self.server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def connection(self, r, w):
        try:
            while True:
                head = await r.readuntil(b"\r\n\r\n")
                self.calls += 1
                w.write(b"HTTP/1.1 %d X\r\nContent-Length: 1\r\n\r\n%d" % (await self.work(head), self.number))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the caller, or this program, has ended
        w.close()

    async def work(self, head):
        await asyncio.sleep(self.delay)
        return self.status


class Middle(Instance):
    """An app that calls the next one, passes the trace on, and nothing back: a failure is its own."""

    next = None

    async def work(self, head):
        if not self.next:
            return 404  # its sidecar asks what it subscribes to
        status, _ = await self.next.get(fields_of(head)[b"traceparent"].strip())
        return 200 if status == 200 else 500


class Call:
    def __init__(self, at):
        self.at, self.status, self.number = at, 0, -1


class Fleet:
    def __init__(self, binary, rate, resources=""):
        self.binary, self.rate, self.resources = binary, rate, resources
        self.procs, self.dir = [], tempfile.mkdtemp(prefix="proa-bench-")

    async def start(self, hops=()):
        os.mkdir(f"{self.dir}/resources")
        for name, text in (("config.yaml", CONFIG.format(d=self.dir)), ("resources/r.yaml", self.resources)):
            with open(f"{self.dir}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        self.apps = [Instance(i) for i in range(INSTANCES)]
        for a in self.apps:
            await a.serve()
            await asyncio.to_thread(self.sidecar, "orders", ["--app-port", str(a.port)])
        resources, to = ["--resources-path", f"{self.dir}/resources"], "orders"
        for app_id in hops:  # from the last one to the first
            middle = Middle(0)
            await middle.serve()
            port = await asyncio.to_thread(self.sidecar, app_id, ["--app-port", str(middle.port), *resources])
            middle.next, to = Client(port, to), app_id
        self.client = Client(await asyncio.to_thread(self.sidecar, "caller", resources), to)

    def sidecar(self, app_id, more):
        http, grpc, internal, metrics = free_ports(4)
        args = [self.binary, "sidecar", "--app-id", app_id, "--dapr-http-port", str(http), "--dapr-grpc-port", str(grpc),
                "--dapr-internal-grpc-port", str(internal), "--metrics-port", str(metrics), "--log-level", "error",
                "--config", f"{self.dir}/config.yaml", "--dapr-listen-addresses", "127.0.0.1", *more]
        with open(f"{self.dir}/{app_id}{len(self.procs)}.log", "w", encoding="utf-8") as log:
            self.procs.append(subprocess.Popen(args, stdout=log, stderr=log, env=dict(os.environ, DAPR_HOST_IP="127.0.0.1")))
        wait(f"http://127.0.0.1:{http}/v1.0/healthz")
        return http

    async def one(self, call):
        call.status, call.number = await self.client.get(b"00-%s-00f067aa0ba902b7-00" % os.urandom(16).hex().encode())

    async def load(self, secs):
        """Open loop: calls begin at their time, whether others have ended or not. Their list."""
        begin, tasks, calls = time.monotonic(), [], []
        for i in range(int(self.rate * secs)):
            at = begin + i / self.rate
            await asyncio.sleep(max(0, at - time.monotonic()))
            calls.append(Call(at - begin))
            tasks.append(asyncio.create_task(self.one(calls[-1])))
        await asyncio.gather(*tasks)
        return calls

    def stop(self):
        for p in self.procs:
            p.kill()
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def percent(n, calls):
    return 100 * n / max(1, len(calls))


async def sick(fleet, secs, what):
    await fleet.load(3)
    if what == "fails":
        fleet.apps[2].status = 500
    else:
        fleet.apps[2].delay = 20 * USUAL
    calls = [c for c in await fleet.load(secs + GRACE) if c.at >= GRACE]
    affected = percent(sum(c.status != 200 or c.number == 2 for c in calls), calls)
    return [(f"one {what}: % affected", affected, "< 1", affected < 1)]


async def killed(fleet, secs):
    await fleet.load(2)
    load = asyncio.create_task(fleet.load(secs))
    await asyncio.sleep(1)
    fleet.procs[2].send_signal(signal.SIGKILL)
    failed = sum(c.status != 200 for c in await load)
    return [("one killed: failed calls", failed, "= 0", failed == 0)]


async def storm(fleet, secs):
    await fleet.load(2)
    before = sum(a.calls for a in fleet.apps)
    for a in fleet.apps:
        a.status = 500
    calls = await fleet.load(10)
    attempts = (sum(a.calls for a in fleet.apps) - before) / len(calls)
    for a in fleet.apps:
        a.status = 200
    after = [c for c in await fleet.load(secs + GRACE) if c.at >= GRACE]
    good = percent(sum(c.status == 200 for c in after), after)
    return [("all fail: attempts a call", attempts, "≤ 1.2", attempts <= 1.2),
            ("2 s after: % good", good, "≥ 99", good >= 99)]


LEGS = {
    "fails": lambda f, secs: sick(f, secs, "fails"),
    "slow": lambda f, secs: sick(f, secs, "slow"),
    "killed": killed,
    "storm": storm,
    "hops": storm,
}


async def run(o):
    ok = True
    print(f"{'leg':40s} {'value':>10s} {'bar':>8s}")
    for name, leg in LEGS.items():
        if o.only and o.only != name:
            continue
        fleet = Fleet(o.binary, o.rate, RETRIES if name in ("storm", "hops") else "")
        try:
            await fleet.start(("second", "first") if name == "hops" else ())
            for what, value, bar, met in await leg(fleet, o.secs):
                what = f"three hops, {what}" if name == "hops" else what
                print(f"{what:40s} {value:10.2f} {bar:>8s} {'' if met else 'NOT MET'}", flush=True)
                ok &= met
        finally:
            fleet.stop()
    return ok


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("--rate", type=int, default=200)
    ap.add_argument("--secs", type=int, default=8)
    ap.add_argument("--only", choices=list(LEGS))
    sys.exit(0 if asyncio.run(run(ap.parse_args())) else 1)


if __name__ == "__main__":
    main()
