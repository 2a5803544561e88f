#!/usr/bin/env python3
"""Stopping: what is in flight ends well, signals and requests in the contract's order; SIGHUP."""
import contextlib
import json
import os
import signal
import socket
import sqlite3
import threading
import time

import harness
from harness import component, resource, until


JSON = {"Content-Type": "application/json"}


class Slow:
    """An app's handler that waits until the test lets it go on."""

    def __init__(self, case):
        self.entered, self.gate = threading.Semaphore(0), threading.Event()
        case.addCleanup(self.gate.set)

    def __call__(self, r):
        self.entered.release()
        self.gate.wait(30)
        return 200, b"late"

    def wait_entered(self):
        if not self.entered.acquire(timeout=20):
            raise AssertionError("the app was not called")


class Background(threading.Thread):
    def __init__(self, function):
        super().__init__(daemon=True)
        self.function, self.result = function, None
        self.start()

    def run(self):
        try:
            self.result = self.function()
        except Exception as e:  # what went wrong is the result
            self.result = e

    def get(self):
        self.join(30)
        return self.result


class Stop(harness.Case):
    def test_idle_sidecar_ends_with_0_and_says_so(self):
        s = self.sidecar()
        self.assertEqual(s.stop(), 0)
        self.assertIn("Daprd shutdown gracefully", s.log())

    def test_sigint_works_like_sigterm(self):
        self.assertEqual(self.sidecar().stop(signal.SIGINT), 0)

    def test_an_invocation_in_flight_completes(self):
        slow = Slow(self)
        s = self.sidecar("me", self.app({"/slow": slow}))
        call = Background(lambda: s.get("/v1.0/invoke/me/method/slow"))
        slow.wait_entered()
        s.send_signal(signal.SIGTERM)
        s.wait_log("beginning shutdown")
        until("it takes no new connections", lambda: self.refused(s.http))
        slow.gate.set()
        self.assertEqual((call.get().status, call.get().body), (200, b"late"))
        self.assertEqual(s.wait_exit(), 0)

    def refused(self, port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return False
        except ConnectionError:
            return True

    def test_a_call_from_a_peer_in_flight_completes(self):
        slow = Slow(self)
        a, b = self.pair(self.app({"/slow": slow}))
        for way in ("grpc", "direct"):
            if way == "direct":
                b.start()
                b.wait_ready()
                slow.gate.clear()
                until("the peers meet again", lambda: a.get("/v1.0/invoke/callee/method/m").status == 200)
            call = Background(lambda: a.get("/v1.0/invoke/callee/method/slow"))
            slow.wait_entered()
            b.send_signal(signal.SIGTERM)
            until("it stops", lambda: b.log().count("beginning shutdown") == (2 if way == "direct" else 1))
            slow.gate.set()
            self.assertEqual((call.get().status, call.get().body), (200, b"late"), way)
            self.assertEqual(b.wait_exit(), 0)

    def test_s69_a_hanging_call_ends_the_process_with_1_after_the_grace_period(self):
        slow = Slow(self)
        s = self.sidecar("me", self.app({"/slow": slow}), args=["--dapr-graceful-shutdown-seconds", 1], expect=1)
        call = Background(lambda: s.get("/v1.0/invoke/me/method/slow"))
        slow.wait_entered()
        start = time.monotonic()
        self.assertEqual(s.stop(), 1)
        self.assertLess(time.monotonic() - start, 10)
        self.assertIn("Graceful shutdown timeout exceeded, forcing shutdown", s.log())
        self.assertIsInstance(call.get(), (ConnectionError, harness.http.client.HTTPException))

    def test_a_second_signal_ends_it_at_once_with_1(self):
        slow = Slow(self)
        s = self.sidecar("me", self.app({"/slow": slow}), args=["--dapr-graceful-shutdown-seconds", 100], expect=1)
        Background(lambda: s.get("/v1.0/invoke/me/method/slow"))
        slow.wait_entered()
        s.send_signal(signal.SIGTERM)
        s.wait_log("beginning shutdown")
        until("the second signal ends it", lambda: self.again(s))
        self.assertEqual(s.wait_exit(), 1)

    def again(self, s):
        if s.process.poll() is None:
            s.send_signal(signal.SIGTERM)
        return s.process.poll() is not None

    def test_shutdown_by_request(self):
        s = self.sidecar()
        self.assertEqual(s.post("/v1.0/shutdown").status, 204)
        self.assertEqual(s.wait_exit(), 0)
        self.assertIn("Shutdown requested via API", s.log())
        self.assertIn("Daprd shutdown gracefully", s.log())

    def test_s71_forced_shutdown_answers_then_ends_with_1(self):
        s = self.sidecar(expect=1)
        self.assertEqual(s.post("/v1.0/shutdown", b"", {"dapr-force-shutdown": "true"}).status, 204)
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn("Force shutdown requested, exiting immediately without graceful shutdown", s.log())

    def test_idle_kept_connections_do_not_hold_it(self):
        s = self.sidecar()
        for _ in range(20):
            c = harness.connection(s.http)
            c.request("GET", "/v1.0/healthz")
            c.getresponse().read()
            self.addCleanup(c.close)
        half = socket.create_connection(("127.0.0.1", s.http))
        self.addCleanup(half.close)
        half.sendall(b"GET /v1.0/hea")
        start = time.monotonic()
        self.assertEqual(s.stop(), 0)
        self.assertLess(time.monotonic() - start, 4)

    def test_while_the_app_is_awaited_it_can_be_stopped(self):
        s = self.sidecar("me", app_port=harness.free_port(), wait="/v1.0/healthz/outbound")
        self.assertEqual(s.stop(), 0)

    def test_a_delivery_in_flight_is_acknowledged_before_the_end(self):
        slow = Slow(self)
        app = self.app({"/t": slow})
        queue = component("bus", "pubsub.sqlite", connectionString=os.path.join(self.directory(), "q.db"))
        s = self.sidecar("me", app, resources=[queue, resource("Subscription", "s", {
            "pubsubname": "bus", "topic": "t", "route": "/t"})])
        self.assertEqual(s.post("/v1.0/publish/bus/t", "1", JSON).status, 204)
        slow.wait_entered()
        s.send_signal(signal.SIGTERM)
        s.wait_log("beginning shutdown")
        slow.gate.set()
        self.assertEqual(s.wait_exit(), 0)
        s.start()
        s.wait_ready()
        self.assertEqual(s.post("/v1.0/publish/bus/t", "2", JSON).status, 204)
        until("the second event", lambda: any(r.json()["data"] == 2 for r in app.got("/t")))
        self.assertEqual([r.json()["data"] for r in app.got("/t")], [1, 2])  # the first not again


class Block(harness.Case):
    def subscribed(self, **more):
        app = self.app({"/healthz": (200,)})
        s = self.sidecar("me", app, resources=[component("bus", "pubsub.in-memory"), resource("Subscription", "s", {
            "pubsubname": "bus", "topic": "t", "route": "/t"})], **more)
        s.wait_log("app is subscribed to topic t")
        return s, app

    def test_s70_apis_stay_open_and_deliveries_end_while_blocked(self):
        s, app = self.subscribed(args=["--dapr-block-shutdown-duration", "2s"])
        self.assertEqual(s.post("/v1.0/publish/bus/t", "1", JSON).status, 204)
        app.wait_for("/t")
        s.send_signal(signal.SIGTERM)
        s.wait_log("Blocking graceful shutdown for 2s or until app reports unhealthy...")
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)
        self.assertEqual(s.post("/v1.0/publish/bus/t", "2", JSON).status, 204)
        self.assertEqual(s.wait_exit(), 0)
        self.assertIn("Block shutdown period expired, entering shutdown...", s.log())
        self.assertEqual(len(app.got("/t")), 1)

    def test_s70_an_unhealthy_app_ends_the_block(self):
        s, app = self.subscribed(args=["--dapr-block-shutdown-duration", "180s", "--enable-app-health-check",
                                       "--app-health-probe-interval", 1, "--app-health-threshold", 1])
        s.send_signal(signal.SIGTERM)
        s.wait_log("Blocking graceful shutdown for 3m0s or until app reports unhealthy...")
        app.on["/healthz"] = (500,)
        self.assertEqual(s.wait_exit(), 0)
        self.assertIn("App reported unhealthy, entering shutdown...", s.log())


class Leaving(harness.Case):
    """From the first moment of a stop on nobody finds the sidecar any more, though it still works."""

    def test_a_stop_takes_readiness_and_registration_back_at_once(self):
        hosts = os.path.join(self.directory(), "hosts.db")
        config = harness.configuration({"nameResolution": {"component": "sqlite", "configuration": {
            "connectionString": hosts}}})
        app = self.app()
        s = self.sidecar("me", app, config=config, args=[
            "--dapr-block-shutdown-duration", "180s", "--enable-app-health-check",
            "--app-health-probe-interval", 1, "--app-health-threshold", 1])
        until("it is ready", lambda: s.get("/proa/v1/readyz").status == 204)
        until("it is registered", lambda: self.rows(hosts) == ["me"])
        s.send_signal(signal.SIGTERM)
        until("it is not ready", lambda: s.get("/proa/v1/readyz").status == 503)
        self.assertEqual((s.get("/proa/v1/livez").status, s.get("/proa/v1/startupz").status), (204, 204))
        until("it is not registered", lambda: self.rows(hosts) == [])
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)
        app.on["/healthz"] = (500,)
        self.assertEqual(s.wait_exit(), 0)

    def rows(self, path):
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as db:
            return [r[0] for r in db.execute("SELECT app_id FROM hosts")]


class Joining(Leaving):
    """Nobody finds a sidecar whose app can't do anything yet."""
    test_a_stop_takes_readiness_and_registration_back_at_once = None

    def setUp(self):
        super().setUp()
        self.hosts = os.path.join(self.directory(), "hosts.db")
        self.config = harness.configuration({"nameResolution": {"component": "sqlite", "configuration": {
            "connectionString": self.hosts}}})

    def test_without_an_app_it_registers_at_once(self):
        s = self.sidecar("caller", config=self.config)
        self.assertEqual((self.rows(self.hosts), s.get("/v1.0/healthz").status), (["caller"], 204))

    def test_it_registers_when_the_app_listens(self):
        caller = self.sidecar("caller", config=self.config)
        port = harness.free_port()
        s = self.sidecar("late", app_port=port, config=self.config, wait="/v1.0/healthz/outbound")
        s.wait_log("This will block until the app is listening")
        self.assertEqual(self.rows(self.hosts), ["caller"])
        self.assertEqual((s.get("/proa/v1/startupz").status, s.get("/v1.0/healthz").status), (503, 500))
        body = self.assertError(caller.get("/v1.0/invoke/late/method/m"), 500, "ERR_DIRECT_INVOKE")
        self.assertIn("couldn't find service: late", body["message"])
        self.app(port=port)
        until("a caller finds it", lambda: caller.get("/v1.0/invoke/late/method/m").status == 200)
        self.assertCountEqual(self.rows(self.hosts), ["caller", "late"])
        s.wait_ready("/proa/v1/readyz")

    def test_with_health_checks_it_registers_when_the_app_is_well(self):
        app = self.app(on={"/healthz": (500,)})
        s = self.sidecar("ill", app, config=self.config, args=[
            "--enable-app-health-check", "--app-health-probe-interval", 1, "--app-health-threshold", 1])
        app.wait_for("/healthz", 2)
        self.assertEqual((self.rows(self.hosts), s.get("/proa/v1/readyz").status), ([], 503))
        app.on["/healthz"] = (200,)
        s.wait_ready("/proa/v1/readyz")
        until("it is registered", lambda: self.rows(self.hosts) == ["ill"])


class Hangup(harness.Case):
    def test_s64_sighup_rereads_everything_in_the_same_process(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[component("one", "state.in-memory")])
        self.assertEqual(s.get("/v1.0/state/one/k").status, 204)
        with open(os.path.join(s.resources, "more.yaml"), "w") as f:
            f.write(component("two", "state.in-memory"))
        for i in range(3):
            s.send_signal(signal.SIGHUP)
            until("it is up again", lambda: s.log().count("dapr initialized. Status: Running.") == i + 2)
        self.assertIn("Received signal 'hangup'", s.log())
        s.wait_ready()
        self.assertEqual(s.get("/v1.0/state/two/k").status, 204)
        self.assertEqual(s.get("/v1.0/invoke/me/method/m").status, 200)
        self.assertEqual(s.stop(), 0)

    def test_sighup_with_a_broken_resource_ends_with_1(self):
        s = self.sidecar(expect=1)
        with open(os.path.join(s.resources, "bad.yaml"), "w") as f:
            f.write(component("bad", "state.sqlite"))
        s.send_signal(signal.SIGHUP)
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn("Fatal error from runtime", s.log())

    def test_sighup_while_calls_run_loses_none_in_flight(self):
        slow = Slow(self)
        s = self.sidecar("me", self.app({"/slow": slow}))
        call = Background(lambda: s.get("/v1.0/invoke/me/method/slow"))
        slow.wait_entered()
        s.send_signal(signal.SIGHUP)
        s.wait_log("Received signal 'hangup'")
        slow.gate.set()
        self.assertEqual(call.get().status, 200)
        until("it is up again", lambda: s.log().count("dapr initialized. Status: Running.") == 2)
        s.wait_ready()


if __name__ == "__main__":
    harness.main()
