"""What a test is given: a server, people, chats, and stock clients of one kind and mode."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from . import people
from .browser import BrowserClient
from .clients import MODES
from .fleet import Fleets
from .python_clients import AsyncClient, SyncClient
from .server import Martlet

KINDS = SyncClient, AsyncClient, BrowserClient
# Of the ns family: what its clients open, on one Manager.
MESSAGES, NOTIFICATIONS, PRESENCE = NAMESPACES = "/messages", "/notifications", "/presence"
SAYINGS = {"polling": "polling only", "websocket": "WebSocket only", "upgrade": "polling, upgraded"}


@dataclass(frozen=True)
class Combination:
    """A kind of client, what it is told of transports, and for a fleet the door of its balancer."""

    kind: type
    mode: str
    door: str = ""

    @property
    def kinds(self):
        return (self.kind,)

    def __str__(self):
        door = f", HAProxy in mode {self.door}" if self.door else ""
        return f"{self.kind.kind}, {SAYINGS[self.mode]}{door}"


@dataclass(frozen=True)
class Everybody:
    """Every kind with every transport in one test, by that door."""

    door: str
    kinds = KINDS

    def __str__(self):
        return f"every client, HAProxy in mode {self.door}"


@dataclass(frozen=True)
class World:
    """What all tests of a run share."""

    program: Path
    folder: Path
    origin: str
    server: Martlet
    fleets: Fleets

    def ended(self):
        """How the first of the shared servers ended that did; None while all run."""
        return next(filter(None, (each.ended() for each in (self.server, *self.fleets.common()))),
                    None)


class Stage:
    """For one test; what it opened is closed with it. People and chats are its own."""

    numbers = itertools.count(1)

    def __init__(self, world, combination):
        self.world = world
        self.combination = combination
        self.server = world.server
        self.number = next(self.numbers)
        self.clients = []
        # What else ends with the test: servers, fleets, relays.
        self.own = []

    def use_own_server(self, *limits):
        """From here on one that nobody else uses."""
        folder = self.world.folder / f"own-{self.number}"
        self.server = Martlet(self.world.program, folder, self.world.origin, limits)
        self.own.append(self.server)

    def use_shared_fleet(self):
        """From here on through its balancer."""
        fleet = self.world.fleets.shared()
        self.server = fleet.balancer.doors[self.combination.door]
        return fleet

    def use_own_fleet(self, **more):
        """The same, of one that nobody else uses."""
        fleet = self.world.fleets.own(**more)
        self.own.append(fleet)
        self.server = fleet.balancer.doors[self.combination.door]
        return fleet

    def person(self, name, **claims):
        return people.person(f"{name}-{self.number}", **claims)

    def chat(self, owner, *members):
        return people.make_chat(self.server, owner, *members)

    def history(self, who, chat):
        return people.history(self.server, who, chat)

    def unconnected(self, who, kind=None, mode=None, server=None, auth=None, **more):
        kind = kind or self.combination.kind
        client = kind(who.id, (server or self.server).url, mode or self.combination.mode,
                      {"token": who.token, **(auth or {})}, **more)
        self.clients.append(client)
        return client

    def root(self, who, **more):
        """Of the family root, once the server has said who it is."""
        client = self.unconnected(who, **more)
        client.connect("/")
        client.expect("authenticated")
        return client

    def ns(self, who, **more):
        """Of the family ns."""
        client = self.unconnected(who, **more)
        client.connect(*NAMESPACES)
        client.expect("authenticated", MESSAGES)
        return client

    def v1(self, who, **more):
        client = self.unconnected(who, auth={"proto": 1}, **more)
        client.connect("/")
        client.expect("session.ready")
        return client

    def close(self):
        """All of it; then raises the first Failure there was."""
        failures = []
        for client in self.clients:
            try:
                client.close()
            except Exception as error:  # whatever a stock client throws
                failures.append(error)
        for each in self.own:
            each.stop()
        if failures:
            raise failures[0]


EVERY = tuple(Combination(kind, mode) for kind in KINDS for mode in MODES)
EVERY_BROWSER = tuple(each for each in EVERY if each.kind is BrowserClient)
DEFAULT_BROWSER = (Combination(BrowserClient, "upgrade"),)
