"""People who write all the time, whatever becomes of the servers, and what was acked to them."""

import itertools
import threading
from dataclasses import dataclass, field

from .clients import StockClient
from .expecting import PATIENCE_S, Failure
from .root_tests import message

PAUSE_S = 0.3
RETRY_S = 0.05
ACK_S = 2


@dataclass
class Line:
    """A chat of two: one writes, one reads."""

    chat: str
    writer: StockClient
    reader: StockClient
    # Content and id, in the order in which they were written.
    acked: list = field(default_factory=list)
    # Why something was last not acked.
    refusal: object = None

    def write(self, content, within):
        """Whether it was acked. Under its clientMsgId it can be written again."""
        one = message(self.chat, content, clientMsgId=content)
        try:
            ack = self.writer.ask("message", one, within=within)
        except Failure as failure:
            self.refusal = failure
            return False
        if not ack.get("ok"):
            self.refusal = ack
            return False
        self.acked.append((content, ack["messageId"]))
        return True


class Traffic:
    """On each line, of the family root, one message after the other, and each again until it is
    acked. A `with` block, after which nothing is written any more."""

    def __init__(self, lines):
        self.lines = lines
        self.is_over = threading.Event()
        self.changed = threading.Condition()
        self.threads = [threading.Thread(target=self.write, args=(line,), daemon=True)
                        for line in lines]

    def __enter__(self):
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for each in self.threads:
            each.join(ACK_S + PATIENCE_S)

    def write(self, line):
        for number in itertools.count(1):
            while not line.write(f"message {number}", ACK_S):
                if self.is_over.wait(RETRY_S):
                    return
            with self.changed:
                self.changed.notify_all()
            if self.is_over.wait(PAUSE_S):
                return

    def wait_for(self, more, within=PATIENCE_S):
        """Until so many more were acked on each line."""
        wanted = [len(line.acked) + more for line in self.lines]

        def late():
            return [line for line, count in zip(self.lines, wanted) if len(line.acked) < count]
        with self.changed:
            if not self.changed.wait_for(lambda: not late(), within):
                line = late()[0]
                raise Failure(f"{line.writer.inbox.who} expected {more} more acks within "
                              f"{within:g} s; before, not acked: {line.refusal}")
