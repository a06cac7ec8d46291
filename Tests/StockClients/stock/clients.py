"""The face that every stock client has for the tests, and which of them there are."""

import threading

from .expecting import PATIENCE_S, Failure, Inbox, Refused

# What a client may be told of transports. Stock clients are told nothing: they poll and upgrade.
MODES = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}
CLOSE_S = 1


class StockClient:
    """One client of one user: one connection, with any namespaces over it.

    What comes is in `inbox`, connects, disconnects and connect_errors included. Each call waits
    for its result, within a bound."""

    kind = ""
    # Whether it calls handlers in the order of the wire.
    keeps_order = True
    arity = None

    def __init__(self, who, url, mode, auth):
        self.inbox = Inbox(f"{who} ({self.kind}, {mode})", self.arity)
        self.expect, self.expect_no = self.inbox.expect, self.inbox.expect_no
        self.url = url
        self.transports = MODES[mode]
        self.auth = auth
        # Set by a test that cuts it off.
        self.may_break = False

    def connect(self, *namespaces):
        """Returns once all are connected. Raises Refused where the server would not have one."""
        raise NotImplementedError

    def start(self, *namespaces):
        """Begins to connect and waits for no namespace: one may be refused, the others go on."""
        raise NotImplementedError

    def ask(self, event, payload, namespace="/", within=PATIENCE_S):
        """What the server acks with."""
        raise NotImplementedError

    def tell(self, event, payload, namespace="/"):
        """Without an ack."""
        raise NotImplementedError

    def transport(self):
        """The one in use now."""
        raise NotImplementedError

    def disconnect(self):
        raise NotImplementedError

    def close(self):
        """Raises Failure where it was cut off before. It does not wait for long: a Python client
        that is told to close while a POST is on its way sends no goodbye, and waits for a ping."""
        broken = self.inbox.ends() and not self.may_break
        errors = []
        closing = threading.Thread(target=self.disconnect_into, args=(errors,), daemon=True)
        closing.start()
        closing.join(CLOSE_S)
        if broken:
            raise Failure(f"{self.inbox.who} was cut off; {self.inbox}")
        if errors:
            raise errors[0]

    def disconnect_into(self, errors):
        try:
            self.disconnect()
        except Exception as error:  # whatever a stock client throws
            errors.append(error)


def refusal_of(client, *namespaces):
    """Connects, which has to fail; the payload of the connect_error."""
    try:
        client.connect(*namespaces)
    except Refused as refused:
        return refused.payload
    raise Failure(f"{client.inbox.who} expected to be refused; it is connected")
