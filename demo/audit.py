"""The audit: reads what the services have saved, straight from their files, and checks that the
books agree. It shares no code with the services and asks none of them."""
import base64
import json
import os
import sqlite3
from collections import Counter, defaultdict

PLACED, RESERVED, REJECTED, CHARGED, DECLINED, SHIPPED, REFUSED, REFUNDED, RELEASED = \
    (1 << i for i in range(9))

# What an order may have come to, as sets of facts: there is no other way to end.
ENDS = {
    PLACED | RESERVED | CHARGED | SHIPPED: ("confirmed", "charged", "shipped", "shipped"),
    PLACED | REJECTED: ("cancelled", None, "rejected", None),
    PLACED | RESERVED | DECLINED | RELEASED: ("cancelled", "declined", "released", None),
    PLACED | RESERVED | CHARGED | REFUSED | REFUNDED | RELEASED:
        ("cancelled", "refunded", "released", "refused"),
}


def read_store(directory, app):
    """All keys of a service, by their first part: {"order": {id: value}, "stock": {sku: value}}."""
    tables = defaultdict(dict)
    path = os.path.join(directory, app + ".sqlite")
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        for key, value, is_binary in database.execute("SELECT key, value, is_binary FROM state"):
            kind, _, name = key.partition("/")
            # Over gRPC a value is bytes, whatever it holds: kept as base64.
            tables[kind][name] = json.loads(base64.b64decode(value) if is_binary else value)
    finally:
        database.close()
    return tables


class Books:
    def __init__(self, directory):
        self.storefront = read_store(directory, "storefront")
        self.orders = read_store(directory, "orders")
        self.inventory = read_store(directory, "inventory")
        self.payments = read_store(directory, "payments")
        self.shipping = read_store(directory, "shipping")
        self.notifications = read_store(directory, "notifications")

    def settled(self):
        """How many orders have come to an end everywhere, of how many."""
        done = 0
        for order in self.storefront["order"]:
            facts = self.orders["order"].get(order, {}).get("facts")
            stock = self.inventory["reservation"].get(order, {}).get("state")
            done += facts in ENDS and stock == ENDS[facts][2] \
                and order in self.notifications["notice"]
        return done, len(self.storefront["order"])


class Audit:
    """Each check adds a row (what, holds, detail); ok() says whether all hold."""

    def __init__(self, books, accepted, prices, shelves, bad_events):
        self.books, self.accepted = books, accepted
        self.prices, self.shelves, self.bad_events = prices, shelves, bad_events
        self.rows = []
        for check in (self.nothing_lost, self.one_final_state, self.totals, self.charged_once,
                      self.accounts, self.stock_history, self.stock_adds_up, self.shipped_once,
                      self.customers_told, self.dead_letters):
            try:
                self.add(check.__doc__, *check())
            except (KeyError, TypeError, ValueError) as e:  # a record without what it must have
                self.add(check.__doc__, [f"a record is incomplete: {e!r}"], "")

    def add(self, what, faults, detail):
        self.rows.append((what, not faults, "; ".join(faults[:3]) if faults else detail))

    def ok(self):
        return all(holds for _, holds, _ in self.rows)

    def placed(self):
        return self.books.storefront["order"]

    def status_of(self, order):
        return self.books.orders["order"][order]["status"]

    def nothing_lost(self):
        """each accepted order was kept, and once"""
        faults = []
        keys = self.books.storefront["key"]
        for key, order in self.accepted.items():
            if order not in self.placed():
                faults.append(f"{order} was accepted and is gone")
            elif keys.get(key, {}).get("order") != order:
                faults.append(f"{key} is of {keys.get(key)}, not of {order}")
        if len(keys) != len(self.placed()):
            faults.append(f"{len(keys)} keys, but {len(self.placed())} orders")
        return faults, f"{len(self.accepted)} answered with 202, {len(self.placed())} kept"

    def one_final_state(self):
        """each order reached exactly one final state"""
        faults, ends = [], Counter()
        known = self.books.orders["order"]
        for order in self.placed():
            record = known.get(order)
            end = ENDS.get(record["facts"]) if record else None
            if not end or end[0] != record["status"]:
                faults.append(f"{order}: {record}")
            else:
                ends[end[0]] += 1
        faults += [f"{order} was never placed" for order in known if order not in self.placed()]
        return faults, ", ".join(f"{n} {status}" for status, n in sorted(ends.items()))

    def totals(self):
        """each order costs its price"""
        faults = [f"{id}: {o['total']} for {o['quantity']} of {o['sku']}"
                  for id, o in self.placed().items()
                  if o["total"] != self.prices[o["sku"]] * o["quantity"]]
        return faults, f"{len(self.prices)} prices"

    def charged_once(self):
        """money was taken for confirmed orders only, and given back for the others"""
        faults, payments = [], self.books.payments["payment"]
        for order, o in self.placed().items():
            payment = payments.get(order)
            want = ENDS[self.books.orders["order"][order]["facts"]][1]
            if (payment["state"] if payment else None) != want:
                faults.append(f"{order} is {self.status_of(order)}, its payment {payment}")
            elif payment and (payment["amount"] != o["total"] or payment["customer"] != o["customer"]):
                faults.append(f"{order}: {payment} for {o}")
        faults += [f"a payment for {order}" for order in payments if order not in self.placed()]
        states = Counter(p["state"] for p in payments.values())
        return faults, ", ".join(f"{n} {state}" for state, n in sorted(states.items()))

    def accounts(self):
        """money adds up: what customers' accounts show is the sum of their confirmed orders"""
        want = Counter()
        for order, o in self.placed().items():
            want[o["customer"]] += o["total"] if self.status_of(order) == "confirmed" else 0
        have = {c: a["balance"] for c, a in self.books.payments["account"].items()}
        faults = [f"{c}: {have.get(c, 0)} instead of {want[c]}" for c in set(want) | set(have)
                  if have.get(c, 0) != want[c]]
        return faults, f"{sum(have.values()) / 100:,.2f} on {len(have)} accounts"

    def stock_history(self):
        """stock was never below zero: its history, change by change"""
        steps = defaultdict(dict)
        for name, entry in self.books.inventory["journal"].items():
            sku, _, number = name.rpartition("/")
            steps[sku][int(number)] = entry
        faults, lowest = [], {}
        for sku, history in steps.items():
            before = {"onHand": self.shelves[sku], "reserved": 0, "shipped": 0}
            for number in range(1, len(history) + 1):
                now = history.get(number)
                fault = self.wrong_change(before, now)
                if fault:
                    faults.append(f"{sku}, change {number}: {fault}")
                    break
                before = now
                free = now["onHand"] - now["reserved"]
                lowest[sku] = min(lowest.get(sku, free), free)
        for sku, stock in self.books.inventory["stock"].items():
            if stock["changes"] != len(steps[sku]):
                faults.append(f"{sku} changed {stock['changes']} times, known are {len(steps[sku])}")
        sku, left = min(lowest.items(), key=lambda i: i[1], default=("nothing", 0))
        return faults, f"{sum(map(len, steps.values()))} changes; least of {sku}: {left} left"

    def wrong_change(self, before, now):
        if not now:
            return "missing"
        q = self.books.inventory["reservation"][now["order"]]["quantity"]
        moved = {"reserved": (0, q, 0), "released": (0, -q, 0), "shipped": (-q, -q, q)}[now["what"]]
        after = tuple(before[k] + m for k, m in zip(("onHand", "reserved", "shipped"), moved))
        if after != (now["onHand"], now["reserved"], now["shipped"]):
            return f"{now} after {before}"
        return None if 0 <= now["reserved"] <= now["onHand"] else f"{now}: below zero"

    def stock_adds_up(self):
        """stock adds up: first = on hand + shipped, and shipped is what confirmed orders say"""
        faults, want = [], Counter()
        for order, o in self.placed().items():
            want[o["sku"]] += o["quantity"] if self.status_of(order) == "confirmed" else 0
        for sku, first in self.shelves.items():
            s = self.books.inventory["stock"][sku]
            if s["onHand"] + s["shipped"] != first or s["reserved"] or s["shipped"] != want[sku]:
                faults.append(f"{sku}: {s}, first {first}, confirmed {want[sku]}")
        return faults, f"{sum(want.values())} pieces shipped"

    def shipped_once(self):
        """a parcel left for each confirmed order, and for no other"""
        faults, shipments = [], self.books.shipping["shipment"]
        for order, o in self.placed().items():
            want = ENDS[self.books.orders["order"][order]["facts"]][3]
            have = shipments.get(order)
            if (have["state"] if have else None) != want or (have and have["sku"] != o["sku"]):
                faults.append(f"{order} is {self.status_of(order)}, its shipment {have}")
        faults += [f"a shipment for {order}" for order in shipments if order not in self.placed()]
        states = Counter(s["state"] for s in shipments.values())
        return faults, ", ".join(f"{n} {state}" for state, n in sorted(states.items()))

    def customers_told(self):
        """each customer was told how it ended"""
        notices = self.books.notifications["notice"]
        faults = [f"{order} is {self.status_of(order)}, the notice {notices.get(order)}"
                  for order, o in self.placed().items()
                  if (notices.get(order, {}).get("status"), notices.get(order, {}).get("to"))
                  != (self.status_of(order), o["customer"])]
        faults += [f"a notice for {order}" for order in notices if order not in self.placed()]
        return faults, f"{len(notices)} notices"

    def dead_letters(self):
        """only what makes no sense became a dead letter"""
        dead = set(self.books.notifications["dead"])
        faults = [f"{id} is a dead letter" for id in dead - self.bad_events]
        faults += [f"{id} isn't a dead letter" for id in self.bad_events - dead]
        return faults, f"{len(dead)} bad events sent, {len(dead)} kept aside"
