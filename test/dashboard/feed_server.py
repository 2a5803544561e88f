#!/usr/bin/env python3
"""Serves the dashboard with a made-up feed: for the tests, and for a look at the page by hand.

python3 test/dashboard/feed_server.py [scenario]      prints the address and runs until ^C
"""

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2] / "dashboard"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """A browser that closes its connection is no error here."""


class Feed:
    """The feed and its server; down() and up() play a runtime that ends and comes back."""

    def __init__(self, scenario="normal", period=1.0):
        self.lock = threading.Condition()
        self.period = period
        self.port = 0
        self.server = None
        self.sockets = set()
        self.fixed = None
        self.mute = False
        self.play(scenario)
        self.up()

    def play(self, scenario):
        with self.lock:
            self.scenario, self.began, self.fixed = scenario, time.monotonic(), None
            self.lock.notify_all()

    def show(self, snapshot):
        """Shows just this one until the next play()."""
        with self.lock:
            self.fixed = snapshot
            self.lock.notify_all()

    def snapshot(self):
        if self.fixed is not None:
            return self.fixed
        return SCENARIOS[self.scenario](time.monotonic() - self.began)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def up(self):
        feed = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self):
                super().setup()
                feed.sockets.add(self.connection)

            def finish(self):
                feed.sockets.discard(self.connection)
                super().finish()

            def log_message(self, *args):
                pass

            def do_GET(self):
                feed.answer(self)

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self):
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()
        for s in list(self.sockets):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def answer(self, request):
        path = request.path.split("?")[0]
        if path == "/feed":
            return self.stream(request, self.server)
        if path == "/feed.json":
            return reply(request, 200, "application/json", json.dumps(self.snapshot()).encode())
        file = (ROOT / ("index.html" if path == "/" else path.lstrip("/"))).resolve()
        if ROOT not in file.parents or file.suffix not in TYPES or not file.is_file():
            return reply(request, 404, "text/plain", b"not here\n")
        return reply(request, 200, TYPES[file.suffix], file.read_bytes())

    def stream(self, request, server):
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Cache-Control", "no-store")
        request.end_headers()
        while self.server is server:
            if not self.mute:
                request.wfile.write(b"data: " + json.dumps(self.snapshot()).encode() + b"\n\n")
                request.wfile.flush()
            with self.lock:
                self.lock.wait(self.period)


def reply(request, status, kind, body):
    request.send_response(status)
    for name, value in (
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Content-Security-Policy", CSP),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ):
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "normal"
    if chosen not in SCENARIOS:
        sys.exit(f"no scenario '{chosen}': one of {', '.join(SCENARIOS)}")
    print(Feed(chosen).url, flush=True)
    threading.Event().wait()
