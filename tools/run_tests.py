#!/usr/bin/env python3
"""Runs everything that checks Proa: `make test`.

  run_tests.py [--only NAME,...] [--build DIR] [--jobs N]
  run_tests.py --list

Each suite prints one line. What failed is shown at the end, all output is kept in DIR/logs. The last
line is `N passed, N failed`, with `, N skipped` when something was left out; a skipped test is
listed with its reason. Every test program, gate and fuzzer counts as one.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import suites
from testrun import FAILED, PASSED, SKIPPED, Machine

TAIL = 60  # lines of a failing test that are shown


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAME,...", help="just these suites")
    parser.add_argument("--build", default="build", metavar="DIR", help="where to build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--fuzz-seconds", type=int, metavar="N",
                        default=int(os.environ.get("FUZZ_SECONDS", "6")))  # fmt: skip
    parser.add_argument("--list", action="store_true", help="name the suites and leave")
    return parser.parse_args()


def chosen(only):
    if not only:
        return suites.ALL
    names = only.split(",")
    every = suites.ALL + suites.ON_DEMAND
    unknown = set(names) - {s.name for s in every}
    if unknown:
        known = ", ".join(s.name for s in every)
        sys.exit(f"run_tests.py: no suite '{', '.join(sorted(unknown))}'; there are: {known}")
    return [s for s in every if s.name in names]


def tally(results):
    counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
    for result in results:
        counts[result.outcome] += 1
    text = f"{counts[PASSED]} passed, {counts[FAILED]} failed"
    return text + (f", {counts[SKIPPED]} skipped" if counts[SKIPPED] else "")


def run_suite(suite, machine):
    print(f"      {suite.name}: {suite.about}", flush=True)
    started = time.monotonic()
    try:
        results = suite.run(machine)
    except Exception as problem:  # a broken suite is a failed one; the others still run
        results = [machine.result(suite.name, FAILED, 0, f"{type(problem).__name__}: {problem}")]
    for result in results:
        result.suite = suite.name
    word = "FAIL" if any(r.outcome == FAILED for r in results) else "ok"
    seconds = time.monotonic() - started
    print(f"{word:5} {suite.name}: {tally(results)} ({seconds:.0f} s)", flush=True)
    for result in results:
        if result.outcome == FAILED:
            print(f"        failed: {result.name} ({result.seconds:.0f} s)", flush=True)
    return results


def report(results, seconds):
    skipped = [r for r in results if r.outcome == SKIPPED]
    failed = [r for r in results if r.outcome == FAILED]
    for result in failed:
        print(f"\n---- failed: {result.suite}: {result.name} {'-' * 40}"[:100])
        lines = result.output.rstrip().splitlines()
        if len(lines) > TAIL:
            print(f"… {len(lines) - TAIL} lines before, in {result.log}")
        print("\n".join(lines[-TAIL:]))
    if skipped:
        print("\nSkipped:")
        for result in skipped:
            print(f"  {result.suite}: {result.name}: {result.reason}")
    if failed:
        print("\nFailed:")
        for result in failed:
            print(f"  {result.suite}: {result.name}: {result.log}")
    print(f"\n{seconds / 60:.1f} minutes")
    print(tally(results), flush=True)


def main():
    args = arguments()
    if args.list:
        for suite in suites.ALL:
            print(f"{suite.name:18}{suite.about}")
        for suite in suites.ON_DEMAND:
            print(f"{suite.name:18}{suite.about} (with --only)")
        return 0
    root = Path(__file__).resolve().parent.parent
    os.chdir(root)
    machine = Machine(root, Path(args.build).resolve(), max(1, args.jobs), args.fuzz_seconds)
    started, results = time.monotonic(), []
    for suite in chosen(args.only):
        results += run_suite(suite, machine)
    report(results, time.monotonic() - started)
    return 1 if any(r.outcome == FAILED for r in results) or not results else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("run_tests.py: interrupted")
