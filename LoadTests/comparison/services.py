"""A Postgres and a Redis of a run's own: in folders that go with them, on free ports, with nothing of
the machine's own services touched. Both are `with` blocks that end only what they started."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import processes
from .measuring import Server, fail, free_port, pinned

# Debian's names of what is needed here.
PACKAGES = ["postgresql", "redis-server"]


class Postgres:
    """A cluster in a folder of the run, on a free port, with a database an asking."""

    def __init__(self, core):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            fail("no Postgres: apt-get install postgresql")
        self.bin, self.port, self.made = found[-1].parent, 0, 0
        # Postgres does not run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.process = None
        self.folder = tempfile.mkdtemp(prefix="martlet-pg-")
        try:
            self.start(core)
        except BaseException:
            self.stop()
            raise

    def start(self, core):
        if self.user:
            shutil.chown(self.folder, self.user)
        self.run_quietly("initdb", "-D", f"{self.folder}/data", "-A", "trust", "-U", "martlet")
        self.port = free_port()
        self.process = subprocess.Popen(
            pinned(core, [self.bin / "postgres", "-D", f"{self.folder}/data", "-k", self.folder,
                          "-h", "127.0.0.1", "-p", self.port, "-c", "max_connections=50",
                          "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"]),
            user=self.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            if self.process.poll() is not None:
                fail(f"Postgres ended with {self.process.returncode} as it started; its port "
                     f"{self.port} may have been taken meanwhile: try again")
            if subprocess.run([self.bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)],
                              stdout=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.05)
        fail("Postgres does not start")

    def run_quietly(self, program, *words):
        done = subprocess.run([self.bin / program, *map(str, words)], user=self.user,
                              cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True)
        if done.returncode:
            fail(f"{program}: {done.stdout[-1000:]}")
        return done.stdout

    def database(self):
        self.made += 1
        self.run_quietly("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "martlet",
                         f"bench{self.made}")
        return f"postgres://martlet@127.0.0.1:{self.port}/bench{self.made}"

    def pids(self):
        """The postmaster, what it always has beside it, and a backend for each connection; not the
        workers of autovacuum, which come and go."""
        return [pid for pid in processes.tree(self.process.pid)
                if b"autovacuum worker" not in processes.command_line(pid)]

    def stop(self):
        try:
            if self.process:
                self.process.send_signal(signal.SIGINT)
                try:
                    self.process.wait(20)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Redis:
    """One that keeps nothing."""

    def __init__(self, core, folder):
        if not shutil.which("redis-server"):
            fail("no Redis: apt-get install redis-server")
        port = free_port()
        self.server = Server("redis", ["redis-server", "--port", port, "--bind", "127.0.0.1",
                                       "--save", "", "--appendonly", "no", "--dir", folder],
                             folder, core, port)

    def url(self):
        return f"redis://127.0.0.1:{self.server.port}"

    def pids(self):
        return [self.server.process.pid]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop()
