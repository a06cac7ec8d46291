"""The command line; see __init__.py."""

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from . import (  # noqa: F401
    browser_tests, connection_tests, fleet_failure_tests, fleet_tests, ns_tests, recovery_tests,
    relay_tests, root_tests, v1_tests)
from .browser import Browser, BrowserClient, PageServer
from .expecting import Failure
from .fleet import Fleets
from .running import run, select
from .server import Martlet
from .stage import World


def main():
    words = argparse.ArgumentParser(prog="stock", description="Stock clients against Martlet.")
    words.add_argument("--martlet", required=True, type=Path, help="the program under test")
    words.add_argument("--only", default="", metavar="PATTERN",
                       help="only the tests whose names the regular expression is found in")
    words.add_argument("--chromium", help="the browser, where it is not in PATH as chromium")
    given = words.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    # The clients would ask a proxy of the machine's for this machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    tests = select(given.only)
    try:
        passed = on_servers(given, tests)
    except Exception:  # nothing is known of the tests then
        traceback.print_exc()
        passed = 0
    print(f"---- {time.monotonic() - begun:.0f} s")
    print(f"{passed} passed, {len(tests) - passed} failed", flush=True)
    return 0 if tests and passed == len(tests) else 1


def on_servers(given, tests):
    """How many passed."""
    with tempfile.TemporaryDirectory(prefix="martlet-stock-") as name:
        folder = Path(name)
        started = [pages := PageServer()]
        try:
            server = Martlet(given.martlet.resolve(), folder / "shared", pages.allowed)
            started.append(server)
            started.append(fleets := Fleets(given.martlet.resolve(), folder, pages.allowed))
            if any(BrowserClient in each.combination.kinds for each in tests):
                try:
                    started.append(browser := Browser(given.chromium, folder, pages))
                except Failure as failure:
                    browser = failure  # of each of its tests; the others go on
                BrowserClient.browser = browser
            return run(World(given.martlet.resolve(), folder, pages.allowed, server, fleets),
                       tests)
        finally:
            for each in reversed(started):
                each.stop()


if __name__ == "__main__":
    sys.exit(main())
