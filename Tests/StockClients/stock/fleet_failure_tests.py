"""An instance of a fleet ends, with and without a warning: its clients come back by themselves, and
what was acked is in the history."""

import signal
import time

from .expecting import PATIENCE_S, Failure, eventually, same
from .fleet_tests import EVERYBODY
from .running import test
from .stage import EVERY
from .traffic import Line, Traffic

# From the end of an instance until all its clients are at others. A stock client waits 0.5–1.5 s
# before its first attempt, and twice as long before its second.
BACK_S = 10
ENDED_S = 15
LAST_WORDS = "all are back"


def lines_of_everybody(stage, **more):
    """A client of each combination, each of which writes to the next."""
    people = [stage.person(f"one-{number}") for number in range(len(EVERY))]
    clients = [stage.root(who, kind=each.kind, mode=each.mode, **more)
               for who, each in zip(people, EVERY)]
    for client in clients:
        client.may_break = True
    lines = []
    for number, client in enumerate(clients):
        after = (number + 1) % len(clients)
        chat = stage.chat(people[number], people[after])
        lines.append(Line(chat, client, clients[after]))
    return clients, people, lines


def is_back(client):
    connects = len(client.inbox.find("connect"))
    return (connects == 1 + len(client.inbox.find("disconnect"))
            and connects == len(client.inbox.find("authenticated")))


def expect_back(clients, lost, begun):
    """At least so many were cut off, and all of them are connected again."""
    def within():
        return max(0, begun + BACK_S - time.monotonic())
    eventually(f"{lost} to be cut off", lambda: lost <= sum(
        bool(client.inbox.find("disconnect")) for client in clients), within())
    for client in clients:
        eventually(f"{client.inbox.who} to be back", lambda: is_back(client), within())


def expect_heard(line):
    if not line.write(LAST_WORDS, PATIENCE_S):
        raise Failure(f"{line.writer.inbox.who} expected an ack when all were back: "
                      f"{line.refusal}")
    for client in (line.writer, line.reader):
        client.expect("message", chatId=line.chat, encryptedContent=LAST_WORDS)


def expect_kept(line, history):
    """Each acked message is there, once, in the order in which they were written. One more may be:
    the last that was not acked."""
    there = [(entry["encryptedContent"], entry["id"]) for entry in history]
    for content, id in line.acked:
        if (content, id) not in there:
            raise Failure(f"{line.writer.inbox.who} was acked \"{content}\" as {id}; the history "
                          f"has {there}")
    same("entries that are there twice", len(there) - len({content for content, _ in there}), 0)
    same("what was acked, in the history's order", [
        each for each in there if each in line.acked], line.acked)


def expect_gapless(line, history):
    """Who was never cut off heard everything, in order."""
    expected = [entry["encryptedContent"] for entry in history]
    for client in (line.writer, line.reader):
        if not client.inbox.ends() and client.keeps_order:
            client.expect("message", times=len(expected), chatId=line.chat)
            same(f"what {client.inbox.who} heard", [
                each.payload["encryptedContent"]
                for each in client.inbox.find("message", chatId=line.chat)], expected)


def end_one(stage, number):
    """Of a fleet under traffic the instance with the most clients gets that signal; its status."""
    fleet = stage.use_own_fleet()
    clients, people, lines = lines_of_everybody(stage)
    with Traffic(lines) as traffic:
        traffic.wait_for(3)
        ended = fleet.busiest()
        lost = ended.metric("martlet_authenticated_connections")
        begun = time.monotonic()
        ended.process.send_signal(number)
        expect_back(clients, lost, begun)
        traffic.wait_for(3)
    for who, line in zip(people, lines):
        expect_heard(line)
        history = stage.history(who, line.chat)
        expect_kept(line, history)
        expect_gapless(line, history)
    for each in fleet.instances:
        if each is not ended and (said := each.ended()):
            raise Failure(f"an instance that was not told to end did: {said}")
    eventually("the instance to end", ended.ended, ENDED_S)
    return ended.process.returncode


@test("an instance is killed under traffic: clients come back, and nothing that was acked is lost",
      on=EVERYBODY)
def killed(stage):
    same("status", end_one(stage, signal.SIGKILL), -signal.SIGKILL)


@test(f"an instance drains under traffic: clients are elsewhere within {BACK_S} s, and nothing "
      "that was acked is lost", on=EVERYBODY)
def drained(stage):
    same("status", end_one(stage, signal.SIGTERM), 0)
