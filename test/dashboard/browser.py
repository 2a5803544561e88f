"""Headless Chromium by its own protocol, over a pipe: no driver, no port, no package to install."""

import base64
import fcntl
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "about:blank",
]
CHROMIUM = (
    os.environ.get("CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)


class Browser:
    """One browser with an empty profile of its own; `with Browser() as b: page = b.page()`."""

    def __init__(self):
        if not CHROMIUM:
            raise SystemExit("no Chromium found: install it, or set CHROMIUM to its path")
        self.profile = tempfile.mkdtemp(prefix="proa-dashboard-")
        ours_in, their_out = os.pipe()
        their_in, ours_out = os.pipe()
        # Moved out of the way first, so that taking the places 3 and 4 overwrites neither.
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (their_in, their_out)]

        def place():
            os.dup2(fds[0], 3)
            os.dup2(fds[1], 4)

        self.process = subprocess.Popen(
            [CHROMIUM, f"--user-data-dir={self.profile}", *FLAGS],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for fd in (their_in, their_out, *fds):
            os.close(fd)
        self.out, self.inp = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self.number, self.answers, self.lock = 0, {}, threading.Lock()
        self.pages = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        data = b""
        while chunk := self.inp.read1(1 << 20):
            *messages, data = (data + chunk).split(b"\0")
            for m in messages:
                self._take(json.loads(m))

    def _take(self, message):
        if "id" in message:
            self.answers[message["id"]].put(message)
        elif message.get("sessionId") in self.pages:
            self.pages[message["sessionId"]]._event(message["method"], message["params"])

    def call(self, method, params=None, session=None, timeout=30):
        with self.lock:
            self.number += 1
            number = self.number
            box = self.answers[number] = queue.Queue()
            message = {"id": number, "method": method, "params": params or {}}
            if session:
                message["sessionId"] = session
            self.out.write(json.dumps(message).encode() + b"\0")
        try:
            answer = box.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the browser did not answer {method} in {timeout} s") from None
        finally:
            del self.answers[number]
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def page(self, **kwargs):
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})[
            "sessionId"
        ]
        page = Page(self, session, target)
        self.pages[session] = page
        page._start(**kwargs)
        return page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close", timeout=5)
        except (TimeoutError, OSError, RuntimeError):
            pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    def __init__(self, browser, session, target):
        self.browser, self.session, self.target, self.errors = browser, session, target, []

    def _event(self, method, params):
        if method == "Runtime.exceptionThrown":
            d = params["exceptionDetails"]
            self.errors.append(d.get("exception", {}).get("description") or d["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.errors.append(
                " ".join(str(a.get("value", a.get("description"))) for a in params["args"])
            )
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def send(self, method, params=None):
        return self.browser.call(method, params, self.session)

    def _start(self, width=1280, height=720, scheme="dark", still=False, scale=1, mobile=False):
        for domain in ("Page", "Runtime", "Log"):
            self.send(domain + ".enable")
        self.look(width, height, scheme, still, scale, mobile)

    def look(self, width=1280, height=720, scheme="dark", still=False, scale=1, mobile=False):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile},
        )
        self.send(
            "Emulation.setEmulatedMedia",
            {
                "features": [
                    {"name": "prefers-color-scheme", "value": scheme},
                    {
                        "name": "prefers-reduced-motion",
                        "value": "reduce" if still else "no-preference",
                    },
                ]
            },
        )

    def open(self, url):
        self.send("Page.navigate", {"url": url})

    def js(self, expression):
        """The value of an expression in the page; a promise is awaited."""
        r = self.send(
            "Runtime.evaluate",
            {"expression": expression, "returnByValue": True, "awaitPromise": True},
        )
        if "exceptionDetails" in r:
            raise RuntimeError(
                f"{expression}: {r['exceptionDetails'].get('exception', {}).get('description')}"
            )
        return r["result"].get("value")

    def wait(self, expression, seconds=15):
        """Waits until the expression is true in the page, looking at each of its frames."""
        end = time.monotonic() + seconds
        while True:
            try:
                value = self.js(expression)
            except RuntimeError as e:  # the page is just being replaced
                value, problem = None, e
            else:
                problem = None
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(
                    f"not so within {seconds} s: {expression}"
                    + (f" ({problem})" if problem else "")
                    + "".join(f"\n  the page's console: {e}" for e in self.errors[:3])
                )
            threading.Event().wait(0.03)

    def key(self, key, code=0, text=""):
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                {
                    "type": kind,
                    "key": key,
                    "code": key,
                    "windowsVirtualKeyCode": code,
                    **({"text": text} if text and kind == "keyDown" else {}),
                },
            )

    def click(self, x, y):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent",
                {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
            )

    def shot(self, path, full=False):
        data = self.send(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": full}
        )["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))

    def close(self):
        self.browser.call("Target.closeTarget", {"targetId": self.target})
