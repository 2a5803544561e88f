#!/usr/bin/env python3
"""Locks from outside, over HTTP and gRPC, by one sidecar and by several."""
import os
import sys

PYTHON = os.environ.get("PROA_GRPC_PYTHON", "")
try:
    import grpc
except ImportError:
    grpc = None
    if os.path.exists(PYTHON) and sys.executable != PYTHON:
        os.execv(PYTHON, [PYTHON] + sys.argv)

import json
import signal
import sqlite3
import threading
import unittest

import harness
from harness import component, until
from wire import field, parse

SERVICE = "dapr.proto.runtime.v1.Dapr"


class LockCase(harness.Case):
    def start(self, app_id="app", **metadata):
        self.path = os.path.join(self.directory(), "lock.db")
        return self.sidecar(app_id, resources=[
            component("l", "lock.sqlite", connectionString=self.path, **metadata)])

    def take(self, s, resource="r", owner="me", seconds=60):
        r = s.post("/v1.0-alpha1/lock/l", json.dumps(
            {"resourceId": resource, "lockOwner": owner, "expiryInSeconds": seconds}))
        self.assertEqual(r.status, 200, r)
        return json.loads(r.body)["success"]

    def give(self, s, resource="r", owner="me"):
        r = s.post("/v1.0-alpha1/unlock/l", json.dumps({"resourceId": resource, "lockOwner": owner}))
        self.assertEqual(r.status, 200, r)
        return json.loads(r.body)["status"]


class Http(LockCase):
    def test_one_owner_at_a_time(self):
        s = self.start()
        self.assertTrue(self.take(s))
        self.assertFalse(self.take(s, owner="you"))
        self.assertEqual(self.give(s, owner="you"), 2)
        self.assertEqual(self.give(s), 0)
        self.assertEqual(self.give(s), 1)

    def test_s18_expiry_is_checked_before_the_store(self):
        s = self.start()
        body = json.dumps({"resourceId": "r", "lockOwner": "o"})
        self.assertError(s.post("/v1.0-alpha1/lock/nobody", body), 400, "ERR_MALFORMED_REQUEST",
                         "ExpiryInSeconds is not positive in lock store nobody")
        self.assertError(s.post("/v1.0-alpha1/unlock/nobody", body), 400, "ERR_LOCK_STORE_NOT_FOUND",
                         "lock store nobody not found")
        bare = self.sidecar("bare")
        self.assertError(bare.post("/v1.0-alpha1/unlock/nobody", body), 500, "ERR_LOCK_STORE_NOT_CONFIGURED")

    def test_keys_have_the_apps_prefix(self):
        s = self.start()
        self.take(s)
        with sqlite3.connect(self.path, timeout=20) as db:
            self.assertEqual(db.execute("SELECT resource, owner FROM lock").fetchall(), [("lock||app||r", "me")])

    def test_instances_exclude_each_other_and_apps_do_not(self):
        a, b = self.start("twin"), self.start("twin")
        other = self.start("other")
        won = []
        threads = [threading.Thread(target=lambda i=i: won.append(self.take((a, b)[i % 2], owner=str(i))))
                   for i in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(won.count(True), 1)
        self.assertTrue(self.take(other))

    def test_a_lock_outlives_a_kill_and_ends_by_itself(self):
        s = self.start()
        self.assertTrue(self.take(s, seconds=3))
        s.process.send_signal(signal.SIGKILL)
        s.process.wait()
        s.expect = -signal.SIGKILL
        t = self.start()
        self.assertFalse(self.take(t, owner="you"))
        until("the lock has ended", lambda: self.take(t, owner="you"))


@unittest.skipIf(grpc is None, "grpcio isn't installed: see requirements.txt")
class Grpc(LockCase):
    def test_one_owner_at_a_time(self):
        s = self.start()
        channel = grpc.insecure_channel(f"127.0.0.1:{s.grpc}")
        self.addCleanup(channel.close)

        def rpc(method, data):
            return parse(channel.unary_unary(f"/{SERVICE}/{method}")(data, timeout=20))

        def names(owner):
            return field(1, "l") + field(2, "r") + field(3, owner)
        self.assertEqual(rpc("TryLockAlpha1", names("me") + field(4, 60)), {1: [1]})
        self.assertEqual(rpc("TryLockAlpha1", names("you") + field(4, 60)), {})
        self.assertFalse(self.take(s))  # the same lock as over HTTP
        self.assertEqual(rpc("UnlockAlpha1", names("you")), {1: [2]})
        self.assertEqual(rpc("UnlockAlpha1", names("me")), {})
        self.assertEqual(rpc("UnlockAlpha1", names("me")), {1: [1]})
        with self.assertRaises(grpc.RpcError) as e:
            rpc("TryLockAlpha1", names("me"))
        self.assertEqual((e.exception.code().name, e.exception.details()),
                         ("INVALID_ARGUMENT", "ExpiryInSeconds is not positive in lock store l"))


if __name__ == "__main__":
    harness.main()
