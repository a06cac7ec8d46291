"""What is measured: the cases, as scenarios of martlet-load."""

from dataclasses import dataclass, field

# Bytes of content a message, as in Scripts/bench.
SIZE = 128


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    # closed: as fast as the messages in flight allow, so the rate is the result.
    # open: at a given rate, so the latency is. opens: handshakes. memory: of an idle connection.
    kind: str
    layout: str
    unit: str
    keys: dict = field(default_factory=dict)

    def scenario(self, seconds, traffic):
        """The text of its scenario file; `traffic` is what the server's face offers."""
        keys = {"layout": self.layout, **self.keys}
        if self.kind in ("closed", "open"):
            # It ends when all is there; 80,000 deliveries may take a slow server ten seconds.
            keys |= {"traffic": traffic, "size": SIZE, "warm-up": "1s",
                     "duration": f"{seconds:g}s", "cool-down": "20s"}
        else:
            keys |= {"traffic": "none", "warm-up": "0s"}
        return "".join(f"{key} = {value}\n" for key, value in keys.items())

    def amount(self, name):
        return int(self.keys[name])


def fan_out(receivers, in_flight):
    return Case(f"fan-out-{receivers}" + (f"x{in_flight}" if in_flight > 1 else ""),
                f"fan-out to {receivers:,}, {in_flight} in flight", "closed", "room", "delivery",
                {"connections": receivers, "senders": 1, "in-flight": in_flight})


CASES = [
    Case("echo", "echo, 100 connections, 16 in flight", "closed", "echo", "message",
         {"connections": 100, "in-flight": 16}),
    *(fan_out(receivers, in_flight) for receivers in (1000, 5000, 10_000) for in_flight in (1, 8)),
    Case("rooms-of-ten", "100 rooms of ten, each member sends, 1 in flight", "closed", "rooms",
         "delivery", {"connections": 1000, "room-size": 10, "in-flight": 1}),
    # Of a hundred senders, and of thousands below: one user's typing is told once in two seconds.
    Case("p99-room", "50 messages/s to 1,000", "open", "room", "delivery",
         {"connections": 1000, "senders": 100, "rate": 50}),
    Case("p99-room-5000", "20 messages/s to 5,000", "open", "room", "delivery",
         {"connections": 5000, "senders": 100, "rate": 20}),
    Case("p99-rooms", "4,000 messages/s in 500 rooms of ten", "open", "rooms", "delivery",
         {"connections": 5000, "room-size": 10, "rate": 4000}),
    Case("handshakes", "10,000 handshakes, 128 at a time", "opens", "idle", "connection",
         {"connections": 10_000, "pending": 128, "duration": "1s", "cool-down": "0s"}),
    # Measured from outside, while martlet-load holds the connections.
    Case("memory", "10,000 idle connections in rooms of ten", "memory", "rooms", "connection",
         {"connections": 10_000, "room-size": 10, "duration": "120s", "cool-down": "0s"}),
]
CLOSED = tuple(case.name for case in CASES if case.kind == "closed")
