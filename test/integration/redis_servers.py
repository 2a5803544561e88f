"""Servers of Redis for the integration tests: single ones, with replicas and Sentinels, clusters.

Each listens on ports found by binding, keeps its files in a temp folder of the test, and is killed by
its pid at the end. Commands go over a socket of our own: what is asked doesn't depend on what is tested.
"""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import unittest

import harness
from harness import until

SERVER, CLI = shutil.which("redis-server"), shutil.which("redis-cli")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
VOLATILE = ("--appendonly", "no")


class Error(Exception):
    """An error reply."""


def _read(f):
    line = f.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("closed")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise Error(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"+":
        return rest
    n = int(rest)
    if n < 0:
        return None
    if kind == b"$":
        return f.read(n + 2)[:-2]
    items = []
    for _ in range(n):
        try:
            items.append(_read(f))
        except Error as e:
            items.append(e)
    return items


def ask(port, *args, auth=None, timeout=10):
    """One command on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s, s.makefile("rb") as f:
        for command in ([("AUTH", *auth)] if auth else []) + [args]:
            words = [a if isinstance(a, bytes) else str(a).encode() for a in command]
            s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            answer = _read(f)
    return answer


class Server:
    """A redis-server; args are those of its command line."""

    def __init__(self, test, *args, port=None, ready=True):
        if not SERVER:
            raise unittest.SkipTest("redis-server isn't installed")
        self.test, self.port = test, port or harness.free_port()
        self.dir = os.path.join(test.directory(), f"redis-{self.port}")
        os.makedirs(self.dir, exist_ok=True)
        self.argv = [SERVER, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self.dir, "--save", "",
                     *map(str, args)]
        self.process = None
        test.addCleanup(self.close)
        self.start(ready)

    def start(self, ready=True):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if ready:
            until(f"redis-server answers on port {self.port}", self.answers)

    def answers(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.dir, "log"), errors="replace") as f:
                raise AssertionError(f"redis-server ended: {f.read()[-2000:]}")
        with contextlib.suppress(OSError, Error):
            return self.ask("PING") == b"PONG"

    def ask(self, *args, **more):
        return ask(self.port, *args, **more)

    def kill(self):
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    @contextlib.contextmanager
    def paused(self):
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def close(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


class Sentinels:
    """A master, a replica, and three Sentinels that watch them."""

    def __init__(self, test, down_after_ms=500):
        self.servers = [Server(test, *DURABLE)]
        self.servers.append(Server(test, *DURABLE, "--replicaof", "127.0.0.1", self.servers[0].port))
        self.sentinels = []
        for _ in range(3):
            port = harness.free_port()
            path = os.path.join(test.directory(), f"sentinel-{port}.conf")
            with open(path, "w") as f:
                f.write(f"sentinel monitor shop 127.0.0.1 {self.servers[0].port} 2\n"
                        f"sentinel down-after-milliseconds shop {down_after_ms}\n"
                        "sentinel failover-timeout shop 5000\n")
            s = Server.__new__(Server)
            s.test, s.port, s.dir = test, port, os.path.dirname(path)
            s.argv = [SERVER, path, "--sentinel", "--port", str(port), "--bind", "127.0.0.1", "--dir", s.dir]
            test.addCleanup(s.close)
            s.start()
            self.sentinels.append(s)
        until("the Sentinels know each other and the replica", self.settled)

    def settled(self):
        for s in self.sentinels:
            info = s.ask("SENTINEL", "MASTER", "shop")
            facts = dict(zip(info[::2], info[1::2]))
            if facts[b"num-other-sentinels"] != b"2" or facts[b"num-slaves"] != b"1":
                return False
        return b"online" in self.servers[0].ask("INFO", "replication")

    def hosts(self):
        return ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels)

    def master(self):
        port = int(self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop")[1])
        return next(s for s in self.servers if s.port == port)


class Cluster:
    """Three masters."""

    def __init__(self, test):
        self.nodes = []
        for _ in range(3):
            while True: # the cluster's bus has the port above by 10000
                port = harness.free_port()
                if port < 55000:
                    break
            self.nodes.append(Server(test, *DURABLE, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
                                     port=port))
        self.cli("--cluster", "create", *[f"127.0.0.1:{n.port}" for n in self.nodes], "--cluster-yes")
        until("the cluster is whole", self.whole)

    def cli(self, *args):
        done = subprocess.run([CLI, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        if done.returncode:
            raise AssertionError(f"redis-cli {args}: {done.stdout[-2000:]}")
        return done.stdout

    def whole(self):
        return all(b"cluster_state:ok" in n.ask("CLUSTER", "INFO") and
                   n.ask("CLUSTER", "INFO").count(b"cluster_known_nodes:3") for n in self.nodes)

    def hosts(self):
        return ",".join(f"127.0.0.1:{n.port}" for n in self.nodes)

    def node_id(self, n):
        return self.nodes[n].ask("CLUSTER", "MYID").decode()

    def move_slots(self, source, target, n):
        self.cli("--cluster", "reshard", f"127.0.0.1:{self.nodes[0].port}", "--cluster-from", self.node_id(source),
                 "--cluster-to", self.node_id(target), "--cluster-slots", n, "--cluster-yes")
