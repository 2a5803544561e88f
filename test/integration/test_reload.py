"""Hot reload: components and subscriptions that come, go and change while the sidecar serves."""

import json
import os
import threading
import unittest

import harness
from harness import component, configuration, resource, until


def subscription(name, pubsub, topic, route):
    return resource("Subscription", name, {"pubsubname": pubsub, "topic": topic, "route": route})


class Reload(harness.Case):
    def write(self, s, name, text):
        """As editors do it: a file beside it, then a rename."""
        path = os.path.join(s.resources, name)
        with open(path + ".tmp", "w") as f:
            f.write(text)
        os.rename(path + ".tmp", path)

    def remove(self, s, name):
        os.unlink(os.path.join(s.resources, name))

    def names(self, s):
        return {c["name"] for c in json.loads(s.get("/v1.0/metadata").body).get("components", [])}

    def test_s64_a_component_is_added_changed_and_removed(self):
        s = self.sidecar()
        self.assertError(s.get("/v1.0/state/one/k"), 500, "ERR_STATE_STORE_NOT_CONFIGURED")
        self.write(s, "one.yaml", component("one", "state.in-memory"))
        s.wait_log("Component added: one (state.in-memory/v1)")
        self.assertEqual(s.post("/v1.0/state/one", '[{"key":"k","value":1}]').status, 204)

        db = os.path.join(self.directory(), "one.db")
        self.write(s, "one.yaml", component("one", "state.sqlite", connectionString=db))
        s.wait_log("Component updated: one (state.sqlite/v1)")
        self.assertIn("Closing existing Component to reload: one (state.sqlite/v1)", s.log())
        self.assertEqual(s.get("/v1.0/state/one/k").status, 204)
        self.assertEqual(s.post("/v1.0/state/one", '[{"key":"k","value":2}]').status, 204)
        self.assertTrue(os.path.exists(db))

        self.remove(s, "one.yaml")
        s.wait_log("Component removed: one (state.sqlite/v1)")
        self.assertError(s.get("/v1.0/state/one/k"), 500, "ERR_STATE_STORE_NOT_CONFIGURED")
        self.assertEqual(s.log().count("dapr initialized"), 1)

    def test_what_can_not_be_opened_changes_nothing(self):
        s = self.sidecar(resources=[component("one", "state.in-memory")])
        self.assertEqual(s.post("/v1.0/state/one", '[{"key":"k","value":1}]').status, 204)
        self.write(s, "r0.yaml", component("one", "state.sqlite"))
        s.wait_log("component one (state.sqlite/v1) stays as it was")
        self.assertEqual(s.get("/v1.0/state/one/k").body, b"1")
        self.write(s, "r0.yaml", component("one", "state.nosuch"))
        s.wait_log("component one (state.nosuch/v1) stays as it was")
        self.assertEqual(s.get("/v1.0/state/one/k").body, b"1")

    def test_files_that_say_the_same_change_nothing(self):
        s = self.sidecar(resources=[component("one", "state.in-memory")],
                         args=["--hot-reload-reconcile-interval", "100ms"])
        self.assertEqual(s.post("/v1.0/state/one", '[{"key":"k","value":1}]').status, 204)
        self.write(s, "r0.yaml", "# a comment\n" + component("one", "state.in-memory"))
        before = s.log().count("Running scheduled Component reconcile")
        until("it was compared", lambda: s.log().count("Running scheduled Component reconcile") > before + 2)
        self.assertNotIn("Component updated", s.log())
        self.assertEqual(s.get("/v1.0/state/one/k").body, b"1")

    def test_files_that_are_wrong_change_nothing_until_they_are_right(self):
        s = self.sidecar(resources=[component("one", "state.in-memory")])
        self.write(s, "more.yaml", component("one", "pubsub.in-memory"))
        s.wait_log("the resources aren't reloaded, what is loaded stays: duplicate definition")
        self.assertEqual(self.names(s), {"one"})
        self.write(s, "more.yaml", component("two", "pubsub.in-memory"))
        s.wait_log("Component added: two (pubsub.in-memory/v1)")
        self.assertEqual(self.names(s), {"one", "two"})

    def test_s66_a_component_comes_when_its_secret_store_does(self):
        secrets = os.path.join(self.directory(), "secrets.json")
        with open(secrets, "w") as f:
            json.dump({"db": os.path.join(self.directory(), "s.db")}, f)
        waits = json.dumps({
            "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": "store"},
            "auth": {"secretStore": "vault"},
            "spec": {"type": "state.sqlite", "version": "v1", "metadata": [
                {"name": "connectionString", "secretKeyRef": {"name": "db", "key": "db"}}]}})
        s = self.sidecar(resources=[waits])
        s.wait_log("component store waits: its secret store vault isn't loaded")
        self.write(s, "vault.yaml", component("vault", "secretstores.local.file", secretsFile=secrets))
        s.wait_log("Component added: store (state.sqlite/v1)")
        self.assertEqual(s.post("/v1.0/state/store", '[{"key":"k","value":1}]').status, 204)

    def test_a_subscription_is_added_changed_and_removed(self):
        app = self.app()
        s = self.sidecar("me", app, resources=[component("bus", "pubsub.in-memory")])
        self.write(s, "sub.yaml", subscription("sub", "bus", "t", "/one"))
        s.wait_log("app is subscribed to topic t through pubsub=bus")
        s.post("/v1.0/publish/bus/t", "1")
        app.wait_for("/one")
        self.write(s, "sub.yaml", subscription("sub", "bus", "t", "/two"))
        until("it is subscribed anew", lambda: s.log().count("app is subscribed to topic t") == 2)
        s.post("/v1.0/publish/bus/t", "2")
        app.wait_for("/two")
        self.remove(s, "sub.yaml")
        until("it has gone", lambda: s.log().count("app is no longer subscribed to topic t") == 2)
        self.assertFalse(json.loads(s.get("/v1.0/metadata").body).get("subscriptions"))
        s.post("/v1.0/publish/bus/t", "3")
        self.assertEqual(len(app.got("/two")), 1)

    def test_a_broker_that_comes_late_is_subscribed_to_and_a_new_one_takes_over(self):
        app = self.app(subscribe=[{"pubsubname": "late", "topic": "t", "route": "/t"}])
        s = self.sidecar("me", app, resources=[
            component("bus", "pubsub.in-memory"), subscription("sub", "late", "declared", "/declared")])
        self.write(s, "late.yaml", component("late", "pubsub.in-memory"))
        s.wait_log("app is subscribed to topic t through pubsub=late")
        s.post("/v1.0/publish/late/t", "1")
        s.post("/v1.0/publish/late/declared", "1")
        app.wait_for("/t")
        app.wait_for("/declared")
        db = os.path.join(self.directory(), "bus.db")
        self.write(s, "late.yaml", component("late", "pubsub.sqlite", connectionString=db))
        s.wait_log("Component updated: late (pubsub.sqlite/v1)")
        s.post("/v1.0/publish/late/t", "2")
        s.post("/v1.0/publish/late/declared", "2")
        app.wait_for("/t", 2)
        app.wait_for("/declared", 2)

    def test_middlewares_change_with_their_pipelines(self):
        upper = component("upper", "middleware.http.uppercase")
        s = self.sidecar("me", self.app({"/m": harness.echo}), config=configuration({"httpPipeline": {
            "handlers": [{"name": "upper", "type": "middleware.http.uppercase"}]}}))
        self.assertEqual(s.post("/v1.0/invoke/me/method/m", "abc").body, b"abc")
        self.write(s, "upper.yaml", upper)
        s.wait_log("Component added: upper")
        self.assertEqual(s.post("/v1.0/invoke/me/method/m", "abc").body, b"ABC")
        self.remove(s, "upper.yaml")
        s.wait_log("Component removed: upper")
        self.assertEqual(s.post("/v1.0/invoke/me/method/m", "abc").body, b"abc")

    def test_s64_other_kinds_start_the_sidecar_anew(self):
        s = self.sidecar(resources=[component("one", "state.in-memory")])
        self.write(s, "policy.yaml", resource("Resiliency", "r", {"policies": {"timeouts": {"t": "1s"}}, "targets": {}}))
        s.wait_log("Starting to watch Configuration updates for SIGHUP reload")
        s.wait_log("triggering SIGHUP reload")
        s.wait_log("Received signal 'hangup'")
        until("it is up again", lambda: s.log().count("dapr initialized. Status: Running.") == 2)
        s.wait_ready()
        self.assertEqual(s.stop(), 0)

    def test_a_switch_of_the_configuration_turns_it_off(self):
        s = self.sidecar(config=configuration({"features": [{"name": "HotReload", "enabled": False}]}),
                         args=["--hot-reload-reconcile-interval", "50ms"])
        self.write(s, "one.yaml", component("one", "state.in-memory"))
        self.assertNotIn("Starting to watch", s.log())
        self.assertEqual(s.stop(), 0)
        self.assertNotIn("Component added", s.log())

    def test_no_call_fails_while_its_store_is_replaced_again_and_again(self):
        db = [os.path.join(self.directory(), f"{i}.db") for i in range(2)]
        s = self.sidecar(resources=[component("one", "state.sqlite", connectionString=db[0])])
        stop, failed, done = threading.Event(), [], [0]

        def load(worker):
            while not stop.is_set():
                r = s.post("/v1.0/state/one", json.dumps([{"key": f"k{worker}", "value": 1}]))
                done[0] += 1
                if r.status != 204:
                    failed.append((r.status, r.body))

        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for i in range(1, 9):
            self.write(s, "r0.yaml", component("one", "state.sqlite", connectionString=db[i % 2]))
            until("it was replaced", lambda n=i: s.log().count("Component updated: one") == n)
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        self.assertGreater(done[0], 50)


if __name__ == "__main__":
    unittest.main()
