#!/usr/bin/env python3
"""What zones do to calls while one of three is cut off and comes back: zone_bench.py [ZONE_SECONDS].

PROA=build/release/src/cli/proa python3 bench/zone_bench.py. Everything runs on this machine: three zones of
two instances and a caller each, on loopback addresses; a cut is SIGSTOP to the zone's instances. Prints
the figures beside what they must be, and ends with 1 when one isn't. Ratios of one run, not absolute times.
"""
import collections
import os
import signal
import sys
import time
import unittest

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(SOURCE, "test", "integration"))

import harness  # noqa: E402
from zone_fleet import ZONES, Fleet, Load, failed, local, shares  # noqa: E402

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 10


class Bench(harness.Case):
    def runTest(self):
        self.bars, self.fleet = [], Fleet(self, ramp=f"{SECONDS}s")
        load = self.load = Load(self.fleet, threads=3)
        self.addCleanup(load.end)
        load.wait(200)
        normal = self.during(load)
        self.bar("cross-zone calls in the normal state, %", 100 * (1 - local(normal)), 2)
        begin, start = load.mark(), time.monotonic()
        for s in self.fleet.callees["a"]:
            s.freeze()
        load.wait_for("nothing goes to a", lambda r: all(x.zone != "a" for x in r))
        print(f"the cut zone gets nothing after {time.monotonic() - start:.1f} s")
        after = self.during(load)
        got = shares(after, "a")
        self.bar("calls of the lost zone at the others: from fair, %",
                 100 * max(abs(got.get(z, 0) * 2 - 1) for z in ("b", "c")), 10)
        self.bar("failed calls since the cut, %", 100 * len(failed(load.results[begin:])) / len(load.results[begin:]), 0.1)
        for s in self.fleet.callees["a"]:
            s.send_signal(signal.SIGCONT)
        back = load.mark()
        harness.until("a answers again", lambda: any(r.zone == "a" for r in load.results[back:]), timeout=90)
        self.come_back(load)
        load.end()
        self.bar("failed calls of the whole run, %", 100 * len(failed(load.results)) / len(load.results), 0.1)
        print(f"{len(load.results)} calls: {dict(collections.Counter(r.zone for r in load.results))}")
        self.assertTrue(all(self.bars), "a bar is missed")

    def during(self, load):
        at = load.mark()
        time.sleep(SECONDS)  # how long is measured
        return load.results[at:]

    def come_back(self, load):
        """The zone's share of its own calls, second by second, until it has all of them."""
        steps, end = [], time.monotonic() + 6 * SECONDS + 30
        while (not steps or steps[-1] < 0.98) and time.monotonic() < end:
            at = load.mark()
            time.sleep(1)
            steps.append(local(load.results[at:], "a"))
        print("share of its calls that the zone has, by second:", " ".join(f"{s:.2f}" for s in steps))
        self.bar("largest step of the return within a second, %",
                 100 * max(b - a for a, b in zip([0] + steps, steps)), 60)
        self.bar("calls that are not local after the return, %", 100 * (1 - steps[-1]), 2)

    def bar(self, what, value, most):
        self.bars.append(value <= most)
        print(f"{'ok  ' if value <= most else 'MISS'} {what}: {value:.2f} (at most {most})", flush=True)


if __name__ == "__main__":
    sys.exit(not unittest.TextTestRunner(verbosity=0).run(Bench()).wasSuccessful())
