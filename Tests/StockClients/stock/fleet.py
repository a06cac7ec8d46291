"""Several instances that are one server: a Postgres and a Redis under them, a balancer in front."""

import re
import threading
import urllib.request

from .balancer import HAProxy
from .expecting import PATIENCE_S, Failure, eventually
from .people import DIRECT
from .server import Martlet
from .services import Postgres, Redis

INSTANCES = 3
# Each tells the others of itself once a second.
MEETING_S = 15


class Instance(Martlet):
    """One of a fleet; `links` are the flags that all of them have in common."""

    def __init__(self, *words, links, **more):
        self.links = links
        super().__init__(*words, **more)

    def place(self):
        # An address of its own is where the others reach it.
        return ["--bind", "127.0.0.1", *self.links]

    def metric(self, name):
        with DIRECT.open(f"{self.url}/metrics", timeout=PATIENCE_S) as answer:
            found = re.search(rf"^{name} (\d+)$", answer.read().decode(), re.MULTILINE)
        if not found:
            raise Failure(f"{self.url}/metrics has no {name}")
        return int(found[1])


class Fleet:
    """From the start of all to the end of all, on a database that is empty."""

    def __init__(self, program, folder, origin, database, count=INSTANCES, **more):
        folder.mkdir()
        self.instances = []
        self.started = []
        try:
            self.started.append(redis := Redis(folder))
            links = ["--database-url", database, "--redis-url", redis.url,
                     "--trusted-proxy", "127.0.0.1/32"]
            for number in range(count):
                instance = Instance(program, folder / f"martlet-{number}", origin, links=links,
                                    **more)
                self.instances.append(instance)
                self.started.append(instance)
            self.balancer = HAProxy(folder, [each.port for each in self.instances])
            self.started.append(self.balancer)
            for each in self.instances:
                eventually("the instances to hear of each other", lambda: each.metric(
                    "martlet_bus_instances") == count - 1, MEETING_S)
        except BaseException:
            self.stop()
            raise

    def total(self, metric):
        return sum(each.metric(metric) for each in self.instances)

    def busiest(self):
        """The instance that has the most clients."""
        return max(self.instances, key=lambda each: each.metric(
            "martlet_authenticated_connections"))

    def stop(self):
        for each in reversed(self.started):
            each.stop()


class Fleets:
    """Those of a run: one that no test hurts, which they share, and those that tests have for
    themselves. All have databases in one Postgres. Nothing is started before it is asked for."""

    def __init__(self, program, folder, origin):
        self.words = program, folder, origin
        self.lock = threading.Lock()
        self.postgres = None
        # The shared one, or why there is none.
        self.kept = None
        self.made = 0

    def shared(self):
        with self.lock:
            if self.kept is None:
                try:
                    self.kept = Fleet(*self.place())
                except Failure as failure:
                    self.kept = failure
            if isinstance(self.kept, Failure):
                raise self.kept
            return self.kept

    def common(self):
        """The instances of the shared one, where it was started."""
        return self.kept.instances if isinstance(self.kept, Fleet) else ()

    def own(self, **more):
        with self.lock:
            place = self.place()
        return Fleet(*place, **more)

    def place(self):
        """What a new one is started with."""
        program, folder, origin = self.words
        self.postgres = self.postgres or Postgres()
        self.made += 1
        return program, folder / f"fleet-{self.made}", origin, self.postgres.database()

    def stop(self):
        if isinstance(self.kept, Fleet):
            self.kept.stop()
        if self.postgres:
            self.postgres.stop()
