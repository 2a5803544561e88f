#!/usr/bin/env python3
"""Each service of the order system alone, with the runtime inside (PROA_MODE=inside): what it does
about events that come twice, out of order, or make no sense. No port is fixed, every wait has a
deadline."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import unittest
import urllib.parse

BUILD, SOURCE = os.environ["PROA_BUILD"], os.environ["PROA_SOURCE"]
EXAMPLES = os.path.join(BUILD, "examples")
WAIT = 30

TEAPOTS = {"order": "o-1", "customer": "ada", "country": "DE", "sku": "teapot", "quantity": 2,
           "total": 12800, "status": ""}


def order(**changes):
    return dict(TEAPOTS, **changes)


def until(what, condition, timeout=WAIT):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout} s: {what}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class World:
    """A directory with the components; its services share the queue, and have their own files."""

    def __init__(self, test, folder="orders"):
        self.dir = tempfile.mkdtemp(prefix="proa-test-orders-")
        test.addCleanup(shutil.rmtree, self.dir, True)
        examples = os.path.join(SOURCE, "examples")
        shutil.copytree(os.path.join(examples, folder, "components"),
                        os.path.join(self.dir, "components"))
        shutil.copy(os.path.join(examples, "orders", "config.yaml"), self.dir)
        bus = os.path.join(self.dir, "components", "bus.yaml")
        if os.path.exists(bus):
            with open(bus, encoding="utf-8") as f:
                text = f.read()
            with open(bus, "w", encoding="utf-8") as f:  # tests speak for all services
                f.write(text[:text.index("    - name: publishingScopes")])

    def store(self, app):
        path = os.path.join(self.dir, app + ".sqlite")
        with sqlite3.connect(path, timeout=WAIT) as db:
            return {k: json.loads(v) for k, v in db.execute("SELECT key, value FROM state")}


class Service:
    def __init__(self, test, world, app, folder="orders"):
        self.app, self.world, self.port = app, world, free_port()
        argv, env = self.command(folder)
        self.log = os.path.join(world.dir, app + ".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(argv, cwd=world.dir, env=dict(os.environ, **env),
                                            stdout=log, stderr=subprocess.STDOUT)
        test.addCleanup(self.end, test)
        until(f"{app} is ready", self.is_ready)

    def command(self, folder):
        """argv and environment; test/sdk/test_polyglot.py has others."""
        return [os.path.join(EXAMPLES, folder, self.app)], {
            "APP_ID": self.app, "PROA_MODE": "inside", "DAPR_HTTP_PORT": str(self.port),
            "PROA_RESOURCES": "components", "PROA_CONFIG": "config.yaml"}

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.app} ended:\n{self.text()}")
        try:
            return self.ask("GET", "/v1.0/healthz")[0] == 204
        except OSError:
            return False

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def end(self, test):
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            test.assertEqual(self.process.wait(WAIT), 0, self.text())
        finally:
            self.process.kill()
            self.process.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, verb, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(verb, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def call(self, verb, method, body=None, **headers):
        status, data = self.ask(verb, f"/v1.0/invoke/{self.app}/method/{method}", body, **headers)
        return status, json.loads(data)

    def publish(self, topic, data, event):
        status, body = self.ask("POST", f"/v1.0/publish/bus/{topic}?metadata.cloudevent.id={event}",
                                json.dumps(data), **{"Content-Type": "application/json"})
        assert status == 204, (status, body)

    def stats(self):
        return self.call("GET", "stats")[1]

    def handle(self, topic, data, event):
        """Publishes, and waits until this service has dealt with it."""
        before = self.stats()["events"]
        self.publish(topic, data, event)
        return until(f"{topic} was handled",
                     lambda: self.stats()["events"] > before and self.stats())

    def state(self, key):
        status, body = self.ask("GET", "/v1.0/state/store/" + urllib.parse.quote(key, safe=""))
        return json.loads(body) if status == 200 else None


class ServiceTest(unittest.TestCase):
    service = Service

    def setUp(self):
        self.world = World(self)

    def start(self, app):
        s = self.service(self, self.world, app)
        if app == "inventory":
            until("the shelves are filled", lambda: s.state("stock/samovar"))
        return s


class Hello(ServiceTest):
    def test_it_counts_greetings_by_call_and_by_event(self):
        s = Service(self, World(self, "hello"), "hello", "hello")
        self.assertEqual(s.call("GET", "hello"), (200, {"hello": "world", "greeted": 1}))
        self.assertEqual(s.call("GET", 'hello/A%22da'), (200, {"hello": 'A"da', "greeted": 1}))
        s.publish("greetings", {"name": "Grace"}, "one")
        until("Grace is greeted", lambda: s.state("Grace") == 1)
        self.assertEqual(s.call("GET", "hello/Grace")[1]["greeted"], 2)


class Inventory(ServiceTest):
    def shelves(self, s, sku="teapot"):
        stock = s.state("stock/" + sku)
        return stock["onHand"], stock["reserved"], stock["shipped"]

    def test_an_event_that_comes_twice_reserves_once(self):
        s = self.start("inventory")
        s.handle("orders.placed", order(), "one")
        stats = s.handle("orders.placed", order(), "two")  # another event id, the same order
        self.assertEqual(self.shelves(s), (100000, 2, 0))
        self.assertEqual(stats["again"], 1)
        s.handle("shipping.shipped", order(), "three")
        s.handle("shipping.shipped", order(), "four")
        self.assertEqual(self.shelves(s), (99998, 0, 2))
        self.assertEqual(s.state("reservation/o-1")["state"], "shipped")
        self.assertEqual(s.state("journal/teapot/2")["what"], "shipped")
        self.assertIsNone(s.state("journal/teapot/3"))

    def test_a_release_gives_back_and_a_later_placed_changes_nothing(self):
        s = self.start("inventory")
        s.handle("orders.placed", order(), "one")
        s.handle("payments.declined", order(), "two")
        s.handle("payments.refunded", order(), "three")
        s.handle("orders.placed", order(), "four")
        self.assertEqual(self.shelves(s), (100000, 0, 0))
        self.assertEqual(s.state("reservation/o-1")["state"], "released")

    def test_more_than_there_is_is_rejected(self):
        s = self.start("inventory")
        s.handle("orders.placed", order(sku="samovar", quantity=25), "one")
        s.handle("orders.placed", order(order="o-2", sku="samovar", quantity=1), "two")
        self.assertEqual(self.shelves(s, "samovar"), (25, 25, 0))
        self.assertEqual(s.state("reservation/o-2")["state"], "rejected")

    def test_many_at_once_never_sell_more_than_there_is(self):
        s = self.start("inventory")
        for i in range(40):
            s.publish("orders.placed", order(order=f"o-{i}", sku="samovar", quantity=1), f"e-{i}")
        until("all are handled", lambda: s.stats()["events"] >= 40)
        states = [s.state(f"reservation/o-{i}")["state"] for i in range(40)]
        self.assertEqual((states.count("reserved"), states.count("rejected")), (25, 15))
        self.assertEqual(self.shelves(s, "samovar"), (25, 25, 0))

    def test_a_release_without_a_reservation_is_refused(self):
        s = self.start("inventory")
        s.handle("payments.declined", order(), "one")
        until("it's told", lambda: "makes no sense for order o-1" in s.text())
        self.assertEqual(self.shelves(s), (100000, 0, 0))

    def test_shelves_are_filled_once(self):
        s = self.start("inventory")
        s.handle("orders.placed", order(), "one")
        s.kill()
        s = self.start("inventory")
        self.assertEqual(self.shelves(s), (100000, 2, 0))
        status, catalogue = s.call("GET", "catalogue")
        self.assertEqual(status, 200)
        teapot = [i for i in catalogue["items"] if i["sku"] == "teapot"]
        self.assertEqual((teapot[0]["price"], teapot[0]["available"]), (6400, 99998))


class Payments(ServiceTest):
    def test_an_order_is_charged_once_and_refunded_once(self):
        s = self.start("payments")
        for event in ("one", "two"):
            s.handle("inventory.reserved", order(), event)
            self.assertEqual(s.state("account/ada")["balance"], 12800)
        for event in ("three", "four"):
            s.handle("shipping.refused", order(), event)
            self.assertEqual(s.state("account/ada")["balance"], 0)
        s.handle("inventory.reserved", order(), "five")
        self.assertEqual(s.state("payment/o-1")["state"], "refunded")
        self.assertEqual(s.state("account/ada")["balance"], 0)
        self.assertEqual(s.stats()["again"], 3)

    def test_the_limit_decides(self):
        s = self.start("payments")
        s.handle("inventory.reserved", order(total=100000), "one")
        s.handle("inventory.reserved", order(order="o-2", customer="bob", total=100001), "two")
        self.assertEqual(s.state("payment/o-1")["state"], "charged")
        self.assertEqual(s.state("payment/o-2")["state"], "declined")
        self.assertIsNone(s.state("account/bob"))
        s.handle("shipping.refused", order(order="o-2", customer="bob", total=100001), "three")
        self.assertEqual(s.state("payment/o-2")["state"], "declined", "nothing to give back")

    def test_many_orders_of_one_customer_at_once_add_up(self):
        s = self.start("payments")
        for i in range(30):
            s.publish("inventory.reserved", order(order=f"o-{i}", total=100), f"e-{i}")
        until("all are handled", lambda: s.stats()["events"] >= 30)
        self.assertEqual(s.state("account/ada")["balance"], 3000)

    def test_slow_takes_numbers_within_limits(self):
        s = self.start("payments")
        json_body = {"Content-Type": "application/json"}
        self.assertEqual(s.call("POST", "admin/slow", '{"ms":5,"seconds":1}', **json_body),
                         (200, {"ms": 5, "seconds": 1}))
        for body in ("", "{}", '{"ms":-1,"seconds":1}', '{"ms":5001,"seconds":1}', '{"ms":"5"}'):
            status, answer = s.call("POST", "admin/slow", body, **json_body)
            self.assertEqual(status, 400, body)
            self.assertIn("0…5000", answer["error"])
        self.assertEqual(s.call("GET", "admin/slow")[0], 405)


class Orders(ServiceTest):
    def learn(self, s, *topics, id="o-1"):
        for i, topic in enumerate(topics):
            s.handle(topic, order(order=id), f"{id}-{i}-{topic}")
        return s.state("order/" + id)

    def test_the_way_of_an_order_is_followed(self):
        s = self.start("orders")
        for topic, status in (("orders.placed", "placed"), ("inventory.reserved", "reserved"),
                              ("payments.charged", "charged"), ("shipping.shipped", "confirmed")):
            self.assertEqual(self.learn(s, topic)["status"], status)
        self.assertEqual(s.call("GET", "orders/o-1")[1]["status"], "confirmed")

    def test_events_may_overtake_each_other(self):
        s = self.start("orders")
        o = self.learn(s, "shipping.shipped", "payments.charged", "inventory.reserved",
                       "orders.placed", "orders.placed")
        self.assertEqual((o["status"], o["facts"]), ("confirmed", 1 | 2 | 8 | 32))

    def test_ways_to_be_cancelled(self):
        s = self.start("orders")
        for id, topics, status in (
                ("o-1", ("orders.placed", "inventory.rejected"), "cancelled"),
                ("o-2", ("orders.placed", "inventory.reserved", "payments.declined"), "cancelling"),
                ("o-2", ("inventory.released",), "cancelled"),
                ("o-3", ("inventory.released", "payments.refunded", "shipping.refused",
                         "payments.charged", "inventory.reserved", "orders.placed"), "cancelled")):
            self.assertEqual(self.learn(s, *topics, id=id)["status"], status, topics)

    def test_what_can_not_both_be_true_is_refused(self):
        s = self.start("orders")
        before = self.learn(s, "orders.placed", "inventory.reserved", "payments.charged",
                            "shipping.shipped")
        for topic in ("inventory.rejected", "payments.declined", "inventory.released",
                      "shipping.refused", "payments.refunded"):
            self.assertEqual(self.learn(s, topic), before, topic)
            self.assertIn(f"{topic} makes no sense for order o-1", s.text())

    def test_questions(self):
        s = self.start("orders")
        for path, status in (("orders/o-9", 404), ("orders", 400), ("orders/", 400),
                             ("orders/a%20b", 400)):
            answer = s.call("GET", path)
            self.assertEqual((answer[0], "error" in answer[1]), (status, True), path)


class Shipping(ServiceTest):
    def test_one_parcel_for_each_order_and_none_to_where_nobody_goes(self):
        s = self.start("shipping")
        s.handle("payments.charged", order(), "one")
        stats = s.handle("payments.charged", order(), "two")
        s.handle("payments.charged", order(order="o-2", country="AQ"), "three")
        self.assertEqual(stats["again"], 1)
        self.assertEqual(s.state("shipment/o-1")["state"], "shipped")
        self.assertEqual(s.state("shipment/o-2")["state"], "refused")


class Notifications(ServiceTest):
    def test_the_rule_chooses_what_customers_are_told(self):
        s = self.start("notifications")
        for id, status in (("o-1", "confirmed"), ("o-2", "cancelled")):
            s.publish("orders.finished", order(order=id, status=status), id)
        told = until("both are told", lambda: s.state("notice/o-1") and s.state("notice/o-2") and
                     (s.state("notice/o-1"), s.state("notice/o-2")))
        self.assertEqual([t["status"] for t in told], ["confirmed", "cancelled"])
        self.assertIn("on its way", told[0]["text"])
        self.assertIn("nothing was charged", told[1]["text"])

    def test_what_makes_no_sense_is_kept_as_a_dead_letter(self):
        s, inventory = self.start("notifications"), self.start("inventory")
        bad = [17, "text", {}, order(quantity=0), order(quantity="2"), order(order="a/b"),
               order(order="x" * 65), order(sku=""),
               {k: v for k, v in order().items() if k != "total"}]
        for i, data in enumerate(bad):
            inventory.publish("orders.placed", data, f"bad-{i}")
            s.publish("orders.finished", data, f"worse-{i}")
        for i, data in enumerate(bad):
            for id in (f"bad-{i}", f"worse-{i}"):
                letter = until(id, lambda: s.state("dead/" + id))
                self.assertEqual((letter["id"], letter["data"]), (id, data))
        self.assertEqual(inventory.stats()["events"], 0)


class Storefront(ServiceTest):
    GOOD = '{"customer":"ada","country":"DE","sku":"teapot","quantity":2}'

    def start_shop(self):
        self.inventory = self.start("inventory")
        return self.start("storefront")

    def post(self, s, body, key="k-1"):
        headers = {"Idempotency-Key": key} if key is not None else {}
        return s.call("POST", "orders", body, **headers)

    def test_the_same_key_is_the_same_order(self):
        s = self.start_shop()
        status, first = self.post(s, self.GOOD)
        self.assertEqual((status, first["total"]), (202, 12800))
        self.assertEqual(self.post(s, self.GOOD), (202, first))
        self.assertNotEqual(self.post(s, self.GOOD, "k-2")[1]["order"], first["order"])
        status, answer = self.post(s, self.GOOD.replace("2", "3"))
        self.assertEqual(status, 409)
        self.assertIn("another order", answer["error"])
        kept = [k for k in self.world.store("storefront") if k.startswith("order/")]
        self.assertEqual(len(kept), 2)
        until("inventory has them", lambda: self.inventory.stats()["events"] == 2)

    def test_mistakes_are_told(self):
        s = self.start_shop()
        for body, text in (
                ("", "JSON object"), ("[]", "JSON object"), ("{", "JSON object"),
                ("{}", "customer"), (self.GOOD.replace("ada", "a b"), "customer"),
                (self.GOOD.replace("ada", "x" * 65), "customer"),
                (self.GOOD.replace("DE", "Germany"), "country"),
                (self.GOOD.replace("DE", "de"), "country"),
                (self.GOOD.replace("DE", "D\\u0000"), "country"),
                (self.GOOD.replace("teapot", "unicorn"), "sku"),
                (self.GOOD.replace("2", "0"), "quantity"),
                (self.GOOD.replace("2", "101"), "quantity"),
                (self.GOOD.replace("2", "1.5"), "quantity"),
                (self.GOOD.replace("2", '"2"'), "quantity")):
            status, answer = self.post(s, body)
            self.assertEqual(status, 400, body)
            self.assertIn(text, answer["error"], body)
        for key in (None, "a b", "x" * 65, "a/b"):
            status, answer = self.post(s, self.GOOD, key)
            self.assertEqual((status, "Idempotency-Key" in answer["error"]), (400, True), key)
        self.assertEqual([k for k in self.world.store("storefront")], [], "nothing was saved")
        self.assertEqual(s.call("DELETE", "orders/o-1")[0], 405)
        self.assertEqual(s.call("GET", "orders/nobody")[0], 404)

    def test_prices_survive_their_source(self):
        s = self.start_shop()
        self.assertEqual(s.call("GET", "catalogue")[0], 200)
        self.inventory.kill()
        time.sleep(2.1)  # until the catalogue in memory is stale: its age is what is tested
        status, answer = self.post(s, self.GOOD)
        self.assertEqual((status, answer["total"]), (202, 12800))

    def test_no_prices_no_orders(self):
        s = self.start("storefront")
        self.assertEqual(self.post(s, self.GOOD)[0], 503)
        self.assertEqual(s.call("GET", "catalogue")[0], 503)

    def test_what_was_saved_and_not_published_is_published_at_the_next_start(self):
        """As if the process had ended between the two."""
        s = self.start_shop()
        self.post(s, self.GOOD)
        until("inventory has it", lambda: self.inventory.stats()["events"] == 1)
        s.kill()
        left = order(order="o-left")
        with sqlite3.connect(os.path.join(self.world.dir, "storefront.sqlite"), timeout=WAIT) as db:
            for key in ("order/o-left", "outbox/63"):
                db.execute("INSERT OR REPLACE INTO state (key, value, is_binary, etag) "
                           "VALUES (?, ?, 0, 'x')", (key, json.dumps(left)))
        self.start("storefront")
        until("it arrives", lambda: self.inventory.state("reservation/o-left"))


if __name__ == "__main__":
    unittest.main()
