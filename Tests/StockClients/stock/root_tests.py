"""The family root: one namespace, `/`, and all the user's chats without joining."""

import itertools

from .expecting import PATIENCE_S, accepted, refused, require, same
from .running import test

# One extra ping within a second, and a receipt that is gathered before it is written.
IMPLICIT_RECEIPT_S = 3
BURST = 100
tokens = itertools.count(1)


def pair(stage):
    """A chat of two, and their clients: who writes, who reads."""
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    return chat, alice, bob, stage.root(alice), stage.root(bob)


def message(chat, content, **more):
    return {"chatId": chat, "clientMsgId": f"m-{next(tokens)}", "encryptedContent": content,
            "type": "text", **more}


def send(client, chat, content):
    return accepted(client.ask("message", message(chat, content)))["messageId"]


def expect_in_order(client, contents, within=PATIENCE_S):
    """These messages, numbered from 1 on, and no others."""
    client.expect("message", times=len(contents), within=within)
    came = [(each.payload["seq"], each.payload["encryptedContent"])
            for each in client.inbox.find("message")]
    same("messages", len(came), len(contents))
    if not client.keeps_order:
        came.sort()
    for number, (each, content) in enumerate(zip(came, contents)):
        same(f"message {number + 1} of {len(came)}", each, (number + 1, content))


@test("root: who connects with a token is told who they are")
def authenticated(stage):
    alice = stage.person("alice")
    stage.root(alice).expect("authenticated", userId=alice.id)


@test("root: a message is acked and reported stored, and reaches both users without joining")
def a_message(stage):
    chat, alice, _, sender, receiver = pair(stage)
    content = 'opaque: "ä" \\ 𝄞 \u2028'
    ack = accepted(sender.ask("message", message(chat, content)))
    require("ack", ack, messageId=str, chatId=chat, seq=1, createdAt=str, duplicate=False)
    sender.expect("delivered", messageId=ack["messageId"], stage="stored")
    for client in (receiver, sender):
        came = client.expect("message", id=ack["messageId"])
        require("message", came, chatId=chat, senderId=alice.id, encryptedContent=content,
                type="text", seq=1, createdAt=ack["createdAt"])


@test("root: a message sent without an ack is reported stored, and reaches the other user")
def without_ack(stage):
    chat, _, _, sender, receiver = pair(stage)
    sender.tell("message", message(chat, "no ack"))
    came = receiver.expect("message", encryptedContent="no ack")
    sender.expect("delivered", messageId=came["id"], stage="stored")


@test("root: a message sent again under its clientMsgId is acked as a duplicate and told once")
def duplicate(stage):
    chat, _, _, sender, receiver = pair(stage)
    twice = message(chat, "twice")
    first = accepted(sender.ask("message", twice))
    second = accepted(sender.ask("message", twice))
    require("second ack", second, messageId=first["messageId"], seq=first["seq"], duplicate=True)
    send(sender, chat, "then")
    receiver.expect("message", encryptedContent="then")
    same("deliveries", len(receiver.inbox.find("message", id=first["messageId"])), 1)


@test("root: the other user is told of typing, and of its end")
def typing(stage):
    chat, alice, _, sender, receiver = pair(stage)
    for is_typing in (True, False):
        sender.tell("typing", {"chatId": chat, "isTyping": is_typing})
        receiver.expect("typing", userId=alice.id, chatId=chat, isTyping=is_typing)


@test("root: who wrote is told what was read, named with the chat or without")
def read(stage):
    chat, _, bob, sender, receiver = pair(stage)
    for more in ({}, {"chatId": chat}):
        read_id = send(sender, chat, "read me")
        receiver.expect("message", id=read_id)
        receiver.tell("read", {"messageId": read_id, **more})
        came = sender.expect("read", messageId=read_id)
        require("read", came, chatId=chat, userId=bob.id, readAt=str)


@test("root: who wrote is told that it arrived, though the receiver's code says nothing")
def delivered(stage):
    chat, _, bob, sender, _ = pair(stage)
    sent = send(sender, chat, "arrive")
    sender.expect("delivered", within=IMPLICIT_RECEIPT_S, messageId=sent, chatId=chat,
                  userId=bob.id, stage="delivered")


@test("root: bytes in place of a string are INVALID_INPUT, and the connection goes on")
def binary(stage):
    chat, _, _, sender, receiver = pair(stage)
    refused(sender.ask("message", message(chat, b"\x00\x01\xfe\xff")), "INVALID_INPUT")
    send(sender, chat, "as text")
    receiver.expect("message", encryptedContent="as text")


@test("root: what cannot be done is refused by code in the ack, and the connection goes on")
def refusals(stage):
    chat, _, _, sender, receiver = pair(stage)
    eve = stage.person("eve")
    foreign = stage.chat(eve)
    refused(sender.ask("fly", {}), "UNKNOWN_EVENT")
    refused(sender.ask("message", message(foreign, "none of mine")), "NOT_FOUND")
    refused(sender.ask("message", {"chatId": chat}), "INVALID_INPUT")
    send(sender, chat, "mine")
    receiver.expect("message", encryptedContent="mine")


@test(f"root: a burst of {BURST} messages arrives whole and in order, over one connection")
def burst(stage):
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender, receiver = stage.root(alice, mode="websocket"), stage.root(bob)
    for number in range(BURST):
        sender.tell("message", message(chat, f"burst {number}"))
    expect_in_order(receiver, [f"burst {number}" for number in range(BURST)])
    receiver.expect_no("disconnect")
