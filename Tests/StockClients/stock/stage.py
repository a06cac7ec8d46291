"""What a test is given: a server, people, chats, and stock clients of one kind and mode."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from . import people
from .browser import BrowserClient
from .clients import MODES
from .python_clients import AsyncClient, SyncClient
from .server import Martlet

KINDS = SyncClient, AsyncClient, BrowserClient
# Of the ns family: what its clients open, on one Manager.
MESSAGES, NOTIFICATIONS, PRESENCE = NAMESPACES = "/messages", "/notifications", "/presence"
SAYINGS = {"polling": "polling only", "websocket": "WebSocket only", "upgrade": "polling, upgraded"}


@dataclass(frozen=True)
class Combination:
    """A kind of client and what it is told of transports."""

    kind: type
    mode: str

    def __str__(self):
        return f"{self.kind.kind}, {SAYINGS[self.mode]}"


@dataclass(frozen=True)
class World:
    """What all tests of a run share."""

    program: Path
    folder: Path
    origin: str
    server: Martlet


class Stage:
    """For one test; what it opened is closed with it. People and chats are its own."""

    numbers = itertools.count(1)

    def __init__(self, world, combination):
        self.world = world
        self.combination = combination
        self.server = world.server
        self.number = next(self.numbers)
        self.clients = []

    def use_own_server(self, *limits):
        """From here on one that nobody else uses."""
        folder = self.world.folder / f"own-{self.number}"
        self.server = Martlet(self.world.program, folder, self.world.origin, limits)

    def person(self, name, **claims):
        return people.person(f"{name}-{self.number}", **claims)

    def chat(self, owner, *members):
        return people.make_chat(self.server, owner, *members)

    def history(self, who, chat):
        return people.history(self.server, who, chat)

    def unconnected(self, who, mode=None, auth=None, **more):
        mode = mode or self.combination.mode
        client = self.combination.kind(
            who.id, self.server.url, mode, {"token": who.token, **(auth or {})}, **more)
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
        if self.server is not self.world.server:
            self.server.stop()
        if failures:
            raise failures[0]


EVERY = tuple(Combination(kind, mode) for kind in KINDS for mode in MODES)
EVERY_BROWSER = tuple(each for each in EVERY if each.kind is BrowserClient)
DEFAULT_BROWSER = (Combination(BrowserClient, "upgrade"),)
