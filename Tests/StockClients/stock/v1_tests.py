"""Version 1 of the protocol over Socket.IO: asked for by `proto` in auth."""

from .expecting import accepted, require, same
from .running import test


def send(client, chat, content):
    return accepted(client.ask("message.send", {"chatId": chat, "encryptedContent": content}))


@test("v1: the session says who is there, and in which version")
def session(stage):
    alice = stage.person("alice", deviceId="phone")
    stage.v1(alice).expect("session.ready", userId=alice.id, deviceId="phone", proto=1)


@test("v1: a join with since replays what came after it, and says when that is all")
def replay(stage):
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender, receiver = stage.v1(alice), stage.v1(bob)
    for number in range(1, 5):
        same("seq", send(sender, chat, f"entry {number}")["seq"], number)
    ack = accepted(receiver.ask("chat.join", {"chatId": chat, "since": 1}))
    require("ack", ack, chatId=chat, lastSeq=4, readSeq=0)
    receiver.expect("caughtUp", chats={chat: 4})
    receiver.expect("message.new", times=3)
    came = [(each.event, (each.payload or {}).get("seq")) for each in receiver.inbox.entries
            if each.event in ("message.new", "caughtUp")]
    expected = [("message.new", 2), ("message.new", 3), ("message.new", 4), ("caughtUp", None)]
    if not receiver.keeps_order:
        came.sort(key=expected.index)
    same("the replay", came, expected)


@test("v1: a message reaches the others, and not the connection that sent it")
def no_echo(stage):
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender, receiver = stage.v1(alice), stage.v1(bob)
    for client in (sender, receiver):
        accepted(client.ask("chat.join", {"chatId": chat}))
    ack = send(sender, chat, "there")
    require("ack", ack, messageId=str, chatId=chat, seq=1, createdAt=str, duplicate=False)
    came = receiver.expect("message.new", id=ack["messageId"])
    require("message.new", came, chatId=chat, senderId=alice.id, encryptedContent="there", seq=1)
    back = send(receiver, chat, "and back")
    sender.expect("message.new", id=back["messageId"])
    for name in ("message.new", "message.stored"):
        sender.expect_no(name, **{"seq": 1})
