#!/usr/bin/env python3
"""summarise.py INDEX_JSON CASES: the verdict on one run of Autobahn|Testsuite.

INDEX_JSON is the index.json that wstest wrote; CASES how many cases were to run at least. Prints
the counts a section, lists every case that is not simply OK, and exits 1 on any case that is
FAILED, UNCLEAN, WRONG CODE or UNIMPLEMENTED, in behaviour or in closing, and on missing cases.
"""

import collections
import json
import sys

FINE = {"OK", "INFORMATIONAL"}
TOLERATED = {"NON-STRICT"}  # within the RFC's letter, but later than it could be; listed


def order(case):
    return [int(part) for part in case.split(".")]


def main(index, expected):
    with open(index) as file:
        agents = json.load(file)
    cases = {name: case for agent in agents.values() for name, case in agent.items()}
    sections = collections.defaultdict(collections.Counter)
    failed, non_strict = [], []
    for name in sorted(cases, key=order):
        behaviour, closing = cases[name]["behavior"], cases[name]["behaviorClose"]
        sections[name.split(".")[0]][behaviour] += 1
        code = cases[name].get("remoteCloseCode")
        line = f"  {name}: {behaviour}, closing {closing} (code {code})"
        if not {behaviour, closing} <= FINE | TOLERATED:
            failed.append(line)
        elif not {behaviour, closing} <= FINE:
            non_strict.append(line)
    for section in sorted(sections, key=int):
        counts = ", ".join(f"{count} {what}" for what, count in sorted(sections[section].items()))
        print(f"section {section}: {counts}")
    for title, lines in (("FAILED", failed), ("NON-STRICT (tolerated)", non_strict)):
        print(f"{title}: {len(lines)}", *lines, sep="\n")
    missing = len(cases) < expected
    if missing:
        print(f"of {expected} cases {len(cases)} ran")
    print(f"Autobahn: {len(cases)} cases, {len(failed)} failed, {len(non_strict)} non-strict")
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
