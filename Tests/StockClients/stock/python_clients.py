"""The clients of PyPI's python-socketio: `socketio.Client` and `socketio.AsyncClient`."""

import asyncio
import concurrent.futures
import functools
import threading

import socketio

from .clients import StockClient
from .expecting import PATIENCE_S, Failure, Refused, short


class PythonClient(StockClient):
    """What both have in common: the same verbs, here called by `do`."""

    # Handlers are `def handler(data)`.
    arity = 1

    def __init__(self, *words, recovers=False, **options):
        """Options are the stock client's own."""
        super().__init__(*words)
        self.client = self.make(handle_sigint=False, **options)
        if recovers:
            # Its handlers are `def handler(data, offset=None)`.
            self.arity = self.inbox.arity = None
            self.shown = {}
            self.told, self.auth = self.auth, self.told_and_shown

    def make(self, **options):
        raise NotImplementedError

    def do(self, verb, *args, **more):
        raise NotImplementedError

    def told_and_shown(self):
        """The stock client knows no recovery: what an application does that wants it."""
        return {**self.told, **self.shown}

    def note(self, add, event, *args):
        """What it is to show when it comes back."""
        if event == "authenticated" and "pid" in args[0]:
            self.shown["pid"] = args[0]["pid"]
        if isinstance(args[-1], str):
            self.shown["offset"] = args[-1]
        add(event, *args)

    def listen(self, namespaces):
        for namespace in namespaces:
            add = functools.partial(self.inbox.add, namespace)
            if callable(self.auth):
                add = functools.partial(self.note, add)
            for event in ("connect", "disconnect"):
                self.client.on(event, functools.partial(self.inbox.add, namespace, event),
                               namespace=namespace)
            self.client.on("connect_error", functools.partial(self.failed, namespace),
                           namespace=namespace)
            self.client.on("*", add, namespace=namespace)

    def failed(self, namespace, reason=None):
        """What the server's CONNECT_ERROR held, or the client's own words."""
        payload = reason if isinstance(reason, dict) else {"message": str(reason)}
        self.inbox.add(namespace, "connect_error", payload)

    def connect(self, *namespaces):
        try:
            self.open(namespaces, wait=True, wait_timeout=PATIENCE_S)
        except socketio.exceptions.ConnectionError as error:
            for namespace in namespaces:
                for came in self.inbox.find("connect_error", namespace):
                    raise Refused(self.inbox.who, came.payload) from None
            raise Failure(f"{self.inbox.who} could not connect: {error}; {self.inbox}") from None
        for namespace in namespaces:
            self.expect("connect", namespace)

    def start(self, *namespaces):
        self.open(namespaces, wait=False)

    def open(self, namespaces, **more):
        self.listen(namespaces)
        self.do("connect", self.url, auth=self.auth, transports=self.transports,
                namespaces=list(namespaces), **more)

    def ask(self, event, payload, namespace="/", within=PATIENCE_S):
        try:
            return self.do("call", event, payload, namespace=namespace, timeout=within)
        except socketio.exceptions.TimeoutError:
            raise Failure(f"{self.inbox.who} expected an ack of {event} {short(payload)} within "
                          f"{within:g} s; {self.inbox}") from None
        except socketio.exceptions.SocketIOError as error:
            raise Failure(f"{self.inbox.who} could not send {event}: {error!r}; "
                          f"{self.inbox}") from None

    def tell(self, event, payload, namespace="/"):
        self.do("emit", event, payload, namespace=namespace)

    def transport(self):
        return self.client.transport()

    def disconnect(self):
        # Also where it waits for its next attempt to connect.
        self.do("shutdown")


class SyncClient(PythonClient):
    """It handles every event in a thread of its own, so their order is not the wire's."""

    kind = "python sync"
    keeps_order = False

    def make(self, **options):
        return socketio.Client(**options)

    def do(self, verb, *args, **more):
        return getattr(self.client, verb)(*args, **more)


LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


class AsyncClient(PythonClient):
    """All of them live in one event loop, in a thread of its own."""

    kind = "python async"

    def make(self, **options):
        return socketio.AsyncClient(**options)

    def do(self, verb, *args, **more):
        future = asyncio.run_coroutine_threadsafe(
            getattr(self.client, verb)(*args, **more), LOOP)
        try:
            return future.result(2 * PATIENCE_S)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise Failure(f"{self.inbox.who}: {verb} did not return; {self.inbox}") from None
