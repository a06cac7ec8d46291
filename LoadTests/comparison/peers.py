"""The servers that are compared: how each is started, spoken to, and what a reader must know of it.

Each is started afresh for each measurement, in a folder of the run, on 127.0.0.1."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .cases import CLOSED
from .measuring import RAW, ROOT, Server, fail, free_port
from .processes import listeners, tree

PEERS_FOLDER = ROOT / "LoadTests" / "Peers"
VENV = ROOT / ".build-compare" / "venv"
NGINX_MODULES = Path("/usr/lib/nginx/modules")

# What the loads need lifted: they are many users behind few addresses, faster than people.
LIFTED = ["connects=off", "http=off", "joins=off", "socketsPerUser=off", "sends=off",
          "sendBurst=off", "typing=off", "strikes=off", "typingMembers=10000"]


@dataclass(frozen=True)
class Started:
    """What starts it. `port` where it cannot print the one that it got."""
    command: list
    port: int | None = None
    environment: dict | None = None
    processes: int = 1      # of which it consists; a port may be open before the last one runs
    load_words: tuple = ()  # for martlet-load besides


@dataclass(frozen=True)
class Peer:
    name: str
    title: str
    note: str                # what a reader must know before comparing
    start: Callable | None   # (options, folder) → Started
    dialect: str = "raw"
    path: str = ""           # of the URL; a raw server has /echo and /room/NAME below it
    traffic: str = "message"
    cannot: tuple = ()       # names of cases that it has no equivalent of
    # Names of cases in which it shows less than it can, and why.
    caveats: tuple = ()
    caveat: str = ""
    debian: tuple = ()       # packages
    tested: str = ""         # the versions that this was written with
    requirements: str = ""   # a file in LoadTests/Peers, for pip
    url: str = ""            # of one that runs already


def martlet(options, folder, *words):
    data = tempfile.mkdtemp(prefix="data-", dir=folder)
    limits = [word for limit in LIFTED for word in ("--limit", limit)]
    return Started([options.martlet, "serve", "--bench", "--dev", "--shards", "1", "--port", "0",
                    "--data", data, *limits, *words], load_words=("--data", data))


def raw(mode):
    return lambda options, folder: Started([RAW, f"--{mode}"])


def configuration(name, folder, **values):
    """The path of LoadTests/Peers/NAME with its braces filled in."""
    path = Path(folder) / f"{values['port']}-{name}"
    path.write_text((PEERS_FOLDER / name).read_text().format(folder=folder, **values))
    return path


def nchan(options, folder):
    port = free_port()
    # As root, nginx's worker would become a user who may not write into the folder.
    path = configuration("nchan.conf", folder, port=port, modules=NGINX_MODULES,
                         user="user root root;" if os.geteuid() == 0 else "")
    return Started(["nginx", "-e", "stderr", "-p", folder, "-c", path], port,
                   processes=2)


def nats(options, folder):
    port = free_port()
    path = configuration("nats.conf", folder, port=port, plain_port=free_port())
    return Started(["nats-server", "-c", path], port)


# No __pycache__ beside the sources.
PYTHON = {"PYTHONDONTWRITEBYTECODE": "1"}


def socketify(options, folder):
    port = free_port()
    return Started([VENV / "bin/python", PEERS_FOLDER / "socketify_app.py", port], port, PYTHON)


def socketio(options, folder):
    port = free_port()
    return Started([VENV / "bin/uvicorn", "socketio_app:app", "--app-dir", PEERS_FOLDER,
                    "--host", "127.0.0.1", "--port", port, "--loop", "uvloop",
                    "--http", "httptools", "--ws", "websockets-sansio",
                    "--ws-per-message-deflate", "false", "--backlog", "4096",
                    "--log-level", "warning", "--no-access-log",
                    "--timeout-graceful-shutdown", "2"], port, PYTHON)


def node_ws(options, folder):
    return Started(["node", PEERS_FOLDER / "ws_app.js"],
                   environment={"NODE_PATH": "/usr/share/nodejs"})


PEERS = [
    Peer("martlet", "Martlet", "its measuring face: rooms without people, frames as they come",
         martlet, path="/bench"),
    Peer("martlet-socketio", "Martlet, Socket.IO",
         "the same rooms over Socket.IO 5 and Engine.IO 4, on a WebSocket",
         martlet, dialect="sio", path="/bench/socket.io/", cannot=("echo",)),
    Peer("martlet-product", "Martlet, product",
         "authenticated users of chats, JSON of dialect v1 read and written, membership, hub; "
         "typing, which is not stored, is shorter, and which nothing answers: only at given rates",
         martlet, dialect="v1", path="/ws", traffic="typing", cannot=CLOSED),
    Peer("martlet-product-socketio", "Martlet, product over Socket.IO",
         "the same users, chats and events as packets of Socket.IO; only at given rates",
         martlet, dialect="sio-v1", path="/socket.io/", traffic="typing", cannot=CLOSED),
    Peer("martlet-durable", "Martlet, durable",
         "the same with messages: each is committed to SQLite before it is delivered",
         martlet, dialect="v1", path="/ws", cannot=("echo", "handshakes", "memory")),
    Peer("socketify", "uWebSockets (socketify)",
         "uWebSockets on libuv; rooms are its topics, in C++",
         socketify, caveats=("echo", "rooms-of-ten", "memory"),
         caveat="each message, and each connection of a room, has Python in it, which weighs here "
         "as much as uWebSockets itself or more",
         debian=("libuv1", "python3-venv"), tested="libuv1 1.44.2-1+deb12u1", requirements="socketify.txt"),
    Peer("nchan", "nginx + nchan", "one worker; a channel a room, buffered in shared memory; a "
         "handshake subscribes, and it answers nothing to who sent it (echo)",
         nchan, cannot=("echo",), debian=("nginx", "libnginx-mod-nchan"),
         tested="nginx 1.22.1-9+deb12u10, libnginx-mod-nchan 1:1.3.6+dfsg-2"),
    Peer("nats", "nats-server", "its own protocol in WebSocket frames; a subject a room",
         nats, dialect="nats", cannot=("echo",), debian=("nats-server",),
         tested="nats-server 2.9.10-1+b3"),
    Peer("socketio", "python-socketio", "Socket.IO packets; uvicorn with uvloop, one process",
         socketio, dialect="sio", path="/socket.io/", debian=("python3-venv",),
         requirements="socketio.txt"),
    Peer("node-ws", "Node ws", "a loop over the room's sockets, without its optional native parts",
         node_ws, debian=("node-ws",), tested="node-ws 8.11.0+~cs13.7.3-1"),
    Peer("raw-join", "raw C, joined", "LoadTests/Baseline/raw.c: framing and nothing else; all "
         "frames of one tick to a connection leave in one send()", raw("join"), path="/bench"),
    Peer("raw-single", "raw C, single", "the same with one send() a delivery", raw("single"),
         path="/bench"),
]


def given(text, known=("raw", "nchan", "nats", "sio")):
    """A peer from `name=ws://…,dialect` (it runs already) or `name=COMMAND with {port},dialect`.
    Raises ValueError with the complaint."""
    name, is_given, rest = text.partition("=")
    what, has_dialect, dialect = rest.rpartition(",")
    if not (name and is_given and what and has_dialect):
        raise ValueError(f"'{text}' is not name=URL,dialect or name=COMMAND,dialect")
    if dialect not in known:
        raise ValueError(f"'{dialect}' is none of the dialects {', '.join(known)}")
    cannot = () if dialect == "raw" else ("echo",)
    if what.startswith("ws://"):
        return Peer(name, name, "started elsewhere, the same process throughout", None,
                    dialect=dialect, cannot=cannot, url=what.rstrip("/"))
    if "{port}" not in what:
        raise ValueError(f"'{what}' is neither ws://… nor a command with {{port}}")

    def start(options, folder):
        port = free_port()
        return Started(what.format(port=port).split(), port)
    return Peer(name, name, f"given as a command: {what}", start, dialect=dialect, cannot=cannot)


def processes_at(url):
    """Those that listen at ws://HOST:PORT, as far as we may look at them."""
    port = url.removeprefix("ws://").partition("/")[0].rpartition(":")[2]
    return listeners(int(port)) if port.isdigit() else []


def absent(peer):
    """Why a peer that should run already cannot be measured; None where it can, or we start it."""
    if peer.url and not processes_at(peer.url):
        return (f"{peer.name}: no process that this user may look at listens at {peer.url}; start "
                f"it first, or give a command with {{port}}")
    return None


class Running:
    """A peer while it runs; `with Running(peer, options, folder) as server`. Its processes are
    `pids`; one that was started elsewhere goes on."""

    def __init__(self, peer, options, folder):
        self.peer, self.server, self.load_words = peer, None, ()
        self.log = ""  # the end of what it said, once it has ended
        if peer.url:
            self.url, self.pids = peer.url, processes_at(peer.url)
            if not self.pids:
                fail(absent(peer))
            return
        # Its own, so that it goes with its data when it ends.
        self.folder = tempfile.mkdtemp(prefix=f"{peer.name}-", dir=folder)
        started = peer.start(options, self.folder)
        self.server = Server(peer.name, started.command, self.folder, port=started.port,
                             environment=started.environment)
        self.url, self.load_words = self.server.url(peer.path), started.load_words
        self.pids = self.wait_for(started.processes)

    def wait_for(self, processes):
        deadline = time.monotonic() + 5
        while len(found := tree(self.server.process.pid)) < processes:
            if time.monotonic() > deadline:
                self.server.stop()
                fail(f"{self.peer.name} has {len(found)} of {processes} processes")
            time.sleep(0.01)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.server:
            self.server.stop()
            self.log = self.server.log.read_text(errors="replace")[-1000:].strip()
            shutil.rmtree(self.folder, ignore_errors=True)
