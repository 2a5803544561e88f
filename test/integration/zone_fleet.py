"""Three zones on loopback addresses, for test_zones.py and bench/zone_bench.py: in each a caller's
sidecar and two instances of the app `callee`, which answers with the name of its zone."""
import collections
import http.client
import os
import threading

import harness
from harness import configuration, free_port, resource

ZONES = ("a", "b", "c")
Result = collections.namedtuple("Result", "caller zone ok")  # zone: of who answered


class Fleet:
    def __init__(self, case, instances=2, ramp="8s", work=None, places=None):
        self.case, self.callees, self.callers = case, {}, {}
        self.limit = ["--app-max-concurrency", str(places)] if places else []
        hosts = os.path.join(case.directory(), "hosts.db")
        self.config = configuration({"nameResolution": {"component": "sqlite", "configuration": {
            "connectionString": hosts, "updateInterval": "2s"}}})
        self.resources = [
            resource("Traffic", "zones", {"zones": {"rampUp": ramp}}, version="proa.dev/v1alpha1"),
            resource("Resiliency", "calls", {
                "policies": {"timeouts": {"t": "1s"}, "retries": {"r": {"policy": "constant", "duration": "10ms",
                                                                        "maxRetries": 3}}},
                "targets": {"apps": {"callee": {"timeout": "t", "retry": "r"}}}}),
        ]
        for n, zone in enumerate(ZONES, 1):
            self.callees[zone] = [self.start("callee", zone, f"127.0.{n}.{i + 1}", work)
                                  for i in range(instances)]
        for n, zone in enumerate(ZONES, 1):
            self.callers[zone] = self.start("caller", zone, f"127.0.{n}.100", None, app=False)

    def start(self, app_id, zone, address, work, app=True):
        def where(r):
            if work:
                work()
            return 200, zone.encode()

        s = self.case.sidecar(
            app_id, self.case.app({"/where": where}) if app else None, config=self.config,
            directory=os.path.join(self.case.directory(), f"{app_id}-{address}"), resources=self.resources,
            args=["--zone", zone, "--region", "eu", "--dapr-internal-grpc-listen-address", address,
                  *(self.limit if app else [])],
            env={"DAPR_HOST_IP": address}, internal_port=free_port())
        return s

    def call(self, connection, method="GET"):
        connection.request(method, "/v1.0/invoke/callee/method/where")
        r = connection.getresponse()
        return r.status, r.read().decode()


class Load:
    """Calls from each zone, one after the other on each of `threads` connections, until it is ended."""

    def __init__(self, fleet, zones=ZONES, threads=2, method="GET"):
        self.fleet, self.method = fleet, method
        self.lock, self.results, self.over = threading.Condition(), [], False
        self.threads = [threading.Thread(target=self.run, args=(z,), daemon=True)
                        for z in zones for _ in range(threads)]
        for t in self.threads:
            t.start()

    def run(self, caller):
        c = http.client.HTTPConnection("127.0.0.1", self.fleet.callers[caller].http, timeout=harness.WAIT)
        while not self.over:
            try:
                status, zone = self.fleet.call(c, self.method)
            except (OSError, http.client.HTTPException) as e:
                status, zone = 0, repr(e)
                c.close()
            with self.lock:
                self.results.append(Result(caller, zone, status == 200))
                self.lock.notify_all()
        c.close()

    def mark(self):
        with self.lock:
            return len(self.results)

    def wait(self, n, of=ZONES, since=None):
        """The results from now on (or from a mark), once each of these callers has n more of them."""
        at = self.mark() if since is None else since

        def enough():
            got = collections.Counter(r.caller for r in self.results[at:])
            return all(got[z] >= n for z in of)

        with self.lock:
            if not self.lock.wait_for(enough, timeout=2 * harness.WAIT):
                raise AssertionError(f"fewer than {n} calls: {collections.Counter(self.results[at:])}")
            return self.results[at:]

    def wait_for(self, what, condition, window=100, of=ZONES):
        """Until a window of the latest results fulfils it."""
        return harness.until(what, lambda: condition(self.wait(window, of)), timeout=2 * harness.WAIT)

    def end(self):
        self.over = True
        for t in self.threads:
            t.join(harness.WAIT)


def local(results, caller=None):
    """The share of calls that stayed in their zone."""
    mine = [r for r in results if caller in (None, r.caller)]
    return sum(r.zone == r.caller for r in mine) / max(1, len(mine))


def failed(results):
    return [r for r in results if not r.ok]


def shares(results, caller):
    got = collections.Counter(r.zone for r in results if r.caller == caller)
    return {z: n / sum(got.values()) for z, n in got.items()}
