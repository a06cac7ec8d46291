"""Tests, and how a run of them goes: some at once, since most of a test is waiting."""

import re
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Callable

from .expecting import Failure
from .stage import EVERY, Combination, Stage

# How many run at once, in this order: most; those that would slow down others; those that look back
# at what the others did.
TOGETHER, ALONE, LAST = PHASES = "together", "alone", "last"
AT_ONCE = {TOGETHER: 5, ALONE: 1, LAST: 1}
TESTS = []


@dataclass(frozen=True)
class Test:
    """One sentence for one combination."""

    sentence: str
    combination: Combination
    body: Callable
    phase: str

    @property
    def name(self):
        return f"{self.combination}: {self.sentence}"


def test(sentence, on=EVERY, phase=TOGETHER):
    """Of a function that is given a Stage: a test for each of these combinations."""
    def register(body):
        TESTS.extend(Test(sentence, each, body, phase) for each in on)
        return body
    return register


def select(pattern):
    return [each for each in TESTS if re.search(pattern, each.name)]


def run(world, tests):
    """Prints each as it ends; how many passed."""
    return sum(run_phase(world, [each for each in tests if each.phase == phase], AT_ONCE[phase])
               for phase in PHASES)


def run_phase(world, tests, at_once):
    passed = 0
    pool = ThreadPoolExecutor(at_once)
    try:
        for ended in as_completed([pool.submit(outcome, world, each) for each in tests]):
            name, seconds, failure = ended.result()
            passed += failure is None
            print(f"{'FAILED' if failure else 'ok    '} {name} ({seconds:.1f} s)"
                  + (f"\n       error: {failure}" if failure else ""), flush=True)
    finally:
        # Where the run is ended from outside, those that have begun end what they started.
        pool.shutdown(cancel_futures=True)
    return passed


def outcome(world, each):
    """Name, seconds, and why it failed or None."""
    begun = time.monotonic()
    failure = None
    stage = Stage(world, each.combination)
    for step in (lambda: each.body(stage), stage.close):
        try:
            step()
        except Failure as error:
            failure = failure or str(error)
        except Exception:  # of a stock client, or a mistake of the test's
            failure = failure or traceback.format_exc()
    if failure and (ended := world.ended()):
        failure += f"\n       {ended}"
    return each.name, time.monotonic() - begun, failure
