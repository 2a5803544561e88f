#!/usr/bin/env python3
"""The audit finds what it is there to find: sound books pass, and each way of cooking them fails
the check that is named."""
import base64
import contextlib
import copy
import os
import sqlite3
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.environ["PROA_SOURCE"], "demo"))
from audit import (CHARGED, DECLINED, PLACED, REFUNDED, REFUSED, REJECTED, RELEASED, RESERVED,
                   SHIPPED, Audit, Books, read_store)

PRICES = {"cup": 1250, "samovar": 41900}
SHELVES = {"cup": 100, "samovar": 3}


def order(customer, sku, quantity):
    return {"customer": customer, "sku": sku, "quantity": quantity, "total": PRICES[sku] * quantity}


def journal(sku, order_id, what, on_hand, reserved, shipped):
    return {"order": order_id, "what": what, "onHand": on_hand, "reserved": reserved,
            "shipped": shipped}


class Sound(Books):
    """Four orders, one for each way that an order can end."""

    def __init__(self):  # without files
        placed = {"o-ok": order("ada", "cup", 2), "o-none": order("bob", "samovar", 4),
                  "o-poor": order("cy", "samovar", 3), "o-far": order("ada", "cup", 1)}
        facts = {"o-ok": ("confirmed", PLACED | RESERVED | CHARGED | SHIPPED),
                 "o-none": ("cancelled", PLACED | REJECTED),
                 "o-poor": ("cancelled", PLACED | RESERVED | DECLINED | RELEASED),
                 "o-far": ("cancelled",
                           PLACED | RESERVED | CHARGED | REFUSED | REFUNDED | RELEASED)}
        self.storefront = {"order": placed,
                           "key": {"k-" + id[2:]: {"order": id} for id in placed}}
        self.orders = {"order": {id: dict(placed[id], status=s, facts=f)
                                 for id, (s, f) in facts.items()}}
        states = {"o-ok": "shipped", "o-none": "rejected", "o-poor": "released",
                  "o-far": "released"}
        self.inventory = {
            "reservation": {id: {"state": s, "sku": placed[id]["sku"],
                                 "quantity": placed[id]["quantity"]} for id, s in states.items()},
            "stock": {"cup": {"onHand": 98, "reserved": 0, "shipped": 2, "changes": 4},
                      "samovar": {"onHand": 3, "reserved": 0, "shipped": 0, "changes": 2}},
            "journal": {"cup/1": journal("cup", "o-ok", "reserved", 100, 2, 0),
                        "cup/2": journal("cup", "o-far", "reserved", 100, 3, 0),
                        "cup/3": journal("cup", "o-ok", "shipped", 98, 1, 2),
                        "cup/4": journal("cup", "o-far", "released", 98, 0, 2),
                        "samovar/1": journal("samovar", "o-poor", "reserved", 3, 3, 0),
                        "samovar/2": journal("samovar", "o-poor", "released", 3, 0, 0)}}
        self.payments = {"payment": {
            id: {"state": s, "customer": placed[id]["customer"], "amount": placed[id]["total"]}
            for id, s in (("o-ok", "charged"), ("o-poor", "declined"), ("o-far", "refunded"))},
            "account": {"ada": {"balance": 2500}}}
        self.shipping = {"shipment": {"o-ok": {"state": "shipped", "sku": "cup"},
                                      "o-far": {"state": "refused", "sku": "cup"}}}
        self.notifications = {"notice": {id: {"to": placed[id]["customer"], "status": facts[id][0]}
                                         for id in placed}, "dead": {"bad": {}}}


def audit(books, accepted=None):
    if accepted is None:
        accepted = {"k-" + id[2:]: id for id in ("o-ok", "o-none", "o-poor", "o-far")}
    return Audit(books, accepted, PRICES, SHELVES, {"bad"})


class AuditTest(unittest.TestCase):
    def failed(self, cook):
        books = copy.deepcopy(Sound())
        accepted = cook(books)
        return {what for what, holds, _ in audit(books, accepted).rows if not holds}

    def finds(self, check, cook):
        failed = self.failed(cook)
        self.assertIn(getattr(Audit, check).__doc__, failed)

    def test_sound_books_pass(self):
        result = audit(Sound())
        self.assertEqual([r for r in result.rows if not r[1]], [])
        self.assertEqual(len(result.rows), 10)
        self.assertEqual(Sound().settled(), (4, 4))

    def test_an_accepted_order_that_is_gone_is_found(self):
        self.finds("nothing_lost", lambda b: b.storefront["order"].pop("o-ok") and None)
        self.finds("nothing_lost", lambda b: {"k-ok": "o-ok", "k-lost": "o-lost"})
        self.finds("nothing_lost", lambda b: {"k-ok": "o-far"})

    def test_two_orders_for_one_key_are_found(self):
        def cook(b):
            b.storefront["order"]["o-twin"] = order("ada", "cup", 2)
        self.finds("nothing_lost", cook)

    def test_an_order_without_an_end_or_with_two_is_found(self):
        def stuck(b):
            b.orders["order"]["o-ok"].update(status="charged", facts=PLACED | RESERVED | CHARGED)
            self.assertEqual(b.settled(), (3, 4))
        def both(b):
            b.orders["order"]["o-ok"]["facts"] |= RELEASED
        self.finds("one_final_state", stuck)
        self.finds("one_final_state", both)
        self.finds("one_final_state", lambda b: b.orders["order"].pop("o-ok") and None)
        self.finds("one_final_state", lambda b: b.orders["order"].update({"o-ghost": {}}))

    def test_a_wrong_price_is_found(self):
        self.finds("totals", lambda b: b.storefront["order"]["o-ok"].update(total=1))

    def test_a_charge_that_should_not_be_is_found(self):
        self.finds("charged_once", lambda b: b.payments["payment"]["o-far"].update(state="charged"))
        self.finds("charged_once", lambda b: b.payments["payment"]["o-ok"].update(amount=5000))
        self.finds("charged_once", lambda b: b.payments["payment"].pop("o-ok") and None)
        self.finds("charged_once", lambda b: b.payments["payment"].update(
            {"o-none": {"state": "charged", "customer": "bob", "amount": 1}}))

    def test_a_double_charge_is_found_in_the_account(self):
        def twice(b):
            b.payments["account"]["ada"]["balance"] = 5000
        self.assertEqual(self.failed(twice), {Audit.accounts.__doc__})

    def test_stock_below_zero_for_a_moment_is_found(self):
        def dip(b):  # 5 of 3 reserved, then released: the end looks fine
            b.inventory["reservation"]["o-poor"]["quantity"] = 5
            b.inventory["journal"]["samovar/1"]["reserved"] = 5
        self.assertIn(Audit.stock_history.__doc__, self.failed(dip))

    def test_a_gap_or_a_wrong_sum_in_the_history_is_found(self):
        self.finds("stock_history", lambda b: b.inventory["journal"].pop("cup/2") and None)
        self.finds("stock_history", lambda b: b.inventory["journal"]["cup/3"].update(shipped=4))
        self.finds("stock_history", lambda b: b.inventory["stock"]["cup"].update(changes=5))

    def test_stock_that_does_not_add_up_is_found(self):
        self.finds("stock_adds_up", lambda b: b.inventory["stock"]["cup"].update(onHand=97))
        self.finds("stock_adds_up", lambda b: b.inventory["stock"]["cup"].update(reserved=1))
        self.finds("stock_adds_up",
                   lambda b: b.inventory["stock"]["cup"].update(onHand=96, shipped=4))

    def test_a_missing_or_needless_parcel_is_found(self):
        self.finds("shipped_once", lambda b: b.shipping["shipment"].pop("o-ok") and None)
        self.finds("shipped_once", lambda b: b.shipping["shipment"].update(
            {"o-poor": {"state": "shipped", "sku": "samovar"}}))

    def test_a_customer_who_was_told_nothing_or_a_lie_is_found(self):
        self.finds("customers_told", lambda b: b.notifications["notice"].pop("o-ok") and None)
        self.finds("customers_told",
                   lambda b: b.notifications["notice"]["o-ok"].update(status="cancelled"))

    def test_an_unexpected_dead_letter_is_found(self):
        self.finds("dead_letters", lambda b: b.notifications["dead"].update({"o-ok/x": {}}))
        self.finds("dead_letters", lambda b: b.notifications["dead"].clear())

    def test_a_record_without_a_field_fails_its_check_and_no_more(self):
        def cook(b):
            del b.shipping["shipment"]["o-ok"]["state"]
        self.assertEqual(self.failed(cook), {Audit.shipped_once.__doc__})

    def test_values_saved_as_bytes_are_read_like_others(self):
        with tempfile.TemporaryDirectory() as directory:
            with contextlib.closing(sqlite3.connect(directory + "/shop.sqlite")) as db, db:
                db.execute("CREATE TABLE state(key, value, is_binary)")
                db.executemany("INSERT INTO state VALUES(?, ?, ?)", [
                    ("order/1", '{"n":1}', 0), ("order/2", base64.b64encode(b'{"n":2}').decode(), 1)])
            self.assertEqual(read_store(directory, "shop"), {"order": {"1": {"n": 1}, "2": {"n": 2}}})


if __name__ == "__main__":
    unittest.main()
