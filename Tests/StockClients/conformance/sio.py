"""What Socket.IO 5 adds to a session of Engine.IO: namespaces that are joined, and events whose
binary parts come behind them."""

import json
import re
from dataclasses import dataclass

from .streams import shown

# type, count of attachments, namespace, id, JSON
HEADER = re.compile(r"4([2356])(?:(\d+)-)?(?:(/[^,]*),)?(\d*)(.*)", re.DOTALL)
PLAIN = {"5": "2", "6": "3"}  # what a packet is once its attachments are in place


@dataclass(frozen=True)
class Event:
    """A packet with its attachments in their places, as bytes."""
    kind: str       # "2" event, "3" ack
    namespace: str
    id: str         # "" where there is none
    arguments: list


def connect_packet(namespace="/", payload=""):
    return f"40{'' if namespace == '/' else namespace + ','}{payload}"


def join(session, namespace="/", payload=""):
    """CONNECT, and all that the server says to it. The sid of the namespace."""
    session.send(connect_packet(namespace, payload))
    return expect_joined(session, namespace, payload or "{}")


def expect_joined(session, namespace="/", payload="{}"):
    """The reply to a CONNECT and the `auth` event. The sid of the namespace."""
    sid = sid_of(session.receive(), namespace)
    event = f'42{"" if namespace == "/" else namespace + ","}["auth",{payload}]'
    received = session.receive()
    if received != event:
        raise AssertionError(f"after the CONNECT's reply: expected {shown(event)}, received "
                             f"{shown(received)}")
    return sid


def sid_of(reply, namespace="/"):
    """The sid in the reply to a CONNECT, which says nothing else."""
    head = connect_packet(namespace)
    said = json.loads(reply[len(head):]) if reply.startswith(head + "{") else {}
    if list(said) != ["sid"] or not isinstance(said["sid"], str) or not said["sid"]:
        raise AssertionError(f'after CONNECT: expected {head}{{"sid":"…"}}, received '
                             f"{shown(reply)}")
    return said["sid"]


def receive_event(session):
    """The next event or ack with all its attachments."""
    packet = session.receive()
    header = HEADER.fullmatch(packet) if isinstance(packet, str) else None
    if not header:
        raise AssertionError(f"expected an event or ack, received {shown(packet)}")
    kind, count, namespace, id, text = header.groups()
    attachments = [session.receive() for _ in range(int(count or 0))]
    strange = [part for part in attachments if not isinstance(part, bytes)]
    if strange:
        raise AssertionError(f"expected attachment of {shown(packet)}, received "
                             f"{shown(strange[0])}")
    return Event(PLAIN.get(kind, kind), namespace or "/", id,
                 json.loads(text, object_hook=lambda value: filled(value, attachments)))


def filled(value, attachments):
    """The attachment that a JSON object stands for, or else the object."""
    is_place = attachments and value.get("_placeholder") is True
    return attachments[value["num"]] if is_place else value


def place(number):
    """The JSON that stands for an attachment."""
    return f'{{"_placeholder":true,"num":{number}}}'
