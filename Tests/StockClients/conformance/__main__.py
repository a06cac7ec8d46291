"""Tests a running server against Engine.IO 4 and Socket.IO 5. In Tests/StockClients:

  python3 -m conformance --url http://127.0.0.1:PORT
  python3 -m conformance --url http://127.0.0.1:PORT --only 'upgrade, *noop*'
  python3 -m conformance --url http://127.0.0.1:PORT --only heartbeat --times 20

The server has to do this:

  /engine.io/   Engine.IO that sends every message back
  /socket.io/   Socket.IO with the namespaces / and /custom and no other. On connection both emit
                ["auth", handshake.auth], {} where there is none. In / the event `message` is
                emitted back as `message-back` with the same arguments, and `message-with-ack` is
                acknowledged with them. Without connection state recovery.
  both          pingInterval 300 ms, pingTimeout 200 ms, maxPayload 1,000,000 bytes, and
                connectTimeout 1000 ms

The last line is `N passed, N failed`. Exit 1 if anything failed or no test ran.
"""

import argparse
import sys
from urllib.parse import urlsplit

sys.dont_write_bytecode = True
from .running import report  # noqa: E402


def parsed():
    parser = argparse.ArgumentParser(
        prog="conformance", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--url", required=True, type=address, metavar="http://HOST:PORT", help="the server")
    add("--only", default="", metavar="PATTERN",
        help="the tests whose names contain it; * stands for anything")
    add("--times", type=int, default=1, metavar="N", help="run them that often")
    return parser.parse_args()


def address(text):
    """Host and port of a URL."""
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname:
        raise argparse.ArgumentTypeError(f"'{text}' is not http://HOST:PORT")
    return url.hostname, url.port or 80


def main():
    options = parsed()
    sys.exit(0 if report(options.url, options.only, options.times) else 1)


main()
