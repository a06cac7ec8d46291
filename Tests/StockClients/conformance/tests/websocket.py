"""Engine.IO over WebSocket: frames are packets, and how such a session ends."""

import time

from ..cases import Case, of_each
from ..engine import LEARNT_S
from ..http1 import Connection
from ..streams import PATIENCE_S
from ..websocket import CLOSE, PING, PONG, TEXT, Closed, Refused, WebSocket

MAX_PAYLOAD = 1_000_000  # bytes


class Messages(Case):
    @of_each("4hello", "4", "4é😀\u2028", "4" + "x" * 124, "4" + "x" * 125, "4" + "x" * 65534,
             "4" + "x" * 65535, "4\x1e4two in one frame are one")
    def test_a_text_that_comes_back_as_it_was(self, packet):
        session = self.websocket()
        session.send(packet)
        self.expect(session, packet)

    @of_each(b"\x01\x02\x03\x04", b"", b"4", bytes(125), bytes(126), bytes(65535), bytes(65536))
    def test_a_binary_message_that_comes_back_as_it_was(self, data):
        session = self.websocket()
        session.send(data)
        self.expect(session, data)

    def test_a_text_frame_of_base64_is_a_binary_message(self):
        session = self.websocket()
        session.send("bAQIDBA==")
        self.expect(session, b"\x01\x02\x03\x04")

    def test_500_frames_in_one_segment_come_back_in_order(self):
        session = self.websocket()
        packets = [f"4{number}" if number % 5 else b"%d" % number for number in range(500)]
        session.send(*packets)
        self.expect(session, *packets)

    def test_a_message_in_fragments_with_a_ping_between_is_one(self):
        session = self.websocket()
        session.websocket.send_frame(TEXT, b"4hel", final=False)
        session.websocket.send_frame(0, b"lo ", final=False)
        session.websocket.send_frame(PING, b"between")
        session.websocket.send_frame(0, b"world")
        self.expect(session, "4hello world")

    def test_a_ping_frame_is_answered_with_its_payload(self):
        session = self.websocket()
        session.websocket.send_frame(PING, b"payload")
        _, opcode, payload = session.websocket.next_frame(time.monotonic() + PATIENCE_S)
        self.assertEqual((opcode, payload), (PONG, b"payload"))

    def test_a_message_of_max_payload_bytes_is_taken(self):
        session = self.websocket()
        packet = "4" + "x" * (MAX_PAYLOAD - 1)
        session.send(packet)
        self.expect(session, packet)

    def test_a_message_of_more_bytes_is_closed_1009(self):
        session = self.websocket()
        session.send("4" + "x" * MAX_PAYLOAD)
        self.assertEqual(session.expect_end(), 1009)

    def test_a_binary_message_of_more_bytes_is_closed_1009(self):
        session = self.websocket()
        session.send(bytes(MAX_PAYLOAD + 1))
        self.assertEqual(session.expect_end(), 1009)

    @of_each("0", "5", "6", "3", "3x")
    def test_a_packet_without_meaning_here_is_ignored(self, packet):
        session = self.websocket()
        session.send(packet)
        self.expect_alive(session)


class Ends(Case):
    @of_each("abc", "", "7", " 4a", "\x1e")
    def test_a_frame_that_is_no_packet_closes_the_websocket(self, text):
        session = self.websocket()
        session.send(text)
        session.expect_end()

    @of_each("2", "2probe")
    def test_a_ping_of_the_client_closes_the_websocket(self, packet):
        session = self.websocket()
        session.send(packet)
        session.expect_end()

    def test_a_close_packet_closes_the_websocket_at_once(self):
        session = self.websocket()
        session.send("1")
        session.expect_end(0.2)

    def test_a_close_frame_is_answered_and_the_connection_ends(self):
        session = self.websocket()
        session.websocket.send_close(1000)
        with self.assertRaises(Closed) as closed:
            session.receive()
        self.assertEqual(closed.exception.code, 1000)
        stream = session.websocket.stream
        self.assertTrue(stream.has_data(1) and stream.ended,
                        "the server left the connection open after the close frames")

    def test_a_session_whose_websocket_was_cut_is_over(self):
        session = self.websocket()
        session.websocket.stream.cut()
        time.sleep(LEARNT_S)
        session.expect_unknown()

    def test_a_message_right_before_the_close_frame_does_no_harm(self):
        session = self.websocket()
        session.send("4bye", "1")
        session.websocket.send_frame(CLOSE, b"")
        other = self.websocket()
        self.expect_alive(other)

    @of_each("GET", "POST")
    def test_polling_with_the_sid_of_a_websocket_is_refused(self, method):
        session = self.websocket()
        body = b"4hello" if method == "POST" else None
        connection = Connection(self.server).send(method, session.target, body=body)
        self.expect_refusal(connection.answer(), 3)
        self.expect_alive(session)

    def test_a_get_with_the_sid_and_transport_of_a_websocket_is_refused(self):
        session = self.websocket()
        target = session.target.replace("polling", "websocket")
        self.expect_refusal(Connection(self.server).send("GET", target).answer(0.3), 3)
        self.expect_alive(session)

    def test_a_second_websocket_with_the_sid_is_refused_or_closed(self):
        session = self.websocket()
        target = session.target.replace("polling", "websocket")
        with self.assertRaises((Refused, Closed)):
            WebSocket(self.server, target).next(0.25)
        self.expect_alive(session)
