#!/usr/bin/env python3
"""Compare a gRPC call through two sidecars with the same call through two nginx grpc_pass proxies.

usage: bench/grpc_bench.py [--rounds N] [--secs S] BINARY ECHO

ECHO is grpc_echo, the app. Each round measures the limit right before the sidecars; the median of the
rounds' ratios is printed beside its bar. Needs h2load and nginx. Exit status 1 when the bar isn't met.
"""
import argparse
import os
import re
import statistics
import struct
import subprocess
import sys
import time

from bench import Bench, free_ports, resident_mib, wait

NGINX = """worker_processes 1; daemon off; error_log stderr crit; pid {d}/grpc.pid; worker_rlimit_nofile 4096;
events {{ worker_connections 1024; }}
http {{ access_log off; http2_max_requests 100000000; keepalive_requests 100000000; http2_max_concurrent_streams 10000;
 client_body_temp_path {d}/gb; proxy_temp_path {d}/gp; fastcgi_temp_path {d}/gf; uwsgi_temp_path {d}/gu; scgi_temp_path {d}/gs;
 upstream app {{ server 127.0.0.1:{app}; keepalive 128; keepalive_requests 100000000; }}
 upstream hop {{ server 127.0.0.1:{hop}; keepalive 128; keepalive_requests 100000000; }}
 server {{ listen 127.0.0.1:{hop} http2; location / {{ grpc_pass grpc://app; }} }}
 server {{ listen 127.0.0.1:{front} http2; location / {{ grpc_pass grpc://hop; }} }}
}}"""
PATH = "/bench.Echo/Unary"
BAR = 0.6


class GrpcBench(Bench):
    def start_app(self, echo):
        p = subprocess.Popen([echo], stdout=subprocess.PIPE, text=True)
        self.procs.append(p)
        return int(p.stdout.readline())

    def start_proxies(self, app):
        hop, front = free_ports(2)
        with open(f"{self.dir}/grpc.conf", "w", encoding="utf-8") as f:
            f.write(NGINX.format(d=self.dir, app=app, hop=hop, front=front))
        self.procs.append(subprocess.Popen(["nginx", "-c", f"{self.dir}/grpc.conf", "-p", self.dir],
                                           stderr=subprocess.DEVNULL))
        return front

    def start_pair(self, app):
        callee, _ = self.sidecar("callee", ["--app-port", str(app), "--app-protocol", "grpc"])
        caller, port = self.sidecar("caller", [])
        return callee, caller, port

    def sidecar(self, app_id, more):
        http, grpc, internal, metrics = free_ports(4)
        args = [self.binary, "sidecar", "--app-id", app_id, "--dapr-http-port", str(http), "--dapr-grpc-port", str(grpc),
                "--dapr-internal-grpc-port", str(internal), "--metrics-port", str(metrics), "--log-level", "error",
                "--config", f"{self.dir}/config.yaml", "--dapr-listen-addresses", "127.0.0.1", *more]
        with open(f"{self.dir}/{app_id}.log", "w", encoding="utf-8") as log:
            p = subprocess.Popen(args, stdout=log, stderr=log, env=dict(os.environ, DAPR_HOST_IP="127.0.0.1"))
        self.procs.append(p)
        wait(f"http://127.0.0.1:{http}/v1.0/healthz")
        return p, grpc

    def body(self):
        path = f"{self.dir}/message"
        with open(path, "wb") as f:
            f.write(struct.pack(">BI", 0, 1024) + b"x" * 1024)
        return path

    def load(self, port):
        """Calls a second that ended with status OK."""
        cmd = ["h2load", "-t1", "-c4", "-m8", f"-D{self.secs}", "-d", self.body(), "-H", "te: trailers",
               "-H", "content-type: application/grpc", "-H", "dapr-app-id: callee", f"http://127.0.0.1:{port}{PATH}"]
        out = subprocess.run(cmd, capture_output=True, text=True, check=True).stdout
        done = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
        failed = int(re.search(r"(\d+) failed", out).group(1))
        if failed or any(int(done.group(i)) for i in (2, 3, 4)):
            sys.exit(f"bench: port {port}: some calls failed:\n{out}")
        # Two DATA frames of 1,029 bytes each way: less would be an answer without its message.
        data = re.search(r"\((\d+)\) data", out)
        if data and int(data.group(1)) < int(done.group(1)) * 1029:
            sys.exit(f"bench: port {port}: answers without a message:\n{out}")
        return float(re.search(r"([\d.]+) req/s", out).group(1))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary")
    ap.add_argument("echo")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--secs", type=int, default=3)
    o = ap.parse_args()
    b = GrpcBench(o.binary, o.secs)
    try:
        app = b.start_app(o.echo)
        front = b.start_proxies(app)
        callee, caller, grpc = b.start_pair(app)
        time.sleep(0.5)
        idle = [resident_mib(p.pid) for p in (callee, caller)]
        ratios, values = [], []
        for _ in range(o.rounds):
            limit = b.load(front)
            values.append(b.load(grpc))
            ratios.append(values[-1] / limit)
        ratio = statistics.median(ratios)
        ok = ratio >= BAR
        print(f"{'leg':14s} {'value':>12s} {'ratio':>8s} {'bar':>8s}")
        print(f"{'gRPC proxied':14s} {statistics.median(values):10.0f}/s {ratio:8.3f} {'≥ ' + str(BAR):>8s} "
              f"{'' if ok else 'NOT MET'}")
        print(f"{'idle MiB':14s} {max(idle):12.1f}")
    finally:
        b.stop()
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
