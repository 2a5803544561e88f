#!/usr/bin/env python3
"""What overload control, traffic rules and zones cost a call: the same bench with all of it on and off.

usage: bench/guards_bench.py [--rounds N] [--secs S] PROA

wrk calls an app (nginx) through two sidecars, by two pairs of them: one without any proa.dev resource,
one with an Overload (rules and a key, so that each call is looked at), a Traffic and zones. The rounds
take turns, and which of both is first, too. Prints the ratio on/off of each round and their median;
exit status 1 when that is under 0.9. Needs wrk and nginx. For a quiet machine.
"""
import argparse
import statistics
import sys

from bench import Bench

BAR = 0.9
ON = """apiVersion: proa.dev/v1alpha1
kind: Overload
metadata: {name: all}
spec:
  key: {header: x-user-id}
  priorities:
  - {caller: checkout, priority: high}
  - {route: /reports/*, priority: background}
---
apiVersion: proa.dev/v1alpha1
kind: Traffic
metadata: {name: all}
spec:
  zones: {order: [b, c]}
  routes:
  - {path: /cart/*, retries: {budget: 10}}
"""


def start_pair(binary, secs, on):
    """(its bench, the url that calls the app through both sidecars)"""
    b = Bench(binary, secs)
    try:
        if on:
            with open(f"{b.dir}/res/on.yaml", "w", encoding="utf-8") as f:
                f.write(ON)
        b.start_nginx()
        b.start_sidecar("server", b.app)
        _, http, _ = b.start_sidecar("client")
    except BaseException:
        b.stop()
        raise
    return b, f"http://127.0.0.1:{http}/v1.0/invoke/server/method/echo"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--secs", type=int, default=2)
    o = ap.parse_args()
    pairs = []
    try:
        for on in (False, True):
            pairs.append(start_pair(o.binary, o.secs, on))
        ratios = []
        for rnd in range(o.rounds):
            rate = {}
            for on in (False, True) if rnd % 2 else (True, False):
                b, url = pairs[on]
                rate[on] = b.wrk(url, 32, "post")[0]
            ratios.append(rate[True] / rate[False])
            print(f"  off {rate[False]:8.0f}/s  on {rate[True]:8.0f}/s  ratio {ratios[-1]:.3f}", flush=True)
    finally:
        for b, _ in reversed(pairs):
            b.stop()
    median = statistics.median(ratios)
    print(f"all of it on: {median:.3f} of the requests/s with it off ({min(ratios):.3f} … {max(ratios):.3f}; >= {BAR})")
    return 0 if median >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
