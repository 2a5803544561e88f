#!/usr/bin/env python3
"""Runs the order system in three zones: ten times its normal load for a while, then a zone is lost
and comes back. What happens is told phase by phase, and the books are audited.

  DEMO_SECONDS=60   how long the load lasts
  DEMO_RATE=        orders a second in normal times, 4 for each core; the spike is ten times that
  KEEP=1            leaves the system running at the end, until Ctrl-C

Exit status 0: every check of the audit holds. 1: one doesn't, or the system didn't come up.
130: Ctrl-C.
"""
import asyncio
import json
import os
import sys
import time
from collections import Counter

sys.dont_write_bytecode = True
from run import Demo, arguments, conduct, guarded, number_from_env
from spike_load import PHASES, PRIORITIES, SPIKE_TIMES, Entrances, SpikeLoad, boundaries
from system import Failed, System, ask

ZONES = ("a", "b", "c")
LOST = "b"
PROCESSES = 13         # of a zone: six services, a sidecar beside each, and the gateway
CAPACITY = 0.5         # of the spike: what the storefronts are able to check
SHED_PERCENT = 1       # of the critical orders, at most
FAILED_PERCENT = 1     # of the reads, at most
BACK_S = 60            # a zone that comes back takes calls by then
CROSS_PERCENT = 2      # of the calls in normal times, at most
TRIED_PERCENT = 5      # of the calls while a zone is lost, at most: those that find out
FEW = 5                # calls prove nothing


class Spike(Demo):
    def __init__(self, system, screen, seconds, rate):
        super().__init__(system, screen, seconds, rate, "none")
        self.calls = {}     # (zone of the gateway, zone of the storefront) → (latest count, in all)
        self.phase = next(iter(PHASES))
        self.at_phase = {}  # phase → calls by those two, at its end

    # ---- meanwhile ----

    def count_zones(self):
        """Calls of the gateways by (zone of the gateway, zone of the storefront), since the start."""
        for zone, port in self.system.entrances().items():
            try:
                status, body = ask(port, "GET", "/proa/v1/feed", timeout=1)
                calls = json.loads(body)["zones"]["calls"] if status == 200 else {}
            except (OSError, ValueError, KeyError):
                continue  # the zone is lost, or on its way back
            for to, n in calls.items():
                last, total = self.calls.get((zone, to), (0, 0))
                # A sidecar that has been started again counts from zero.
                self.calls[zone, to] = n, total + (n - last if n >= last else n)
        return {k: total for k, (_, total) in self.calls.items()}

    def begin_phase(self, phase):
        if phase == "spike":
            self.screen.say(f"the spike: {SPIKE_TIMES} times as many orders", "yellow")
        elif phase == "lost":
            self.system.zone(LOST, "down")
            self.screen.say(f"zone {LOST} is lost: kill -9 of all {PROCESSES} processes in it", "yellow")
        elif phase == "back":
            self.system.zone(LOST, "up")
            self.screen.say(f"zone {LOST} is back", "yellow")

    def end_phase(self, phase):
        self.at_phase[phase] = self.count_zones()
        self.screen.say(self.line_of(phase))

    def show(self, feed, elapsed):
        queued = (feed or {}).get("totals", {}).get("queued") or 0
        tally = self.load.tally[self.phase]
        self.screen.bar(elapsed / self.seconds,
                        f"{self.phase:8} {sum(tally.accepted.values()):5} accepted, "
                        f"{sum(tally.shed.values())} shed, {queued:.0f} queued")
        self.system.progress(f"Three zones: {self.phase}", round(min(elapsed, self.seconds)),
                             round(self.seconds))

    def wait_for_zone(self, calls):
        """A zone needs its time to come back, the more the busier the machine: orders go on until then."""
        worked = self.calls_to(LOST, calls) > self.calls_to(LOST, self.at_phase["lost"])
        self.load.seconds = self.seconds + (0 if worked else BACK_S)

    @staticmethod
    def calls_to(zone, calls):
        return sum(n for (_, to), n in calls.items() if to == zone)

    async def run_load(self):
        self.load = SpikeLoad(Entrances(self.system.entrances()), self.seconds, self.rate)
        loading = asyncio.create_task(self.load.run())
        begin, ahead = time.monotonic(), boundaries(self.seconds)[1:]
        self.screen.say(ABOUT.format(rate=self.rate), "dim")
        self.screen.say(HEAD, "bold")
        await asyncio.to_thread(self.send_nonsense_event, 1)
        while not loading.done():
            elapsed = time.monotonic() - begin
            if ahead and elapsed >= ahead[0][0]:
                _, phase = ahead.pop(0)
                await asyncio.to_thread(self.end_phase, self.phase)
                self.phase = phase
                if phase == "back":
                    self.load.seconds = self.seconds + BACK_S  # until it takes calls
                await asyncio.to_thread(self.begin_phase, phase)
                continue
            feed = await asyncio.to_thread(self.watch)
            calls = await asyncio.to_thread(self.count_zones)
            if self.phase == "back":
                self.wait_for_zone(calls)
            self.show(feed, elapsed)
            until = min([1.0, *(max(0.01, p[0] - elapsed) for p in ahead[:1])])
            await asyncio.wait([loading], timeout=until)
        await loading
        self.end_phase(self.phase)
        self.load_seconds = time.monotonic() - begin

    # ---- what a phase was like ----

    def zones_of(self, phase):
        """({zone: calls to it}, calls to another zone) during the phase."""
        names = list(PHASES)
        first = names.index(phase) == 0
        before = {} if first else self.at_phase[names[names.index(phase) - 1]]
        calls = {k: n - before.get(k, 0) for k, n in self.at_phase[phase].items()}
        by_zone = {z: self.calls_to(z, calls) for z in ZONES}
        return by_zone, sum(n for (x, to), n in calls.items() if x != to)

    def line_of(self, phase):
        tally = self.load.tally[phase]
        by_zone, cross = self.zones_of(phase)
        total = max(1, sum(by_zone.values()))
        shares = "".join(f"{100 * n / total:7.0f}%" for n in by_zone.values())
        return f"{phase:8}{tally.seconds():5.0f} s{sum(tally.offered.values()):9}" \
               f"{sum(tally.accepted.values()):10}{sum(tally.shed.values()):7}{sum(tally.failures.values()):8}" \
               f"{tally.quantile_ms(0.5):9.0f}{tally.quantile_ms(0.99):9.0f}  {shares}" \
               f"{100 * cross / total:7.0f}%"

    # ---- after ----

    def critical_served(self):
        """critical orders were not turned away"""
        offered = sum(t.offered["critical"] for t in self.load.tally.values())
        shed = sum(t.shed["critical"] for t in self.load.tally.values())
        most = max(1, offered * SHED_PERCENT // 100)
        return [f"{shed} of {offered} were"] if shed > most or not offered else [], \
            f"{shed} of {offered}; at most {most}"

    def lowest_first(self):
        """who was turned away had the lowest priority first"""
        def share(p):
            tally = self.load.tally["spike"]
            return tally.shed[p] / max(1, tally.offered[p])
        shares = {p: share(p) for p in PRIORITIES}
        names, offered = list(shares), self.load.tally["spike"].offered
        faults = [f"{low} {shares[low]:.0%}, but {high} {shares[high]:.0%}"
                  for high, low in zip(names, names[1:])
                  if shares[high] > shares[low] + 0.05 + 2 / max(1, offered[high])]  # few tell little
        return faults, ", ".join(f"{p} {s:.0%}" for p, s in shares.items()) + " in the spike"

    def was_a_spike(self):
        """the spike was one"""
        tally = self.load.tally["spike"]
        times = sum(tally.offered.values()) / max(0.1, tally.seconds()) / self.rate
        return [f"only {times:.1f} times the normal rate"] if times < 0.7 * SPIKE_TIMES else [], \
            f"{times:.1f} times the normal rate"

    def calls_stayed(self):
        """calls stayed in their zone while all was well"""
        by_zone, cross = self.zones_of("normal")
        total = sum(by_zone.values())
        share = f"{cross} of {total} left it"
        return [share] if cross > max(FEW, CROSS_PERCENT * total / 100) else [], share

    def zone_worked(self):
        """the zone that was lost took calls before and again afterwards, and few were tried there meanwhile"""
        calls = {p: self.zones_of(p)[0][LOST] for p in PHASES}
        faults = [f"no calls ({p})" for p in ("normal", "back") if not calls[p]]
        most = TRIED_PERCENT * sum(self.zones_of("lost")[0].values()) // 100
        if calls["lost"] > max(FEW, most):
            faults.append(f"{calls['lost']} were tried while it was away, at most {max(FEW, most)}")
        return faults, f"{calls['normal']} before, {calls['lost']} tried meanwhile, {calls['back']} after"

    def reads_answered(self):
        """reads were answered throughout"""
        reads = sum(t.reads for t in self.load.tally.values())
        bad = sum(t.reads_failed for t in self.load.tally.values())
        return [f"{bad} of {reads} failed"] if 100 * bad > FAILED_PERCENT * reads else [], \
            f"{bad} of {reads} failed"

    def healed(self):
        """what was killed came back"""
        faults = [f"{id} is not healthy" for id in self.ill(self.system.feed())]
        if self.restarts < PROCESSES:
            faults.append(f"{PROCESSES} processes were killed, but {self.restarts} restarted")
        return faults, f"{self.restarts} restarts"

    def audit(self, books):
        audit = super().audit(books)
        for check in (self.critical_served, self.lowest_first, self.was_a_spike, self.calls_stayed,
                      self.zone_worked, self.reads_answered):
            audit.add(check.__doc__, *check())
        return audit

    def summarise(self, books, audit):
        say = self.screen.say
        say()
        say(HEAD, "bold")
        for phase in PHASES:
            say(self.line_of(phase))
        failures = sum((t.failures for t in self.load.tally.values()), Counter())
        if failures:
            say("failed: " + ", ".join(f"{n} × {why}" for why, n in failures.most_common(5)))
        super().summarise(books, audit)


ABOUT = """normal: {rate:.0f} orders a second. spike: ten times that, twice what the storefronts can check. lost: a zone is killed.
shed: turned away at the first try, lowest priority first; critical and high orders come again, the others go home.
failed: calls without a good answer, made again. zone a, b, c: whose storefronts took the calls. cross: left their zone."""
HEAD = f"{'phase':8}{'':7}{'orders':>9}{'accepted':>10}{'shed':>7}{'failed':>8}" \
       f"{'p50 ms':>9}{'p99 ms':>9}  " + "".join(f"{'zone ' + z:>8}" for z in ZONES) + f"{'cross':>8}"


def run(build, screen):
    seconds = number_from_env("DEMO_SECONDS", 60, 10, 86400)
    # As many as the machine can work on when ten times as many come: what is short are the checks
    # of the storefronts, which overload control sees, and not the processors, of which it sees little.
    rate = number_from_env("DEMO_RATE", min(40, 4 * len(os.sched_getaffinity(0))), 1, 1000)
    # Four at a time in each storefront: together CAPACITY of the spike.
    check_ms = round(1000 * 4 * len(ZONES) / (CAPACITY * SPIKE_TIMES * rate))
    system = System(build, example="zones.yaml", env={"STOREFRONT_CHECK_MS": str(check_ms)})
    demo = Spike(system, screen, seconds, rate)
    return conduct(system, demo, screen, f"Starting six services and a gateway in each of the zones "
                                         f"{', '.join(ZONES)}, a sidecar beside each …")


if __name__ == "__main__":
    args = arguments(__doc__).parse_args()
    sys.exit(guarded(lambda screen: run(args.build, screen)))
