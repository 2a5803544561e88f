"""The order system as a child process: a directory of its own, `proa run`, and its control API."""
import ctypes
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLES = os.path.join(ROOT, "examples")
SERVICES = ("storefront", "orders", "inventory", "payments", "shipping", "notifications")
QUEUES = 18  # pairs of a topic and a service that subscribes to it
READY_S = 60
STOP_S = 30


class Failed(Exception):
    """Something that ends the demo; the text is for the user."""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def end_with_parent():
    """In the child: when the demo is killed, the run gets SIGTERM and takes its services along."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it
    if prctl:
        prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


def ask(port, method, path, body=None, headers=None, timeout=5):
    """One request to 127.0.0.1; returns status and body. OSError when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as e:
        raise OSError(f"{method} {path}: {e}") from e
    finally:
        connection.close()


class System:
    """polyglot: where the services of examples/polyglot are installed; None: all services are in C.
    example: the run file; env: more for the services' environment."""

    def __init__(self, build, polyglot=None, example="dapr.yaml", env=None):
        self.proa = os.path.join(build, "src", "cli", "proa")
        self.programs = os.path.join(build, "examples", "orders")
        self.polyglot = polyglot
        self.example, self.env = example, env or {}
        for path in (self.proa, os.path.join(self.programs, "storefront")):
            if not os.access(path, os.X_OK):
                raise Failed(f"there is no {path}: build first (make), or give --build")
        self.dir = tempfile.mkdtemp(prefix="proa-orders-")
        self.process = None
        self.control = None
        self.last_feed = None

    def copy_example(self):
        """The run's own copy: clean data beside it, ports that are free here and now."""
        orders = os.path.join(EXAMPLES, "orders")
        shutil.copytree(os.path.join(orders, "components"), os.path.join(self.dir, "components"))
        shutil.copy(os.path.join(orders, "config.yaml"), self.dir)
        example = os.path.join(EXAMPLES, "polyglot") if self.polyglot else orders
        with open(os.path.join(example, self.example), encoding="utf-8") as f:
            text = f.read().replace("../orders/", "./")
        ports = iter(free_ports(len(SERVICES)))
        text = re.sub(r"(?m)^(\s+appPort:) \d+", lambda m: f"{m[1]} {next(ports)}", text)
        with open(os.path.join(self.dir, "dapr.yaml"), "w", encoding="utf-8") as f:
            f.write(text)

    def link_polyglot(self):
        """The installed services, where the run file looks for them."""
        for service in os.scandir(self.polyglot):
            if service.is_dir():
                os.symlink(service.path, os.path.join(self.dir, service.name))

    def start(self):
        self.copy_example()
        if self.polyglot:
            self.link_polyglot()
        env = dict(os.environ, **self.env, PATH=self.programs + os.pathsep + os.environ.get("PATH", ""))
        with open(os.path.join(self.dir, "run.log"), "wb") as log:
            self.process = subprocess.Popen(
                [self.proa, "run", "-f", self.dir], cwd=self.dir, env=env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with_parent,
                start_new_session=True)  # Ctrl-C is for us: stop() passes it on, once

    def find_control(self):
        """control.json of our run: where it listens, and the token for changing it."""
        places = [os.path.join(os.environ["XDG_RUNTIME_DIR"], "proa")] \
            if os.environ.get("XDG_RUNTIME_DIR") else []
        places.append(f"/tmp/proa-{os.getuid()}")
        for path in (p for place in places for p in glob.glob(place + "/run-*/control.json")):
            try:
                with open(path, encoding="utf-8") as f:
                    control = json.load(f)
            except (OSError, ValueError):
                continue
            if control["pid"] == self.process.pid:
                return control
        return None

    def log_tail(self, lines=20):
        with open(os.path.join(self.dir, "run.log"), encoding="utf-8", errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def feed(self):
        """The latest of the page's figures; None when there are none now."""
        try:
            status, body = ask(self.control["port"], "GET", "/feed.json")
        except OSError:
            return None
        if status == 200:
            self.last_feed = json.loads(body)
        return self.last_feed if status == 200 else None

    def instances(self):
        """Each service's id with what the page knows of one of its instances."""
        return [(s["id"], i) for s in (self.last_feed or {"services": []})["services"]
                for i in s["instances"]]

    def is_ready(self):
        self.control = self.control or self.find_control()
        feed = self.control and self.feed()
        if not feed:
            return False
        healthy = all(i["state"] == "healthy" for _, i in self.instances())
        # A topic keeps messages for those who have subscribed before: wait for all of them.
        queues = sum(len(t["consumers"]) for t in feed["topics"])
        return healthy and queues >= QUEUES

    def wait_ready(self):
        end = time.monotonic() + READY_S
        while not self.is_ready():
            if self.process.poll() is not None:
                raise Failed(f"proa run ended with status {self.process.returncode}:\n"
                             + self.log_tail())
            if time.monotonic() > end:
                raise Failed(f"not ready within {READY_S} s:\n" + self.log_tail())
            time.sleep(0.2)

    def page(self):
        return f"http://127.0.0.1:{self.control['port']}"

    def api(self, service):
        """The port of a service's sidecar."""
        return next(i["http_port"] for id, i in self.instances() if id == service)

    def entrances(self):
        """Zone → the port of its gateway's sidecar."""
        return {i["zone"]: i["http_port"] for id, i in self.instances() if id == "gateway"}

    def zone(self, zone, state):
        """down: all that is in the zone is killed and stays so until it's up."""
        self.tell(f"/control/zone?zone={zone}&state={state}")

    def tell(self, path, body=None):
        headers = {"Authorization": "Bearer " + self.control["token"]}
        status, answer = ask(self.control["port"], "POST", path, body, headers)
        if status != 200:
            raise Failed(f"{path}: {status} {answer.decode(errors='replace')}")

    def kill(self, service, target):
        self.tell(f"/control/kill?app={service}&target={target}")

    def progress(self, text, done, total):
        try:
            self.tell("/control/progress",
                      json.dumps({"text": text, "done": done, "total": total}))
        except (OSError, Failed):
            pass  # only for show

    def stats(self):
        """Events that each service has got since its start, and how many came a second time."""
        found = {}
        for service, instance in self.instances():
            try:
                status, body = ask(instance["app_port"], "GET", "/stats", timeout=1)
                if status == 200:
                    found[service, instance["pid"]] = json.loads(body)
            except (OSError, ValueError):
                pass  # it's being restarted, or slow: next time; or it speaks gRPC
        return found

    def stop(self):
        """Returns the exit status of the run; 0 when it never started."""
        if not self.process:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)
