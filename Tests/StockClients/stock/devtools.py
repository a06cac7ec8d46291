"""Headless Chromium, and the end of the Chrome DevTools Protocol that one of its pages has."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import websocket

from .expecting import PATIENCE_S, Failure, short
from .people import DIRECT

NAMES = "chromium", "chromium-browser", "google-chrome"
START_S = 30
STOP_S = 10
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--no-proxy-server", "--disable-extensions", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-breakpad",
    # A page that nobody looks at would have its timers slowed down.
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]


class Chromium:
    """The program, from its start to its end. `hosts` is a pattern of names for this machine."""

    def __init__(self, program, folder, hosts):
        program = program or next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise Failure("no Chromium: apt-get install chromium, or --chromium PATH")
        self.profile = folder / "chromium"
        self.log = folder / "chromium.log"
        with open(self.log, "wb") as log:
            # A session of its own, so that its processes go with it.
            self.process = subprocess.Popen(
                [program, *FLAGS, f"--user-data-dir={self.profile}", "--remote-debugging-port=0",
                 f"--host-resolver-rules=MAP {hosts} 127.0.0.1", "about:blank"],
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True)
        try:
            self.port = self.wait_for_port()
        except BaseException:
            self.stop()
            raise

    def wait_for_port(self):
        file = self.profile / "DevToolsActivePort"
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) > 1:
                return int(lines[0])
            if self.process.poll() is not None:
                raise Failure(f"Chromium ended with {self.process.returncode} at its start: "
                              f"{self.log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.02)
        raise Failure(f"Chromium named no port within {START_S} s: "
                      f"{self.log.read_text(errors='replace')[-1000:]}")

    def open_page(self, url):
        """The DevTools address of a new page."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/json/new?{urllib.parse.quote(url)}", method="PUT")
        with DIRECT.open(asked, timeout=PATIENCE_S) as answer:
            return json.load(answer)["webSocketDebuggerUrl"]

    def stop(self):
        """Returns when all its processes are gone, which until then use the profile's folder."""
        deadline = time.monotonic() + STOP_S
        try:
            while time.monotonic() < deadline:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.poll()
                time.sleep(0.02)
        except ProcessLookupError:
            return
        print(f"Chromium's processes did not end within {STOP_S} s of SIGKILL.", flush=True)


class DevTools:
    """One page's connection; usable from any thread. `heard` is given each event's method and
    parameters, on a thread of its own."""

    def __init__(self, address, heard):
        self.heard = heard
        self.numbers = itertools.count(1)
        self.answers = {}
        self.changed = threading.Condition()
        # Chromium takes DevTools clients that name no Origin.
        self.socket = websocket.create_connection(
            address, timeout=PATIENCE_S, suppress_origin=True, enable_multithread=True)
        self.socket.settimeout(None)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while text := self.socket.recv():
                message = json.loads(text)
                if "id" not in message:
                    self.heard(message["method"], message["params"])
                    continue
                with self.changed:
                    self.answers[message["id"]] = message
                    self.changed.notify_all()
        except (OSError, websocket.WebSocketException):
            pass  # closed; who waits for an answer has a deadline

    def call(self, method, within=PATIENCE_S, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        with self.changed:
            if not self.changed.wait_for(lambda: number in self.answers, within):
                raise Failure(f"Chromium did not answer {method} within {within:g} s")
            answer = self.answers.pop(number)
        if "error" in answer:
            raise Failure(f"Chromium refused {method}: {short(answer['error'])}")
        return answer["result"]

    def evaluate(self, expression, within=PATIENCE_S):
        """The expression's value, or where it is a promise what that is fulfilled with."""
        result = self.call("Runtime.evaluate", within, expression=expression, awaitPromise=True,
                           returnByValue=True)
        if "exceptionDetails" in result:
            thrown = result["exceptionDetails"].get("exception", {})
            raise Failure(f"{expression[:160]} threw {thrown.get('description') or short(thrown)}")
        return result["result"].get("value")
