"""Sessions that stock clients come back to: what they missed comes, in order, and they know it. And
tokens that have expired meanwhile.

JavaScript's client does it by itself. Python's does not know of it; see `PythonClient.told_and_shown`."""

import time
from dataclasses import replace

from .clients import refusal_of
from .expecting import PATIENCE_S, Failure, accepted, eventually, require, same
from .fleet_tests import EVERYBODY
from .fleet_failure_tests import expect_back, expect_heard, lines_of_everybody
from .ns_tests import join
from .ns_tests import send as send_ns
from .relay import Relay
from .root_tests import send
from .running import test
from .stage import EVERY, EVERY_BROWSER, MESSAGES, NAMESPACES, NOTIFICATIONS
from .traffic import Traffic

RECOVERY = "recoveryWindow=60000"
# Longer than a token is good after its end, in seconds.
LEEWAY_S = 60
LEFT_S = 4
# A client's first attempts may find nobody there.
BACK_S = 15
DOORS = tuple(replace(each, door="http") for each in EVERY)


def relayed(stage):
    """In front of the stage's server, at its one port, whatever process is behind it."""
    relay = Relay(stage.server.port)
    stage.own.append(relay)
    return relay


def contents(client, namespace="/", event="message"):
    return [each.payload["encryptedContent"] for each in client.inbox.find(event, namespace)]


def expect_contents(client, wanted, namespace="/", event="message"):
    """These and no others, each once; those of a chat in its order where the client keeps it."""
    client.inbox.wait_until(f"{wanted}", lambda: len(
        contents(client, namespace, event)) >= len(wanted), BACK_S)
    same(f"what {client.inbox.who} heard", sorted(contents(client, namespace, event)),
         sorted(wanted))
    if client.keeps_order:
        seqs = {}
        for each in client.inbox.find(event, namespace):
            seqs.setdefault(each.payload["chatId"], []).append(each.payload["seq"])
        for chat, came in seqs.items():
            same(f"the order of {chat}", came, sorted(came))


def expect_recovered(client, times=2, namespace="/"):
    """It says so itself, where it can, and so does the server."""
    client.expect("connect", namespace, within=BACK_S, times=times)
    require("authenticated", client.expect("authenticated", namespace, times=times),
            recovered=times > 1)
    last = client.inbox.find("connect", namespace)[-1]
    if last.args:
        require("connect", last.payload, recovered=times > 1)


@test("root: cut off for a while, it is recovered, and hears what it missed, once", on=EVERY)
def cut_off(stage):
    stage.use_own_server(RECOVERY)
    relay = relayed(stage)
    alice, bob = stage.person("alice"), stage.person("bob")
    chat, other = stage.chat(alice, bob), stage.chat(alice, bob)
    sender = stage.root(alice, recovers=True)
    receiver = stage.root(bob, server=relay, recovers=True)
    receiver.may_break = True
    expect_recovered(receiver, 1)
    heard = []
    for round in range(2):
        for number in range(3):
            heard.append(f"there {round} {number}")
            send(sender, (chat, other)[number % 2], heard[-1])
        expect_contents(receiver, heard)
        relay.cut()
        receiver.expect("disconnect", times=round + 1, within=BACK_S)
        for number in range(3):
            heard.append(f"away {round} {number}")
            send(sender, chat, heard[-1])
        relay.mend()
        expect_recovered(receiver, round + 2)
        expect_contents(receiver, heard)
    heard.append("live")
    send(sender, chat, "live")
    expect_contents(receiver, heard)


@test("root: its server is killed and started again; it is recovered, and hears what it missed",
      on=EVERY)
def killed(stage):
    stage.use_own_server(RECOVERY)
    relay = relayed(stage)
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender = stage.root(alice, recovers=True)
    receiver = stage.root(bob, server=relay, recovers=True)
    sender.may_break = receiver.may_break = True
    heard = ["before 0", "before 1"]
    for each in heard:
        send(sender, chat, each)
    expect_contents(receiver, heard)
    relay.cut()
    receiver.expect("disconnect", within=BACK_S)
    send(sender, chat, "missed")
    stage.server.kill()
    stage.server.start()
    sender.expect("authenticated", times=2, within=BACK_S)
    send(sender, chat, "missed too")
    relay.mend()
    expect_recovered(receiver)
    receiver.expect("message", encryptedContent="missed too")
    send(sender, chat, "live")
    receiver.expect("message", encryptedContent="live")
    # What had not been acknowledged may have come twice.
    same("what it heard", sorted(set(contents(receiver))),
         sorted([*heard, "missed", "missed too", "live"]))


@test("ns: three namespaces are recovered, with what was joined and subscribed", on=EVERY_BROWSER)
def namespaces(stage):
    stage.use_own_server(RECOVERY)
    relay = relayed(stage)
    alice, bob = stage.person("alice"), stage.person("bob")
    chat, left = stage.chat(alice, bob), stage.chat(alice, bob)
    sender, receiver = stage.ns(alice), stage.ns(bob, server=relay)
    receiver.may_break = sender.may_break = True
    for each in (chat, left):
        join(receiver, each)
    accepted(receiver.ask("leave_conversation", {"conversationId": left}, MESSAGES))
    accepted(receiver.ask("subscribe", {"topics": ["job:42"]}, NOTIFICATIONS))
    send_ns(sender, chat, "there")
    expect_contents(receiver, ["there"], MESSAGES, "new_message")
    for times, kills in ((2, False), (3, True)):
        relay.cut()
        for namespace in NAMESPACES:
            receiver.expect("disconnect", namespace, times=times - 1, within=BACK_S)
        send_ns(sender, chat, f"missed {times}")
        send_ns(sender, left, "not joined")
        if kills:
            stage.server.kill()
            stage.server.start()
            sender.expect("authenticated", MESSAGES, times=2, within=BACK_S)
        relay.mend()
        expect_recovered(receiver, times, MESSAGES)
        expect_recovered(receiver, times, NOTIFICATIONS)
        receiver.expect("new_message", MESSAGES, encryptedContent=f"missed {times}")
    # It was not told to join again, and hears what comes.
    send_ns(sender, chat, "live")
    receiver.expect("new_message", MESSAGES, encryptedContent="live")
    same("what it heard", sorted(set(contents(receiver, MESSAGES, "new_message"))),
         ["live", "missed 2", "missed 3", "there"])


@test("root: through a balancer it comes back to any instance of three, and is recovered",
      on=DOORS)
def elsewhere(stage):
    fleet = stage.use_own_fleet(limits=(RECOVERY,))
    relay = Relay(int(stage.server.url.rsplit(":", 1)[1]))
    stage.own.append(relay)
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    sender = stage.root(alice, server=fleet.instances[0], recovers=True)
    receiver = stage.root(bob, server=relay, recovers=True)
    receiver.may_break = True
    heard = []
    for round in range(1, 5):
        send(sender, chat, f"there {round}")
        relay.cut()
        receiver.expect("disconnect", times=round, within=BACK_S)
        send(sender, chat, f"away {round}")
        heard += [f"there {round}", f"away {round}"]
        relay.mend()
        expect_recovered(receiver, round + 1)
        # None of the instances was lost, so nothing comes twice.
        expect_contents(receiver, heard)
    same("recovered", fleet.total("martlet_sessions_recovered_total"), 4)


@test("an instance is killed under traffic: its clients are recovered, and everybody hears everything",
      on=EVERYBODY)
def killed_in_fleet(stage):
    fleet = stage.use_own_fleet(limits=(RECOVERY,))
    clients, people, lines = lines_of_everybody(stage, recovers=True)
    with Traffic(lines) as traffic:
        traffic.wait_for(3)
        ended = fleet.busiest()
        lost = ended.metric("martlet_authenticated_connections")
        begun = time.monotonic()
        ended.kill()
        expect_back(clients, lost, begun)
        traffic.wait_for(3)
    for who, line in zip(people, lines):
        expect_heard(line)
        history = stage.history(who, line.chat)
        wanted = {entry["encryptedContent"] for entry in history}
        for client in (line.writer, line.reader):
            eventually(f"{client.inbox.who} to hear all of its chat", lambda: {
                each.payload["encryptedContent"] for each in client.inbox.find(
                    "message", chatId=line.chat)} == wanted, PATIENCE_S)
            ids = {each.payload["id"] for each in client.inbox.find("message", chatId=line.chat)}
            same(f"the ids that {client.inbox.who} heard", ids, {each["id"] for each in history})
    for client in clients:
        if client.inbox.find("disconnect"):
            require("authenticated", client.inbox.find("authenticated")[-1].payload,
                    recovered=True)


@test("root: without the setting it is not recovered, and hears no offset", on=EVERY_BROWSER)
def off(stage):
    alice = stage.person("alice")
    chat = stage.chat(alice)
    client = stage.root(alice)
    expect_recovered(client, 1)
    send(client, chat, "bare")
    client.expect("message", encryptedContent="bare")
    same("arguments", len(client.inbox.find("message")[0].args), 1)


@test("a token that has expired goes on for legacyTokenGrace, also over a new connection", on=EVERY)
def grace(stage):
    stage.use_own_server("legacyTokenGrace=600", RECOVERY)
    relay = relayed(stage)
    now = time.time()
    alice = stage.person("alice", exp=int(now) - LEEWAY_S + LEFT_S)
    unused = stage.person("alice", exp=int(now) - LEEWAY_S + LEFT_S, role="unused")
    chat = stage.chat(stage.person("bob"), alice)
    client = stage.root(alice, server=relay, recovers=True)
    client.may_break = True
    time.sleep(max(0, now + LEFT_S + 1.2 - time.time()))
    client.expect_no("disconnect")
    send(client, chat, "outlived")
    relay.cut()
    client.expect("disconnect", within=BACK_S)
    relay.mend()
    expect_recovered(client)
    send(client, chat, "and again")
    client.expect("message", encryptedContent="and again")
    stranger = stage.unconnected(unused)
    stranger.may_break = True
    refusal = refusal_of(stranger, "/")
    if "expired" not in refusal.get("message", ""):
        raise Failure(f"expected a token that opened nothing in time to be refused: {refusal}")
