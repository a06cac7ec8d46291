"""How sessions over long polling end: by the client, by its mistakes, by lost connections."""

import time

from ..cases import Case, of_each
from ..engine import LEARNT_S, SEPARATOR
from ..http1 import Connection
from ..websocket import Refused

MALFORMED = of_each(
    "abc", "", SEPARATOR, f"4a{SEPARATOR}", f"{SEPARATOR}4a", f"4a{SEPARATOR}{SEPARATOR}4b",
    "7", "94a", " 4a", f"4a{SEPARATOR}zzz", f"zzz{SEPARATOR}4a")


class Ends(Case):
    @MALFORMED
    def test_a_payload_that_is_malformed_is_answered_400(self, payload):
        self.assertEqual(self.polling().post(payload).status, 400)

    @MALFORMED
    def test_a_payload_that_is_malformed_ends_the_session(self, payload):
        session = self.polling()
        session.post(payload)
        session.expect_end()

    @of_each("b!!!!", "bAQI*", "bA")
    def test_base64_that_is_malformed_ends_the_session(self, payload):
        session = self.polling()
        self.assertEqual(session.post(payload).status, 400)
        session.expect_end()

    def test_a_body_that_is_not_utf_8_does_no_harm_to_others(self):
        other = self.polling()
        self.polling().post(b"4\xff\xfe")
        self.expect_alive(other)

    @of_each("2", "2probe")
    def test_a_ping_of_the_client_ends_the_session(self, packet):
        session = self.polling()
        session.offend(packet)
        session.expect_end()

    def test_a_second_poll_ends_the_session_and_the_parked_one_is_answered_close(self):
        session = self.polling()
        parked = session.park()
        second = session.request("GET").answer()
        self.assertIn(second.status, (400, 500), f"received {second}")
        self.expect_poll(parked.answer(), "1")
        session.expect_unknown()

    def test_a_second_post_while_one_is_being_read_ends_the_session(self):
        session = self.polling()
        Connection(self.server).send_part("POST", session.target, 10, b"4abc")
        time.sleep(LEARNT_S)
        self.assertEqual(session.post("4hello").status, 400)
        session.expect_end()

    def test_a_poll_right_after_a_parked_one_was_cut_is_refused(self):
        session = self.polling()
        session.park().stream.close()
        self.assertEqual(session.request("GET").answer().status, 400)

    def test_a_parked_poll_whose_connection_is_closed_ends_the_session(self):
        session = self.polling()
        session.park().stream.close()
        time.sleep(LEARNT_S)
        session.expect_unknown()

    def test_a_parked_poll_whose_connection_is_reset_ends_the_session(self):
        session = self.polling()
        session.park().stream.cut()
        time.sleep(LEARNT_S)
        session.expect_unknown()

    def test_a_kept_connection_may_be_closed_between_polls(self):
        session = self.polling(keep_alive=True)
        self.expect_alive(session)
        session.kept.pop("GET").stream.close()
        time.sleep(LEARNT_S)
        self.expect_alive(session)

    def test_a_post_that_is_cut_in_the_middle_ends_the_session(self):
        session = self.polling()
        Connection(self.server).send_part("POST", session.target, 10, b"4abc").stream.close()
        time.sleep(LEARNT_S)
        session.expect_unknown()

    def test_a_close_is_answered_ok_and_the_parked_poll_a_noop(self):
        session = self.polling()
        session.park()
        self.expect_answer(session.post("1"), 200, b"ok")
        self.expect_poll(session.get(), "6")
        session.expect_unknown()

    def test_a_close_and_a_poll_of_the_same_moment(self):
        session = self.polling()
        poll = session.request("GET")
        self.expect_answer(session.post("1"), 200, b"ok")
        self.expect_poll(poll.answer(), "6")
        session.expect_unknown()

    def test_a_close_without_a_parked_poll_ends_the_session(self):
        session = self.polling()
        self.expect_answer(session.post("1"), 200, b"ok")
        time.sleep(LEARNT_S)
        session.expect_unknown()

    def test_a_close_behind_a_message_is_answered_ok(self):
        session = self.polling()
        self.expect_answer(session.post(f"4bye{SEPARATOR}1"), 200, b"ok")
        time.sleep(LEARNT_S)
        session.expect_unknown()

    def test_a_websocket_of_a_session_that_ended_is_refused(self):
        session = self.polling()
        session.post("1")
        time.sleep(LEARNT_S)
        with self.assertRaises(Refused) as refused:
            session.knock()
        self.assertEqual(refused.exception.answer.status, 400)
