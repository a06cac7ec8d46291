"""Between clients and a server: passes everything on, but for one answer, which it loses, and while it
is cut: then nothing gets through."""

import socket
import threading

from .expecting import PATIENCE_S, Failure

CHUNK = 65536


class Relay:
    """In place of that server. Its threads end with their connections."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.marker = None
        self.lost = threading.Event()
        self.sockets = []
        self.is_cut = False
        threading.Thread(target=self.accept, daemon=True).start()

    def lose(self, marker):
        """The next answer that holds these bytes: the client's connection ends without it."""
        self.marker = marker

    def cut(self):
        """Whoever is connected is not any more, and nobody gets in."""
        self.is_cut = True
        for each in self.sockets:
            end(each)

    def mend(self):
        self.is_cut = False

    def wait_for_loss(self):
        if not self.lost.wait(PATIENCE_S):
            raise Failure(f"expected an answer with {self.marker} within {PATIENCE_S} s")

    def accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                if self.is_cut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
                server.settimeout(None)
                self.sockets += client, server
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self.carry, args=ends, daemon=True).start()
        except OSError:
            pass  # stopped

    def carry(self, source, target, is_answer):
        try:
            while data := source.recv(CHUNK):
                if is_answer and self.marker and not self.lost.is_set() and self.marker in data:
                    self.lost.set()
                    break
                target.sendall(data)
        except OSError:
            pass  # the other way has ended it
        for each in (source, target):
            end(each)

    def stop(self):
        for each in (self.listener, *self.sockets):
            end(each)
            each.close()


def end(connection):
    """Also wakes the thread that waits for it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended
