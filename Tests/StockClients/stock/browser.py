"""The browser's stock client: socket.io.min.js in a page of Chromium's, served from an origin that
is not the server's."""

import base64
import http.server
import importlib.util
import itertools
import json
import threading
from pathlib import Path

from .clients import StockClient
from .devtools import Chromium, DevTools
from .expecting import PATIENCE_S, Failure, Refused, eventually, short

# Each client calls the server by a name of its own. So it has a Manager of its own, and its own six
# connections, which is what a browser opens to one host.
DOMAIN = "stock.test"


def bundle():
    """The file of the stock client, from where nicegui keeps it; nicegui is not imported."""
    found = importlib.util.find_spec("nicegui")
    paths = [path for folder in (found.submodule_search_locations if found else [])
             for path in sorted(Path(folder).glob("static/**/socket.io.min.js"))]
    if not paths:
        raise Failure("no socket.io.min.js: pip install --no-deps -r requirements.txt")
    return paths[0].read_bytes()


class PageServer:
    """Serves the page and the bundle, and nothing else."""

    def __init__(self):
        self.files = {"/": ("text/html", Path(__file__).with_name("page.html").read_bytes())}
        files = self.files

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                kind, content = files.get(self.path, ("text/plain", b"no such file"))
                self.send_response(200 if self.path in files else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        port = self.server.server_port
        # To a browser two origins, though one server.
        self.allowed, self.foreign = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Browser:
    """Chromium with its page."""

    def __init__(self, program, folder, pages):
        pages.files["/socket.io.min.js"] = ("text/javascript", bundle())
        self.pages = pages
        self.chromium = Chromium(program, folder, f"*.{DOMAIN}")
        try:
            self.page = self.open(pages.allowed)
        except BaseException:
            self.chromium.stop()
            raise

    def open(self, origin):
        return Page(self.chromium.open_page("about:blank"), origin)

    def stop(self):
        self.chromium.stop()


class Page:
    """One page with any number of clients."""

    def __init__(self, address, origin):
        self.clients = {}
        # The URLs of all requests and of all WebSockets, in order.
        self.requests, self.sockets = [], []
        self.devtools = DevTools(address, self.heard)
        for domain in ("Page", "Runtime", "Network"):
            self.devtools.call(f"{domain}.enable")
        self.devtools.call("Runtime.addBinding", name="report")
        self.devtools.call("Page.navigate", url=f"{origin}/")
        eventually(f"the page of {origin} to load the client", self.is_loaded)

    def is_loaded(self):
        return self.devtools.evaluate(
            "document.readyState === 'complete' && typeof io === 'function'")

    def heard(self, method, params):
        if method == "Runtime.bindingCalled":
            client, namespace, event, args = json.loads(params["payload"])
            self.clients[client].inbox.add(namespace, event, *args)
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.sockets.append(params["url"])

    def call(self, function, *args, within=PATIENCE_S):
        words = ", ".join(json.dumps(each, default=marked) for each in args)
        return self.devtools.evaluate(f"{function}({words})", within)


def marked(data):
    """Bytes, as the page understands them."""
    return {"$bytes": base64.b64encode(data).decode()}


class BrowserClient(StockClient):
    """The sockets of one Manager in a page. Handlers in JavaScript take any number of arguments."""

    kind = "browser"
    numbers = itertools.count(1)
    # Set where the browser has started; else why not.
    browser = Failure("no browser was started")

    def __init__(self, *words, page=None, recovers=False):
        """It recovers by itself, where the server lets it."""
        super().__init__(*words)
        if isinstance(self.browser, Failure):
            raise self.browser
        self.page = page or self.browser.page
        self.id = f"client-{next(self.numbers)}"
        self.host = f"{self.id}.{DOMAIN}"
        self.page.clients[self.id] = self
        self.namespaces = ()

    def start(self, *namespaces):
        self.namespaces = namespaces
        options = {"auth": self.auth}
        if self.transports:
            options["transports"] = self.transports
        self.page.call("start", self.id, self.url.replace("127.0.0.1", self.host), namespaces,
                       options)

    def connect(self, *namespaces):
        self.start(*namespaces)
        self.inbox.wait_until("to be connected", lambda: all(
            self.inbox.find("connect", each) or self.inbox.find("connect_error", each)
            for each in namespaces))
        for namespace in namespaces:
            for came in self.inbox.find("connect_error", namespace):
                raise Refused(self.inbox.who, came.payload)

    def ask(self, event, payload, namespace="/", within=PATIENCE_S):
        try:
            return self.page.call("ask", self.id, namespace, event, payload, within * 1000,
                                  within=within + 2)
        except Failure as failure:
            raise Failure(f"{self.inbox.who} expected an ack of {event} {short(payload)}: "
                          f"{failure}; {self.inbox}") from None

    def tell(self, event, payload, namespace="/"):
        self.page.call("tell", self.id, namespace, event, payload)

    def transport(self):
        return self.page.call("transport", self.id)

    def disconnect(self):
        if self.namespaces:
            self.page.call("disconnect", self.id)
