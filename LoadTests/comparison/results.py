"""What was measured, as tables: medians with their spread, ratios within a repeat."""

import statistics
from dataclasses import dataclass, field

from .measuring import spread

# Above this the client is what is measured, and only CPU a unit says anything of the server.
CLIENT_IS_FULL = 0.95
# Above this a latency from the time a message was due is to a part the client's.
CLIENT_IS_LATE = 0.01
NOTHING = "–"

COUNT, RATIO, CPU, PART = "{:,.0f}", "{:.2f}", "{:.2f}", "{:.0%}"
# Head, what of a window, form, and whether it is that of the base which it is divided by.
COLUMNS = {
    "closed": [("{units}/s", "rate", COUNT, False), ("÷ {base}", "rate", RATIO, True),
               ("server CPU µs a {unit}", "cpuEach", CPU, False),
               ("CPU ÷ {base}", "cpuEach", RATIO, True), ("client's core", "client", PART, False),
               ("p50 µs", "p50", COUNT, False), ("p99 µs", "p99", COUNT, False)],
    "open": [("{units}/s", "rate", COUNT, False), ("p50 µs", "p50", COUNT, False),
             ("p99 µs", "p99", COUNT, False), ("p99 ÷ {base}", "p99", RATIO, True),
             ("p99.9 µs", "p999", COUNT, False),
             ("server CPU µs a {unit}", "cpuEach", CPU, False),
             ("CPU ÷ {base}", "cpuEach", RATIO, True), ("server's core", "server", PART, False)],
    "opens": [("{units}/s", "rate", COUNT, False), ("÷ {base}", "rate", RATIO, True),
              ("server CPU µs a {unit}", "cpuEach", CPU, False),
              ("CPU ÷ {base}", "cpuEach", RATIO, True), ("p50 µs", "p50", COUNT, False),
              ("p99 µs", "p99", COUNT, False)],
    "memory": [("private bytes a {unit}", "memory", COUNT, False),
               ("÷ {base}", "memory", RATIO, True)],
}
# What stands for a case in the overview.
RESULT = {"closed": "rate", "open": "p99", "opens": "rate", "memory": "memory"}
PLURALS = {"message": "messages", "delivery": "deliveries", "connection": "connections"}


@dataclass
class Results:
    """Of one comparison. `windows`: (case name, peer name) → repeat → window; `failures` likewise,
    with the reason instead."""
    cases: list
    peers: list
    bases: list  # names in this order: the first that was measured and shows what it can
    not_installed: dict = field(default_factory=dict)  # peer name → why
    left_out: dict = field(default_factory=dict)       # (case name, peer name) → why
    windows: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)

    def add(self, case, peer, repeat, window):
        self.windows.setdefault((case.name, peer.name), {})[repeat] = window

    def add_failure(self, case, peer, repeat, reason):
        self.failures.setdefault((case.name, peer.name), {})[repeat] = reason

    def base_of(self, case):
        """The name of whom the others are divided by in that case."""
        by_name = {peer.name: peer for peer in self.peers}
        able = [name for name in self.bases
                if (case.name, name) in self.windows and case.name not in by_name[name].caveats]
        return (able or self.bases)[0]

    def values(self, case, peer_name, what, by_base=False):
        """One a repeat. A ratio needs both windows of the same repeat, so that drift cancels."""
        mine = self.windows.get((case.name, peer_name), {})
        if not by_base:
            return [w[what] for w in mine.values() if w.get(what) is not None]
        theirs = self.windows.get((case.name, self.base_of(case)), {})
        pairs = [(w.get(what), theirs.get(repeat, {}).get(what)) for repeat, w in mine.items()]
        return [a / b for a, b in pairs if a is not None and b]

    def client_is_full(self, case, peer_name):
        shares = self.values(case, peer_name, "client")
        return case.kind == "closed" and statistics.median(shares or [0]) > CLIENT_IS_FULL

    def client_is_late(self, case, peer_name):
        shares = self.values(case, peer_name, "late")
        return case.kind == "open" and statistics.median(shares or [0]) > CLIENT_IS_LATE

    # ---- tables: (heads, rows) of text

    def of_case(self, case):
        columns = COLUMNS[case.kind]
        names = {"base": self.base_of(case), "unit": case.unit, "units": PLURALS[case.unit]}
        heads = ["median [least–most]", *(head.format(**names) for head, *_ in columns)]
        return heads, [[peer.title, *self.cells(case, peer, columns)] for peer in self.peers]

    def cells(self, case, peer, columns):
        key = case.name, peer.name
        if key not in self.windows:
            return [self.why_nothing(case, peer), *[NOTHING] * (len(columns) - 1)]
        cells = []
        for _, what, form, by_base in columns:
            values = self.values(case, peer.name, what, by_base)
            cells.append(spread(values, form) if values else NOTHING)
        cells[0] += self.marks(case, peer)
        return cells

    def marks(self, case, peer):
        marks = [(" *", self.client_is_full(case, peer.name)),
                 (" ‡", self.client_is_late(case, peer.name)), (" †", case.name in peer.caveats)]
        return "".join(mark for mark, is_so in marks if is_so)

    def why_nothing(self, case, peer):
        if peer.name in self.not_installed:
            return "not installed"
        if (case.name, peer.name) in self.left_out:
            return self.left_out[case.name, peer.name]
        return "failed" if (case.name, peer.name) in self.failures else "not measured"

    def notes(self, case):
        """Lines below the table of that case."""
        lines = []
        if any(self.client_is_full(case, peer.name) for peer in self.peers):
            lines.append(f"\\* The client's core was full (over {CLIENT_IS_FULL:.0%}): that rate "
                         f"is the client's. Judge by the CPU a {case.unit}.")
        if any(self.client_is_late(case, peer.name) for peer in self.peers):
            lines.append(f"‡ Over {CLIENT_IS_LATE:.0%} of the messages left the client over 10 ms "
                         f"after they were due: a part of that latency is the client's.")
        for peer in self.peers:
            if case.name in peer.caveats and (case.name, peer.name) in self.windows:
                lines.append(f"† {peer.title}: {peer.caveat}.")
            failed = self.failures.get((case.name, peer.name), {})
            if failed:
                count = len(failed) + len(self.windows.get((case.name, peer.name), {}))
                first = " ".join(next(iter(failed.values())).split())
                lines.append(f"{peer.title}: failed in {len(failed)} of {count} repeats: {first}")
        return lines

    def overview(self):
        """A line a case, a column a peer: the median that stands for it."""
        rows = []
        for case in self.cases:
            what = RESULT[case.kind]
            unit = {"rate": f"{PLURALS[case.unit]}/s", "p99": "p99 µs",
                    "memory": "bytes each"}[what]
            row = [f"{case.title}, {unit}"]
            for peer in self.peers:
                values = self.values(case, peer.name, what)
                row.append(COUNT.format(statistics.median(values)) + self.marks(case, peer)
                           if values else self.why_nothing(case, peer))
            rows.append(row)
        return ["median", *(peer.title for peer in self.peers)], rows

    def to_json(self):
        runs = [{"case": case, "peer": peer, "repeat": repeat, **window}
                for (case, peer), windows in self.windows.items()
                for repeat, window in windows.items()]
        failed = [{"case": case, "peer": peer, "repeat": repeat, "failed": reason}
                  for (case, peer), reasons in self.failures.items()
                  for repeat, reason in reasons.items()]
        return {"bases": {case.name: self.base_of(case) for case in self.cases},
                "notInstalled": self.not_installed, "runs": runs + failed,
                "leftOut": [{"case": case, "peer": peer, "why": why}
                            for (case, peer), why in self.left_out.items()],
                "tables": {case.name: dict(zip(("heads", "rows"), self.of_case(case)))
                           for case in self.cases}}


def markdown(heads, rows):
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n"
                   for line in lines)
