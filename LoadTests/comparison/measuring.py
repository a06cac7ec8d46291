"""What every measurement on one machine needs: a server process on a core of its own, the C
programs of LoadTests/Baseline, and how numbers are printed. Scripts/bench and LoadTests/compare
both stand on it."""

import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "LoadTests" / "Baseline"
BUILD = ROOT / ".build-bench"
RAW, WSLOAD = BUILD / "raw", BUILD / "wsload"
CLIENT_SOURCES = ["wsload.c", "client.c", "measure.c", "json.c",
                  "echo.c", "fanout.c", "idle.c", "chat.c"]
CC_FLAGS = ["-O2", "-Wall", "-Wextra", "-Werror"]
SERVER_CORE, CLIENT_CORE = 0, 1
PROGRAM = Path(sys.argv[0]).name


# ---- saying


def say(text=""):
    print(text, flush=True)


class Failed(SystemExit):
    """Ends the program with a sentence; who measures many servers catches it and goes on."""

    def __init__(self, text):
        super().__init__(f"{PROGRAM}: {text}")
        self.text = text


def fail(text):
    raise Failed(text)


def machine():
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    name = model[1] if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Linux {platform.release()}"


def spread(values, form="{:,.0f}"):
    """`median [least–most]`"""
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return f"{middle} [{low}–{high}]"


def table(heads, rows):
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, ["-" * w for w in widths], *rows]:
        first, *others = (cell.ljust(w) if i == 0 else cell.rjust(w)
                          for i, (cell, w) in enumerate(zip(row, widths)))
        say("  ".join([first, *others]))


def warn_of_neighbours(shares):
    """`shares`: of each window, the part of a core that neither server nor client took."""
    disturbed = [share for share in shares if share > 0.05]
    if disturbed:
        say(f"\nDISTURBED: in {len(disturbed)} of {len(shares)} windows other programs took "
            f"more than 5 % of a core, up to {max(disturbed):.0%}. Rates are too low there; "
            f"CPU a message is the steadier number.")


# ---- building and starting


def build():
    BUILD.mkdir(exist_ok=True)
    compiler = "cc" if shutil.which("cc") else "clang"  # which comes with Swift
    for target, sources in ((RAW, ["raw.c"]), (WSLOAD, CLIENT_SOURCES)):
        newest = max(path.stat().st_mtime for path in SOURCE.iterdir())
        if target.exists() and target.stat().st_mtime > newest:
            continue
        command = [compiler, *CC_FLAGS, "-o", str(target), *(str(SOURCE / s) for s in sources)]
        if subprocess.run(command).returncode:
            fail(f"{target.name} does not compile")


def pinned(core, command):
    return ["taskset", "-c", str(core), *map(str, command)]


def in_turn(names, repeat):
    """The order of that repeat: nobody is always first."""
    turn = repeat % len(names)
    return names[turn:] + names[:turn]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server, from its start to its end; also `with Server(…) as server`.

    It says on its output which port it listens on; one that cannot is given `port`, and is ready
    when that can be connected to."""

    def __init__(self, name, command, folder, core=SERVER_CORE, port=None, environment=None):
        self.name = name
        self.log = Path(folder) / f"{name}-{time.monotonic_ns()}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                pinned(core, command), stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, cwd=folder, env={**os.environ, **(environment or {})})
        try:
            self.port = self.wait_for_port(port)
        except BaseException:
            self.stop()
            raise

    def wait_for_port(self, given):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            text = self.log.read_text(errors="replace")
            port = printed_port(text) if given is None else given if is_open(given) else None
            if port:
                return port
            if self.process.poll() is not None:
                fail(f"{self.name} ended with {self.process.returncode}:\n{text[-2000:]}")
            time.sleep(0.01)
        what = "did not listen" if given else "printed no port"
        fail(f"{self.name} {what} within 30 s:\n{text[-2000:]}")

    def url(self, path):
        return f"ws://127.0.0.1:{self.port}{path}"

    def private_bytes(self):
        """Private anonymous memory (RssAnon, proc(5)): no shared pages, no page cache."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                say(f"{PROGRAM}: {self.name} did not end on SIGTERM within 20 s; killed")
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def printed_port(text):
    found = re.search(r"listening on (?:127\.0\.0\.1:)?(\d+)\b.*\n", text)
    return int(found[1]) if found else None


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
