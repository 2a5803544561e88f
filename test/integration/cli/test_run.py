#!/usr/bin/env python3
"""'proa run' and the small commands, from outside, with the stub sidecar of stub_main.c.

PROA is the binary. Every wait has a deadline, no port is fixed, and each test has a run directory
of its own (XDG_RUNTIME_DIR), so that tests may run beside each other and beside a real run.
"""
import http.client
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

PROA = os.environ["PROA"]
SOURCE = os.environ["PROA_SOURCE"]
WAIT = 30  # seconds: long, since the machine may be busy; nothing waits when all is well

APP = '''
import http.server, os, signal, subprocess, sys
print("env", *(f"{k}={os.environ.get(k)}" for k in
      ("APP_ID", "APP_PORT", "DAPR_HTTP_PORT", "DAPR_GRPC_PORT", "OWN", "PROA_ZONE")), flush=True)
print("to stderr", file=sys.stderr, flush=True)
child = subprocess.Popen(["sleep", "1000"])
print("child", child.pid, flush=True)
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
def stop(*_):
    print("app stops", flush=True); os._exit(0)
signal.signal(signal.SIGTERM, stop)
http.server.HTTPServer(("127.0.0.1", int(os.environ["APP_PORT"])), H).serve_forever()
'''


def free_port():
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(what, condition, timeout=WAIT):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout} s: {what}")


class Run:
    """One 'proa run' in a directory of its own."""

    def __init__(self, test, *args, template=None, directory=None):
        self.dir = directory or tempfile.mkdtemp(prefix="proa-test-")
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.dir, HOME=self.dir)
        self.log_path = os.path.join(self.dir, "log")
        for name in ("orders", "stock"):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        self.prepare()
        if template is not None:
            with open(os.path.join(self.dir, "dapr.yaml"), "w") as f:
                f.write(textwrap.dedent(template).replace("PYTHON", sys.executable))
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen([PROA, "run", *args], cwd=self.dir, env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=self.log_file,
                                        stderr=subprocess.STDOUT)
        test.addCleanup(self.close)

    def prepare(self):
        with open(os.path.join(self.dir, "app.py"), "w") as f:
            f.write(APP)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log_file.close()
        try:
            self.check_sanitizers()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def check_sanitizers(self):
        """A sidecar that a sanitizer stopped would just be restarted: so its logs are read."""
        for root, _, files in os.walk(self.dir):
            for name in files:
                if name == "log" or name.endswith(".log"):
                    with open(os.path.join(root, name), errors="replace") as f:
                        text = f.read()
                    at = re.search("Sanitizer|runtime error:", text)
                    if at:
                        raise AssertionError(text[at.start():at.start() + 4000])

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_log(self, pattern):
        try:
            return until(pattern, lambda: re.search(pattern, self.log()))
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()}") from None

    def control(self):
        def read():
            for root, _, files in os.walk(os.path.join(self.dir, "proa")):
                if "control.json" in files:
                    with open(os.path.join(root, "control.json")) as f:
                        return json.load(f)
        return until("control.json", read)

    def request(self, method, path, body=None, token=None, **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.control()["port"], timeout=WAIT)
        if token:
            headers["Authorization"] = "Bearer " + token
        c.request(method, path, body, headers)
        r = c.getresponse()
        body = r.read()
        c.close()
        return r, body

    def feed(self):
        r, body = self.request("GET", "/feed.json")
        return json.loads(body) if r.status == 200 else None

    def instances(self):
        return [i for s in (self.feed() or {"services": []})["services"] for i in s["instances"]]

    def wait_healthy(self, n):
        def check():
            i = self.instances()
            return len(i) == n and all(x["state"] == "healthy" for x in i)
        try:
            until(f"{n} healthy", check)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log()}") from None

    def pids(self):
        """Every process below the run, but not the run."""
        found, todo = set(), [self.process.pid]
        while todo:
            parent = todo.pop()
            for entry in os.listdir("/proc"):
                if not entry.isdigit():
                    continue
                try:
                    with open(f"/proc/{entry}/stat") as f:
                        ppid = int(f.read().rsplit(")", 1)[1].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if ppid == parent:
                    found.add(int(entry))
                    todo.append(int(entry))
        return found

    def command(self, *args):
        return subprocess.run([PROA, *args], env=self.env, cwd=self.dir, capture_output=True,
                              text=True, timeout=WAIT)


TWO_APPS = '''
    version: 1
    name: shop
    common:
      env: { OWN: common }
      daprdLogDestination: console
    apps:
      - appID: orders
        appDirPath: orders
        appPort: %d
        zone: east
        command: [PYTHON, ../app.py]
      - appID: stock
        appDirPath: stock
        appPort: %d
        env: { OWN: stock }
        command: [PYTHON, ../app.py]
'''


def two_apps():
    return TWO_APPS % (free_port(), free_port())


class CommandLine(unittest.TestCase):
    def run_proa(self, *args, **env):
        return subprocess.run([PROA, *args], capture_output=True, text=True, timeout=WAIT,
                              env=dict(os.environ, **env))

    def test_help_of_everything(self):
        r = self.run_proa("--help")
        self.assertEqual(r.returncode, 0)
        names = re.findall(r"^  (\w+) ", r.stdout.split("Commands")[1], re.M)
        self.assertEqual(names[:2], ["sidecar", "run"])
        for name in names[1:]:
            for args in ((name, "--help"), ("help", name)):
                r = self.run_proa(*args)
                self.assertEqual(r.returncode, 0, args)
                self.assertIn("Exit codes", r.stdout)
                self.assertNotIn("\033", r.stdout, "no colour in a pipe")
        self.assertEqual(self.run_proa().returncode, 2)

    def test_mistakes(self):
        for args, text in (
                (["stauts"], "unknown command 'stauts': did you mean 'status'?"),
                (["run", "--app-prot", "1"], "unknown option '--app-prot': did you mean '--app-port'?"),
                (["publish"], "--publish-app-id, --pubsub and --topic are needed"),
                (["invoke", "-a", "x"], "--app-id and --method are needed"),
                (["completion"], "needs more: proa completion bash|zsh|fish"),
                (["completion", "tcsh"], "no script for 'tcsh'"),
                (["version", "x"], "doesn't know what to do with 'x'"),
                (["run", "-f", "/nowhere/dapr.yaml"], "can't read /nowhere/dapr.yaml"),
        ):
            r = self.run_proa(*args)
            self.assertEqual(r.returncode, 2, args)
            self.assertIn(text, r.stderr)
            self.assertEqual(r.stdout, "")

    def test_nothing_runs(self):
        with tempfile.TemporaryDirectory() as d:
            for args in (["status"], ["publish", "-i", "a", "-p", "b", "-t", "c"],
                         ["invoke", "-a", "a", "-m", "b"]):
                r = self.run_proa(*args, XDG_RUNTIME_DIR=d)
                self.assertEqual(r.returncode, 1, args)
                self.assertRegex(r.stderr, "nothing runs|no run has an app")

    def test_completion_scripts_are_valid(self):
        for shell in ("bash", "zsh", "fish"):
            script = self.run_proa("completion", shell).stdout
            self.assertIn("resources-path", script)
            if shutil.which(shell):
                subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=True)
        words = subprocess.run(
            ["bash", "-c", 'source /dev/stdin; COMP_WORDS=(proa run --app-p); COMP_CWORD=2; _proa; '
             'echo "${COMPREPLY[@]}"'], input=self.run_proa("completion", "bash").stdout,
            capture_output=True, text=True, check=True).stdout
        self.assertEqual(words.split(), ["--app-port", "--app-protocol"])

    def test_manual_in_docs_is_what_the_tables_say(self):
        with open(os.path.join(SOURCE, "docs", "man", "proa.1")) as f:
            self.assertEqual(f.read(), self.run_proa("man").stdout,
                             "run: proa man > docs/man/proa.1")


class Runs(unittest.TestCase):
    def start_two(self, *args):
        run = Run(self, "-f", ".", *args, template=two_apps())
        run.wait_healthy(2)
        return run

    def test_apps_get_their_world_and_lines_their_names(self):
        run = self.start_two()
        run.wait_log(r"Dashboard  http://127\.0\.0\.1:\d+")
        log = run.log()
        self.assertRegex(log, r"(?m)^orders  \| env APP_ID=orders APP_PORT=\d+ DAPR_HTTP_PORT=\d+ "
                              r"DAPR_GRPC_PORT=\d+ OWN=common PROA_ZONE=east$")
        self.assertRegex(log, r"(?m)^stock   \| env APP_ID=stock .* OWN=stock PROA_ZONE=None$")
        self.assertRegex(log, r"(?m)^orders  \| to stderr$")
        self.assertRegex(log, r"(?m)^orders◆ \| stub: --app-id=orders$")
        self.assertRegex(log, r"(?m)^stock ◆ \| stub: --config=.*/names\.yaml$")
        self.assertRegex(log, r"(?m)^proa    \| 2 of 2 ready in \d+\.\d s$")
        logs = os.listdir(os.path.join(run.dir, "orders", ".dapr", "logs"))
        self.assertEqual(len(logs), 1)
        self.assertRegex(logs[0], r"^orders_app_\d{14}\.log$")
        with open(os.path.join(run.dir, "orders", ".dapr", "logs", logs[0])) as f:
            self.assertTrue(f.read().startswith("env APP_ID=orders"), "files have no prefix")

    def test_feed_page_and_who_may_ask(self):
        run = self.start_two()
        until("rates", lambda: any(e["rps"] for e in run.feed()["edges"]))
        feed = run.feed()
        self.assertEqual(feed["run"]["name"], "shop")
        self.assertEqual([s["id"] for s in feed["services"]], ["orders", "stock"])
        one = feed["services"][0]["instances"][0]
        self.assertEqual((one["name"], one["zone"], one["restarts"]), ("orders-1", "east", 0))
        self.assertGreater(one["rss_bytes"], 1 << 20)
        self.assertEqual(feed["totals"]["queued"], 6)
        self.assertEqual(feed["totals"]["in_flight"], 2)
        edge = [e for e in feed["edges"] if e["to"] == "orders"][0]
        self.assertAlmostEqual(edge["error_rate"], 0.1, delta=0.1)
        self.assertTrue(1.024 <= edge["p50_ms"] <= 1.45, edge)
        self.assertTrue(any(e["text"] == "stub is up" for e in feed["events"]))

        r, body = run.request("GET", "/")
        self.assertEqual(r.status, 200)
        self.assertIn(b"<title>", body)
        self.assertIn("default-src 'none'", r.headers["Content-Security-Policy"])
        self.assertEqual(r.headers["X-Content-Type-Options"], "nosniff")
        for host, status in (("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost", 200),
                             ("LOCALHOST:1", 200), ("[::1]:5", 200), ("127.0.0.1.:1", 403)):
            for path in ("/", "/feed.json", "/nothing"):
                r, _ = run.request("GET", path, Host=host)
                want = 404 if status == 200 and path == "/nothing" else status
                self.assertEqual(r.status, want, (host, path))
        r, _ = run.request("GET", "/feed.json", Origin="http://evil.example")
        self.assertEqual(r.status, 403)
        self.assertEqual(run.request("DELETE", "/feed")[0].status, 405)

    def test_events_stream_and_its_limit(self):
        run = self.start_two()
        port = run.control()["port"]
        open_streams = []
        for _ in range(32):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
            c.request("GET", "/feed")
            open_streams.append((c, c.getresponse()))
        self.assertEqual(open_streams[0][1].headers["Content-Type"], "text/event-stream")
        self.assertEqual(run.request("GET", "/feed")[0].status, 503)
        r = open_streams[31][1]
        seen = []
        while len(seen) < 3:
            line = r.readline()
            if line.startswith(b"data: "):
                seen.append(json.loads(line[6:])["uptime_s"])
        self.assertEqual(seen, sorted(seen))
        for c, r in open_streams[:5]:
            r.close()
            c.close()
        def again():
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
            c.request("GET", "/feed")
            r = c.getresponse()
            ok = r.status == 200
            r.close()
            c.close()
            return ok
        until("a free place", again)
        run.process.send_signal(signal.SIGINT)  # open streams must not hold the end up
        self.assertEqual(run.process.wait(WAIT), 0)
        for c, r in open_streams[5:]:
            r.close()
            c.close()

    def test_a_killed_app_comes_back(self):
        run = self.start_two()
        token = run.control()["token"]
        before = {i["name"]: i["pid"] for i in run.instances()}
        self.assertEqual(run.request("POST", "/control/kill?app=orders")[0].status, 401)
        self.assertEqual(run.request("POST", "/control/kill?app=orders", token="x" * 32)[0].status, 401)
        self.assertEqual(run.request("GET", "/control/kill?app=orders", token=token)[0].status, 405)
        r, body = run.request("POST", "/control/kill?app=orders&instance=1", token=token)
        self.assertEqual((r.status, json.loads(body)["pid"]), (200, before["orders-1"]))
        run.wait_log(r"proa +\| orders-1 was killed by signal 9 \(Killed\): restart 1 in 0\.[1-3] s")

        def back():
            i = {x["name"]: x for x in run.instances()}
            o = i["orders-1"]
            return o["restarts"] == 1 and o["state"] == "healthy" and o["pid"] != before["orders-1"]
        until("orders is back", back)
        self.assertEqual({x["name"]: x["pid"] for x in run.instances()}["stock-1"], before["stock-1"])
        texts = [e["text"] for e in run.feed()["events"]]
        self.assertTrue(any("orders-1 restarted" in t for t in texts), texts)

        r, body = run.request("POST", "/control/kill?app=stock&target=sidecar", token=token)
        self.assertEqual(r.status, 200)
        run.wait_log(r"stock-1's sidecar was killed by signal 9")
        run.wait_healthy(2)
        self.assertEqual({x["name"]: x["pid"] for x in run.instances()}["stock-1"], before["stock-1"],
                         "the app itself isn't touched")
        for query, status in (("app=nobody", 404), ("app=orders&instance=7", 404),
                              ("app=orders&target=cat", 400)):
            self.assertEqual(run.request("POST", "/control/kill?" + query, token=token)[0].status,
                             status, query)

    def test_progress_is_shown(self):
        run = self.start_two()
        token = run.control()["token"]
        body = json.dumps({"text": "load", "done": 1, "total": 2})
        self.assertEqual(run.request("POST", "/control/progress", body)[0].status, 401)
        self.assertEqual(run.request("POST", "/control/progress", body, token)[0].status, 200)
        until("progress", lambda: run.feed()["progress"] == {"text": "load", "done": 1, "total": 2})
        self.assertEqual(run.request("POST", "/control/progress", "[", token)[0].status, 400)
        self.assertEqual(run.request("POST", "/control/progress", "x" * 10000, token)[0].status, 413)

    def test_small_commands_find_the_run(self):
        run = self.start_two()
        r = run.command("status")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertRegex(r.stdout, r"INSTANCE +STATE +HTTP +RESTARTS")
        self.assertRegex(r.stdout, r"orders-1 +healthy +\d+ +0")
        until("json", lambda: json.loads(run.command("status", "--json").stdout)["run"]["name"] == "shop")
        self.assertEqual(run.command("status", "--run", "other").returncode, 1)
        r = run.command("publish", "-i", "orders", "-p", "bus", "-t", "a/b", "-d", '{"x":1}',
                        "-m", '{"ttlInSeconds":"1 0"}')
        self.assertEqual(r.returncode, 0, r.stderr)
        run.wait_log(r'stub: POST /v1\.0/publish/bus/a%2Fb\?metadata\.ttlInSeconds=1\+0 '
                     r'\[application/json\] \{"x":1\}')
        r = run.command("publish", "-i", "orders", "-p", "bus", "-t", "missing")
        self.assertEqual(r.returncode, 1)
        self.assertIn("not published: HTTP 404", r.stderr)
        r = run.command("invoke", "-a", "stock", "-m", "items/1?a=b", "-v", "PUT", "-d", "plain")
        self.assertEqual((r.returncode, r.stdout),
                         (0, "PUT /v1.0/invoke/stock/method/items/1?a=b [text/plain] plain"))
        self.assertEqual(run.command("invoke", "-a", "stock", "-m", "missing").returncode, 1)

    def test_status_shows_what_keeps_the_system_up(self):
        run = self.start_two()

        def both_have_told():
            feed = run.feed()
            return (any(p["callers"] == 2 for p in feed["peers"]) and
                    all(o["shed_rps"] for o in feed["overload"]))
        until("counts of both sidecars", both_have_told)
        r = run.command("status")
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        for line in (r"OVERLOAD +LIMIT +IN FLIGHT +QUEUED +ADMITTED/S +SHED/S +BY PRIORITY +REASON",
                     r"orders +20 +3 +1 +\d+\.\d +\d+\.\d +low \d+/s +priority \d+/s",
                     r"10\.0\.0\.1:1 +ejected +far +b +2 of 2 .*",
                     r"bank +open +orders, stock", r"a +b +\d+\.\d",
                     r"late +delay +far +- +- +25% +8 +\d+s +orders, stock"):
            self.assertRegex(r.stdout, f"(?m)^{line}$")
        self.assertNotIn("calm", r.stdout, "a closed breaker is nothing to show")
        self.assertNotIn("\033", r.stdout, "no colours: this is no terminal")
        feed = json.loads(run.command("status", "--json").stdout)
        self.assertEqual((feed["peers"][0]["state"], feed["zones"]["crossing"]), ("ejected", 0.5))
        self.assertEqual([b["state"] for b in feed["breakers"]], ["open", "closed"])

    def watch(self, run, *args, **io):
        # whoever runs the tests in the background may have had SIGINT ignored, which is inherited
        process = subprocess.Popen([PROA, "status", "--watch", "1", *args], env=run.env, stdin=subprocess.DEVNULL,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **io)
        self.addCleanup(process.kill)
        return process

    def test_status_is_watched_until_the_run_ends(self):
        run = self.start_two()
        piped = self.watch(run, stdout=subprocess.PIPE, text=True)
        lines = self.watch(run, "--json", stdout=subprocess.PIPE, text=True)
        master, slave = pty.openpty()
        screen = self.watch(run, stdout=slave)
        os.close(slave)
        for _ in range(2):
            self.assertEqual(json.loads(lines.stdout.readline())["run"]["name"], "shop")
        shown = b""
        while shown.count(b"\033[H\033[2J") < 2:
            shown += os.read(master, 65536)
        self.assertIn(b"orders-1", shown)
        run.process.terminate()
        out, _ = piped.communicate(timeout=WAIT)
        tables = out.split("INSTANCE")[1:]
        self.assertGreaterEqual(len(tables), 2)
        self.assertRegex(tables[0], r"orders-1 +healthy")
        self.assertNotIn("\033", out)
        self.assertTrue(out.endswith("The run has ended.\n"), out[-200:])
        for process in (piped, lines, screen):
            self.assertEqual(process.wait(WAIT), 0)
        for line in lines.communicate()[0].splitlines():
            self.assertEqual(json.loads(line)["run"]["name"], "shop")
        os.close(master)

    def test_a_watch_outlasts_a_run_that_does_not_answer(self):
        run = self.start_two()
        said = os.path.join(run.dir, "said")
        with open(said, "wb") as errors:
            lines = self.watch(run, "--json", stdout=subprocess.PIPE, stderr=errors, text=True)
        def next_name():
            return json.loads(lines.stdout.readline())["run"]["name"]
        self.assertEqual(next_name(), "shop")
        self.addCleanup(run.process.send_signal, signal.SIGCONT)
        run.process.send_signal(signal.SIGSTOP)
        def read():
            with open(said) as f:
                return f.read()
        until("it is said that no answer comes", lambda: "no answer in time" in read())
        self.assertIsNone(lines.poll())
        run.process.send_signal(signal.SIGCONT)
        before = read().count("\n")
        for _ in range(3):
            self.assertEqual(next_name(), "shop")
        self.assertLessEqual(read().count("\n"), before + 1)

    def test_a_watch_stays_with_its_run(self):
        run = self.start_two()
        lines = self.watch(run, "--json", stdout=subprocess.PIPE, text=True)
        lines.stdout.readline()
        other = subprocess.Popen([PROA, "run", "-a", "other", "--", "sleep", "1000"], cwd=run.dir, env=run.env,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(other.wait)
        self.addCleanup(other.terminate)
        until("there are two runs", lambda: "several runs" in run.command("status").stderr)
        def names():
            return [json.loads(lines.stdout.readline())["run"]["name"] for _ in range(2)]
        self.assertEqual(names(), ["shop", "shop"])
        run.process.terminate()  # the other one goes on, and is none of this watch's business
        rest = [json.loads(line)["run"]["name"] for line in lines.communicate(timeout=WAIT)[0].splitlines()]
        self.assertEqual(set(rest) - {"shop"}, set())
        self.assertEqual(lines.returncode, 0)
        self.assertIsNone(other.poll())

    def test_ctrl_c_ends_a_watch(self):
        run = self.start_two()
        piped = self.watch(run, stdout=subprocess.PIPE, text=True)
        piped.stdout.readline()
        piped.send_signal(signal.SIGINT)
        piped.communicate(timeout=WAIT)
        self.assertEqual(piped.returncode, -signal.SIGINT)

    def test_ctrl_c_stops_all_sidecars_first(self):
        run = self.start_two()
        pids = run.pids()
        self.assertGreaterEqual(len(pids), 7, "guard, 2 sidecars, 2 apps, 2 children of theirs")
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.process.wait(WAIT), 0, run.log())
        self.assertEqual([p for p in pids if alive(p)], [])
        log = run.log()
        for name in ("orders", "stock "):
            drained = re.search(f"(?m)^{name}◆ \\| stub: drained$", log)
            stopped = re.search(f"(?m)^{name}  \\| app stops$", log)
            self.assertTrue(drained and stopped and drained.start() < stopped.start(), log)
        self.assertEqual(os.listdir(os.path.join(run.dir, "proa")), [], "nothing is left behind")

    def test_a_zone_that_is_down_stays_so_until_it_is_up(self):
        run = Run(self, "-f", ".", template='''
            version: 1
            apps:
              - { appID: orders, appDirPath: orders, appPort: %d, zone: [a, b], instances: 2, command: [PYTHON, ../app.py] }
            ''' % free_port())
        run.wait_healthy(2)
        token = run.control()["token"]
        before = {i["zone"]: i["pid"] for i in run.instances()}
        r, body = run.request("POST", "/control/zone?zone=b&state=down", token=token)
        self.assertEqual((r.status, json.loads(body)), (200, {"instances": 1}))
        run.wait_log(r"orders-2 was killed by signal 9")
        run.wait_log(r"orders-2's sidecar was killed by signal 9")
        r, _ = run.request("POST", "/control/kill?app=orders&instance=2", token=token)
        self.assertEqual(r.status, 404, "nothing runs there")
        r, _ = run.request("POST", "/control/kill?app=orders&instance=1", token=token)
        self.assertEqual(r.status, 200)
        until("zone a comes back", lambda: run.instances()[0]["restarts"] == 1 and
              run.instances()[0]["state"] == "healthy" and run.instances()[0]["pid"] != before["a"])
        self.assertEqual(run.instances()[1]["restarts"], 0, "zone b is older, and is still down")
        r, _ = run.request("POST", "/control/zone?zone=b&state=up", token=token)
        self.assertEqual(r.status, 200)
        until("zone b comes back", lambda: run.instances()[1]["restarts"] == 2 and
              run.instances()[1]["state"] == "healthy" and run.instances()[1]["pid"] != before["b"])
        for query, status in (("zone=c&state=down", 404), ("state=down", 404), ("zone=a", 400), ("zone=a&state=off", 400)):
            self.assertEqual(run.request("POST", "/control/zone?" + query, token=token)[0].status, status, query)

    def test_a_zone_that_is_down_ends_with_the_run(self):
        run = Run(self, "-f", ".", template='''
            version: 1
            apps:
              - { appID: orders, appDirPath: orders, appPort: %d, zone: [a, b], instances: 2, command: [PYTHON, ../app.py] }
            ''' % free_port())
        run.wait_healthy(2)
        run.request("POST", "/control/zone?zone=b&state=down", token=run.control()["token"])
        run.wait_log(r"orders-2's sidecar was killed by signal 9")
        run.process.send_signal(signal.SIGTERM)
        self.assertEqual(run.process.wait(WAIT), 0, run.log())

    def test_kill_9_of_the_run_leaves_no_process(self):
        run = self.start_two()
        pids = run.pids()
        grandchildren = re.findall(r"child (\d+)", run.log())
        self.assertEqual(len(grandchildren), 2)
        self.assertTrue(all(int(p) in pids for p in grandchildren))
        run.process.send_signal(signal.SIGKILL)
        run.process.wait(WAIT)
        until("all gone", lambda: not any(alive(p) for p in pids))

    def test_a_second_ctrl_c_kills(self):
        run = Run(self, "--app-id", "deaf", "--", "sh", "-c",
                  "trap '' TERM; echo up; while :; do sleep 1; done")
        run.wait_log(r"deaf  \| up")
        pids = run.pids()
        run.process.send_signal(signal.SIGTERM)
        run.wait_log("stub: drained")
        run.process.send_signal(signal.SIGTERM)
        self.assertEqual(run.process.wait(WAIT), 130)
        until("all gone", lambda: not any(alive(p) for p in pids))

    def test_a_lone_command_gives_its_exit_code(self):
        for command, code in (("exit 0", 0), ("exit 7", 7), ("kill -15 $$", 143)):
            run = Run(self, "--app-id", "one", "--", "sh", "-c", f"echo hello; {command}")
            self.assertEqual(run.process.wait(WAIT), code, run.log())
            self.assertRegex(run.log(), r"(?m)^one  \| hello$")
            self.assertRegex(run.log(), r"(?m)^one◆ \| stub: drained$")

    def test_crashes_are_restarted_with_growing_pauses(self):
        run = Run(self, "-f", ".", template='''
            version: 1
            apps:
              - { appID: bad, appDirPath: orders, command: [sh, -c, "exit 3"] }
              - { appID: once, appDirPath: stock, command: [sh, -c, "exit 0"] }
              - { appID: always, appDirPath: stock, restart: always, command: [sh, -c, "exit 0"] }
        ''')
        run.wait_log(r"bad-1 exited with code 3: restart 3 in")
        pauses = [float(x) for x in re.findall(r"bad-1 exited with code 3: restart \d in (\S+) s",
                                               run.log())[:3]]
        self.assertTrue(0.1 <= pauses[0] <= 0.4 and 0.3 <= pauses[1] <= 0.7 and
                        0.7 <= pauses[2] <= 1.3, pauses)
        run.wait_log(r"always-1 exited with code 0: restart 2")
        self.assertRegex(run.log(), r"once-1 exited with code 0\n")
        self.assertNotRegex(run.log(), r"once-1 exited with code 0: restart")
        run.process.send_signal(signal.SIGINT)
        self.assertEqual(run.process.wait(WAIT), 0, run.log())

    def test_a_command_that_is_no_program(self):
        run = Run(self, "--app-id", "x", "--", "./nothing-here")
        self.assertEqual(run.process.wait(WAIT), 127, run.log())
        self.assertIn("can't execute ./nothing-here", run.log())
        run = Run(self, "--app-id", "x", "--", "nothing-here-at-all")
        self.assertEqual(run.process.wait(WAIT), 1, run.log())
        self.assertIn("there is no command 'nothing-here-at-all' in PATH", run.log())

    def test_instances_are_several(self):
        run = Run(self, "-f", ".", "--instances", "3", template='''
            version: 1
            apps:
              - { appID: orders, appDirPath: orders, appPort: %d, zone: [a, b],
                  command: [PYTHON, ../app.py] }
        ''' % free_port())
        run.wait_healthy(3)
        i = run.instances()
        self.assertEqual([x["zone"] for x in i], ["a", "b", "a"])
        self.assertEqual(len({x["app_port"] for x in i} | {x["http_port"] for x in i}), 6)
        self.assertRegex(run.log(), r"(?m)^orders-2  \| env")
        self.assertEqual(len(run.feed()["edges"]), 1, "three sidecars' edges added up")
        self.assertEqual(run.feed()["topics"][0]["consumers"][0]["depth"], 3, "one queue, seen thrice")

    def test_ports_that_are_taken(self):
        run = self.start_two()
        port = run.control()["port"]
        other = Run(self, "--app-id", "x", "--port", str(port), "--", "sleep", "1000")
        self.assertEqual(other.process.wait(WAIT), 1)
        self.assertIn(f"--port {port}", other.log())


if __name__ == "__main__":
    unittest.main()
