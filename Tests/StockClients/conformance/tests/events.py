"""Socket.IO: events, acks and binary attachments that come back as they were sent."""

import json

from ..cases import (
    OverKeptConnections, OverPolling, OverUpgrade, OverWebSocket, SocketIOCase, of_each)
from ..engine import SEPARATOR, Socket
from ..sio import Event, expect_joined, join, place, receive_event

ONE, TWO = b"\x01\x02\x03", b"\x04\x05\x06"
# JSON as JavaScript writes it.
ARGUMENTS = of_each(
    '1,"2",{"3":[true]}', '1,"2",{"3":[false]}', "null,true,false",
    "0,-1,1.5,0.1,-2.25,9007199254740991,-9007199254740991,1e+21,1e-7,5e-324",
    '"","é","😀","\u2028","\ufeff","ﷺ","日本"', r'"\"","\\","\n","\r\t\b\f","\u0001","\u001f"',
    '"/","</script>","\x7f"', '"␞","a,b","42[\\"x\\"]"', '{},[],[[]],{"":{}},[{}]',
    '{"b":1,"a":{"z":null,"y":[]}}', "[" * 20 + "]" * 20, '"' + "x" * 100_000 + '"',
    ",".join(map(str, range(500))), '{"_placeholder":true,"num":0}', '{"sid":"x","pid":"y"}')


class Events:
    @ARGUMENTS
    def test_the_arguments_of_an_event_come_back_byte_for_byte(self, arguments):
        session = self.joined()
        session.send(f'42["message",{arguments}]')
        self.expect(session, f'42["message-back",{arguments}]')

    @ARGUMENTS
    def test_the_arguments_of_an_ack_come_back_byte_for_byte(self, arguments):
        session = self.joined()
        session.send(f'42456["message-with-ack",{arguments}]')
        self.expect(session, f"43456[{arguments}]")

    @of_each("1.0,1e2,-0.0,100E-2", r'"\u00e9","\/","\ud83d\ude00","A"', ' 1 ,\t[ 2 , 3 ]\n',
             ' { "a" : { } , "b" : [ ] } ')
    def test_json_that_another_client_writes_comes_back_with_the_same_values(self, arguments):
        session = self.joined()
        session.send(f'42["message",{arguments}]')
        self.assertEqual(receive_event(session).arguments,
                         ["message-back", *json.loads(f"[{arguments}]")])

    def test_an_event_without_arguments(self):
        session = self.joined()
        session.send('42["message"]', '420["message-with-ack"]')
        self.expect(session, '42["message-back"]', "430[]")

    @of_each("0", "1", "42", "999999999", "999999999999999")
    def test_an_id_that_an_ack_brings_back(self, id):
        session = self.joined()
        session.send(f'42{id}["message-with-ack",1]')
        self.expect(session, f"43{id}[1]")

    @of_each("9" * 16, "1" * 21, "1" * 400)
    def test_an_id_that_is_too_long_does_no_harm_to_others(self, id):
        other, session = self.joined(), self.joined()
        session.offend(f'42{id}["message-with-ack",1]')
        self.expect_answering(other)
        self.joined()

    def test_an_event_of_an_unknown_name_is_ignored(self):
        session = self.joined()
        session.send('42["nobody",1]', '427["nobody"]', '42["error",1]', '42["ping"]',
                     '42["Message",1]', '42["message-back",1]')
        self.expect_answering(session)

    def test_an_ack_that_nobody_waits_for_is_ignored(self):
        session = self.joined()
        session.send("4399[1]", "43[1]", '430["x"]')
        self.expect_answering(session)

    def test_the_main_namespace_may_be_named(self):
        session = self.joined()
        session.send('42/,["message",1]', '42/,7["message-with-ack",2]')
        self.expect(session, '42["message-back",1]', "437[2]")

    def test_an_event_for_another_namespace_is_not_answered_by_the_main_one(self):
        session = self.joined()
        join(session, "/custom")
        session.send('42/custom,["message",1]')
        self.expect_answering(session)

    def test_300_events_come_back_in_order(self):
        session = self.joined()
        session.send(*(f'42["message",{number}]' for number in range(300)))
        self.expect(session, *(f'42["message-back",{number}]' for number in range(300)))

    def test_events_and_acks_keep_their_order(self):
        session = self.joined()
        session.send('42["message",1]', '425["message-with-ack",2]', '42["message",3]')
        self.expect(session, '42["message-back",1]', "435[2]", '42["message-back",3]')


class Binaries:
    def test_a_binary_event_comes_back_with_its_attachments(self):
        session = self.joined()
        session.send(f'452-["message",{place(0)},{place(1)}]', ONE, TWO)
        self.expect(session, f'452-["message-back",{place(0)},{place(1)}]', ONE, TWO)

    def test_a_binary_event_is_acknowledged_with_its_attachments(self):
        session = self.joined()
        session.send(f'452-789["message-with-ack",{place(0)},{place(1)}]', ONE, TWO)
        self.expect(session, f"462-789[{place(0)},{place(1)}]", ONE, TWO)

    @of_each(
        (f'{{"a":{{"b":[{place(0)}]}},"c":{place(1)}}}', [ONE, TWO],
         [{"a": {"b": [ONE]}, "c": TWO}]),
        (f"{place(1)},{place(0)}", [ONE, TWO], [TWO, ONE]),
        (f"{place(0)},{place(0)}", [ONE], [ONE, ONE]),
        ('"x"', [ONE], ["x"]),
        (f"{place(0)},1", [b""], [b"", 1]),
        (place(0), [bytes(range(256)) * 1000], [bytes(range(256)) * 1000]),
        (",".join(map(place, range(10))), [b"%d" % number for number in range(10)],
         [b"%d" % number for number in range(10)]))
    def test_attachments_that_come_back_in_their_places(self, arguments, attachments, expected):
        session = self.joined()
        session.send(f'45{len(attachments)}-["message",{arguments}]', *attachments)
        self.assertEqual(receive_event(session),
                         Event("2", "/", "", ["message-back", *expected]))
        self.expect_answering(session)

    def test_the_main_namespace_may_be_named_in_a_binary_event(self):
        session = self.joined()
        session.send(f'451-/,7["message-with-ack",{place(0)}]', ONE)
        self.expect(session, f"461-7[{place(0)}]", ONE)

    def test_attachments_may_come_later_than_their_event(self):
        session = self.joined()
        session.send(f'452-["message",{place(0)},{place(1)}]')
        session.expect_quiet()
        session.send(ONE)
        session.expect_quiet()
        session.send(TWO)
        self.expect(session, f'452-["message-back",{place(0)},{place(1)}]', ONE, TWO)

    def test_a_pong_may_come_between_an_event_and_its_attachment(self):
        session = self.joined()
        session.send(f'451-["message",{place(0)}]', "3", ONE, "3")
        self.expect(session, f'451-["message-back",{place(0)}]', ONE)

    def test_a_binary_event_without_attachments_leaves_the_connection_as_it_was(self):
        session = self.joined()
        session.send('450-["message",1]', '42["message",2]')
        self.expect(session, '42["message-back",1]', '42["message-back",2]')

    def test_many_binary_events_come_back_in_order(self):
        session = self.joined()
        for number in range(40):
            session.send(f'451-["message",{number},{place(0)}]', b"%d" % number)
        for number in range(40):
            self.expect(session, f'451-["message-back",{number},{place(0)}]', b"%d" % number)


class EventsOverPolling(OverPolling, Events, Binaries, SocketIOCase):
    def test_a_binary_event_is_base64_in_the_payload(self):
        session = self.joined()
        event = f'451-["message",{place(0)}]'
        self.expect_answer(session.post(f"{event}{SEPARATOR}bAQID"), 200, b"ok")
        self.expect_poll(session.get(),
                         f'451-["message-back",{place(0)}]{SEPARATOR}bAQID')


class EventsOverKeptConnections(OverKeptConnections, Binaries, SocketIOCase):
    pass


class EventsOverWebSocket(OverWebSocket, Events, Binaries, SocketIOCase):
    pass


class EventsAfterAnUpgrade(OverUpgrade, Binaries, SocketIOCase):
    pass


class EventsThroughAnUpgrade(SocketIOCase):
    about = "during an upgrade"

    def test_a_namespace_joined_over_polling_goes_on_over_the_websocket(self):
        polling = self.polling()
        sid = join(polling)
        session = polling.upgraded()
        self.expect_answering(session)
        self.assertNotEqual(join(session, "/custom"), sid)

    def test_a_connect_by_polling_may_be_answered_on_the_websocket(self):
        polling = self.polling()
        websocket = polling.probe()
        polling.send("40")
        websocket.send("5")
        session = Socket(websocket, polling)
        expect_joined(session)
        self.expect_answering(session)

    def test_a_binary_event_may_be_split_by_the_upgrade(self):
        polling = self.polling()
        join(polling)
        polling.send(f'451-["message",{place(0)}]')
        session = polling.upgraded()
        session.send(ONE)
        self.expect(session, f'451-["message-back",{place(0)}]', ONE)
