"""What a fleet stands on, of the tests' own: a Postgres and a Redis, on free ports of 127.0.0.1 and
in folders that go with them. The machine's own services are left alone."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .expecting import PATIENCE_S, Failure

START_S = 30
STOP_S = 15
COMMAND_S = 60


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Program:
    """One process, from its start to its end. What it says is in `log`."""

    def __init__(self, words, log, **more):
        self.name = Path(words[0]).name
        self.log = log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                [str(word) for word in words], stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, **more)

    def wait_until(self, is_ready):
        """Ends it where it does not get there."""
        deadline = time.monotonic() + START_S
        try:
            while not is_ready():
                if self.process.poll() is not None:
                    raise Failure(f"{self.name} ended with {self.process.returncode} at its "
                                  f"start: {self.said()}")
                if time.monotonic() > deadline:
                    raise Failure(f"{self.name} was not ready within {START_S} s: {self.said()}")
                time.sleep(0.02)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def said(self):
        return self.log.read_text(errors="replace")[-1000:]

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end on signal {number} within {STOP_S} s; killed.",
                  flush=True)
            self.process.kill()
            self.process.wait(STOP_S)


class Postgres:
    """A cluster, with a database for each who asks."""

    USER = "martlet"

    def __init__(self):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            raise Failure("no Postgres: apt-get install postgresql")
        self.programs = found[-1].parent
        # It does not run as root; so it has a folder outside of the run's, which is root's.
        self.owner = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="martlet-stock-postgres-"))
        self.made = 0
        self.program = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        if self.owner:
            shutil.chown(self.folder, self.owner)
        data = self.folder / "data"
        self.run("initdb", "-D", data, "-N", "-A", "trust", "-U", self.USER)
        self.port = free_port()
        settings = "max_connections=60", "shared_buffers=32MB"
        self.program = Program(
            [self.programs / "postgres", "-D", data, "-k", self.folder, "-h", "127.0.0.1",
             "-p", self.port, *(word for each in settings for word in ("-c", each))],
            self.folder / "postgres.log", user=self.owner, cwd=self.folder)
        self.program.wait_until(lambda: self.call("pg_isready", *self.place()).returncode == 0)

    def place(self):
        return "-h", "127.0.0.1", "-p", self.port

    def call(self, program, *words):
        return subprocess.run(
            [str(self.programs / program), *map(str, words)], user=self.owner, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=COMMAND_S)

    def run(self, program, *words):
        done = self.call(program, *words)
        if done.returncode:
            raise Failure(f"{program} ended with {done.returncode}: {done.stdout[-1000:]}")

    def database(self):
        """The URL of an empty one."""
        self.made += 1
        name = f"fleet{self.made}"
        self.run("createdb", *self.place(), "-U", self.USER, name)
        return f"postgres://{self.USER}@127.0.0.1:{self.port}/{name}"

    def stop(self):
        if self.program:
            # "Fast": it does not wait for those who are connected.
            self.program.stop(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis:
    """One that keeps nothing on the disk."""

    def __init__(self, folder):
        if not shutil.which("redis-server"):
            raise Failure("no Redis: apt-get install redis-server")
        self.port = free_port()
        self.program = Program(
            ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--save", "",
             "--appendonly", "no", "--dir", folder], folder / "redis.log")
        self.program.wait_until(self.answers)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False

    def stop(self):
        self.program.stop()
