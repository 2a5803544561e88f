"""What the suites are made of: commands with a time limit, Meson builds, test programs.

A Result is one thing that counted. A Machine knows the folders and how much may run at once.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
# A test that leaves something out says so: `SKIPPED: no such thing here`.
SKIP_LINE = re.compile(r"^(?:\[\s*)?SKIPPED(?:\s*\]|:)\s*(.*)$", re.MULTILINE)
EXIT_SKIPPED = 77  # as Meson and automake have it
SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclass
class Result:
    name: str
    outcome: str
    seconds: float
    output: str = ""
    reason: str = ""
    log: str = ""
    suite: str = ""


def kill_group(process):
    """Ends a command and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def command(args, timeout, cwd=None, env=None):
    """(exit code or None after the timeout, output, seconds)"""
    started = time.monotonic()
    process = subprocess.Popen(
        [str(a) for a in args], cwd=cwd, env={**os.environ, **(env or {})}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout)
        code = process.returncode
    except subprocess.TimeoutExpired:
        kill_group(process)
        output, _ = process.communicate()
        output += f"\n[ended after its limit of {timeout:.0f} s]\n"
        code = None
    except BaseException:
        kill_group(process)
        raise
    kill_group(process)  # what it left behind
    return code, output, time.monotonic() - started


class Machine:
    def __init__(self, root, build, jobs, fuzz_seconds):
        self.root, self.build, self.jobs, self.fuzz_seconds = root, build, jobs, fuzz_seconds
        self.logs = build / "logs"
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)

    def result(self, name, outcome, seconds, output, reason="", folder="."):
        log = self.logs / folder / (re.sub(r"[^\w.-]+", "_", name) + ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output)
        return Result(name, outcome, seconds, output, reason, os.path.relpath(log, self.root))

    def step(self, name, args, timeout, folder=".", cwd=None, env=None):
        """A command that counts as one: it passes when it returns 0."""
        code, output, seconds = command(args, timeout, cwd or self.root, env)
        outcome = {0: PASSED, EXIT_SKIPPED: SKIPPED}.get(code, FAILED)
        reason = (output.strip().splitlines() or ["it said so"])[-1] if outcome == SKIPPED else ""
        return self.result(name, outcome, seconds, output, reason, folder)

    def parallel(self, function, items, at_once=None):
        with ThreadPoolExecutor(at_once or self.jobs) as pool:
            return list(pool.map(function, items))


class Build:
    """A Meson build folder below the machine's."""

    def __init__(self, machine, name, options, source=None, compiler=None):
        self.machine, self.name, self.options = machine, name, options
        self.dir = machine.build / name
        self.source = machine.root / (source or "")
        self.env = {"CC": compiler} if compiler else {}

    def configure(self):
        """None, or the Result of what went wrong."""
        args = ["meson", "setup", self.dir, self.source, *self.options]
        if (self.dir / "build.ninja").exists():
            args.append("--reconfigure")
        result = self.machine.step(f"configure {self.name}", args, 300, self.name, env=self.env)
        return None if result.outcome == PASSED else result

    def introspect(self, what):
        code, output, _ = command(["meson", "introspect", self.dir, what], 60)
        if code != 0:
            raise RuntimeError(f"meson introspect {what}: {output[-500:]}")
        return json.loads(output)

    def make(self, targets=(), timeout=1500):
        """Builds; goes on after a failure, so that what can be tested is. A Result."""
        args = ["ninja", "-C", self.dir, f"-j{self.machine.jobs}", "-k", "0", *targets]
        result = self.machine.step(f"build {self.name}", args, timeout, self.name)
        if result.outcome == FAILED:  # the reasons, not the lines of what went well
            result.output = re.sub(r"^\[\d+/\d+\] .*\n", "", result.output, flags=re.MULTILINE)
        return result

    def tests(self, accept=lambda test: True):
        return [t for t in self.introspect("--tests") if accept(t)]

    def program(self, test):
        """The test's own program, or None when it is a script."""
        path = Path(test["cmd"][0])
        return path if self.dir in path.parents else None

    def targets(self, tests):
        return sorted({os.path.relpath(self.program(t), self.dir) for t in tests if self.program(t)})

    def run(self, tests, slower=1, at_once=None):
        """One Result per test, and one more for each thing it left out."""
        # Those that may take the longest come first, so that no core idles while the last one runs.
        shared = sorted((t for t in tests if t.get("is_parallel", True)),
                        key=lambda t: -(t.get("timeout") or 30))  # fmt: skip
        alone = [t for t in tests if not t.get("is_parallel", True)]
        groups = self.machine.parallel(lambda t: self.run_test(t, slower), shared, at_once)
        groups += [self.run_test(t, slower) for t in alone]
        return [result for group in groups for result in group]

    def run_test(self, test, slower):
        suite = (test.get("suite") or [""])[0].split(":")[-1]
        name = f"{suite}/{test['name']}" if suite else test["name"]
        program = self.program(test)
        if program and not program.exists():
            return [self.machine.result(name, FAILED, 0, "not built", folder=self.name)]
        env = {**SANITIZERS, **test.get("env", {})}
        limit = (test.get("timeout") or 30) * slower
        code, output, seconds = command(test["cmd"], limit, test.get("workdir") or self.dir, env)
        left_out = SKIP_LINE.findall(output)
        if code == EXIT_SKIPPED:
            reason = (left_out or output.strip().splitlines() or ["it said so"])[-1]
            return [self.machine.result(name, SKIPPED, seconds, output, reason, self.name)]
        if code is not None and code < 0:
            output += f"\n[ended by {signal.Signals(-code).name}]\n"
        outcome = PASSED if code == 0 else FAILED
        results = [self.machine.result(name, outcome, seconds, output, folder=self.name)]
        return results + [Result(name, SKIPPED, 0, reason=r) for r in dict.fromkeys(left_out)]
