"""What a client was told, how a test waits for it, and the sentences of a failure."""

import collections
import json
import threading
import time
from dataclasses import dataclass

# Of a wait that nothing else bounds. It passes only where a test fails.
PATIENCE_S = 8
# Of a failure: entries, characters of each.
SHOWN = 12
SHORT = 160
LIFE = "connect", "connect_error", "disconnect"


class Failure(AssertionError):
    """What was expected, and what came."""


class Refused(Failure):
    """The server would not have the client; `payload` is what its connect_error holds."""

    def __init__(self, who, payload):
        super().__init__(f"{who} was refused: {short(payload)}")
        self.payload = payload


@dataclass(frozen=True)
class Came:
    """One event as it reached a handler, or one of LIFE."""

    namespace: str
    event: str
    args: tuple

    @property
    def payload(self):
        return self.args[0] if self.args else None

    def fits(self, fields):
        return not fields or isinstance(self.payload, dict) and all(
            self.payload.get(name) == value for name, value in fields.items())

    def __str__(self):
        words = [self.namespace] if self.namespace != "/" else []
        return " ".join(words + [self.event, *map(short, self.args)])


class Inbox:
    """What came to one client, in the order in which its handlers were called.

    The client's threads add, the test's thread looks. `arity` is how many arguments a handler of
    that client must be given, None where it takes as many as come."""

    def __init__(self, who, arity=None):
        self.who = who
        self.arity = arity
        self.entries = []
        # The same, by namespace and event: tests look often.
        self.kinds = collections.defaultdict(list)
        self.changed = threading.Condition()

    def add(self, namespace, event, *args):
        with self.changed:
            self.entries.append(Came(namespace, event, args))
            self.kinds[namespace, event].append(self.entries[-1])
            self.changed.notify_all()

    def find(self, event, namespace="/", **fields):
        """All that fit, the first first."""
        with self.changed:
            return [each for each in self.kinds[namespace, event] if each.fits(fields)]

    def expect(self, event, namespace="/", within=PATIENCE_S, times=1, **fields):
        """Waits until that event has come `times` times with these fields; the last payload."""
        wanted = str(Came(namespace, event, (fields,) if fields else ()))
        wanted += f", {times} times" if times > 1 else ""
        self.wait_until(
            wanted, lambda: len(self.find(event, namespace, **fields)) >= times, within)
        found = self.find(event, namespace, **fields)[times - 1]
        if event not in LIFE and self.arity not in (None, len(found.args)):
            raise Failure(f"{self.who}: {found} came with {len(found.args)} arguments, where its "
                          f"handlers take {self.arity}: they raise, and the event is lost")
        return found.payload

    def wait_until(self, wanted, condition, within=PATIENCE_S):
        with self.changed:
            if not self.changed.wait_for(condition, within):
                raise Failure(f"{self.who} expected {wanted} within {within:g} s; {self}")

    def expect_no(self, event, namespace="/", **fields):
        """It has not come so far."""
        found = self.find(event, namespace, **fields)
        if found:
            raise Failure(f"{self.who} expected no {event}; {found[0]} came")

    def ends(self):
        """How often and why the connection ended, or could not be had."""
        with self.changed:
            return [each for each in self.entries if each.event in ("disconnect", "connect_error")]

    def __str__(self):
        with self.changed:
            entries = list(self.entries)
        if not entries:
            return "nothing came"
        more = f"… {len(entries) - SHOWN} before, " if len(entries) > SHOWN else ""
        return "came: " + more + ", ".join(map(str, entries[-SHOWN:]))


def short(value):
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHORT else text[:SHORT - 1] + "…"


def same(what, came, expected):
    if came != expected:
        raise Failure(f"{what}: expected {short(expected)}, came {short(came)}")


def require(what, payload, **fields):
    """Each field is that value, or where a type is given of that type."""
    if not isinstance(payload, dict):
        raise Failure(f"{what}: expected an object, came {short(payload)}")
    for name, expected in fields.items():
        came = payload.get(name)
        if isinstance(expected, type):
            if type(came) is not expected:
                raise Failure(f"{what}: expected a {expected.__name__} as {name}, "
                              f"came {short(payload)}")
        elif came != expected:
            raise Failure(f"{what}: expected {short(expected)} as {name}, came {short(payload)}")


def accepted(ack):
    require("ack", ack, ok=True)
    return ack


def refused(ack, code):
    require("ack", ack, ok=False, error=dict)
    require("error in the ack", ack["error"], code=code, message=str)


def eventually(what, condition, within=PATIENCE_S):
    """For what tells nobody when it changes."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"expected {what} within {within:g} s")
        time.sleep(0.02)
