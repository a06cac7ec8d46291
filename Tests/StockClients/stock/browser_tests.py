"""What only a browser does: origins, and one connection for all namespaces of a server."""

from .browser import BrowserClient
from .expecting import Failure, eventually, same
from .root_tests import expect_in_order, message, send
from .running import test
from .stage import DEFAULT_BROWSER, EVERY_BROWSER, MESSAGES


@test("a page of an allowed origin that is not the server's gets in", on=EVERY_BROWSER)
def allowed_origin(stage):
    alice = stage.person("alice")
    chat = stage.chat(alice)
    client = stage.root(alice)
    origin = client.page.devtools.evaluate("location.origin")
    if client.host in origin or origin == stage.server.url:
        raise Failure(f"the page's origin {origin} is the server's")
    send(client, chat, "from another origin")
    client.expect("message", encryptedContent="from another origin")


@test("a page of an origin that is not allowed gets connect_errors, and nothing else",
      on=EVERY_BROWSER)
def foreign_origin(stage):
    browser = BrowserClient.browser
    if isinstance(browser, Failure):
        raise browser
    page = browser.open(browser.pages.foreign)
    client = stage.unconnected(stage.person("alice"), page=page)
    client.may_break = True
    client.start("/")
    client.expect("connect_error")
    client.expect_no("connect")
    client.expect_no("authenticated")


@test("ns: three namespaces are one session and one WebSocket", on=DEFAULT_BROWSER)
def one_connection(stage):
    client = stage.ns(stage.person("alice"))
    eventually("the upgrade", lambda: client.transport() == "websocket")
    client.ask("join_conversation", {"conversationId": "none"}, MESSAGES)
    page = client.page
    same("WebSockets", len([url for url in page.sockets if client.host in url]), 1)
    same("handshakes", len([url for url in page.requests if client.host in url
                            and "transport=polling" in url and "sid=" not in url]), 1)


@test("root: many messages emitted while it is upgrading arrive whole and in order",
      on=DEFAULT_BROWSER)
def during_the_upgrade(stage):
    alice, bob = stage.person("alice"), stage.person("bob")
    chat = stage.chat(alice, bob)
    receiver, client = stage.root(bob), stage.unconnected(alice)
    client.start("/")
    # The client holds them back until it is connected, and then sends them by whatever it has.
    contents = [f"early {number}" for number in range(50)]
    for content in contents:
        client.tell("message", message(chat, content))
    expect_in_order(receiver, contents)
