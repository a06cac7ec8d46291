"""Socket.IO: packets that cannot be read close the connection they came on, and no other."""

from ..cases import OverPolling, OverUpgrade, OverWebSocket, SocketIOCase, of_each
from ..sio import place

RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener",
            "removeListener"]


class Refusals:
    @of_each("4abc", "4", "42{}", '42abc["message-with-ack",1,"2",{"3":[false]}]', "40[]", '40"x"',
             "40null", "40true", "40{", '40{"token":"abc"', "40/custom,[]", "47", '48["x"]', "4-1")
    def test_a_packet_that_closes_a_connection_without_namespaces(self, packet):
        session = self.session()
        session.offend(packet)
        session.expect_end()

    @of_each(
        # No packet, or not its JSON.
        "4abc", "4", "47", "49", "4/", "42abc", '42["message"', '42["message",]', '42["message"]x',
        '42["message",01]', "42['message']", '42["message",NaN]', '42["message","\n"]',
        # Not the JSON that an event, an ack or another packet has.
        "42{}", "42[]", '42"message"', "42null", "42[null]", "42[{}]", '42[["message"]]',
        "43{}", '43"x"', "431{}", "41{}", "41[]", '44{"message":"x"}', '44"x"',
        # Binary events that announce nothing, or too much.
        '45["message"]', '4511-["message"]', '4599999999999999999999-["message"]',
        '45-1-["message"]', '451["message"]', "451-{}", "451-[]")
    def test_a_packet_that_closes_a_joined_connection(self, packet):
        session = self.joined()
        session.offend(packet)
        session.expect_end()

    @of_each(*RESERVED)
    def test_a_name_that_a_client_may_not_emit_closes_the_connection(self, name):
        session = self.joined()
        session.offend(f'42["{name}",1]')
        session.expect_end()

    def test_a_reserved_name_in_a_binary_event_closes_the_connection(self):
        session = self.joined()
        session.offend(f'451-["disconnect",{place(0)}]', b"\x01")
        session.expect_end()

    @of_each("1", "5", "-1", "0.5", '"0"', "null", "99999999999999999999")
    def test_a_place_without_an_attachment_closes_the_connection(self, number):
        session = self.joined()
        session.offend(f'451-["message",{place(number)}]', b"\x01")
        session.expect_end()

    @of_each('42["message",1]', "41", "40/custom,", "43[1]", f'451-["message",{place(0)}]')
    def test_a_packet_while_attachments_are_missing_closes_the_connection(self, packet):
        session = self.joined()
        session.offend(f'451-["message",{place(0)}]', packet)
        session.expect_end()

    def test_an_attachment_without_its_event_closes_the_connection(self):
        session = self.joined()
        session.offend(b"\x01")
        session.expect_end()

    def test_an_attachment_before_connect_closes_the_connection(self):
        session = self.session()
        session.offend(b"\x01")
        session.expect_end()

    def test_an_attachment_too_many_closes_the_connection(self):
        session = self.joined()
        session.send(f'451-7["message-with-ack",{place(0)}]', b"\x01")
        self.expect(session, f"461-7[{place(0)}]", b"\x01")
        session.offend(b"\x02")
        session.expect_end()

    def test_all_namespaces_of_a_connection_end_with_it_and_other_connections_go_on(self):
        other, session = self.joined(), self.joined()
        session.offend('42/custom,{"not":"an array"}')
        session.expect_end()
        self.expect_answering(other)


class RefusalsOverPolling(OverPolling, Refusals, SocketIOCase):
    pass


class RefusalsOverWebSocket(OverWebSocket, Refusals, SocketIOCase):
    pass


class RefusalsAfterAnUpgrade(OverUpgrade, SocketIOCase):
    def test_a_packet_that_cannot_be_read_closes_the_connection(self):
        session = self.joined()
        session.send("4abc")
        session.expect_end()
