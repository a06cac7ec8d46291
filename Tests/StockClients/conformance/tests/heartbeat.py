"""Pings of the server, pongs of the client, and the end of who does not answer.

pingInterval is 300 ms and pingTimeout 200 ms. Both paths are served by the same sessions, so only
what clients of both rely on is repeated."""

import time

from ..cases import Case
from ..engine import packets_of

INTERVAL_S = 0.3
LIFE_S = 0.5  # of a session that is never ponged
LATE_S = 0.15  # that a busy server may take longer


class Timed(Case):
    alone = True

    def setUp(self):
        super().setUp()
        self.begun = time.monotonic()

    def expect_since(self, begun, seconds):
        passed = time.monotonic() - begun
        self.assertTrue(seconds - 0.01 <= passed <= seconds + LATE_S,
                        f"expected after {seconds * 1000:.0f} ms, came after {passed * 1000:.0f}")


class Heartbeats:
    def test_a_poll_is_answered_ping_each_interval_after_the_pong(self):
        session = self.polling()
        begun = self.begun
        for _ in range(3):
            self.expect_poll(session.get(), "2")
            self.expect_since(begun, INTERVAL_S)
            begun = time.monotonic()
            self.expect_answer(session.post("3"), 200, b"ok")

    def test_a_polling_session_that_is_never_ponged_is_over_after_500_ms(self):
        session = self.polling()
        time.sleep(LIFE_S)
        self.expect_refusal(session.get(), 1)

    def test_a_websocket_is_sent_ping_each_interval_after_the_pong(self):
        websocket = self.websocket().websocket
        begun = self.begun
        for _ in range(3):
            self.assertEqual(websocket.next(), "2")
            self.expect_since(begun, INTERVAL_S)
            begun = time.monotonic()
            websocket.send("3")

    def test_a_websocket_that_is_never_ponged_is_closed_after_500_ms(self):
        session = self.websocket()
        self.assertEqual(session.websocket.next(), "2")
        session.expect_end()
        self.expect_since(self.begun, LIFE_S)


class OfEngineIO(Heartbeats, Timed):
    about = "engine.io"

    def test_a_parked_poll_is_answered_when_no_pong_comes(self):
        session = self.polling()
        self.expect_poll(session.get(), "2")
        answer = session.get()
        self.expect_since(self.begun, LIFE_S)
        if answer.status == 200:
            self.expect_poll(answer, "1")
        session.expect_unknown()

    def test_messages_are_no_pongs(self):
        session = self.websocket()
        received = []
        while time.monotonic() - self.begun < LIFE_S - 0.1:
            session.send("4busy")
            received.append(session.websocket.next())
            time.sleep(0.02)
        self.assertEqual(received.count("2"), 1, f"received {received}")
        while session.websocket.stream.has_data(0.02):
            session.websocket.next()
        session.expect_end()
        self.expect_since(self.begun, LIFE_S)

    def test_a_busy_websocket_is_pinged_as_well(self):
        session = self.websocket()
        session.send("4busy")
        while session.websocket.next() != "2":
            session.send("4busy")
            time.sleep(0.005)
        self.expect_since(self.begun, INTERVAL_S)

    def test_pongs_that_nobody_asked_for_do_no_harm(self):
        session = self.websocket()
        session.send("3", "3", "3")
        self.expect_alive(session)
        begun = time.monotonic()
        self.assertEqual(session.websocket.next(), "2")
        session.send("3", "3")
        session.expect_quiet(begun + LIFE_S + 0.1 - time.monotonic())
        self.expect_alive(session)

    def test_pongs_that_nobody_asked_for_do_no_harm_to_polling(self):
        session = self.polling()
        session.send("3", "3", "3")
        self.expect_alive(session)
        self.expect_poll(session.get(), "2")
        session.send("3", "3")
        session.expect_quiet(LIFE_S)
        self.expect_alive(session)

    def test_a_ping_that_nobody_polled_for_comes_with_the_messages(self):
        session = self.polling()
        time.sleep(INTERVAL_S + 0.05)
        session.send("4hello")
        self.assertEqual(packets_of(session.get().text), ["2", "4hello"])

    def test_an_upgraded_session_is_pinged_over_its_websocket(self):
        session = self.polling().upgraded()
        begun = self.begun
        for _ in range(2):
            self.assertEqual(session.websocket.next(), "2")
            self.expect_since(begun, INTERVAL_S)
            begun = time.monotonic()
            session.send("3")

    def test_an_upgraded_session_that_is_never_ponged_is_closed_after_500_ms(self):
        session = self.polling().upgraded()
        self.assertEqual(session.websocket.next(), "2")
        session.expect_end()
        self.expect_since(self.begun, LIFE_S)

    def test_a_ping_before_the_upgrade_may_be_ponged_after_it(self):
        session = self.polling()
        self.expect_poll(session.get(), "2")
        upgraded = session.upgraded()
        upgraded.send("3")
        upgraded.expect_quiet(0.25)
        self.expect_alive(upgraded)

    def test_a_ping_before_the_upgrade_that_is_never_ponged_ends_the_session(self):
        session = self.polling()
        self.expect_poll(session.get(), "2")
        session.upgraded().expect_end()
        self.expect_since(self.begun, LIFE_S)

    def test_a_ping_during_the_upgrade_goes_through_the_poll(self):
        session = self.polling()
        websocket = session.probe()
        answers = []
        while not answers or answers[-1] == "6":
            answers.append(session.get().text)
        self.assertEqual(answers[-1], "2", f"the polls were answered {answers}")
        self.expect_since(self.begun, INTERVAL_S)
        session.send("3")
        self.assertFalse(websocket.stream.has_data(0.02), "something came before the upgrade")
        websocket.send("5", "4hello")
        self.assertEqual(websocket.next(), "4hello")


class OfSocketIO(Heartbeats, Timed):
    about, path = "socket.io", "/socket.io/"
