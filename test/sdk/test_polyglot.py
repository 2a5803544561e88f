#!/usr/bin/env python3
"""examples/polyglot: its services pass the tests of the C ones, whose place they take, and the demo's
audit holds. tools/install_sdk.py has put the services into POLYGLOT_DIR."""
import os
import re
import sys
import unittest

SOURCE = os.environ["PROA_SOURCE"]
POLYGLOT = os.environ["POLYGLOT_DIR"]
sys.path.insert(0, os.path.join(SOURCE, "test", "integration", "orders"))
import test_demo  # noqa: E402
import test_services  # noqa: E402
from test_services import free_port  # noqa: E402

PROA = os.path.join(os.environ["PROA_BUILD"], "src", "cli", "proa")


class Service(test_services.Service):
    """One of the run file's apps, alone with its sidecar."""

    def command(self, folder):
        with open(os.path.join(SOURCE, "examples", "polyglot", "dapr.yaml"), encoding="utf-8") as f:
            head, *apps = re.split(r"(?m)^(?=  - appID: )", f.read().replace("../orders/", "./"))
        mine = next(a for a in apps if a.startswith(f"  - appID: {self.app}\n"))
        mine = re.sub(r"appPort: \d+", f"appPort: {free_port()}", mine)
        run_file = os.path.join(self.world.dir, self.app + ".yaml")
        with open(run_file, "w", encoding="utf-8") as f:
            f.write(f"{head}{mine.rstrip()}\n    daprHTTPPort: {self.port}\n")
        for service in os.scandir(POLYGLOT):
            link = os.path.join(self.world.dir, service.name)
            if service.is_dir() and not os.path.islink(link):
                os.symlink(service.path, link)
        return [PROA, "run", "-f", run_file], {"XDG_RUNTIME_DIR": self.world.dir}


class Inventory(test_services.Inventory):
    service = Service


class Payments(test_services.Payments):
    service = Service


class Shipping(test_services.Shipping):
    service = Service


class Notifications(test_services.Notifications):
    service = Service


class Demo(test_demo.DemoCase):
    args = ["--polyglot", POLYGLOT]

    def test_audit_holds_when_some_are_killed(self):
        self.check(2, DEMO_SECONDS="10", DEMO_CHAOS="few", DEMO_RATE="20")


if __name__ == "__main__":
    unittest.main()
