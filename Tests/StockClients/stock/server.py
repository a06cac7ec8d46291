"""A `martlet serve` of the tests' own: real process, real sockets, real store."""

import os
import re
import signal
import subprocess
import time

from .expecting import Failure
from .people import SECRET

START_S = 30
STOP_S = 15
# A run is one address and few users, faster than any person.
LIMITS = "connects=off", "http=off", "sends=off", "joins=off"


class Martlet:
    """From its start to its end. `folder` is its own, `origin` the one that browsers may have."""

    def __init__(self, program, folder, origin, limits=()):
        self.program = program
        self.folder = folder
        self.origin = origin
        self.limits = (*LIMITS, *limits)
        self.log = folder / "server.log"
        self.port = 0
        self.process = None
        folder.mkdir()
        self.start()

    def start(self):
        """The first time on a free port, then on that one again."""
        words = [self.program, "serve", *self.place(), "--port", self.port, "--shards", 2,
                 "--data", self.folder / "data", "--allowed-origin", self.origin]
        for limit in self.limits:
            words += ["--limit", limit]
        told = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in words], stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, cwd=self.folder, env=environment())
        try:
            self.port = self.wait_for_port(told)
        except BaseException:
            self.kill()
            raise

    def place(self):
        """Flags that say what it is part of: of nothing, on 127.0.0.1."""
        return ["--dev"]

    def wait_for_port(self, told):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            text = self.log.read_bytes()[told:].decode(errors="replace")
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)\b.*\n", text)
            if found:
                return int(found[1])
            if self.process.poll() is not None:
                raise Failure(f"the server ended with {self.process.returncode} at its start: "
                              f"{text[-1000:]}")
            time.sleep(0.01)
        raise Failure(f"the server did not say where it listens within {START_S} s: {text[-1000:]}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ended(self):
        """How it ended and what it last said; None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        return f"the server ended with {status}: {self.log.read_text(errors='replace')[-1000:]}"

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOP_S)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"The server did not end on SIGTERM within {STOP_S} s; killed.", flush=True)
            self.kill()


def environment():
    """Without what would lead it to somebody's database or configuration."""
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")
             if name in os.environ}
    return {**known, "MARTLET_JWT_SECRET": SECRET}
