#!/usr/bin/env python3
"""Runs the order system under load, hurts it on purpose, and audits the books.

It's examples/orders, whose services are in C; with --polyglot examples/polyglot, in five languages.

  DEMO_SECONDS=60   how long the load lasts
  DEMO_RATE=40      orders a second between the spikes; a spike is four times that
  DEMO_CHAOS=few    few: one service is slow for a while, one is killed, one sidecar is killed;
                    all: each service and each sidecar is killed in turn;  none
  KEEP=1            leaves the system running at the end, until Ctrl-C

Exit status 0: every check of the audit holds. 1: one doesn't, or the system didn't come up.
130: Ctrl-C.
"""
import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter

sys.dont_write_bytecode = True
from audit import ENDS, Audit, Books
from load import SPIKE_AT_S, SPIKE_EVERY_S, Load, Pool
from screen import Screen
from system import ROOT, SERVICES, Failed, System, ask

SETTLE_S = 90
SAMPLES = 20


def number_from_env(name, default, low, high):
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1
    if not low <= value <= high:
        raise Failed(f"{name}={text} must be a number from {low} to {high}")
    return value


def in_spike(t):
    """A time near t when many orders come in."""
    return SPIKE_AT_S + 0.5 + SPIKE_EVERY_S * max(0, round((t - SPIKE_AT_S) / SPIKE_EVERY_S))


def plan_of_faults(kind, seconds):
    """[(when, what, service)], sorted by time."""
    if kind == "none":
        return []
    if kind == "few":
        first, second = 0.4 * seconds, 0.7 * seconds
        if seconds >= 2 * SPIKE_EVERY_S:
            first, second = in_spike(first), in_spike(second)
        return [(0.15 * seconds, "slow", "payments"), (first, "app", "inventory"),
                (second, "sidecar", "payments")]
    if kind == "all":
        victims = [(target, s) for s in SERVICES for target in ("app", "sidecar")]
        step = 0.9 * seconds / len(victims)
        return [(0.05 * seconds + i * step, *v) for i, v in enumerate(victims)]
    raise Failed(f"DEMO_CHAOS={kind} must be few, all or none")


class Demo:
    def __init__(self, system, screen, seconds, rate, chaos):
        self.system, self.screen = system, screen
        self.seconds, self.rate = seconds, rate
        self.faults = plan_of_faults(chaos, seconds)
        self.load = None
        self.bad_events = set()
        self.prices, self.shelves = {}, {}
        self.stats = {}      # (service, process) → its latest count of events
        self.restarts = 0

    # ---- before ----

    def read_catalogue(self):
        status, body = self.call("GET", "storefront", "catalogue")
        if status != 200:
            raise Failed(f"no catalogue: {status} {body!r}")
        for item in json.loads(body)["items"]:
            self.prices[item["sku"]] = item["price"]
            self.shelves[item["sku"]] = item["available"]

    def call(self, verb, service, method, body=None):
        """Through the storefront's sidecar, as any client would. Status 0: no answer."""
        try:
            return ask(self.system.api("storefront"), verb,
                       f"/v1.0/invoke/{service}/method/{method}", body,
                       {"Content-Type": "application/json"})
        except OSError as e:
            return 0, str(e).encode()

    # ---- meanwhile ----

    def hurt(self, what, service):
        if what == "slow":
            duration = max(2, round(0.15 * self.seconds))
            status, _ = self.call("POST", service, "admin/slow",
                                  json.dumps({"ms": 300, "seconds": duration}))
            if status != 200:
                raise Failed(f"{service} can't be slowed down: status {status}")
            self.screen.say(f"{service} takes 300 ms longer for each order, for {duration} s",
                            "yellow")
            return
        self.system.kill(service, what)
        name = service if what == "app" else f"the sidecar of {service}"
        self.screen.say(f"kill -9: {name}", "yellow")

    def send_nonsense_event(self, number):
        """An event that no service can read: it must end as a dead letter, and stop nothing."""
        id = f"nonsense-{number}"
        path = f"/v1.0/publish/bus/orders.placed?metadata.cloudevent.id={id}"
        status, body = ask(self.system.api("storefront"), "POST", path, '{"order":17}',
                           {"Content-Type": "application/json"})
        if status != 204:
            raise Failed(f"publishing failed: {status} {body!r}")
        self.bad_events.add(id)

    def watch(self):
        """Once a second, in a thread: the page's figures, and the services' own counts."""
        feed = self.system.feed()
        self.stats.update(self.system.stats())
        if feed:
            self.restarts = sum(i["restarts"] for _, i in self.system.instances())
        return feed

    def show(self, feed, elapsed):
        load, totals = self.load, (feed or {}).get("totals", {})
        queued = totals.get("queued") or 0
        now = load.per_second[-2] if len(load.per_second) > 1 else 0
        text = f"{len(load.accepted):5} orders {now:4}/s, p99 {load.quantile_ms(0.99):.0f} ms, " \
               f"{queued:.0f} queued"
        self.screen.bar(elapsed / self.seconds, text)
        done = round(min(elapsed, self.seconds))
        self.system.progress("Taking orders", done, round(self.seconds))

    async def run_load(self):
        self.load = Load(Pool(self.system.api("storefront")), self.seconds, self.rate)
        loading = asyncio.create_task(self.load.run())
        begin, faults = time.monotonic(), list(self.faults)
        await asyncio.to_thread(self.send_nonsense_event, 1)
        while not loading.done():
            elapsed = time.monotonic() - begin
            if faults and elapsed >= faults[0][0]:
                _, what, service = faults.pop(0)
                await asyncio.to_thread(self.hurt, what, service)
                continue
            feed = await asyncio.to_thread(self.watch)
            self.show(feed, elapsed)
            until = min([1.0, *(max(0.01, f[0] - elapsed) for f in faults[:1])])
            await asyncio.wait([loading], timeout=until)
        await loading
        self.load_seconds = time.monotonic() - begin

    # ---- after ----

    def ill(self, feed):
        """Services that aren't healthy; feed is None when nothing is known."""
        if not feed:
            return ["the run"]
        return [id for id, i in self.system.instances() if i["state"] != "healthy"]

    def settle(self):
        """Until each order has come to its end, and at most SETTLE_S."""
        end = time.monotonic() + SETTLE_S
        while True:
            books = Books(self.system.dir)
            feed = self.watch()
            done, total = books.settled()
            calm = self.bad_events <= set(books.notifications["dead"]) and not self.ill(feed)
            if (done == total and calm) or time.monotonic() > end:
                return books
            self.screen.bar(done / max(1, total), f"{total - done} orders are still on their way")
            self.system.progress("Orders on their way", done, total)
            time.sleep(0.5)

    def compare_answers(self, books):
        """what the storefront answers is what the books say"""
        faults, orders = [], sorted(books.orders["order"])
        sample = orders[::max(1, len(orders) // SAMPLES)]
        for order in sample:
            status, body = self.call("GET", "storefront", f"orders/{order}")
            if status != 200 or json.loads(body) != books.orders["order"][order]:
                faults.append(f"{order}: {status} {body[:200]!r}")
        return faults, f"{len(sample)} orders asked for"

    def answers_right(self):
        """each call got the right answer"""
        load = self.load
        faults = load.wrong + [f"{load.unanswered} orders got no answer"] * bool(load.unanswered)
        return faults, f"{load.refused} senseless orders refused with 400"

    def healed(self):
        """what was killed came back"""
        kills = sum(what != "slow" for _, what, _ in self.faults)
        faults = [f"{id} is not healthy" for id in self.ill(self.system.feed())]
        if self.restarts < kills:
            faults.append(f"{kills} kills, but {self.restarts} restarts")
        return faults, f"{kills} kills, {self.restarts} restarts"

    def audit(self, books):
        audit = Audit(books, self.load.accepted, self.prices, self.shelves, self.bad_events)
        audit.add(self.compare_answers.__doc__, *self.compare_answers(books))
        audit.add(self.answers_right.__doc__, *self.answers_right())
        audit.add(self.healed.__doc__, *self.healed())
        return audit

    def summarise(self, books, audit):
        load, say = self.load, self.screen.say
        ends = Counter(ENDS.get(o["facts"], ("unfinished", "", ""))[:3]
                       for o in books.orders["order"].values())
        events = sum(s["events"] for s in self.stats.values())
        again = sum(s["again"] for s in self.stats.values())
        peak = max(load.per_second, default=0)
        say()
        say("Audit", "bold")
        for what, holds, detail in audit.rows:
            mark = self.screen.paint("green", "ok  ") if holds else self.screen.paint("red", "FAIL")
            say(f"  {mark} {what}" + self.screen.paint("dim", f" ({detail})" if detail else ""))
        say()
        say("Summary", "bold")
        for name, value in (
                ("orders accepted", len(load.accepted)),
                ("  confirmed", ends["confirmed", "charged", "shipped"]),
                ("  cancelled", f"{ends['cancelled', None, 'rejected']} out of stock, "
                                f"{ends['cancelled', 'declined', 'released']} declined, "
                                f"{ends['cancelled', 'refunded', 'released']} refunded"),
                ("orders refused", load.refused),
                ("calls", f"{load.calls / self.load_seconds:.0f}/s, at most {peak}/s; "
                          f"{load.repeated} repeated"),
                ("accept call", f"p50 {load.quantile_ms(0.5):.1f} ms, "
                                f"p99 {load.quantile_ms(0.99):.1f} ms"),
                ("events handled", f"{events}, of them {again} a second time, without effect"),
                ("restarts", self.restarts)):
            say(f"  {name:16} {value}")


def report(demo, system, screen):
    screen.say(f"Live page: {system.page()}", "bold")
    demo.read_catalogue()
    screen.say(f"Orders come in for {demo.seconds:.0f} s.")
    asyncio.run(demo.run_load())
    books = demo.settle()
    audit = demo.audit(books)
    demo.summarise(books, audit)
    system.progress("Audit passed" if audit.ok() else "Audit failed", 1, 1)
    return audit.ok()


def keep(system, screen):
    screen.say(f"\nStill running: {system.page()}. Ctrl-C ends it.")
    try:
        system.process.wait()
    except KeyboardInterrupt:
        pass


def conduct(system, demo, screen, starting):
    """From the start to the end of the system; the exit status."""
    passed = stopped = False
    try:
        screen.say(starting)
        system.start()
        system.wait_ready()
        passed = report(demo, system, screen)
        if os.environ.get("KEEP") == "1":
            keep(system, screen)
    except KeyboardInterrupt:
        stopped = True
    finally:
        screen.clear()
        status = system.stop()
        if status:
            screen.say(f"proa run ended with status {status}", "red")
            passed = False
        if passed or stopped:
            system.remove()
        else:
            screen.say(f"Logs and data are in {system.dir}")
    return 130 if stopped else 0 if passed else 1


def run(build, polyglot, screen):
    seconds = number_from_env("DEMO_SECONDS", 60, 3, 86400)
    rate = number_from_env("DEMO_RATE", 40, 1, 10000)
    system = System(build, polyglot)
    demo = Demo(system, screen, seconds, rate, os.environ.get("DEMO_CHAOS", "few"))
    languages = "in C, Python, JavaScript, Java and Go, " if polyglot else ""
    return conduct(system, demo, screen, f"Starting six services {languages}a sidecar beside each …")


def arguments(text):
    parser = argparse.ArgumentParser(description=text,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"), type=os.path.abspath,
                        help="build directory (default: build/release)")
    return parser


def guarded(run_it):
    """run_it(screen); the exit status."""
    screen = Screen()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        return run_it(screen)
    except Failed as e:
        screen.say(f"demo: {e}", "red")
        return 1


def main():
    parser = arguments(__doc__)
    parser.add_argument("--polyglot", metavar="DIR", type=os.path.abspath,
                        help="run examples/polyglot, whose services are installed in DIR")
    args = parser.parse_args()
    return guarded(lambda screen: run(args.build, args.polyglot, screen))


if __name__ == "__main__":
    sys.exit(main())
