"""Messages over long polling: what a POST and a poll carry, and how they are answered."""

import gzip
import zlib

from ..cases import Case, OverKeptConnections, OverPolling, of_each
from ..engine import SEPARATOR, packets_of
from ..http1 import Connection
from ..streams import shown

MAX_PAYLOAD = 1_000_000  # bytes


class Echoes:
    """What holds whether or not a client keeps its connections alive."""

    def test_a_message_is_taken_with_ok_and_comes_back_in_the_next_poll(self):
        session = self.session()
        answer = session.post("4hello")
        self.expect_answer(answer, 200, b"ok")
        self.assertEqual(answer.headers["content-type"].partition(";")[0], "text/html")
        self.expect_poll(session.get(), "4hello")

    def test_several_messages_of_one_post_come_back_in_one_poll(self):
        session = self.session()
        payload = SEPARATOR.join(["4test1", "4test2", "4test3"])
        self.expect_answer(session.post(payload), 200, b"ok")
        self.expect_poll(session.get(), payload)

    def test_messages_of_several_posts_come_back_in_one_poll(self):
        session = self.session()
        session.send("4first")
        session.send("4second", b"\x03")
        self.expect_poll(session.get(), SEPARATOR.join(["4first", "4second", "bAw=="]))

    def test_text_and_binary_come_back_in_one_payload(self):
        session = self.session()
        payload = SEPARATOR.join(["4hello", "bAQIDBA=="])
        self.expect_answer(session.post(payload), 200, b"ok")
        self.expect_poll(session.get(), payload)

    def test_posts_and_polls_in_turn(self):
        session = self.session()
        for number in range(30):
            session.send(f"4{number}")
            self.expect(session, f"4{number}")

    def test_a_parked_poll_waits_for_a_message(self):
        session = self.session()
        parked = session.park()
        self.assertFalse(parked.stream.has_data(0.05), "a poll was answered with nothing to say")
        session.send("4hello")
        self.expect_poll(session.get(), "4hello")

    def test_a_post_of_500_packets_comes_back_in_order(self):
        session = self.session()
        packets = [f"4{number}" for number in range(500)]
        session.send(*packets)
        self.expect(session, *packets)
        session.expect_quiet()


class EchoesOverPolling(OverPolling, Echoes, Case):
    pass


class EchoesOverKeptConnections(OverKeptConnections, Echoes, Case):
    pass


class Payloads(Case):
    def test_a_poll_is_answered_with_at_most_16_packets(self):
        session = self.polling()
        session.send(*(f"4{number}" for number in range(100)))
        counts = []
        while sum(counts) < 100:
            # A ping may be among them.
            packets = packets_of(session.get().text)
            self.assertLessEqual(len(packets), 16)
            counts.append(sum(packet.startswith("4") for packet in packets))

    def test_the_answer_to_a_poll_is_text_in_utf_8_and_is_not_stored(self):
        session = self.polling()
        session.send("4hello")
        answer = session.get()
        self.assertEqual(answer.headers["content-type"].lower(), "text/plain; charset=utf-8")
        self.assertIn("no-store", answer.headers["cache-control"])

    @of_each("4", "4é", "4😀 ﷽ \u2028", "4\u0000\t\r\n", "4 2", "4bAQID", "4" + "ab" * 5000)
    def test_a_text_that_comes_back_as_it_was(self, packet):
        session = self.polling()
        session.send(packet)
        self.expect_poll(session.get(), packet)

    @of_each(b"", b"\x00", b"\x00\x01", b"\x00\x01\x02", b"\x1e4", bytes(range(256)) * 100)
    def test_a_binary_message_that_comes_back_as_it_was(self, data):
        session = self.polling()
        session.send(data)
        self.expect(session, data)

    def test_an_answer_is_only_compressed_as_the_client_can_read_it(self):
        session = self.polling()
        session.send("4" + "hello " * 1000)
        answer = session.request("GET", {"Accept-Encoding": "gzip, deflate"}).answer()
        read = {"gzip": gzip.decompress, "deflate": zlib.decompress, "identity": bytes}
        encoding = answer.headers.get("content-encoding", "identity")
        self.assertEqual(read[encoding](answer.body), b"4" + b"hello " * 1000)

    @of_each(None, "text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded")
    def test_a_content_type_that_is_accepted(self, content_type):
        session = self.polling()
        self.expect_answer(session.post("4é", content_type), 200, b"ok")
        self.expect_poll(session.get(), "4é")

    def test_an_octet_stream_is_refused_and_ends_the_session(self):
        session = self.polling()
        answer = session.post("4hello", "application/octet-stream")
        self.assertEqual(answer.status, 400)
        session.expect_end()

    def test_a_post_of_max_payload_bytes_is_taken(self):
        session = self.polling()
        packet = "4" + "x" * (MAX_PAYLOAD - 1)
        self.expect_answer(session.post(packet), 200, b"ok")
        self.expect(session, packet)

    def test_a_post_of_more_bytes_is_answered_413_and_the_session_goes_on(self):
        session = self.polling()
        answer = session.post("4" + "x" * MAX_PAYLOAD)
        self.assertEqual(answer.status, 413, f"received {answer}")
        self.expect_alive(session)

    def test_max_payload_counts_bytes_and_not_characters(self):
        session = self.polling()
        answer = session.post("4" + "é" * (MAX_PAYLOAD // 2))
        self.assertEqual(answer.status, 413, f"received {answer}")
        self.expect_alive(session)

    @of_each("PUT", "DELETE", "HEAD")
    def test_another_method_is_refused_and_the_session_goes_on(self, method):
        session = self.polling()
        self.expect_error(session.request(method).answer())
        self.expect_alive(session)

    def test_an_options_request_leaves_the_session_as_it_was(self):
        session = self.polling()
        answer = session.request("OPTIONS").answer()
        if answer.status != 204:  # of a preflight
            self.expect_error(answer)
        self.expect_alive(session)

    @of_each("0", "5", "6", "3", "3x")
    def test_a_packet_without_meaning_here_is_ignored(self, packet):
        session = self.polling()
        session.send(packet)
        self.expect_alive(session)

    def test_a_request_of_another_transport_is_refused_and_the_session_goes_on(self):
        session = self.polling()
        target = session.target.replace("polling", "websocket")
        self.expect_refusal(Connection(self.server).send("GET", target).answer(), 3)
        self.expect_alive(session)

    def test_one_connection_serves_two_sessions_and_a_refusal_between(self):
        one, other = self.polling(), self.polling()
        connection = Connection(self.server, keep_alive=True)
        for number in range(3):
            for session in (one, other):
                packet = f"4{session.sid}{number}"
                connection.send("POST", session.target, body=packet.encode())
                self.expect_answer(connection.answer(), 200, b"ok")
                connection.send("GET", f"{self.path}?transport=polling")
                self.expect_refusal(connection.answer(), 5)
                connection.send("GET", session.target)
                self.expect_poll(connection.answer(), packet)

    def test_a_session_needs_no_eio_in_its_requests(self):
        session = self.polling()
        session.target = session.target.replace("EIO=4&", "")
        self.expect_alive(session)

    def test_sessions_hear_only_their_own_messages(self):
        sessions = [self.polling() for _ in range(5)]
        for session in sessions:
            session.send(f"4{session.sid}")
        for session in sessions:
            received = session.receive()
            self.assertEqual(received, f"4{session.sid}", f"received {shown(received)}")
