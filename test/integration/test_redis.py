#!/usr/bin/env python3
"""Sidecars on Redis: the layout that others share, and what callers see when servers stop, pause, fail
over or move their slots. Nothing that was acknowledged may be lost."""
import contextlib
import json
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import harness
from harness import component, resource, until
from redis_servers import DURABLE, VOLATILE, Cluster, Sentinels, Server


def subscription(topic, route):
    return resource("Subscription", f"sub-{topic}", {"pubsubname": "bus", "topic": topic, "route": route})


class Redis(harness.Case):
    def start(self, hosts, app=None, app_id="app1", topics=(), **metadata):
        metadata["redisHost"] = hosts if isinstance(hosts, str) else f"127.0.0.1:{hosts.port}"
        bus = dict(metadata, processingTimeout="1s", redeliverInterval="100ms")
        return self.sidecar(app_id, app, resources=[component("store", "state.redis", **metadata),
                                                    component("bus", "pubsub.redis", **bus)] +
                            [subscription(t, "/" + t) for t in topics])

    def save(self, s, key, value, timeout=harness.WAIT, **more):
        return s.post("/v1.0/state/store", json.dumps([dict({"key": key, "value": value}, **more)]), timeout=timeout)

    def saves(self, s, key, value):
        r = self.save(s, key, value)
        self.assertEqual(r.status, 204, r)

    def holds(self, s, key, value):
        r = s.get(f"/v1.0/state/store/{key}")
        self.assertEqual((r.status, json.loads(r.body or b"null")), (200, value), r)

    def publish(self, s, topic, data):
        return s.post(f"/v1.0/publish/bus/{topic}", json.dumps(data), {"Content-Type": "application/json"})


class Load:
    """Callers that save and publish all the time, and remember what was acknowledged."""

    def __init__(self, test, sidecar, n=4, publish=True):
        self.test, self.s, self.publish = test, sidecar, publish
        self.saved, self.published, self.failures = {}, set(), []
        self.ended, self.lock = threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n)]
        for t in self.threads:
            t.start()
        test.addCleanup(self.end)

    def run(self, who):
        i = 0
        while not self.ended.is_set():
            i += 1
            self.ended.wait(0.002) # the app, in this process, has to keep up
            with contextlib.suppress(OSError):
                r = self.test.save(self.s, f"k{who}-{i % 50}", i)
                with self.lock:
                    if r.status == 204:
                        self.saved[f"k{who}-{i % 50}"] = i
                    else: # it may have happened: then nothing is known of the key
                        self.saved.pop(f"k{who}-{i % 50}", None)
                        self.failures.append(r)
            if self.publish:
                with contextlib.suppress(OSError):
                    r = self.test.publish(self.s, "t", f"{who}-{i}")
                    with self.lock:
                        if r.status == 204:
                            self.published.add(f"{who}-{i}")

    def acknowledged(self):
        with self.lock:
            return len(self.saved) and len(self.published) + sum(self.saved.values())

    def goes_on(self):
        """Until both kinds of calls have succeeded since now."""
        with self.lock:
            saves, events = dict(self.saved), len(self.published)
        until("calls succeed again", lambda: self.saved != saves and
              (not self.publish or len(self.published) > events))

    def end(self):
        self.ended.set()
        for t in self.threads:
            t.join()

    def check(self, app=None):
        self.end()
        for key, value in self.saved.items():
            self.test.holds(self.s, key, value)
        if app:
            got = lambda: {json.loads(r.body)["data"] for r in app.got("/t")}
            until(f"{len(self.published)} events come", lambda: self.published <= got(), timeout=120)


class Layout(Redis):
    def test_others_find_what_we_save_and_we_what_they_left(self):
        r = Server(self, *VOLATILE)
        s = self.start(r)
        self.saves(s, "k", {"a": 1})
        self.assertEqual(r.ask("HGETALL", "app1||k"), [b"data", b'{"a": 1}', b"version", b"1"])
        self.saves(s, "k", 2)
        self.assertEqual(s.get("/v1.0/state/store/k").headers["etag"], "2")
        r.ask("HSET", "app1||theirs", "data", '"x"', "version", "7", "first-write", "0")
        got = s.get("/v1.0/state/store/theirs")
        self.assertEqual((got.body, got.headers["etag"]), (b'"x"', "7"))
        r.ask("SET", "app1||plain", '"old"')
        self.assertEqual(s.get("/v1.0/state/store/plain").body, b'"old"')
        self.assertNotIn("etag", s.get("/v1.0/state/store/plain").headers)
        r.ask("RPUSH", "app1||list", "x")
        self.assertError(s.get("/v1.0/state/store/list"), 500, "ERR_STATE_GET")

    def test_first_write_is_marked_and_etags_are_numbers(self):
        r = Server(self, *VOLATILE)
        s = self.start(r)
        first = {"options": {"concurrency": "first-write"}}
        self.assertEqual(self.save(s, "k", 1, **first).status, 204)
        self.assertEqual(r.ask("HGET", "app1||k", "first-write"), b"0")
        self.assertError(self.save(s, "k", 2, **first), 409, "ERR_STATE_SAVE")
        self.assertEqual(self.save(s, "k", 2, etag="1").status, 204)
        self.assertError(self.save(s, "k", 3, etag="1"), 409, "ERR_STATE_SAVE")
        self.assertError(self.save(s, "k", 3, etag="no number"), 400, "ERR_STATE_SAVE")

    def test_time_to_live_is_redis_own(self):
        r = Server(self, *VOLATILE)
        s = self.start(r, ttlInSeconds="500")
        self.saves(s, "k", 1)
        self.assertIn(r.ask("TTL", "app1||k"), range(490, 501))
        self.save(s, "k", 1, metadata={"ttlInSeconds": "-1"})
        self.assertEqual(r.ask("TTL", "app1||k"), -1)
        self.save(s, "k", 1, metadata={"ttlInSeconds": "100"})
        self.assertIn("metadata.ttlexpiretime", s.get("/v1.0/state/store/k").headers)

    def test_transaction_with_a_stale_etag_keeps_nothing(self):
        s = self.start(Server(self, *VOLATILE))
        self.saves(s, "a", 1)
        ops = [{"operation": "upsert", "request": {"key": "new", "value": 1}},
               {"operation": "upsert", "request": {"key": "a", "value": 2, "etag": "99"}}]
        r = s.post("/v1.0/state/store/transaction", json.dumps({"operations": ops}))
        self.assertError(r, 500, "ERR_STATE_TRANSACTION")
        self.holds(s, "a", 1)
        self.assertEqual(s.get("/v1.0/state/store/new").status, 204)

    def test_events_are_entries_that_others_read(self):
        r = Server(self, *VOLATILE)
        app = self.app()
        s = self.start(r, app, topics=["t"])
        self.assertEqual(self.publish(s, "t", {"n": 1}).status, 204)
        app.wait_for("/t")
        (_, fields), = r.ask("XRANGE", "t", "-", "+")
        entry = dict(zip(fields[::2], fields[1::2]))
        self.assertEqual(json.loads(entry[b"data"])["data"], {"n": 1})
        self.assertEqual([g[1] for g in r.ask("XINFO", "GROUPS", "t")], [b"app1"])
        until("the event is acknowledged", lambda: r.ask("XPENDING", "t", "app1")[0] == 0)
        theirs = {"data": "x", "id": "1", "source": "y", "type": "z", "specversion": "1.0"}
        r.ask("XADD", "t", "*", "data", json.dumps(theirs), "metadata", '{"mark":"m"}')
        got = app.wait_for("/t", 2)[1]
        self.assertEqual((got.json()["data"], got.headers["mark"]), ("x", "m"))

    def test_event_that_is_not_acknowledged_comes_again(self):
        answers = iter([500, 500, 200])
        app = self.app({"/t": lambda r: (next(answers), b"")})
        s = self.start(Server(self, *VOLATILE), app, topics=["t"])
        self.publish(s, "t", 1)
        app.wait_for("/t", 3)

    def test_stream_that_vanished_is_made_again(self):
        r = Server(self, *VOLATILE)
        app = self.app()
        s = self.start(r, app, topics=["t"])
        self.publish(s, "t", 1)
        app.wait_for("/t", 1)
        r.ask("FLUSHALL")
        self.publish(s, "t", 2)
        app.wait_for("/t", 2)

    def test_unknown_user_and_missing_rights_are_told(self):
        r = Server(self, *VOLATILE)
        r.ask("ACL", "SETUSER", "shop", "on", ">secret", "~*", "&*", "+@all", "-eval")
        r.ask("ACL", "SETUSER", "default", "off")
        bad = component("store", "state.redis", redisHost=f"127.0.0.1:{r.port}", redisUsername="shop", redisPassword="x")
        s = self.sidecar("app1", resources=[bad], wait=None, expect=1)
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn("WRONGPASS", s.log())
        s = self.start(r, redisUsername="shop", redisPassword="secret")
        self.assertError(self.save(s, "k", 1), 500, "ERR_STATE_SAVE")  # EVAL isn't allowed
        self.assertIn("NOPERM", self.save(s, "k", 1).body.decode())
        r.ask("ACL", "SETUSER", "shop", "+eval", auth=("shop", "secret"))
        self.saves(s, "k", 1)


class Faults(Redis):
    def test_server_that_was_killed_is_used_again(self):
        r = Server(self, *DURABLE)
        app = self.app()
        s = self.start(r, app, topics=["t"])
        load = Load(self, s)
        load.goes_on()
        for _ in range(3):
            r.kill()
            start = time.monotonic()
            answer = self.save(s, "x", 1)
            self.assertError(answer, 500, "ERR_STATE_SAVE")
            self.assertIn(str(r.port), answer.body.decode())
            self.assertLess(time.monotonic() - start, 5)
            r.start()
            load.goes_on()
        load.check(app)

    def test_paused_server_is_a_timeout_and_then_used_again(self):
        r = Server(self, *DURABLE)
        app = self.app()
        s = self.start(r, app, topics=["t"], readTimeout="500ms", dialTimeout="500ms")
        load = Load(self, s)
        load.goes_on()
        with r.paused():
            for _ in range(3):
                start = time.monotonic()
                self.assertError(self.save(s, "x", 1), 500, "ERR_STATE_SAVE")
                self.assertLess(time.monotonic() - start, 4)
        load.goes_on()
        load.check(app)

    def test_sidecar_that_was_killed_leaves_its_events_to_the_next(self):
        r = Server(self, *DURABLE)
        slow = self.app({"/t": lambda _: (time.sleep(2), (500, b""))[1]})
        s = self.start(r, slow, topics=["t"])
        for i in range(10):
            self.publish(s, "t", i)
        slow.wait_for("/t", 2)
        s.expect = -9
        s.stop(9)
        app = self.app()
        self.start(r, app, topics=["t"])
        until("all come", lambda: {q.json()["data"] for q in app.got("/t")} == set(range(10)))

    def test_shutdown_with_a_paused_server_ends(self):
        r = Server(self, *VOLATILE)
        s = self.start(r, self.app(), topics=["t"])
        with r.paused():
            start = time.monotonic()
            s.stop()
            self.assertLess(time.monotonic() - start, 10)


class Failover(Redis):
    def start_shop(self, sentinels, app):
        return self.start(sentinels.hosts(), app, topics=["t"], failover="true", sentinelMasterName="shop",
                          readTimeout="1s", dialTimeout="1s")

    def fail_over(self, sentinels, break_it, mend):
        app = self.app()
        s = self.start_shop(sentinels, app)
        load = Load(self, s)
        load.goes_on()
        old = sentinels.master()
        load.end() # what replication hasn't carried yet may be lost with the master: that is Redis
        old.ask("SET", "mark", 1)
        until("the replica has it all", lambda: sentinels.servers[1].ask("GET", "mark") == b"1")
        during = Load(self, s)
        break_it(old)
        until("another is master", lambda: sentinels.master() is not old)
        during.goes_on()
        mend(old)
        during.goes_on()
        during.end()
        after = Load(self, s)
        after.goes_on()
        after.check(app)
        for value in load.published:
            until(f"event {value}", lambda v=value: v in {q.json()["data"] for q in app.got("/t")})

    def test_killed_master_is_left_for_the_new_one(self):
        self.fail_over(Sentinels(self), lambda m: m.kill(), lambda m: m.start())

    def test_paused_master_is_left_for_the_new_one(self):
        self.fail_over(Sentinels(self), lambda m: m.signal(signal.SIGSTOP), lambda m: m.signal(signal.SIGCONT))

    def test_unknown_master_is_told(self):
        sentinels = Sentinels(self)
        bad = component("store", "state.redis", redisHost=sentinels.hosts(), failover="true", sentinelMasterName="other")
        s = self.sidecar("app1", resources=[bad], wait=None, expect=1)
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn("knows no master called other", s.log())


class Clustered(Redis):
    def test_keys_go_to_their_nodes_and_follow_moving_slots(self):
        cluster = Cluster(self)
        app = self.app()
        s = self.start(cluster.hosts(), app, topics=["t"], redisType="cluster")
        load = Load(self, s)
        load.goes_on()
        for source, target in ((0, 1), (1, 2), (2, 0)):
            cluster.move_slots(source, target, 2000)
            load.goes_on()
        load.check(app)
        self.assertEqual(load.failures, [])
        keys = [n.ask("DBSIZE") for n in cluster.nodes]
        self.assertTrue(all(keys), keys)

    def test_bulk_get_over_nodes_and_transactions_of_one_slot(self):
        s = self.start(Cluster(self).hosts(), redisType="cluster")
        keys = [f"k{i}" for i in range(20)]
        for k in keys:
            self.saves(s, k, k)
        r = s.post("/v1.0/state/store/bulk", json.dumps({"keys": keys + ["none"]}))
        self.assertEqual({i["key"]: i.get("data") for i in json.loads(r.body)}, {**{k: k for k in keys}, "none": None})

        def transact(*names):
            ops = [{"operation": "upsert", "request": {"key": k, "value": 1}} for k in names]
            return s.post("/v1.0/state/store/transaction", json.dumps({"operations": ops}))
        body = self.assertError(transact("a", "b", "c"), 500, "ERR_STATE_TRANSACTION")
        self.assertIn("common {tag}", body["message"])
        self.assertEqual(transact("{t}a", "{t}b").status, 204)

    def test_node_that_comes_back_is_used_again(self):
        cluster = Cluster(self)
        s = self.start(cluster.nodes[0], redisType="cluster")
        load = Load(self, s, publish=False)
        load.goes_on()
        cluster.nodes[1].kill()
        until("calls fail", lambda: load.failures)
        cluster.nodes[1].start()
        until("the cluster is whole", cluster.whole)
        load.goes_on()
        load.check()


class Encrypted(Redis):
    def setUp(self):
        if not shutil.which("openssl"):
            self.skipTest("openssl isn't installed")
        d = self.directory()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", f"{d}/key.pem",
                        "-out", f"{d}/cert.pem"], check=True, stderr=subprocess.DEVNULL)
        self.cert, self.key = (pathlib.Path(d, n).read_text() for n in ("cert.pem", "key.pem"))
        self.plain = harness.free_port()
        self.server = Server(self, *VOLATILE, "--tls-port", self.plain, "--tls-cert-file", f"{d}/cert.pem",
                             "--tls-key-file", f"{d}/key.pem", "--tls-ca-cert-file", f"{d}/cert.pem",
                             "--tls-auth-clients", "yes")
        self.hosts = f"localhost:{self.plain}"

    def refused(self, says, **metadata):
        bad = component("store", "state.redis", redisHost=self.hosts, enableTLS="true", **metadata)
        s = self.sidecar("app1", resources=[bad], wait=None, expect=1)
        self.assertEqual(s.wait_exit(), 1)
        self.assertIn(says, s.log())

    def test_certificates_are_verified_and_shown(self):
        app = self.app()
        s = self.start(self.hosts, app, topics=["t"], enableTLS="true", insecureSkipTLSVerify="true",
                       clientCert=self.cert, clientKey=self.key)
        load = Load(self, s)
        load.goes_on()
        self.saves(s, "big", "x" * 3000000)
        self.holds(s, "big", "x" * 3000000)
        load.check(app)

    def test_unknown_certificate_is_refused(self):
        self.refused("certificate", clientCert=self.cert, clientKey=self.key)

    def test_missing_client_certificate_is_refused(self):
        self.refused("certificate", insecureSkipTLSVerify="true")


if __name__ == "__main__":
    harness.main()
