#!/usr/bin/env python3
"""The official SDKs, unchanged, against Proa: one test a language and protocol of its app.

Each starts an app made with the SDK and its sidecar (callee), a sidecar without an app (caller), one
that asks for a token and that the SDK may shut down (spare), and then runs tests that use the SDK
against caller. docs/sdk.md says what they have in common. tools/install_sdk.py has filled SDK_DIR.
"""
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
import harness  # noqa: E402
from harness import component, free_port, resource, until  # noqa: E402

SDK_DIR = os.environ["SDK_DIR"]
TESTS_S = 180  # all tests of one SDK
API_TOKEN, APP_TOKEN = "api-token", "app-token"
TOPICS = ("plain", "raw", "again", "routed", "doomed", "dead")
# The components by kind; each kind of Redis': name, type, metadata.
EMBEDDED = {"state": ["state-memory", "state-sqlite"], "pubsub": ["pubsub-sqlite"],
            "config": ["config-sqlite"], "lock": ["lock-sqlite"]}
REDIS = [("state", "state", {}), ("pubsub", "pubsub", {"redeliverInterval": "200ms"}),
         ("config", "configuration", {}), ("lock", "lock", {})]
CRYPTO = "crypto"
# What the tests leave out while Proa lacks it: "invoke" (calls over gRPC), "stream".
NOT_YET = ()
SECRETS = {"plain": "a plain secret", "db": {"user": "ada", "password": "hush"}}


class Program:
    """A child process; its output is shown when the test fails."""

    def __init__(self, test, name, argv, env, cwd):
        self.test, self.name = test, name
        self.log_path = os.path.join(test.directory(), name + ".log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, cwd=cwd,
                                            stderr=subprocess.STDOUT, env={**os.environ, **env},
                                            start_new_session=True)
        test.addCleanup(self.close)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if harness.has_failed(self.test):
            sys.stderr.write(f"\n--- output of {self.name}\n{self.log()[-20000:]}\n---\n")


class Redis:
    """A redis-server of one test, on a free port, that keeps nothing."""

    def __init__(self, test):
        self.port = free_port()
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--dir", test.directory()]
        Program(test, "redis-server", argv, {}, test.directory())
        until("Redis answers", lambda: self.says(b"PING") == b"+PONG\r\n")

    def says(self, *words):
        """The start of the answer to one command."""
        command = b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as c:
            c.sendall(command)
            return c.recv(4096)
        return None

    def components(self):
        host = {"redisHost": f"127.0.0.1:{self.port}"}
        return [component(f"{kind}-redis", f"{type_}.redis", **host, **more)
                for kind, type_, more in REDIS]


class SdkCase(harness.Case):
    """What the tests of each language share."""

    folder = None          # below this one, and below SDK_DIR
    clients = ("grpc",)    # protocols by which the client calls

    def setUp(self):
        self.cwd = os.path.join(HERE, self.folder)
        self.installed = os.path.join(SDK_DIR, self.folder)
        if not os.path.isdir(self.installed):
            self.skipTest(f"the {self.folder} SDK isn't installed: tools/install_sdk.py says why")
        self.outside = self.app({"POST /change": self.change})
        self.redis = Redis(self) if shutil.which("redis-server") and REDIS else None
        if not self.redis:
            print("SKIPPED: no redis-server in PATH: only the embedded engines are tested")

    def path(self, name):
        return os.path.join(self.directory(), name)

    # ---- what is outside of the sidecars ----

    def change(self, request):
        """Changes an item of a configuration store, as its operator would."""
        wanted = request.json()
        key, value = wanted["key"], wanted["value"]
        if wanted["store"] == "config-redis":
            self.redis.says(b"SET", key.encode(), value.encode())
        else:
            with contextlib.closing(sqlite3.connect(self.path("config.db"), timeout=10)) as db, db:
                db.execute("INSERT INTO configuration(key, value) VALUES(?, ?) "
                           "ON CONFLICT(key) DO UPDATE SET value = excluded.value", (key, value))
        return 200, "{}", {"Content-Type": "application/json"}

    # ---- resources ----

    def components(self):
        """What both sidecars have; those of a broker or a store share its data."""
        with open(self.path("secrets.json"), "w", encoding="utf-8") as f:
            json.dump(SECRETS, f)
        embedded = [
            component("state-memory", "state.in-memory"),
            component("state-sqlite", "state.sqlite", connectionString=self.path("state.db")),
            component("pubsub-sqlite", "pubsub.sqlite", connectionString=self.path("queue.db"),
                      backoffMin="100ms", backoffMax="100ms"),
            component("config-sqlite", "configuration.sqlite", connectionString=self.path("config.db")),
            component("lock-sqlite", "lock.sqlite", connectionString=self.path("lock.db")),
            component("secrets", "secretstores.local.file", secretsFile=self.path("secrets.json")),
            component("outside", "bindings.http", url=f"http://127.0.0.1:{self.outside.port}"),
        ]
        if CRYPTO:
            self.make_keys()
            embedded.append(component("crypto", "crypto.dapr.localstorage", path=self.path("keys")))
        return embedded + (self.redis.components() if self.redis else [])

    def make_keys(self):
        os.mkdir(self.path("keys"))
        subprocess.run(["openssl", "genrsa", "-out", self.path("keys/rsa"), "2048"], check=True,
                       stderr=subprocess.DEVNULL)
        jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")}
        with open(self.path("keys/aes"), "w", encoding="utf-8") as f:
            json.dump(jwk, f)

    def stores(self, kind):
        """The names of the components of a kind, as the programs get them."""
        return ",".join([*EMBEDDED[kind], *(f"{k}-redis" for k, _, _ in REDIS
                                            if k == kind and self.redis)])

    def callee_resources(self):
        """Subscriptions by resources: an app's own of the same topic take their place."""
        routes = {
            "declared": {"routes": {"default": "/declared-{}"}},
            "doomed": {"routes": {"default": "/doomed-{}"}, "deadLetterTopic": "dead"},
            "routed": {"routes": {"default": "/other-{}", "rules": [
                {"match": 'event.type == "important"', "path": "/important-{}"}]}},
        }
        more = [component("tick", "bindings.cron", schedule="@every 1s", direction="input")]
        for pubsub in self.stores("pubsub").split(","):
            for topic, spec in routes.items():
                spec = json.loads(json.dumps(spec).replace("{}", pubsub))
                more.append(resource("Subscription", f"{topic}-{pubsub}", {
                    "pubsubname": pubsub, "topic": topic, **spec}, version="dapr.io/v2alpha1"))
        return more

    # ---- processes ----

    def env(self, sidecar, **more):
        return {"DAPR_HTTP_PORT": str(sidecar.http), "DAPR_GRPC_PORT": str(sidecar.grpc),
                "PUBSUBS": self.stores("pubsub"), **more}

    def start(self, app_protocol):
        """callee with its app, caller and spare; all are ready when it returns."""
        common, config, app_port = self.components(), self.hosts_config(), free_port()
        self.callee = self.sidecar(
            "callee", app_port=app_port, resources=common + self.callee_resources(), config=config,
            args=["--app-protocol", app_protocol], env={"APP_API_TOKEN": APP_TOKEN}, wait=None)
        self.program("app", self.app_command(app_protocol), self.env(
            self.callee, APP_PORT=str(app_port), APP_PROTOCOL=app_protocol, APP_API_TOKEN=APP_TOKEN))
        self.caller = self.sidecar("caller", resources=common, config=config)
        self.spare = self.sidecar("spare", config=config, env={"DAPR_API_TOKEN": API_TOKEN})
        self.callee.wait_ready()
        until("callee's subscriptions stand", self.subscribed)

    def subscribed(self):
        body = json.loads(self.callee.get("/v1.0/metadata").body)
        have = {(s["pubsubname"], s["topic"]) for s in body.get("subscriptions", [])}
        return have >= {(p, t) for p in self.stores("pubsub").split(",") for t in TOPICS}

    def program(self, name, argv, env):
        return Program(self, name, argv, env, self.cwd)

    def run_tests(self, app_protocol):
        self.start(app_protocol)
        tests = self.program("tests", self.client_command(), self.env(
            self.caller, APP_PROTOCOL=app_protocol, DAPR_API_TOKEN=API_TOKEN,
            CLIENTS=",".join(self.clients), STATES=self.stores("state"),
            CONFIGS=self.stores("config"), LOCKS=self.stores("lock"), CRYPTO=CRYPTO,
            SPARE_HTTP_PORT=str(self.spare.http), SPARE_GRPC_PORT=str(self.spare.grpc),
            NOT_YET=",".join(NOT_YET), **self.more_env(app_protocol)))
        status = tests.process.wait(TESTS_S)
        self.assertEqual(status, 0, "the SDK's tests failed")
        self.assertEqual(self.spare.wait_exit(), 0)

    def more_env(self, app_protocol):
        return {}

    def test_http_app(self):
        self.run_tests("http")

    def test_grpc_app(self):
        self.run_tests("grpc")


class Python(SdkCase):
    folder = "python"

    def app_command(self, protocol):
        return [os.path.join(self.installed, ".venv", "bin", "python3"), f"app_{protocol}.py"]

    def client_command(self):
        return [os.path.join(self.installed, ".venv", "bin", "python3"), "test.py"]

    def more_env(self, app_protocol):
        protocol = "http" if "invoke" in NOT_YET else app_protocol
        return {"DAPR_API_METHOD_INVOCATION_PROTOCOL": protocol}


class JavaScript(SdkCase):
    folder = "javascript"
    clients = ("http",) if "invoke" in NOT_YET else ("http", "grpc")

    def app_command(self, protocol):
        return ["node", "app.js"]

    def client_command(self):
        return ["node", "test.js"]

    def program(self, name, argv, env):
        modules = os.path.join(self.installed, "node_modules")
        return super().program(name, argv, {**env, "NODE_PATH": modules})


@unittest.skipIf("invoke" in NOT_YET, "its tests ask the app over gRPC")
class Go(SdkCase):
    folder = "go"

    def app_command(self, protocol):
        return [os.path.join(self.installed, "bin", "app")]

    def client_command(self):
        return [os.path.join(self.installed, "bin", "tests"), "-test.v"]


class Java(SdkCase):
    folder = "java"

    def java(self, *args):
        places = (os.path.join(self.installed, place) for place in ("target/classes", "target/lib/*"))
        return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", ":".join(places), *args]

    def app_command(self, protocol):
        return self.java("App")

    def client_command(self):
        return self.java("org.junit.platform.console.ConsoleLauncher", "execute",
                         "--select-class", "SdkTest", "--disable-banner", "--disable-ansi-colors",
                         "--fail-if-no-tests")


del SdkCase  # the base is no test


def main():
    """The exit status; 77, as Meson and automake have it, when all was left out."""
    result = unittest.main(verbosity=2, exit=False).result
    if result.skipped and len(result.skipped) == result.testsRun:
        print(result.skipped[0][1])
        return 77
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
