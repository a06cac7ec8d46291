"""HAProxy in front of a fleet: each request, or each connection, goes to the next instance."""

import csv
import shutil
import socket
from dataclasses import dataclass

from .expecting import PATIENCE_S, Failure
from .services import Program

# What HAProxy takes what it passes on for: requests, or bytes behind a PROXY header. In mode http
# the requests of one connection go to different instances, and connections to instances are used
# again as is its default. Nothing makes a client stick to an instance.
DOORS = "http", "tcp"
CONFIGURATION = """
global
    nbthread 1
    stats socket {control} mode 600
    log stdout format raw local0
defaults
    log global
    balance roundrobin
    retries 3
    option redispatch 1
    option httpchk GET /health/ready
    default-server check inter 500ms fall 2 rise 1
    timeout check 2s
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
listen http
    mode http
    bind fd@{http}
    option httplog
    option forwardfor
{plain}
listen tcp
    mode tcp
    bind fd@{tcp}
    option tcplog
{proxied}
"""


@dataclass(frozen=True)
class Door:
    """Where clients come in, in place of a server."""

    url: str


class HAProxy:
    """From its start to its end, in front of instances on these ports."""

    def __init__(self, folder, ports):
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if not program:
            raise Failure("no HAProxy: apt-get install haproxy")
        self.control = folder / "haproxy.sock"
        # It is given sockets that have their ports already.
        sockets = {door: socket.create_server(("127.0.0.1", 0)) for door in DOORS}
        self.doors = {door: Door(f"http://127.0.0.1:{each.getsockname()[1]}")
                      for door, each in sockets.items()}
        descriptors = {door: each.fileno() for door, each in sockets.items()}
        file = folder / "haproxy.cfg"
        file.write_text(CONFIGURATION.format(
            control=self.control, plain=servers(ports), proxied=servers(ports, " send-proxy-v2"),
            **descriptors))
        try:
            self.program = Program([program, "-db", "-f", file], folder / "haproxy.log",
                                   pass_fds=tuple(descriptors.values()))
        finally:
            for each in sockets.values():
                each.close()
        self.program.wait_until(self.answers)

    def answers(self):
        try:
            return bool(self.statistics())
        except OSError:
            return False

    def statistics(self):
        """Rows of `show stat`."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.control))
            connection.sendall(b"show stat\n")
            with connection.makefile() as answer:
                return list(csv.DictReader(answer.read().removeprefix("# ").splitlines()))

    def dealt(self, door):
        """How often each instance was chosen."""
        return [int(row["lbtot"]) for row in self.statistics()
                if row["pxname"] == door and row["svname"].startswith("martlet-")]

    def errors(self):
        """How many requests at the door `http` were answered with 4xx and with 5xx."""
        for row in self.statistics():
            if (row["pxname"], row["svname"]) == ("http", "FRONTEND"):
                return int(row["hrsp_4xx"]), int(row["hrsp_5xx"])
        raise Failure("HAProxy has no statistics of the door http")

    def stop(self):
        self.program.stop()


def servers(ports, more=""):
    return "\n".join(f"    server martlet-{number} 127.0.0.1:{port}{more}"
                     for number, port in enumerate(ports))
