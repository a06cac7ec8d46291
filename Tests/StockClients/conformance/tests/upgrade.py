"""From polling to WebSocket within a session: `2probe`, `3probe`, a noop for the poll, `5`."""

import time

from ..cases import Case, of_each
from ..engine import LEARNT_S, QUIET_S, SEPARATOR, Socket
from ..websocket import TEXT, Closed


class Upgrading(Case):
    # The server may hold a poll for 100 ms, and at 300 ms pings come between.
    alone = True

    def switched(self, session):
        """After `5`; nothing is awaited on the way but `3probe` and the noop."""
        websocket = session.probe()
        self.expect_poll(session.get(), "6")
        websocket.send("5")
        return Socket(websocket, session)

    def expect_second_refused(self, session):
        """Another WebSocket with the sid is accepted, for a client may not survive a refusal of
        its HTTP, and then closed."""
        with self.assertRaises(Closed):
            session.knock().next()

    def expect_silent(self, websocket):
        self.assertFalse(websocket.stream.has_data(QUIET_S), "something came on the WebSocket "
                                                          "before the upgrade was done")


class Upgrades:
    def test_the_poll_after_the_probe_is_answered_noop(self):
        session = self.polling()
        session.probe()
        self.expect_poll(session.get(), "6")

    def test_a_poll_after_the_upgrade_is_refused(self):
        session = self.polling()
        self.switched(session)
        self.expect_refusal(session.get(), 3)

    def test_a_post_after_the_upgrade_is_refused(self):
        session = self.polling()
        self.switched(session)
        time.sleep(LEARNT_S)
        self.expect_refusal(session.post("4hello"), 3)

    def test_a_second_websocket_after_the_upgrade_is_accepted_and_closed(self):
        session = self.polling()
        self.switched(session)
        self.expect_second_refused(session)


class OfEngineIO(Upgrades, Upgrading):
    about = "engine.io"

    def test_a_message_right_behind_the_upgrade_comes_back_on_the_websocket(self):
        session = self.polling()
        websocket = session.probe()
        self.expect_poll(session.get(), "6")
        websocket.send("5", "4hello", b"\x01")
        self.expect(Socket(websocket, session), "4hello", b"\x01")

    def test_the_websocket_goes_on_after_a_poll_that_was_refused(self):
        session = self.polling()
        upgraded = self.switched(session)
        self.expect_refusal(session.get(), 3)
        self.expect_alive(upgraded)

    def test_the_websocket_goes_on_after_a_second_one_was_closed(self):
        session = self.polling()
        upgraded = self.switched(session)
        self.expect_second_refused(session)
        self.expect_alive(upgraded)

    def test_a_second_websocket_during_the_upgrade_is_accepted_and_closed(self):
        session = self.polling()
        websocket = session.probe()
        self.expect_second_refused(session)
        self.expect_poll(session.get(), "6")
        websocket.send("5")
        self.expect_alive(Socket(websocket, session))

    def test_a_poll_that_is_parked_at_the_probe_is_answered_noop(self):
        session = self.polling()
        session.park()
        session.probe()
        self.expect_poll(session.get(), "6")

    def test_each_poll_during_the_upgrade_is_answered_noop_in_the_end(self):
        session = self.polling()
        websocket = session.probe()
        for _ in range(2):
            self.expect_poll(session.get(), "6")
        websocket.send("5")
        self.expect_alive(Socket(websocket, session))

    @of_each(0, 0.005)
    def test_a_poll_that_waits_when_the_upgrade_is_done_is_refused(self, seconds):
        """On another connection it may come before the `5` that was sent first: the server keeps
        it for 20 ms or more before it answers noop."""
        session = self.polling()
        websocket = session.probe()
        poll = session.request("GET")
        time.sleep(seconds)
        websocket.send("5")
        self.expect_refusal(poll.answer(), 3)
        self.expect_alive(Socket(websocket, session))

    def test_nothing_comes_on_the_websocket_before_the_probe(self):
        session = self.polling()
        session.send("4before")
        websocket = session.knock()
        session.send("4after")
        self.expect_silent(websocket)
        self.expect_poll(session.get(), f"4before{SEPARATOR}4after")

    def test_a_message_during_the_upgrade_comes_back_through_the_poll(self):
        session = self.polling()
        websocket = session.probe()
        session.send("4hello")
        self.expect_poll(session.get(), "4hello")
        self.expect_poll(session.get(), "6")
        self.expect_silent(websocket)
        websocket.send("5")
        self.expect_alive(Socket(websocket, session))

    def test_a_poll_parked_during_the_upgrade_may_be_answered_with_a_message(self):
        session = self.polling()
        session.park()
        session.knock()
        session.send("4hello")
        self.expect_poll(session.get(), "4hello")

    def test_what_nobody_polled_for_comes_on_the_websocket_in_order(self):
        session = self.polling()
        websocket = session.probe()
        session.send("4one", b"\x02", "4three")
        self.expect_silent(websocket)
        websocket.send("5", "4four")
        self.expect(Socket(websocket, session), "4one", b"\x02", "4three", "4four")

    def test_what_was_sent_before_the_probe_comes_on_the_websocket_as_well(self):
        session = self.polling()
        session.send("4one")
        websocket = session.probe()
        websocket.send("5", "4two")
        self.expect(Socket(websocket, session), "4one", "4two")

    def test_500_messages_that_nobody_polled_for_come_on_the_websocket_in_order(self):
        session = self.polling()
        websocket = session.probe()
        packets = [f"4{number}" for number in range(500)]
        session.send(*packets)
        websocket.send("5", "4last")
        self.expect(Socket(websocket, session), *packets, "4last")

    @of_each("4hello", "2", "2other", "zzz", "", "1", "3probe", b"\x01")
    def test_a_websocket_that_begins_otherwise_is_closed_and_polling_goes_on(self, first):
        session = self.polling()
        websocket = session.knock()
        websocket.send(first)
        with self.assertRaises(Closed):
            websocket.next(0.25)
        self.expect_alive(session)

    def test_after_a_websocket_that_failed_another_may_upgrade(self):
        session = self.polling()
        failed = session.knock()
        failed.send("4hello")
        with self.assertRaises(Closed):
            failed.next()
        time.sleep(LEARNT_S)
        self.expect_alive(session.upgraded())

    @of_each("closed", "reset")
    def test_a_websocket_lost_before_the_probe_leaves_polling_as_it_was(self, how):
        session = self.polling()
        session.park()
        stream = session.knock().stream
        stream.close() if how == "closed" else stream.cut()
        time.sleep(LEARNT_S)
        self.expect_alive(session)

    def test_a_websocket_that_says_goodbye_before_the_probe_leaves_polling_as_it_was(self):
        session = self.polling()
        websocket = session.knock()
        websocket.send_close(1000)
        with self.assertRaises(Closed):
            websocket.next()
        self.expect_alive(session)

    def test_a_websocket_lost_after_the_probe_ends_the_session_with_an_error(self):
        """A client in that state sends nothing more, and only an error makes it come again."""
        session = self.polling()
        websocket = session.probe()
        session.park()
        websocket.stream.cut()
        self.expect_error(session.get())
        session.expect_unknown()

    def test_a_session_that_is_closed_closes_its_probing_websocket(self):
        session = self.polling()
        websocket = session.probe()
        self.expect_answer(session.post("1"), 200, b"ok")
        with self.assertRaises(Closed):
            websocket.next(0.25)
        session.expect_unknown()

    def test_a_parked_poll_that_is_cut_closes_the_probing_websocket(self):
        session = self.polling()
        websocket = session.knock()
        session.park().stream.cut()
        with self.assertRaises(Closed):
            websocket.next(0.25)
        session.expect_unknown()

    def test_an_upgraded_session_ends_with_its_websocket(self):
        session = self.polling()
        self.switched(session).websocket.stream.cut()
        time.sleep(LEARNT_S)
        session.expect_unknown()

    def test_the_upgrade_of_a_client_that_waits_for_nothing_but_the_probe(self):
        """Handshake, WebSocket, probe and `5` before any poll or POST."""
        session = self.polling()
        websocket = session.probe()
        websocket.send("5")
        websocket.send("4hello")
        self.expect(Socket(websocket, session), "4hello")

    def test_a_probe_in_fragments(self):
        session = self.polling()
        websocket = session.knock()
        websocket.send_frame(TEXT, b"2pr", final=False)
        websocket.send_frame(0, b"obe")
        self.assertEqual(websocket.next(), "3probe")

    def test_polls_of_others_are_not_answered_noop(self):
        other = self.polling()
        parked = other.park()
        session = self.polling()
        self.switched(session)
        self.assertFalse(parked.stream.has_data(LEARNT_S))

    def test_a_kept_connection_carries_the_poll_and_then_other_sessions(self):
        session = self.polling(keep_alive=True)
        self.expect_alive(self.switched(session))
        connection = session.kept["GET"]
        connection.send("GET", f"{self.path}?EIO=4&transport=polling")
        self.assertEqual(connection.answer().status, 200)


class OfSocketIO(Upgrades, Upgrading):
    about, path = "socket.io", "/socket.io/"
