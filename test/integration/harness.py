"""What the integration tests share: sidecars in temp directories, apps that record, waits with deadlines.

PROA is the binary. Nothing here sleeps to synchronise: waits poll a condition and name it when they
give up. Ports are found by binding port 0. Every sidecar that a test starts must end with status 0
and leave no process; its log is printed when the test fails.
"""
import base64
import collections
import contextlib
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

PROA = os.environ["PROA"]
SOURCE = os.environ.get("PROA_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
WAIT = 30  # seconds: long, since the machine may be busy; nothing waits when all is well
PAUSE = 0.01  # between two looks at a condition

Answer = collections.namedtuple("Answer", "status headers body")


def until(what, condition, timeout=WAIT):
    """The first true value of condition(); fails with `what` when there is none in time."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(PAUSE)


_given = set()


def free_port():
    """A port that nobody has now, and that this process hasn't given out before."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


class Headers(dict):
    """Lower-case names; values of the same name joined, as RFC 9110 5.2 allows."""

    @classmethod
    def of(cls, pairs):
        h = cls()
        for name, value in pairs:
            name = name.lower()
            h[name] = f"{h[name]}, {value}" if name in h else value
        return h


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connection(where, timeout=WAIT):
    if isinstance(where, str):
        return UnixConnection(where, timeout)
    return http.client.HTTPConnection("127.0.0.1", where, timeout=timeout)


def call(where, method, path, body=None, headers=None, timeout=WAIT, json_body=None):
    """One request to a port (or the path of a Unix socket)."""
    if json_body is not None:
        body = json.dumps(json_body)
    c = connection(where, timeout)
    try:
        c.putrequest(method, path, skip_accept_encoding=True)
        if isinstance(body, str):
            body = body.encode()
        chunked = body is not None and not isinstance(body, (bytes, bytearray))
        for name, value in (headers or {}).items():
            c.putheader(name, value)
        if chunked:
            c.putheader("Transfer-Encoding", "chunked")
        elif body is not None:
            c.putheader("Content-Length", str(len(body)))
        c.endheaders(body, encode_chunked=chunked)
        r = c.getresponse()
        return Answer(r.status, Headers.of(r.getheaders()), r.read())
    finally:
        c.close()


def raw_exchange(port, data, timeout=WAIT):
    """Sends bytes and reads until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        s.sendall(data)
        out = b""
        with contextlib.suppress(ConnectionError):
            while chunk := s.recv(65536):
                out += chunk
        return out


# ---- apps ----

class Request:
    """What an app got. `stream` requests read their body themselves."""

    def __init__(self, handler):
        self.method = handler.command
        self.target = handler.path
        self.path, _, self.query = handler.path.partition("?")
        self.pairs = handler.headers.items()
        self.headers = Headers.of(self.pairs)
        self.handler = handler
        self.body = b""

    def json(self):
        return json.loads(self.body)

    def chunks(self):
        """The body piece by piece, as it comes: one item a chunk, or one a read."""
        f = self.handler.rfile
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while n := int(f.readline().split(b";")[0] or b"0", 16):
                yield f.read(n)
                f.readline()
            while f.readline().strip():
                pass
        else:
            left = int(self.headers.get("content-length", 0))
            while left:
                piece = f.read1(min(left, 65536))
                if not piece:
                    raise ConnectionError("the body broke off")
                left -= len(piece)
                yield piece


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_one(self):
        app, r = self.server.app, Request(self)
        route = app.find(r)
        if not getattr(route, "stream", False):
            r.body = b"".join(r.chunks())
        with app.lock:
            app.requests.append(r)
        answer = route(r) if callable(route) else route
        if answer is not None:
            self.reply(*answer)

    def reply(self, status, body=b"", headers=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        headers = dict(headers or {})
        self.send_response_only(status)
        for name, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                self.send_header(name, one)
        if not any(n.lower() in ("content-length", "transfer-encoding") for n in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.handle_one
        raise AttributeError(name)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, *args):
        self.open = set()
        super().__init__(*args)

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def break_off(self):
        """Closes what clients keep open: an app that has ended has no connections."""
        for s in list(self.open):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


class App:
    """An app in this process. `on` maps "METHOD /path" or "/path" to (status, body, headers) or to a
    function of the request that returns one (None: it has answered itself)."""

    DISCOVERY = {"/dapr/config": (404,), "/dapr/subscribe": (404,)}

    def __init__(self, on=None, subscribe=None, port=0, tls=None):
        self.on = dict(on or {})
        if subscribe is not None:
            self.on["GET /dapr/subscribe"] = (200, subscribe, {"Content-Type": "application/json"})
        self.lock = threading.Lock()
        self.requests = []
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.app = self
        if tls: # an ssl.SSLContext; the handshake is each connection's thread's
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True,
                                                 do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()

    def find(self, r):
        for key in (f"{r.method} {r.path}", r.path):
            if key in self.on:
                return self.on[key]
        if r.path in self.DISCOVERY:
            return self.DISCOVERY[r.path]
        return self.on.get("*", echo)

    def got(self, path=None, method=None):
        with self.lock:
            return [r for r in self.requests if (path is None or r.path == path) and
                    (method is None or r.method == method) and
                    (path is not None or r.path not in self.DISCOVERY)]

    def wait_for(self, path, n=1, timeout=WAIT):
        return until(f"{n} request(s) to {path}; got {[r.target for r in self.requests]}",
                     lambda: len(self.got(path)) >= n and self.got(path), timeout)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.server.break_off()


class Pki:
    """A CA and what it has signed, made by the openssl command; files in `directory`."""

    def __init__(self, directory):
        self.directory = directory
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", "/CN=ca", "-days", "2", "-keyout", self.path("ca.key"), "-out", self.path("ca.pem"))

    def path(self, name):
        return os.path.join(self.directory, name)

    @staticmethod
    def run(*args):
        subprocess.run(("openssl",) + args, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def sign(self, name, alternative="IP:127.0.0.1,DNS:localhost", days=2):
        """(certificate, key): paths."""
        cert, key, request, ext = (self.path(name + s) for s in (".pem", ".key", ".csr", ".ext"))
        with open(ext, "w") as f:
            f.write(f"subjectAltName={alternative}\n")
        self.run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", "/CN=" + name, "-keyout", key, "-out", request)
        self.run("x509", "-req", "-in", request, "-CA", self.path("ca.pem"), "-CAkey",
                 self.path("ca.key"), "-CAcreateserial", "-days", str(days), "-extfile", ext, "-out", cert)
        return cert, key

    def server(self, name="server", client_ca=False, **more):
        """A context for App(tls=…)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sign(name, **more))
        if client_ca:
            context.load_verify_locations(self.path("ca.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    @staticmethod
    def text(path):
        with open(path) as f:
            return f.read()


def echo(r):
    return 200, r.body, {"Content-Type": r.headers.get("content-type", "text/plain")}


def stream(function):
    """Marks an app's function that reads the body itself."""
    function.stream = True
    return function


# ---- sidecars ----

def component(name, type_, scopes=None, **metadata):
    rows = [{"name": k, "value": v} for k, v in metadata.items()]
    return resource("Component", name, {"type": type_, "version": "v1", "metadata": rows}, scopes=scopes)


def resource(kind, name, spec, version="dapr.io/v1alpha1", scopes=None):
    """Any resource: JSON is YAML."""
    head = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
    if scopes:
        head["scopes"] = scopes
    return json.dumps(head) + "\n"


def configuration(spec):
    return resource("Configuration", "test", spec)


def has_failed(test):
    """Whether it has failed so far: to be asked by its cleanups."""
    result = test._outcome.result
    return any(getattr(t, "test_case", t) is test for t, _ in result.failures + result.errors)


class Sidecar:
    def __init__(self, test, app_id="app", app=None, args=(), resources=(), config=None, env=None,
                 wait="/v1.0/healthz", directory=None, expect=0, internal_port=None, app_port=None):
        self.test, self.app_id, self.expect = test, app_id, expect
        self.dir = directory or test.directory()
        self.http, self.grpc, self.metrics_port = free_port(), free_port(), free_port()
        self.internal = internal_port or free_port()
        self.resources = os.path.join(self.dir, app_id + "-resources")
        os.makedirs(self.resources, exist_ok=True)
        for i, text in enumerate(resources):
            with open(os.path.join(self.resources, f"r{i}.yaml"), "w") as f:
                f.write(textwrap.dedent(text))
        argv = [PROA, "sidecar", "--app-id", app_id, "--dapr-http-port", str(self.http),
                "--dapr-grpc-port", str(self.grpc), "--metrics-port", str(self.metrics_port),
                "--dapr-internal-grpc-port", str(self.internal),
                "--dapr-listen-addresses", "127.0.0.1", "--metrics-listen-address", "127.0.0.1",
                "--dapr-internal-grpc-listen-address", "127.0.0.1",
                "--resources-path", self.resources]
        if config is not None:
            path = os.path.join(self.dir, app_id + "-config.yaml")
            with open(path, "w") as f:
                f.write(textwrap.dedent(config))
            argv += ["--config", path]
        if app or app_port:
            argv += ["--app-port", str(app_port or app.port)]
        self.argv = argv + [str(a) for a in args]
        self.env = {k: v for k, v in os.environ.items()
                    if k not in ("DAPR_API_TOKEN", "APP_API_TOKEN", "NAMESPACE") and not k.startswith("OTEL_")}
        self.env.update(env or {})
        self.log_path = os.path.join(self.dir, f"{app_id}-{self.http}.log")
        self.start()
        test.addCleanup(self.close)
        if wait:
            self.wait_ready(wait)

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, env=self.env,
                                            start_new_session=True)
        self.pid = self.process.pid

    def wait_ready(self, path="/v1.0/healthz"):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.app_id} ended with {self.process.returncode}:\n{self.log()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                return call(self.http, "GET", path, timeout=5).status == 204
        until(f"{self.app_id} answers {path} with 204", ready)

    def call(self, method, path, body=None, headers=None, **more):
        return call(self.http, method, path, body, headers, **more)

    def get(self, path, headers=None, **more):
        return call(self.http, "GET", path, None, headers, **more)

    def post(self, path, body=b"", headers=None, **more):
        return call(self.http, "POST", path, body, headers, **more)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_log(self, text, timeout=WAIT):
        return until(f"log of {self.app_id} has {text!r}", lambda: text in self.log(), timeout)

    def metrics(self):
        return call(self.metrics_port, "GET", "/metrics").body.decode()

    def metric(self, name, **labels):
        """The sum over the series that have these labels."""
        total, found = 0.0, False
        for line in self.metrics().splitlines():
            m = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line)
            if not m or m[1] != name:
                continue
            has = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[2] or ""))
            if all(has.get(k) == v for k, v in labels.items()):
                total, found = total + float(m[3]), True
        return total if found else None

    def rss(self):
        """Resident bytes."""
        with open(f"/proc/{self.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def send_signal(self, number):
        self.process.send_signal(number)

    def freeze(self):
        """SIGSTOP, and waits until each thread has stopped."""
        self.send_signal(signal.SIGSTOP)

        def stopped():
            states = []
            for task in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{task}/stat") as f:
                    states.append(f.read().rsplit(")", 1)[1].split()[0])
            return set(states) == {"T"}
        until(f"{self.app_id} is stopped", stopped)

    def wait_exit(self, timeout=WAIT):
        return self.process.wait(timeout)

    def stop(self, number=signal.SIGTERM, timeout=WAIT):
        """Ends it; the exit status."""
        if self.process.poll() is None:
            self.send_signal(number)
        return self.wait_exit(timeout)

    def close(self):
        running = self.process.poll() is None
        try:
            status = self.stop()
        except subprocess.TimeoutExpired:
            os.kill(self.pid, signal.SIGABRT)
            status = f"none: it had to be aborted ({self.process.wait()})"
        if has_failed(self.test) or status != self.expect:
            sys.stderr.write(f"\n--- log of {self.app_id} ({' '.join(self.argv)})\n{self.log()[-8000:]}\n---\n")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, 0)
            raise AssertionError(f"{self.app_id} left a process behind")
        if status != self.expect:
            raise AssertionError(f"{self.app_id} ended with {status}, not {self.expect}"
                                 f" ({'stopped' if running else 'by itself'})")


class Case(unittest.TestCase):
    maxDiff = 4000

    def directory(self):
        if not hasattr(self, "_dir"):
            self._dir = tempfile.mkdtemp(prefix="proa-it-")
            self.addCleanup(shutil.rmtree, self._dir, True)
        return self._dir

    def app(self, on=None, **more):
        app = App(on, **more)
        self.addCleanup(app.close)
        return app

    def sidecar(self, app_id="app", app=None, **more):
        return Sidecar(self, app_id, app, **more)

    def hosts_config(self, **more):
        """A Configuration whose name resolution is a file that all sidecars of this test share."""
        path = os.path.join(self.directory(), "hosts.db")
        spec = {"nameResolution": {"component": "sqlite", "version": "v1",
                                   "configuration": {"connectionString": path}}}
        spec.update(more)
        return configuration(spec)

    def pair(self, app, caller_args=(), callee_args=(), caller="caller", callee="callee",
             resources=(), callee_resources=(), env=None, callee_env=None, caller_app=None):
        """Two sidecars that find each other; the app is the callee's."""
        config = self.hosts_config()
        b = self.sidecar(callee, app, args=callee_args, config=config, resources=callee_resources,
                         env=callee_env)
        a = self.sidecar(caller, caller_app, args=caller_args, config=config, resources=resources,
                         env=env)
        return a, b

    def assertMemory(self, grown, most):
        """At most so much more memory; a sidecar under sanitizers needs more of its own."""
        if not os.environ.get("PROA_SANITIZED"):
            self.assertLessEqual(grown, most)

    def assertError(self, answer, status, tag, message=None):
        self.assertEqual((answer.status, answer.headers.get("content-type", "")[:16]),
                         (status, "application/json"), answer)
        body = json.loads(answer.body)
        self.assertEqual(body["errorCode"], tag, body)
        if message is not None:
            self.assertEqual(body["message"], message)
        return body


def fake_host(directory, app_id, address):
    """Registers a peer of ours in the hosts file that hosts_config() names; renewed by nobody, so
    its row is dated ahead."""
    db = sqlite3.connect(os.path.join(directory, "hosts.db"), timeout=10)
    with db:
        db.execute("INSERT OR REPLACE INTO hosts(registration_id,address,app_id,namespace,last_update)"
                   " VALUES(?,?,?,'',?)", (f"fake-{app_id}-{address}", address, app_id,
                                           int(time.time()) + 3600))
    db.close()


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def main():
    unittest.main(verbosity=2)
