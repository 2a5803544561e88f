#!/usr/bin/env python3
"""Compare the sidecar with plain nginx on this machine, by ratios within one run.

usage: bench/bench.py [--rounds N] [--secs S] [--only LEG] BINARY

Every round measures each leg right after the limit that it is compared with, so that a machine whose
speed drifts does no harm; the median of the rounds' ratios is printed beside its bar. Needs wrk and
nginx. Exit status 1 when a bar isn't met: for people and releases, not for tests.
"""
import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

NGINX = """worker_processes 1; daemon off; error_log stderr crit; pid {d}/nginx.pid; worker_rlimit_nofile 4096;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {d}/b; proxy_temp_path {d}/p;
 fastcgi_temp_path {d}/f; uwsgi_temp_path {d}/u; scgi_temp_path {d}/s;
 upstream app {{ server 127.0.0.1:{app}; keepalive 128; keepalive_requests 100000000; }}
 upstream hop {{ server 127.0.0.1:{hop}; keepalive 128; keepalive_requests 100000000; }}
 server {{ listen 127.0.0.1:{app}; location / {{ default_type application/json; return 200 '{body}'; }} }}
 server {{ listen 127.0.0.1:{hop}; location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
 server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://hop; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}"""

RESOURCES = """apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{name: mem}}
spec: {{type: state.in-memory, version: v1}}
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{name: sqlite}}
spec:
  type: state.sqlite
  version: v1
  metadata: [{{name: connectionString, value: "{d}/state.db"}}]
---
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{name: bus}}
spec: {{type: pubsub.in-memory, version: v1}}
"""

CONFIG = """apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {{name: bench}}
spec:
  nameResolution: {{component: sqlite, configuration: {{connectionString: "{d}/names.db"}}}}
"""

LUA = {
    "post": 'wrk.method="POST"; wrk.body=string.rep("x",1024); '
            'wrk.headers["Content-Type"]="application/octet-stream"',
    "save": 'local i=0; wrk.method="POST"; wrk.headers["Content-Type"]="application/json"; '
            'local v=string.rep("x",1000); function request() i=i+1; return wrk.format(nil,nil,nil,'
            '\'[{"key":"k\'..(i%1000)..\'","value":"\'..v..\'"}]\') end',
    "publish": 'wrk.method="POST"; wrk.headers["Content-Type"]="application/json"; '
               'wrk.body=\'{"order":"\'..string.rep("x",1000)..\'"}\'',
}


def free_ports(n):
    """n different free ports; they stay free long enough for a bench."""
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def wait(url, limit=10.0):
    """Seconds until url answers anything below 500 but 404."""
    start = time.monotonic()
    while time.monotonic() - start < limit:
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return time.monotonic() - start
        except urllib.error.HTTPError as e:
            if e.code < 500 and e.code != 404:
                return time.monotonic() - start
        except OSError:
            pass
        time.sleep(0.001)
    sys.exit(f"bench: no answer from {url} within {limit} s")


class Bench:
    def __init__(self, binary, secs):
        self.binary, self.secs = os.path.abspath(binary), secs
        self.dir = tempfile.mkdtemp(prefix="proa-bench-")
        self.procs = []
        self.app, self.hop, self.front = free_ports(3)
        os.makedirs(f"{self.dir}/res")
        for name, text in (("res/all.yaml", RESOURCES), ("config.yaml", CONFIG)):
            with open(f"{self.dir}/{name}", "w", encoding="utf-8") as f:
                f.write(text.format(d=self.dir))
        for name, text in LUA.items():
            with open(f"{self.dir}/{name}.lua", "w", encoding="utf-8") as f:
                f.write(text)

    def start_nginx(self):
        with open(f"{self.dir}/nginx.conf", "w", encoding="utf-8") as f:
            f.write(NGINX.format(d=self.dir, app=self.app, hop=self.hop, front=self.front, body="y" * 1024))
        self.procs.append(subprocess.Popen(["nginx", "-c", f"{self.dir}/nginx.conf", "-p", self.dir],
                                           stderr=subprocess.DEVNULL))
        wait(f"http://127.0.0.1:{self.app}/")

    def start_sidecar(self, app_id, app_port=None):
        http, grpc, internal, metrics = free_ports(4)
        args = [self.binary, "--app-id", app_id, "--dapr-http-port", str(http), "--dapr-grpc-port", str(grpc),
                "--dapr-internal-grpc-port", str(internal), "--metrics-port", str(metrics), "--log-level", "error",
                "--resources-path", f"{self.dir}/res", "--config", f"{self.dir}/config.yaml",
                "--dapr-listen-addresses", "127.0.0.1"]
        if app_port:
            args += ["--app-port", str(app_port)]
        if os.path.basename(self.binary) != "daprd":
            args.insert(1, "sidecar")
        with open(f"{self.dir}/{app_id}.log", "w", encoding="utf-8") as log:
            p = subprocess.Popen(args, stdout=log, stderr=log, env=dict(os.environ, DAPR_HOST_IP="127.0.0.1"))
        self.procs.append(p)
        took = wait(f"http://127.0.0.1:{http}/v1.0/healthz")
        return p, http, took

    def wrk(self, url, conns, lua=None):
        cmd = ["wrk", "-t1", f"-c{conns}", f"-d{self.secs}s", "--latency"]
        if lua:
            cmd += ["-s", f"{self.dir}/{lua}.lua"]
        out = subprocess.run(cmd + [url], capture_output=True, text=True, check=True).stdout
        rps = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
        value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
        if bad:
            sys.exit(f"bench: {url}: {bad.group(1)} answers were failures")
        return rps, float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]

    def stop(self):
        for p in reversed(self.procs):
            p.send_signal(signal.SIGTERM)
            p.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--secs", type=int, default=3)
    ap.add_argument("--only", help="a leg's name, such as publish")
    o = ap.parse_args()
    b = Bench(o.binary, o.secs)
    try:
        b.start_nginx()
        server, _, start_s = b.start_sidecar("server", b.app)
        _, http, _ = b.start_sidecar("client")
        idle = resident_mib(server.pid)
        base = f"http://127.0.0.1:{http}/v1.0"
        direct, hops = f"http://127.0.0.1:{b.app}/", f"http://127.0.0.1:{b.front}/"
        # name, url, script, limit, connections, what is compared, bar, higher is better
        legs = [
            ("invoke", f"{base}/invoke/server/method/echo", "post", hops, 32, 0, 0.5, True),
            ("invoke p50", f"{base}/invoke/server/method/echo", "post", hops, 1, 1, 2.0, False),
            ("save memory", f"{base}/state/mem", "save", direct, 32, 0, None, True),
            ("get memory", f"{base}/state/mem/k1", None, direct, 32, 0, 0.5, True),
            ("save sqlite", f"{base}/state/sqlite", "save", direct, 32, 0, 0.1, True),
            ("get sqlite", f"{base}/state/sqlite/k1", None, direct, 32, 0, None, True),
            ("publish", f"{base}/publish/bus/t", "publish", direct, 32, 0, 0.4, True),
        ]
        legs = [leg for leg in legs if not o.only or leg[0] == o.only or leg[0].startswith("save")]
        ratios = {leg[0]: [] for leg in legs}
        values = {leg[0]: [] for leg in legs}
        for rnd in range(o.rounds):
            for name, url, lua, limit, conns, which, _, _ in legs:
                if sys.stderr.isatty():
                    print(f"\rround {rnd + 1} of {o.rounds}: {name:12s}", end="", file=sys.stderr)
                against = b.wrk(limit, conns, "post")[which]
                value = b.wrk(url, conns, lua)[which]
                ratios[name].append(value / against)
                values[name].append(value)
        if sys.stderr.isatty():
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
        failed = 0
        print(f"{'leg':14s} {'value':>12s} {'ratio':>8s} {'bar':>8s}")
        for name, _, _, _, _, which, bar, more in legs:
            ratio, value = statistics.median(ratios[name]), statistics.median(values[name])
            ok = bar is None or (ratio >= bar if more else ratio <= bar)
            failed += not ok
            text = "" if bar is None else ("≥ " if more else "≤ ") + str(bar)
            print(f"{name:14s} {value:10.0f}{'us' if which else '/s'} {ratio:8.3f} {text:>8s} {'' if ok else 'NOT MET'}")
        for name, value, bar in (("idle MiB", idle, 10), ("start ms", start_s * 1e3, 20)):
            failed += value > bar
            print(f"{name:14s} {value:12.1f} {'':8s} {'≤ ' + str(bar):>8s} {'' if value <= bar else 'NOT MET'}")
    finally:
        b.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
