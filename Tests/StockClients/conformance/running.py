"""Which tests there are, how they are run, and what is printed of them."""

import fnmatch
import importlib
import pkgutil
import socket
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from . import tests
from .cases import Case

# Tests that measure no time are run at once: they mostly wait for the server.
WORKERS = 8


@dataclass(frozen=True)
class Outcome:
    name: str
    seconds: float
    complaints: list  # tracebacks
    transcript: str   # what went over its connections


def report(address, pattern, times):
    """Runs and prints them; whether all was well."""
    passed = failed = 0
    if is_there(address):
        for _ in range(times):
            for outcome in run(chosen(address, pattern)):
                show(outcome)
                passed += not outcome.complaints
                failed += bool(outcome.complaints)
    print(f"{passed} passed, {failed} failed", flush=True)
    return passed > 0 and failed == 0


def is_there(address):
    try:
        socket.create_connection(address, 3).close()
    except OSError as error:
        print("conformance: no server at {}:{}: {}".format(*address, error))
        return False
    return True


def chosen(address, pattern):
    """A fresh instance of each test whose name has `pattern` in it."""
    Case.address = address
    loader = unittest.TestLoader()
    suites = [loader.loadTestsFromModule(importlib.import_module(f"{tests.__name__}.{module.name}"))
              for module in pkgutil.iter_modules(tests.__path__)]
    return [test for test in flat(suites)
            if fnmatch.fnmatchcase(test.full_name(), f"*{pattern}*")]


def flat(suites):
    for suite in suites:
        if isinstance(suite, unittest.TestSuite):
            yield from flat(suite)
        else:
            yield suite


def run(cases):
    """An outcome of each, as they come: those that measure time last, with nothing beside them."""
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(run_one, [case for case in cases if not case.alone])
    yield from map(run_one, [case for case in cases if case.alone])


def run_one(case):
    result = unittest.TestResult()
    begun = time.monotonic()
    case.run(result)
    return Outcome(case.full_name(), time.monotonic() - begun,
                   [text for _, text in result.failures + result.errors],
                   case.server.transcript.text())


def show(outcome):
    print(f"{'FAILED' if outcome.complaints else 'ok    '} {outcome.seconds * 1000:5.0f} ms  "
          f"{outcome.name}", flush=True)
    for text in outcome.complaints:
        print(indented(text))
    if outcome.complaints:
        print(indented(outcome.transcript), flush=True)


def indented(text):
    return "".join(f"        {line}\n" for line in text.splitlines())
