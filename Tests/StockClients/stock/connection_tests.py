"""Connecting: transports, refusals, heartbeats, and what a killed server does to a client."""

import time

from .clients import refusal_of
from .expecting import Failure, accepted, eventually, require, same
from .people import mint
from .running import test
from .stage import MESSAGES, NAMESPACES

# Past the first attempt of a client that would try again: 0.5–1.5 s (JavaScript and Python).
NO_RETRY_S = 1.8
IDLE_S = 4.5
# Until nothing is on its way any more: see StockClient.close.
REST_S = 0.3
GOODBYE_S = 3


@test("it connects, and ends up on the transport that it wants")
def transport(stage):
    client = stage.root(stage.person("alice"))
    wanted = "polling" if stage.combination.mode == "polling" else "websocket"
    eventually(f"{wanted} as the transport", lambda: client.transport() == wanted)


@test("a client that says goodbye is let go at once")
def goodbye(stage):
    client = stage.root(stage.person("alice"))
    client.may_break = True
    time.sleep(REST_S)
    begun = time.monotonic()
    client.disconnect()
    client.expect("disconnect")
    taken = time.monotonic() - begun
    if taken > GOODBYE_S:
        raise Failure(f"expected the goodbye to take {GOODBYE_S} s at most, it took {taken:.1f} s")


@test("a bad token is a connect_error with a message, and the client does not come back")
def bad_token(stage):
    alice = stage.person("alice")
    forged = mint({"userId": alice.id, "exp": int(time.time()) + 60}, "another secret" * 3)
    client = stage.unconnected(alice, auth={"token": forged})
    client.may_break = True
    require("connect_error", refusal_of(client, "/"), message=str)
    time.sleep(NO_RETRY_S)
    same("connect_errors", len(client.inbox.find("connect_error")), 1)
    client.expect_no("connect")


@test("ns: an expired token is a connect_error, and nothing is connected")
def expired_token(stage):
    alice = stage.person("alice", exp=int(time.time()) - 3600)
    client = stage.unconnected(alice)
    client.may_break = True
    require("connect_error", refusal_of(client, *NAMESPACES), message=str)
    for namespace in NAMESPACES:
        client.expect_no("connect", namespace)


@test("an unknown namespace is a connect_error \"Invalid namespace\", and the others go on")
def unknown_namespace(stage):
    alice = stage.person("alice")
    chat = stage.chat(alice)
    client = stage.unconnected(alice)
    client.may_break = True
    client.start(MESSAGES, "/nowhere", "/presence")
    client.expect("connect", MESSAGES)
    client.expect("connect", "/presence")
    refusal = client.expect("connect_error", "/nowhere")
    same("the message", refusal.get("message"), "Invalid namespace")
    accepted(client.ask("join_conversation", {"conversationId": chat}, MESSAGES))
    for namespace in (MESSAGES, "/presence"):
        client.expect_no("disconnect", namespace)


@test("an idle client is kept over several pings, and what comes then reaches it")
def idle(stage):
    stage.use_own_server("pingInterval=1000", "pongTimeout=1000")
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender, receiver = stage.root(alice), stage.root(bob)
    time.sleep(IDLE_S)
    for client in (sender, receiver):
        client.expect_no("disconnect")
    accepted(sender.ask("message", {"chatId": chat, "encryptedContent": "after the pings"}))
    receiver.expect("message", encryptedContent="after the pings")


@test("a server that is killed and started again gets its clients back, and has what it acked")
def killed_server(stage):
    stage.use_own_server()
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender, receiver = stage.root(alice), stage.root(bob)
    sender.may_break = receiver.may_break = True

    def send(text):
        return accepted(sender.ask("message", {
            "chatId": chat, "clientMsgId": text, "encryptedContent": text}))["messageId"]

    acked = [send(f"before-{i}") for i in range(5)]
    stage.server.kill()
    stage.server.start()
    for client in (sender, receiver):
        client.expect("disconnect")
        client.expect("connect", times=2)
        client.expect("authenticated", times=2)
    acked += [send(f"after-{i}") for i in range(5)]
    for i in range(5):
        receiver.expect("message", encryptedContent=f"after-{i}")
    same("the history", [entry["id"] for entry in stage.history(bob, chat)], acked)
