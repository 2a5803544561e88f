"""Plays the servers of name resolution for its tests: player.py consul|dns PORT, on 127.0.0.1.

consul: the part of the agent's HTTP API that sidecars use, with TTL checks that expire.
    POST /player/forget drops all registrations, as an agent does that begins anew;
    GET /player/services shows them; POST /player/fail?n=3 answers the next three with 500.
dns: SRV, A and AAAA records of the fixed world below, over UDP; a TCP port only to be awaited.
"""
import http.server
import json
import socket
import socketserver
import struct
import sys
import threading
import time
import urllib.parse

SRV, A, AAAA = 33, 1, 28
SERVICES = {
    "alpha": [("127.0.0.1", 50001)],
    "beta": [("127.0.0.2", 50002)],
    "many": [("127.0.0.1", 50001), ("127.0.0.1", 50002), ("127.0.0.1", 50003)],
    "six": [("fd00::1:2", 50001)],
    "near": [("127.0.0.1", 50001)],
    "peer": [("127.0.0.1", 50002)],
}
HOSTS = {"placed.a.zone.test": ["10.0.1.1", "10.0.1.2"], "placed.b.zone.test": ["10.0.2.1"]}


class Consul(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    services = {}  # id -> registration
    alive = {}  # check id -> (until, ttl)
    failures = 0

    def log_message(self, *args):
        pass

    def reply(self, status, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def register(self, service):
        self.services[service["ID"]] = service
        for check in service.get("Checks") or []:
            if "TTL" in check:
                ttl = float(check["TTL"].rstrip("s"))
                until = time.monotonic() + ttl if check.get("Status") == "passing" else 0
                self.alive[check["CheckID"]] = (until, ttl)

    def passing(self, service):
        checks = [c for c in service.get("Checks") or [] if "TTL" in c]
        return all(self.alive[c["CheckID"]][0] > time.monotonic() for c in checks)

    def handle_one(self, body):
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        query = urllib.parse.parse_qs(url.query)
        cls = type(self)
        if path == "/player/forget":
            self.services.clear()
            self.alive.clear()
            return self.reply(200)
        if path == "/player/fail":
            cls.failures = int(query["n"][0])
            return self.reply(200)
        if path == "/player/services":
            return self.reply(200, list(self.services.values()))
        if cls.failures:
            cls.failures -= 1
            return self.reply(500)
        if path == "/v1/agent/self":
            return self.reply(200, {})
        if path == "/v1/agent/service/register":
            self.register(json.loads(body))
            return self.reply(200)
        name = path.rsplit("/", 1)[1]
        if path.startswith("/v1/agent/service/deregister/"):
            known = self.services.pop(name, None)
            return self.reply(200 if known else 404)
        if path.startswith("/v1/agent/check/pass/"):
            if name not in self.alive:
                return self.reply(404)
            self.alive[name] = (time.monotonic() + self.alive[name][1], self.alive[name][1])
            return self.reply(200)
        if path.startswith("/v1/health/service/"):
            app = path[len("/v1/health/service/"):]
            found = [{"Node": {"Address": "192.0.2.9"}, "Service": s}
                     for s in self.services.values() if s["Name"] == app and self.passing(s)]
            return self.reply(200, found)
        return self.reply(404)

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.lock:
            self.handle_one(body)

    do_PUT = do_POST = do_GET


def encode_name(name):
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


def addresses(name):
    if name in HOSTS:
        return HOSTS[name]
    host = name.split(".")[0]  # <app>-<index>.test
    app, _, index = host.rpartition("-")
    if app in SERVICES and index.isdigit():
        return [SERVICES[app][int(index)][0]]
    return []


def answers(name, kind):
    """(type, data) of each answer; None: the name doesn't exist."""
    if name.startswith("_proa."):
        app = name.split(".")[1]
        if app not in SERVICES:
            return None
        return [(SRV, struct.pack(">HHH", 0, 0, port) + encode_name(f"{app}-{i}.test"))
                for i, (_, port) in enumerate(SERVICES[app]) if kind == SRV]
    found = addresses(name)
    if not found:
        return None
    return [(A, socket.inet_pton(socket.AF_INET, a)) for a in found if ":" not in a and kind == A] + \
           [(AAAA, socket.inet_pton(socket.AF_INET6, a)) for a in found if ":" in a and kind == AAAA]


def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind, = struct.unpack(">H", query[at + 1:at + 3])
    found = answers(".".join(labels).lower(), kind)
    head = query[:2] + struct.pack(">HHHHH", 0x8580 | (3 if found is None else 0), 1,
                                   len(found or []), 0, 0)
    body = query[12:at + 5]
    for rtype, data in found or []:
        body += b"\xc0\x0c" + struct.pack(">HHIH", rtype, 1, 5, len(data)) + data
    return head + body


def play_dns(port):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))
    tcp = socket.create_server(("127.0.0.1", port))
    while True:
        query, sender = udp.recvfrom(4096)
        udp.sendto(answer(query), sender)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def main():
    port = int(sys.argv[2])
    if sys.argv[1] == "dns":
        play_dns(port)
    else:
        Server(("127.0.0.1", port), Consul).serve_forever()


if __name__ == "__main__":
    main()
