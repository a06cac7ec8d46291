"""A small HTTP/1.1 client (RFC 9112). Request and answer are two calls, so that a poll can stay
parked while other things happen."""

import time
from dataclasses import dataclass

from .streams import PATIENCE_S, shown


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict  # names in lower case
    body: bytes

    @property
    def text(self):
        return self.body.decode()

    def __str__(self):
        return f"{self.status} {shown(self.body)}"


class Connection:
    """Takes one request after the other, or, if it is not kept alive, a single one."""

    def __init__(self, server, keep_alive=False):
        self.server, self.keep_alive = server, keep_alive
        self.stream = server.connect()
        self.method = ""  # of the request whose answer is to come

    def send(self, method, target, headers=None, body=None):
        """Writes a request. `body`: bytes."""
        self.method = method
        self.stream.note(f"> {method} {target}" + ("" if body is None else f" {shown(body)}"))
        head = self.head(method, target, headers or {}, None if body is None else len(body))
        self.stream.write(head + (body or b""))
        return self

    def send_part(self, method, target, length, body):
        """Writes a request with less body than the `length` that it announces."""
        self.method = method
        self.stream.note(f"> {method} {target} {shown(body)}, of {length} bytes")
        self.stream.write(self.head(method, target, {}, length) + body)
        return self

    def head(self, method, target, headers, length):
        fields = {"Host": f"{self.server.host}:{self.server.port}"}
        if not self.keep_alive:
            fields["Connection"] = "close"
        if length is not None:
            fields["Content-Length"] = length
        lines = [f"{method} {target} HTTP/1.1",
                 *(f"{name}: {value}" for name, value in (fields | headers).items())]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")

    def answer(self, patience=PATIENCE_S):
        """Reads the answer to what was sent."""
        deadline = time.monotonic() + patience
        line, *fields = self.stream.read_through(b"\r\n\r\n", deadline).decode(
            "latin-1").removesuffix("\r\n\r\n").split("\r\n")
        headers = {}
        for field in fields:
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        status = int(line.split(" ")[1])
        answer = Answer(status, headers, self.body(status, headers, deadline))
        self.stream.note(f"< {answer}")
        return answer

    def body(self, status, headers, deadline):
        """RFC 9112 §6.3."""
        if self.method == "HEAD" or status in (101, 204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self.chunks(deadline)
        if "content-length" in headers:
            return self.stream.read(int(headers["content-length"]), deadline)
        return self.stream.read_to_end(deadline)

    def chunks(self, deadline):
        body = b""
        while size := int(self.stream.read_through(b"\r\n", deadline).split(b";")[0], 16):
            body += self.stream.read(size, deadline)
            self.stream.read_through(b"\r\n", deadline)
        self.stream.read_through(b"\r\n", deadline)
        return body


def ask(server, method, target, headers=None, body=None):
    """The answer to a request on a connection of its own."""
    return Connection(server).send(method, target, headers, body).answer()
