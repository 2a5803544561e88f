#!/usr/bin/env python3
"""The demo as a whole, shorter than people see it: services and sidecars are killed under load,
and the audit must hold."""
import glob
import os
import re
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = os.environ["PROA_BUILD"], os.environ["PROA_SOURCE"]
WAIT = 200


class DemoCase(unittest.TestCase):
    """One run of the demo; test/sdk/test_polyglot.py adds arguments."""

    script, args = "run.py", []

    def demo(self, **env):
        with tempfile.TemporaryDirectory(prefix="proa-test-demo-") as directory:
            env = dict(os.environ, TMPDIR=directory, XDG_RUNTIME_DIR=directory, **env)
            env.pop("KEEP", None)
            demo = [sys.executable, os.path.join(SOURCE, "demo", self.script), "--build", BUILD]
            r = subprocess.run(demo + self.args, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, timeout=WAIT)
            left = [p for p in glob.glob(directory + "/proa-orders-*")]
            logs = ""
            for path in glob.glob(directory + "/proa-orders-*/run.log"):
                with open(path, encoding="utf-8", errors="replace") as f:
                    logs += "".join(f.readlines()[-60:])
            return r.returncode, r.stdout, left, logs

    def check(self, kills, **env):
        status, text, left, logs = self.demo(**env)
        self.assertEqual(status, 0, text + logs)
        self.assertNotIn("FAIL", text)
        self.assertNotIn("\033", text, "no colour and no cursor in a pipe")
        self.assertIn(f"{kills} kills, {kills} restarts", text)
        self.assertGreater(int(re.search(r"orders accepted +(\d+)", text)[1]), 50)
        self.assertGreater(int(re.search(r"confirmed +(\d+)", text)[1]), 50)
        self.assertEqual(left, [], "the run directory is removed")


class DemoTest(DemoCase):
    def test_audit_holds_when_some_are_killed(self):
        self.check(2, DEMO_SECONDS="10", DEMO_CHAOS="few", DEMO_RATE="30")

    def test_audit_holds_when_all_are_killed_in_turn(self):
        self.check(12, DEMO_SECONDS="15", DEMO_CHAOS="all", DEMO_RATE="30")

    def test_settings_that_make_no_sense_are_told(self):
        for name, value in (("DEMO_SECONDS", "soon"), ("DEMO_RATE", "0"), ("DEMO_CHAOS", "most")):
            status, text, _, _ = self.demo(**{name: value})
            self.assertEqual(status, 1)
            self.assertIn(f"demo: {name}={value} must be", text)


class SpikeTest(DemoCase):
    script = "spike.py"

    def test_audit_holds_when_a_zone_is_lost_after_a_spike(self):
        status, text, left, logs = self.demo(DEMO_SECONDS="25", DEMO_RATE="4")
        self.assertEqual(status, 0, text + logs)
        self.assertNotIn("FAIL", text)
        self.assertNotIn("\033", text)
        phases = {line.split()[0]: line.split() for line in text.splitlines()
                  if re.match(r"(normal|spike|calm|lost|back) +\d+ s", line)}
        self.assertEqual(list(phases), ["normal", "spike", "calm", "lost", "back"], text)
        offered, accepted = (int(phases["spike"][i]) for i in (3, 4))
        self.assertGreater(offered, 60)
        self.assertGreater(accepted, 20)
        self.assertEqual(left, [], "the run directory is removed")


if __name__ == "__main__":
    unittest.main()
