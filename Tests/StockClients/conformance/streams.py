"""TCP connections to the server under test. Every wait has a deadline, and all that goes over them
is noted for who has to find out why a test failed."""

import select
import socket
import struct
import time

# For an answer that has to come. Generous: a busy machine is no failure.
PATIENCE_S = 3
# Notes of one test that are printed, the last ones.
NOTES = 40


class Silence(AssertionError):
    """What had to come did not in time."""


class Ended(AssertionError):
    """The server closed a connection on which something had to come."""


class Transcript:
    """What one test and the server said to each other."""

    def __init__(self):
        self.begun = time.monotonic()
        self.notes = []

    def note(self, name, what):
        self.notes.append(f"{(time.monotonic() - self.begun) * 1000:6.0f} ms  {name} {what}")

    def text(self):
        return "\n".join(self.notes[-NOTES:])


def shown(data):
    """Text or bytes in one short line."""
    text = repr(data.replace("\x1e", "␞") if isinstance(data, str) else data)
    return text if len(text) <= 160 else f"{text[:120]}… ({len(data):,} long)"


class Server:
    """The server under test as one test sees it: its address and the connections to it."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.transcript = Transcript()
        self.streams = []

    def connect(self):
        stream = Stream(self, f"#{len(self.streams) + 1}")
        self.streams.append(stream)
        return stream

    def close(self):
        for stream in self.streams:
            stream.close()


class Stream:
    """One connection."""

    def __init__(self, server, name):
        self.name, self.transcript = name, server.transcript
        self.unread = bytearray()
        self.ended = False  # nothing more comes
        self.socket = socket.create_connection((server.host, server.port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def note(self, what):
        self.transcript.note(self.name, what)

    def write(self, data):
        """All of it, or as much as the server takes before it closes the connection: why it did is
        for the reader to find out."""
        deadline = time.monotonic() + PATIENCE_S
        view = memoryview(data)
        while view:
            can_read, can_write, _ = select.select(
                [] if self.ended else [self.socket], [self.socket], [], remaining(deadline))
            if not can_read and not can_write:
                raise Silence(f"{self.name}: the server took no bytes for {PATIENCE_S} s, "
                              f"{len(view):,} of {len(data):,} are left")
            if can_read:
                self.pull()
            if can_write:
                try:
                    view = view[self.socket.send(view):]
                except (BrokenPipeError, ConnectionResetError):
                    return

    def read(self, count, deadline):
        """The next `count` bytes."""
        while len(self.unread) < count:
            self.more(deadline, f"{count:,} bytes")
        return self.taken(count)

    def read_through(self, mark, deadline):
        """All up to `mark`, and it."""
        while (at := self.unread.find(mark)) < 0:
            self.more(deadline, shown(mark))
        return self.taken(at + len(mark))

    def read_to_end(self, deadline):
        while self.has_more(deadline):
            pass
        if not self.ended:
            raise Silence(f"{self.name}: the server did not close the connection in time")
        return self.taken(len(self.unread))

    def has_data(self, seconds):
        """Whether something came, or the end, within so many seconds."""
        deadline = time.monotonic() + seconds
        while not self.unread and not self.ended and self.has_more(deadline):
            pass
        return bool(self.unread) or self.ended

    def cut(self):
        """Ends it with a reset, as when a device loses its network."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.socket.close()
        self.ended = True

    def more(self, deadline, wanted):
        if not self.ended and not self.has_more(deadline):
            raise Silence(f"{self.name}: waited for {wanted}; in time came only "
                          f"{shown(bytes(self.unread))}")
        if self.ended:
            raise Ended(f"{self.name}: waited for {wanted}; the server closed the connection "
                        f"after {shown(bytes(self.unread))}")

    def has_more(self, deadline):
        """Whether anything happened until then."""
        if self.ended or not select.select([self.socket], [], [], remaining(deadline))[0]:
            return False
        self.pull()
        return True

    def pull(self):
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self.unread += data
        self.ended = not data

    def taken(self, count):
        data = bytes(self.unread[:count])
        del self.unread[:count]
        return data


def remaining(deadline):
    return max(0, deadline - time.monotonic())
