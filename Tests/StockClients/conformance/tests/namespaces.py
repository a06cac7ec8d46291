"""Socket.IO: how namespaces are joined, refused and left, and the time there is for it."""

import time

from ..cases import OverPolling, OverWebSocket, SocketIOCase, of_each
from ..engine import LEARNT_S, SEPARATOR
from ..sio import connect_packet, expect_joined, join, sid_of

NOBODY = '44/random,{"message":"Invalid namespace"}'
CONNECT_TIMEOUT_S = 1.0
LATE_S = 0.4  # that a busy machine may take longer


class Namespaces:
    @of_each(
        ("/", ""), ("/", "{}"), ("/", '{"token":"123"}'), ("/custom", ""),
        ("/custom", '{"token":"abc"}'), ("/", '{"a":[1,{"b":null}],"é":"\\"😀/"}'))
    def test_a_namespace_is_joined_and_the_client_authentication_is_seen(self, namespace, payload):
        join(self.session(), namespace, payload)

    def test_the_main_namespace_may_be_named(self):
        session = self.session()
        session.send("40/,")
        expect_joined(session)

    @of_each("40/custom", "40/custom,")
    def test_the_comma_behind_a_namespace_may_be_left_out_at_the_end(self, packet):
        session = self.session()
        session.send(packet)
        expect_joined(session, "/custom")

    def test_the_sids_of_session_and_namespaces_differ(self):
        session = self.session()
        sids = {session.sid, join(session), join(session, "/custom")}
        self.assertEqual(len(sids), 3, f"received {sids}")

    @of_each(
        ("40/random", NOBODY), ("40/random,", NOBODY), ('40/random,{"token":"abc"}', NOBODY),
        ("40/custom/", '44/custom/,{"message":"Invalid namespace"}'),
        ("40/custom?x=1,", '44/custom?x=1,{"message":"Invalid namespace"}'))
    def test_a_namespace_that_does_not_exist_is_refused_and_others_are_not(self, packet, reply):
        session = self.session()
        session.send(packet)
        self.expect(session, reply)
        join(session)
        self.expect_answering(session)

    def test_namespaces_joined_in_one_go_are_answered_each(self):
        session = self.session()
        session.send("40", '40/custom,{"token":"abc"}', "40/random,")
        replies = [session.receive() for _ in range(5)]
        main = [reply for reply in replies if reply[2] in "{["]
        custom = [reply for reply in replies if reply[2:].startswith("/custom,")]
        self.assertEqual([len(main), len(custom)], [2, 2], f"received {replies}")
        sid_of(main[0])
        sid_of(custom[0], "/custom")
        self.assertEqual(main[1], '42["auth",{}]')
        self.assertEqual(custom[1], '42/custom,["auth",{"token":"abc"}]')
        self.assertIn(NOBODY, replies)

    def test_a_namespace_is_left_without_an_answer_and_the_connection_stays(self):
        session = self.joined()
        session.send("41")
        session.expect_quiet()
        join(session)
        self.expect_answering(session)

    def test_a_namespace_that_was_left_is_joined_again_with_another_sid(self):
        session = self.session()
        first = join(session)
        session.send("41")
        session.expect_quiet()
        self.assertNotEqual(join(session, payload='{"token":"2"}'), first)
        self.expect_answering(session)

    @of_each("/", "/custom")
    def test_a_namespace_is_left_and_joined_again_in_one_go(self, namespace):
        session = self.session()
        join(session, namespace)
        packet = connect_packet(namespace)
        session.send(packet.replace("40", "41"), packet)
        expect_joined(session, namespace)

    @of_each("41/custom", "41/custom,")
    def test_leaving_one_namespace_leaves_the_other(self, packet):
        session = self.joined()
        join(session, "/custom")
        session.send(packet, '42["message","message to main namespace"]')
        self.expect(session, '42["message-back","message to main namespace"]')

    def test_an_event_for_a_namespace_that_was_left_is_not_answered(self):
        session = self.joined()
        join(session, "/custom")
        session.send("41", '42["message","late"]')
        # Whether the connection is closed for it is the server's choice.
        try:
            received = session.receive(0.1)
        except AssertionError:
            return
        self.assertNotIn("message-back", received)

    @of_each('42["message","x"]', '421["message-with-ack","x"]', "41", "43[1]",
             '42/custom,["message"]')
    def test_a_packet_before_connect_closes_the_connection(self, packet):
        session = self.session()
        session.offend(packet)
        session.expect_end()

    @of_each("/", "/custom")
    def test_joining_a_namespace_twice_closes_the_connection(self, namespace):
        session = self.session()
        join(session, namespace)
        session.offend(connect_packet(namespace))
        session.expect_end()

    def test_a_client_that_joins_nothing_is_closed_after_the_connect_timeout(self):
        begun = time.monotonic()
        session = self.session()
        session.expect_end(CONNECT_TIMEOUT_S + LATE_S)
        self.expect_connect_timeout(begun)

    def test_a_namespace_that_was_refused_does_not_stop_the_connect_timeout(self):
        begun = time.monotonic()
        session = self.session()
        session.send("40/random")
        self.expect(session, NOBODY)
        session.expect_end(CONNECT_TIMEOUT_S + LATE_S)
        self.expect_connect_timeout(begun)

    def test_the_connect_timeout_is_over_once_any_namespace_was_joined(self):
        session = self.joined()
        session.send("41")
        session.expect_quiet(CONNECT_TIMEOUT_S + 0.2)
        join(session)
        self.expect_answering(session)

    def expect_connect_timeout(self, begun):
        passed = time.monotonic() - begun
        self.assertGreater(passed, CONNECT_TIMEOUT_S - 0.01, "closed too early")


class NamespacesOverPolling(OverPolling, Namespaces, SocketIOCase):
    def test_leaving_a_namespace_and_closing_in_one_post_ends_the_session(self):
        session = self.joined()
        self.expect_answer(session.post(f"41{SEPARATOR}1"), 200, b"ok")
        time.sleep(LEARNT_S)
        session.expect_unknown()


class NamespacesOverWebSocket(OverWebSocket, Namespaces, SocketIOCase):
    def test_leaving_a_namespace_and_closing_in_one_segment_ends_the_session(self):
        session = self.joined()
        session.send("41", "1")
        session.expect_end()
