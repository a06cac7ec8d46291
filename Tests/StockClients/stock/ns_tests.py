"""The family ns: three namespaces over one connection, and conversations that are joined."""

from .expecting import accepted, refused, require, same
from .root_tests import IMPLICIT_RECEIPT_S
from .running import test
from .stage import MESSAGES, NAMESPACES, NOTIFICATIONS, PRESENCE

EMAIL = "alice@example.org"


def pair(stage):
    """A conversation of two who have joined it: who writes, who reads."""
    alice, bob = stage.person("alice", email=EMAIL), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender, receiver = stage.ns(alice), stage.ns(bob)
    for client in (sender, receiver):
        join(client, chat)
    return chat, alice, bob, sender, receiver


def join(client, chat):
    return accepted(client.ask("join_conversation", {"conversationId": chat}, MESSAGES))


def send(client, chat, content, **more):
    return accepted(client.ask("send_message", {
        "conversationId": chat, "content": content, **more}, MESSAGES))["messageId"]


@test("ns: each of three namespaces tells who one is")
def three_namespaces(stage):
    alice = stage.person("alice")
    client = stage.ns(alice)
    for namespace in NAMESPACES:
        client.expect("authenticated", namespace, userId=alice.id)


@test("ns: a message is acked and reported sent, and reaches those who joined the conversation")
def a_message(stage):
    chat, alice, _, sender, receiver = pair(stage)
    sent = send(sender, chat, "opaque ä", tempId="t-1", type="text")
    sender.expect("message_sent", MESSAGES, messageId=sent, clientMsgId="t-1")
    for client in (receiver, sender):
        came = client.expect("new_message", MESSAGES, id=sent)
        require("new_message", came, conversationId=chat, senderId=alice.id, type="text", seq=1,
                encryptedContent="opaque ä", createdAt=str)


@test("ns: a member hears of a conversation from joining it to leaving it")
def joining(stage):
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender, receiver = stage.ns(alice), stage.ns(bob)
    unheard = [send(sender, chat, "before")]
    require("ack", join(receiver, chat), lastSeq=1, readSeq=0)
    heard = send(sender, chat, "joined")
    receiver.expect("new_message", MESSAGES, id=heard)
    accepted(receiver.ask("leave_conversation", {"conversationId": chat}, MESSAGES))
    unheard.append(send(sender, chat, "left"))
    join(receiver, chat)
    heard = send(sender, chat, "again")
    receiver.expect("new_message", MESSAGES, id=heard)
    for each in unheard:
        receiver.expect_no("new_message", MESSAGES, id=each)


@test("ns: who has joined is told of typing and of its end, with the e-mail of the token")
def typing(stage):
    chat, alice, _, sender, receiver = pair(stage)
    sender.tell("typing", {"conversationId": chat, "isTyping": True}, MESSAGES)
    receiver.expect("user_typing", MESSAGES, userId=alice.id, conversationId=chat, email=EMAIL)
    sender.tell("typing", {"conversationId": chat, "isTyping": False}, MESSAGES)
    receiver.expect("user_stopped_typing", MESSAGES, userId=alice.id, conversationId=chat)


@test("ns: who wrote is told what was read")
def read(stage):
    chat, _, bob, sender, receiver = pair(stage)
    sent = send(sender, chat, "read me")
    receiver.expect("new_message", MESSAGES, id=sent)
    receiver.tell("mark_as_read", {"conversationId": chat, "messageId": sent}, MESSAGES)
    came = sender.expect("message_read", MESSAGES, messageId=sent)
    require("message_read", came, conversationId=chat, userId=bob.id, readAt=str)


@test("ns: who wrote is told that it arrived, though the receiver's code says nothing")
def delivered(stage):
    chat, _, bob, sender, _ = pair(stage)
    sent = send(sender, chat, "arrive")
    sender.expect("message_delivered", MESSAGES, within=IMPLICIT_RECEIPT_S, messageId=sent,
                  conversationId=chat, userId=bob.id)


@test("ns: bytes in place of a string are INVALID_INPUT, and the connection goes on")
def binary(stage):
    chat, _, _, sender, receiver = pair(stage)
    refused(sender.ask("send_message", {"conversationId": chat, "content": b"\x00\xff"}, MESSAGES),
            "INVALID_INPUT")
    sent = send(sender, chat, "as text")
    receiver.expect("new_message", MESSAGES, id=sent)


@test("ns: what a namespace does not do is UNKNOWN_EVENT, and it goes on")
def unknown_events(stage):
    alice = stage.person("alice")
    chat = stage.chat(alice)
    client = stage.ns(alice)
    message = {"conversationId": chat, "content": "to the wrong door"}
    for namespace, event in ((MESSAGES, "fly"), (NOTIFICATIONS, "send_message"),
                             (PRESENCE, "send_message")):
        refused(client.ask(event, message, namespace), "UNKNOWN_EVENT")
    same("the end of the log", join(client, chat)["lastSeq"], 0)
