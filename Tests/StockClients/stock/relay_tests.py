"""An answer that is lost on its way, as where a balancer or an instance ends while it passes one
on. Chromium and aiohttp send such a GET again by themselves, and tell the client nothing of it."""

from .expecting import same
from .relay import Relay
from .root_tests import send
from .running import test
from .stage import EVERY

POLLING = tuple(each for each in EVERY if each.mode == "polling")


@test("root: who polls is given the messages of a lost answer again, or is cut off", on=POLLING)
def lost_answer(stage):
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    relay = Relay(stage.server.port)
    stage.own.append(relay)
    sender, receiver = stage.root(alice), stage.root(bob, server=relay)
    receiver.may_break = True
    send(sender, chat, "before")
    receiver.expect("message", encryptedContent="before")
    relay.lose(b"on its way")
    send(sender, chat, "on its way")
    relay.wait_for_loss()
    send(sender, chat, "after")
    receiver.inbox.wait_until("the next message, or to be cut off", lambda: receiver.inbox.find(
        "message", encryptedContent="after") or receiver.inbox.find("disconnect"))
    if not receiver.inbox.find("disconnect"):
        same("messages", [each.payload["encryptedContent"] for each in receiver.inbox.find(
            "message")], ["before", "on its way", "after"])
