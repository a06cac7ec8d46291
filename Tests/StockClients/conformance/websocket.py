"""A small WebSocket client (RFC 6455), strict with what the server sends."""

import base64
import hashlib
import os
import time

from .http1 import Connection
from .streams import PATIENCE_S, Ended, shown

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
NAMES = {0: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping",
         PONG: "pong"}
# RFC 6455 §1.3
ACCEPT_SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# RFC 6455 §7.1.5: a close frame without a code, and an end without a close frame.
NO_CODE, NO_CLOSE_FRAME = 1005, 1006


class Refused(AssertionError):
    """The upgrade was answered with something else than 101."""

    def __init__(self, answer):
        super().__init__(f"the WebSocket was refused: {answer}")
        self.answer = answer


class Closed(AssertionError):
    """The server closed the WebSocket."""

    def __init__(self, code):
        super().__init__(f"the server closed the WebSocket ({code})")
        self.code = code


class WebSocket:
    def __init__(self, server, target, headers=None):
        key = base64.b64encode(os.urandom(16)).decode()
        http = Connection(server, keep_alive=True).send("GET", target, {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key, **(headers or {})})
        answer = http.answer()
        if answer.status != 101:
            raise Refused(answer)
        accept = base64.b64encode(hashlib.sha1((key + ACCEPT_SALT).encode()).digest()).decode()
        said = answer.headers
        demand(said.get("sec-websocket-accept") == accept, f"a wrong Sec-WebSocket-Accept: {said}")
        for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
            demand(name not in said, f"{name} in the answer, which was not asked for: {said}")
        self.stream = http.stream

    def send(self, *messages):
        """A frame for each message, all in one segment. Text for str, binary for bytes."""
        frames = b""
        for message in messages:
            self.stream.note(f"> {shown(message)}")
            frames += frame(BINARY, message) if isinstance(message, bytes) else \
                frame(TEXT, message.encode())
        self.stream.write(frames)

    def send_frame(self, opcode, payload, final=True):
        self.stream.note(f"> {NAMES[opcode]} frame {shown(payload)}{'' if final else ' …'}")
        self.stream.write(frame(opcode, payload, final))

    def send_close(self, code):
        self.send_frame(CLOSE, code.to_bytes(2))

    def next(self, patience=PATIENCE_S):
        """The next message, str or bytes. Raises Closed at the end. Pings are answered."""
        deadline = time.monotonic() + patience
        kind, parts = None, b""
        while True:
            final, opcode, payload = self.next_frame(deadline)
            if opcode == PING:
                self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                self.stream.write(frame(CLOSE, payload))
                raise Closed(int.from_bytes(payload[:2]) if payload else NO_CODE)
            elif opcode != PONG:
                demand((opcode == 0) == (kind is not None), "a fragment out of its order")
                kind, parts = kind or opcode, parts + payload
                if final:
                    message = parts.decode() if kind == TEXT else parts
                    self.stream.note(f"< {shown(message)}")
                    return message

    def next_frame(self, deadline):
        """(is the last of its message, opcode, payload). Raises Closed where there is none."""
        try:
            first, second = self.stream.read(2, deadline)
            length = second & 0x7F
            if length > 125:
                length = int.from_bytes(self.stream.read(2 if length == 126 else 8, deadline))
            payload = self.stream.read(length, deadline)
        except Ended:
            self.stream.note("< the end, without a close frame")
            raise Closed(NO_CLOSE_FRAME) from None
        opcode = first & 0x0F
        demand(first & 0x70 == 0 and second < 128 and opcode in NAMES,
               f"a frame that begins with {first:02x} {second:02x}")
        demand(opcode < 8 or first >= 128 and length < 126, "a control frame too long, or in parts")
        if opcode >= 8:
            self.stream.note(f"< {NAMES[opcode]} frame {shown(payload)}")
        return first >= 128, opcode, payload

    def close(self):
        """Ends the connection without a close frame."""
        self.stream.close()


def frame(opcode, payload, final=True):
    """RFC 6455 §5.2, masked."""
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else \
        bytes([0xFE]) + length.to_bytes(2) if length < 65536 else \
        bytes([0xFF]) + length.to_bytes(8)
    mask = os.urandom(4)
    whole = (mask * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload) ^ int.from_bytes(whole)).to_bytes(length)
    return bytes([final << 7 | opcode]) + size + mask + masked


def demand(truth, complaint):
    if not truth:
        raise AssertionError(f"the server broke RFC 6455: {complaint}")
