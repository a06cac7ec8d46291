"""A fleet behind HAProxy without sticky sessions: whichever instance a request comes to, a stock
client notices nothing of it."""

from dataclasses import replace

import aiohttp

from .balancer import DOORS
from .expecting import Failure, Refused, eventually, same
from .ns_tests import join
from .ns_tests import send as send_ns
from .python_clients import AsyncClient
from .root_tests import expect_in_order, message, send
from .running import ALONE, LAST, test
from .stage import EVERY, MESSAGES, Combination, Everybody

BALANCED = tuple(replace(each, door=door) for door in DOORS for each in EVERY)
POLLING = tuple(Combination(AsyncClient, "polling", door) for door in DOORS)
EVERYBODY = tuple(Everybody(door) for door in DOORS)
CROWD = 20
WAVES = 10
CROWD_S = 20
# Five at once and then one a second, counted by each of two shards.
CONNECTS = "connects=1"
ATTEMPTS = 20


def company(stage, connect):
    """A chat of somebody who comes through the balancer, and of others who are each directly at an
    instance. All are connected."""
    fleet = stage.use_shared_fleet()
    alice = stage.person("alice")
    people = [stage.person(f"there-{number}") for number in range(len(fleet.instances))]
    others = [connect(who, kind=AsyncClient, mode="websocket", server=instance)
              for who, instance in zip(people, fleet.instances)]
    return stage.chat(alice, *people), connect(alice), others


@test("root: it upgrades if it wants to, and talks with clients of each instance", on=BALANCED)
def root(stage):
    chat, client, others = company(stage, stage.root)
    wanted = "polling" if stage.combination.mode == "polling" else "websocket"
    eventually(f"{wanted} as the transport", lambda: client.transport() == wanted)
    contents = []
    for number, other in enumerate(others):
        for who in (client, other):
            contents.append(f"{number} of {who.inbox.who}")
            send(who, chat, contents[-1])
    for who in (client, *others):
        expect_in_order(who, contents)


@test("ns: its namespaces are one session wherever requests go, and it talks with clients of each "
      "instance", on=BALANCED)
def ns(stage):
    chat, client, others = company(stage, stage.ns)
    for each in (client, *others):
        join(each, chat)
    for writer in (client, *others):
        sent = send_ns(writer, chat, f"of {writer.inbox.who}")
        for reader in (client, *others):
            reader.expect("new_message", MESSAGES, id=sent)


@test(f"{CROWD} that poll, each request at the next instance, stay and hear {WAVES * CROWD} "
      "messages in order", on=POLLING, phase=ALONE)
def crowd(stage):
    fleet = stage.use_own_fleet()
    people = [stage.person(f"one-{number}") for number in range(CROWD)]
    chat = stage.chat(*people)
    clients = [stage.root(each, **ways(stage.combination.door)) for each in people]
    before = fleet.total("martlet_tunnels_opened_total"), sum(dealt(stage, fleet))
    for wave in range(1, WAVES + 1):
        for client in clients:
            client.tell("message", message(chat, f"{wave} of {client.inbox.who}"))
        for client in clients:
            client.expect("message", times=wave * CROWD, within=CROWD_S)
    contents = [entry["encryptedContent"] for entry in stage.history(people[0], chat)]
    for client in clients:
        expect_in_order(client, contents)
    tunnels = fleet.total("martlet_tunnels_opened_total") - before[0]
    counts = dealt(stage, fleet)
    requests = sum(counts) - before[1]
    # Two of three come to an instance that has not the session.
    if max(counts) - min(counts) > requests / 20 or not requests / 2 < tunnels < requests:
        raise Failure(f"expected requests to be dealt out evenly, two of three to an instance that "
                      f"has not the session; {counts} were dealt out, {tunnels} of the last "
                      f"{requests} went on to another")
    expect_no_errors(fleet)


def ways(door):
    """What a client is told so that its requests can be dealt out: in mode tcp each needs a
    connection of its own."""
    if door == "http":
        return {}
    return {"http_session": lambda: aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True))}


def dealt(stage, fleet):
    return fleet.balancer.dealt(stage.combination.door)


@test("a limit for each address counts a client's own, not the balancer's", on=POLLING)
def addresses(stage):
    stage.use_own_fleet(count=1, limits=(CONNECTS,))
    if not any(is_refused(stage, "127.0.0.2") for _ in range(ATTEMPTS)):
        raise Failure(f"expected {CONNECTS} to refuse one of {ATTEMPTS} connects of 127.0.0.2")
    if is_refused(stage, "127.0.0.3"):
        raise Failure("the first connect of 127.0.0.3 was refused; 127.0.0.2 had had its own")


def is_refused(stage, address):
    """Whether one more client from that address is."""
    client = stage.unconnected(stage.person("alice"), http_session=lambda: aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(local_addr=(address, 0))))
    client.may_break = True
    try:
        client.connect("/")
    except Refused as refused:
        same("the refusal", refused.payload["error"]["code"], "RATE_LIMITED")
        return True
    return False


@test("in all of this no request was refused, and none failed", on=EVERYBODY, phase=LAST)
def no_errors(stage):
    fleet = stage.use_shared_fleet()
    if not min(fleet.balancer.dealt(stage.combination.door)):
        raise Failure("not every instance was given a request; nothing is shown by that")
    expect_no_errors(fleet)


def expect_no_errors(fleet):
    same("answers 4xx and 5xx at the door http", fleet.balancer.errors(), (0, 0))
    for name in ("martlet_http_errors_total", "martlet_tunnels_refused_total"):
        same(name, fleet.total(name), 0)
