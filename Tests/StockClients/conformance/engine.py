"""Sessions of Engine.IO 4, over both transports with the same face.

A packet is what the protocol calls it: text that begins with its type (`4hello`), or bytes for a
binary message. Pings are answered wherever a session waits for something else, so that a session
never ends by its heartbeat when a test is about another end."""

import base64
import json
import time
from collections import deque

from .http1 import Connection
from .streams import PATIENCE_S, Silence, shown
from .websocket import Closed, WebSocket

SEPARATOR = "\x1e"
# Within it the server has to end a session that broke the rules.
CLOSING_S = 0.6
# So long nothing may come where nothing is to come.
QUIET_S = 0.06
# So long the server may need to learn of an end, from the kernel or another thread of its own.
LEARNT_S = 0.05


class Session:
    """What both transports share: `server`, and `target`, which a poll of this session asks for."""

    def expect_unknown(self):
        """The server knows the session no more."""
        answer = Connection(self.server).send("GET", self.target).answer()
        if answer.status != 400 or b'"code":1' not in answer.body:
            raise AssertionError(f"the session is to be over and unknown (400, code 1); a GET was "
                                 f"answered {answer}")


class Polling(Session):
    """A session over long polling: each request on a connection of its own, or, kept alive, polls
    on one and POSTs on another."""

    def __init__(self, server, path, keep_alive=False):
        self.server, self.path, self.keep_alive = server, path, keep_alive
        self.kept = {}  # a connection for each method
        self.parked = None
        self.arrived = deque()
        self.target = f"{path}?EIO=4&transport=polling"
        answer = self.request("GET").answer()
        if answer.status != 200:
            raise AssertionError(f"the handshake was answered {answer}")
        self.opening = opening_of(answer.text)
        self.sid = self.opening["sid"]
        self.target += f"&sid={self.sid}"

    def request(self, method, headers=None, body=None):
        """A connection on which it was sent."""
        if not self.keep_alive:
            return Connection(self.server).send(method, self.target, headers, body)
        if method not in self.kept:
            self.kept[method] = Connection(self.server, keep_alive=True)
        return self.kept[method].send(method, self.target, headers, body)

    def park(self):
        """Sends a GET; `get` has its answer. Waits until the server should have it."""
        self.parked = self.request("GET")
        time.sleep(0.02)
        return self.parked

    def get(self, patience=PATIENCE_S):
        """The answer to the parked poll, or else to a new one."""
        connection, self.parked = self.parked or self.request("GET"), None
        return connection.answer(patience)

    def post(self, body, content_type="text/plain;charset=UTF-8"):
        """`body`: text or bytes."""
        headers = {"Content-Type": content_type} if content_type else {}
        data = body if isinstance(body, bytes) else body.encode()
        return self.request("POST", headers, data).answer()

    def send(self, *packets):
        """All in one POST."""
        answer = self.post(payload_of(packets))
        if (answer.status, answer.body) != (200, b"ok"):
            raise AssertionError(f"a POST of {shown(payload_of(packets))} was answered {answer} "
                                 f"and not 200 b'ok'")

    def offend(self, *packets):
        """Sends what ends the session; what that POST is answered is not looked at."""
        self.post(payload_of(packets))

    def receive(self, patience=PATIENCE_S):
        """The next packet that is no ping."""
        deadline = time.monotonic() + patience
        while not self.arrived:
            answer = self.get(max(0, deadline - time.monotonic()))
            if answer.status != 200:
                raise AssertionError(f"waited for a packet; the poll was answered {answer}")
            self.take(answer)
        return self.arrived.popleft()

    def take(self, answer):
        """Keeps the packets of a poll's answer, and answers its pings."""
        for packet in packets_of(answer.text):
            if packet == "2":
                self.send("3")
            else:
                self.arrived.append(packet)

    def expect_quiet(self, seconds=QUIET_S):
        """Nothing comes but pings."""
        deadline = time.monotonic() + seconds
        while not self.arrived and (left := deadline - time.monotonic()) > 0:
            self.parked = self.parked or self.request("GET")
            if self.parked.stream.has_data(left):
                self.take(self.get())
        if self.arrived:
            raise AssertionError(f"nothing was to come, and there came {shown(self.arrived[0])}")

    def expect_end(self, seconds=CLOSING_S):
        """The server ends the session: it says so in a poll or refuses it, and knows the session
        no more."""
        deadline = time.monotonic() + seconds
        while (answer := self.last_poll(deadline)).status == 200:
            packets = packets_of(answer.text)
            strange = [packet for packet in packets if packet not in ("1", "2", "6")]
            if strange:
                raise AssertionError(f"waited for the end, and there came {shown(strange[0])}")
            if "1" in packets:
                break
            if "2" in packets:
                self.post("3")
        self.expect_unknown()

    def last_poll(self, deadline):
        try:
            return self.get(max(0, deadline - time.monotonic()))
        except Silence:
            raise AssertionError("the server did not end the session in time") from None

    def knock(self):
        """A WebSocket with the sid of this session."""
        return WebSocket(self.server, f"{self.path}?EIO=4&transport=websocket&sid={self.sid}")

    def probe(self):
        """The same after `2probe` and `3probe`."""
        websocket = self.knock()
        websocket.send("2probe")
        reply = websocket.next()
        if reply != "3probe":
            raise AssertionError(f"2probe was answered {shown(reply)} and not '3probe'")
        return websocket

    def upgraded(self):
        """The session over WebSocket, after all that a client does for it."""
        websocket = self.probe()
        while "6" not in self.arrived:
            self.take(self.get())
        self.arrived.remove("6")
        websocket.send("5")
        return Socket(websocket, self)


class Socket(Session):
    """A session over WebSocket that was upgraded."""

    def __init__(self, websocket, polling):
        self.websocket, self.server = websocket, polling.server
        self.sid, self.target = polling.sid, polling.target

    def send(self, *packets):
        """All in one segment."""
        self.websocket.send(*packets)

    offend = send

    def receive(self, patience=PATIENCE_S):
        """The next packet that is no ping."""
        deadline = time.monotonic() + patience
        while (packet := self.websocket.next(max(0, deadline - time.monotonic()))) == "2":
            self.websocket.send("3")
        return packet

    def expect_quiet(self, seconds=QUIET_S):
        """Nothing comes but pings."""
        deadline = time.monotonic() + seconds
        while self.websocket.stream.has_data(max(0, deadline - time.monotonic())):
            packet = self.websocket.next()
            if packet != "2":
                raise AssertionError(f"nothing was to come, and there came {shown(packet)}")
            self.websocket.send("3")

    def expect_end(self, seconds=CLOSING_S):
        """The server closes the WebSocket. The close code."""
        try:
            packet = self.receive(seconds)
        except Closed as closed:
            return closed.code
        except Silence:
            raise AssertionError("the server did not close the WebSocket in time") from None
        raise AssertionError(f"waited for the end, and there came {shown(packet)}")


class Opened(Socket):
    """A session that began as a WebSocket."""

    def __init__(self, server, path):
        self.server = server
        self.websocket = WebSocket(server, f"{path}?EIO=4&transport=websocket")
        self.opening = opening_of(self.websocket.next())
        self.sid = self.opening["sid"]
        self.target = f"{path}?EIO=4&transport=polling&sid={self.sid}"


def opening_of(packet):
    """What an open packet says."""
    if not packet.startswith("0{"):
        raise AssertionError(f"expected an open packet, 0{{…}}, received {shown(packet)}")
    return json.loads(packet[1:])


def payload_of(packets):
    return SEPARATOR.join(
        "b" + base64.b64encode(packet).decode() if isinstance(packet, bytes) else packet
        for packet in packets)


def packets_of(payload):
    return [base64.b64decode(packet[1:], validate=True) if packet.startswith("b") else packet
            for packet in payload.split(SEPARATOR)]
