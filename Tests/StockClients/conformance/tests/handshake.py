"""Handshakes, and requests that are refused before they reach a session.

They look the same on the path of Engine.IO and on that of Socket.IO."""

from ..cases import Case, of_each
from ..http1 import Connection, ask
from ..websocket import Closed, Refused, WebSocket

KEYS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
NOWHERE = "sid=AAAAAAAAAAAAAAAAAAAA"  # the sid of no session


class Handshakes:
    def ask(self, method, query, headers=None, body=None):
        return ask(self.server, method, f"{self.path}?{query}", headers, body)

    def expect_opening(self, opening, upgrades):
        self.assertEqual(set(opening), KEYS)
        self.assertEqual(opening, {"sid": opening["sid"], "upgrades": upgrades,
                                   "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1000000})

    def test_a_polling_handshake_is_answered_with_an_open_packet_of_five_keys(self):
        self.expect_opening(self.polling().opening, ["websocket"])

    def test_a_websocket_begins_with_an_open_packet_that_offers_no_upgrade(self):
        self.expect_opening(self.websocket().opening, [])

    def test_the_answer_to_a_handshake_is_text_in_utf_8_and_is_not_stored(self):
        answer = self.ask("GET", "EIO=4&transport=polling")
        self.assertEqual(answer.headers["content-type"].lower(), "text/plain; charset=utf-8")
        self.assertIn("no-store", answer.headers["cache-control"])
        self.assertEqual(answer.headers["content-length"], str(len(answer.body)))

    def test_each_session_has_a_sid_of_its_own_that_a_url_takes_as_it_is(self):
        sids = [self.polling().sid, self.polling().sid, self.websocket().sid, self.websocket().sid]
        self.assertEqual(len(set(sids)), 4)
        for sid in sids:
            self.assertRegex(sid, r"^[A-Za-z0-9_-]{16,}$")

    @of_each(
        "transport=polling&EIO=4",
        "EIO=4&transport=polling&sid=",
        "EIO=4&transport=polling&t=Pq7x.9&b64=1",
        "token=a%20b%26c&EIO=4&transport=polling",
        "x=%C3%A9&y&&EIO=4&transport=polling&",
        "EIO=3&EIO=4&transport=abc&transport=polling")
    def test_a_query_that_is_a_handshake(self, query):
        answer = self.ask("GET", query)
        self.assertEqual((answer.status, answer.body[:2]), (200, b"0{"), f"received {answer}")

    @of_each(
        # Of several faults the one with the first place in this list is told.
        ("GET", "EIO=4", 0),
        ("GET", "EIO=4&transport=", 0),
        ("GET", "EIO=4&transport=abc", 0),
        ("GET", "EIO=4&transport=webtransport", 0),
        ("GET", "EIO=4&transport=__proto__", 0),
        ("GET", f"transport=abc&{NOWHERE}", 0),
        ("POST", "transport=abc", 0),
        ("GET", "EIO=4&transport=polling&transport=abc", 0),
        ("GET", f"EIO=4&transport=polling&{NOWHERE}", 1),
        ("GET", f"EIO=4&transport=websocket&{NOWHERE}", 1),
        ("POST", f"EIO=4&transport=polling&{NOWHERE}", 1),
        ("GET", f"transport=polling&{NOWHERE}", 1),
        ("PUT", f"EIO=3&transport=polling&{NOWHERE}", 1),
        ("POST", "EIO=4&transport=polling", 2),
        ("PUT", "EIO=4&transport=polling", 2),
        ("DELETE", "EIO=4&transport=polling", 2),
        ("POST", "EIO=3&transport=polling", 2),
        ("POST", "EIO=4&transport=polling&sid=", 2),
        ("GET", "EIO=4&transport=websocket", 3),
        ("GET", "EIO=3&transport=websocket", 3),
        ("GET", "transport=polling", 5),
        ("GET", "EIO=&transport=polling", 5),
        ("GET", "EIO=abc&transport=polling", 5),
        ("GET", "EIO=3&transport=polling", 5),
        ("GET", "EIO=5&transport=polling", 5),
        ("GET", "EIO=4&EIO=3&transport=polling", 5))
    def test_a_request_that_is_refused_with_a_code(self, method, query, code):
        body = b"" if method in ("POST", "PUT") else None
        self.expect_refusal(self.ask(method, query, body=body), code)

    def test_a_head_request_is_no_handshake(self):
        self.assertEqual(self.ask("HEAD", "EIO=4&transport=polling").status, 400)

    def test_an_options_request_is_a_preflight_or_no_handshake(self):
        answer = self.ask("OPTIONS", "EIO=4&transport=polling")
        if answer.status != 204:
            self.expect_refusal(answer, 2)

    def test_the_path_without_its_last_slash_is_another(self):
        path = self.path.removesuffix("/")
        self.expect_error(ask(self.server, "GET", f"{path}?EIO=4&transport=polling"))

    def test_a_connection_goes_on_after_a_refusal(self):
        connection = Connection(self.server, keep_alive=True)
        for _ in range(2):
            connection.send("GET", f"{self.path}?EIO=3&transport=polling")
            self.expect_refusal(connection.answer(), 5)
        connection.send("POST", f"{self.path}?EIO=4&transport=polling", body=b"4hello")
        self.expect_refusal(connection.answer(), 2)
        connection.send("GET", f"{self.path}?EIO=4&transport=polling")
        self.assertEqual(connection.answer().status, 200)

    def test_the_origin_of_the_server_itself_is_accepted(self):
        origin = {"Origin": f"http://{self.server.host}:{self.server.port}"}
        answer = self.ask("GET", "EIO=4&transport=polling", origin)
        self.assertEqual(answer.status, 200)
        self.assertIn(answer.headers.get("access-control-allow-origin"),
                      (None, "*", origin["Origin"]))
        websocket = WebSocket(self.server, f"{self.path}?EIO=4&transport=websocket", origin)
        self.assertTrue(websocket.next().startswith("0{"))

    def test_an_origin_with_a_control_character_is_refused(self):
        answer = self.ask("GET", "EIO=4&transport=polling", {"Origin": "http://a\x01b"})
        self.assertEqual(answer.status, 400)

    @of_each("EIO=4", "EIO=4&transport=abc", f"EIO=4&transport=websocket&{NOWHERE}",
             "transport=websocket", "EIO=abc&transport=websocket", "EIO=3&transport=websocket")
    def test_an_upgrade_that_is_refused_before_the_101(self, query):
        with self.assertRaises(Refused) as refused:
            WebSocket(self.server, f"{self.path}?{query}")
        self.assertEqual(refused.exception.answer.status, 400)

    def test_an_upgrade_that_names_polling_is_refused_or_closed(self):
        with self.assertRaises((Refused, Closed)):
            WebSocket(self.server, f"{self.path}?EIO=4&transport=polling").next()

    def test_many_websockets_are_opened_at_once(self):
        sessions = [self.websocket() for _ in range(20)]
        self.assertEqual(len({session.sid for session in sessions}), 20)


class OfEngineIO(Handshakes, Case):
    about = "engine.io"


class OfSocketIO(Handshakes, Case):
    about, path = "socket.io", "/socket.io/"
