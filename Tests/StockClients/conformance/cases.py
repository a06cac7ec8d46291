"""What the tests stand on: a case with a server of its own, its expectations, and the transports
that a case is repeated over."""

import unittest

from .engine import Opened, Polling
from .sio import join
from .streams import Server, shown

# The body of each refusal, by its code.
REFUSALS = {
    0: b'{"code":0,"message":"Transport unknown"}',
    1: b'{"code":1,"message":"Session ID unknown"}',
    2: b'{"code":2,"message":"Bad handshake method"}',
    3: b'{"code":3,"message":"Bad request"}',
    5: b'{"code":5,"message":"Unsupported protocol version"}',
}


def of_each(*rows):
    """Makes a test of a method for each row: its arguments, or the only one."""
    def marked(method):
        method.rows = rows
        return method
    return marked


class Case(unittest.TestCase):
    """A test is a sentence: `full_name` makes it of the module, of `about` (by which the classes
    of a module differ), and of the method's name."""

    address = None         # host and port, set before a test is made
    path = "/engine.io/"
    about = ""
    alone = False          # measures time, and wants nothing beside it

    def __init_subclass__(cls):
        for name in dir(cls):
            for row in getattr(getattr(cls, name), "rows", ()):
                setattr(cls, f"{name}: {shown(row)}", with_row(getattr(cls, name), row))
            if hasattr(getattr(cls, name), "rows"):
                setattr(cls, name, None)

    def full_name(self):
        module = type(self).__module__.rpartition(".")[2].replace("_", " ")
        method, *row = self._testMethodName.removeprefix("test_").split(": ", 1)
        return ": ".join([module + (f", {self.about}" if self.about else ""),
                          method.replace("_", " "), *row])

    def setUp(self):
        self.server = Server(*self.address)
        self.addCleanup(self.server.close)

    def polling(self, keep_alive=False):
        return Polling(self.server, self.path, keep_alive)

    def websocket(self):
        return Opened(self.server, self.path)

    def expect(self, session, *packets):
        """These are the next packets."""
        for packet in packets:
            received = session.receive()
            self.assertEqual(received, packet, f"expected {shown(packet)}, received "
                                               f"{shown(received)}")

    def expect_answer(self, answer, status, body):
        self.assertEqual((answer.status, answer.body), (status, body),
                         f"expected {status} {shown(body)}, received {answer}")

    def expect_poll(self, answer, payload):
        """A poll that was answered with this."""
        self.expect_answer(answer, 200, payload.encode())

    def expect_refusal(self, answer, code):
        self.expect_answer(answer, 400, REFUSALS[code])
        self.assertEqual(answer.headers.get("content-type", "").partition(";")[0],
                         "application/json")

    def expect_error(self, answer):
        """Refused, in whatever words."""
        self.assertIn(answer.status, range(400, 600), f"expected an error, received {answer}")

    def expect_alive(self, session):
        """An Engine.IO session that echoes."""
        session.send("4still there")
        self.expect(session, "4still there")


def with_row(method, row):
    arguments = row if isinstance(row, tuple) else (row,)
    return lambda self: method(self, *arguments)


class SocketIOCase(Case):
    path = "/socket.io/"

    def joined(self):
        """A session that is in the namespace / and has read all that comes with it."""
        session = self.session()
        join(session)
        return session

    def expect_answering(self, session):
        """The namespace / answers."""
        session.send('42["message","still there"]')
        self.expect(session, '42["message-back","still there"]')


class OverPolling:
    about = "polling"

    def session(self):
        return self.polling()


class OverKeptConnections:
    about = "polling kept alive"

    def session(self):
        return self.polling(keep_alive=True)


class OverWebSocket:
    about = "websocket"

    def session(self):
        return self.websocket()


class OverUpgrade:
    about = "upgraded"

    def session(self):
        return self.polling().upgraded()
