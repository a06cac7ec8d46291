"""A course of rising rates: what each step was asked, what came of it, and when it is enough."""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from .clients import complaint, quantiles, run
from .measuring import fail

# Users a chat. v1 tells a sender nothing but its ack, so each message is delivered to the others.
MEMBERS = 10
SIZE = 256
WARM_UP_S, COOL_DOWN_S = 2, 20

# A step is saturated where less than this share of what was asked has arrived, or where one in a
# hundred waits for longer than that.
LEAST_SHARE = 0.95
LONGEST_P99_S = 1
# Beyond this share of messages that the client sent late, its latencies are its own.
LATE_SHARE = 0.01


def scenario(connections, rate, seconds):
    """The text of its file: every member of every chat writes, at times of chance."""
    keys = {"layout": "group", "room-size": MEMBERS, "connections": connections,
            "traffic": "message", "rate": f"{rate:g}", "size": SIZE, "warm-up": f"{WARM_UP_S}s",
            "duration": f"{seconds:g}s", "cool-down": f"{COOL_DOWN_S}s"}
    return "".join(f"{key} = {value}\n" for key, value in keys.items())


@dataclass
class Step:
    """What one rate came to. Rates are of messages a second: `asked`, `due` by the times of chance
    within the window, and `achieved` by what arrived in it. Latencies in ms from the time a message
    was due; CPU as shares of a core; `dropped` what was refused or not delivered by the end, in
    words, empty where nothing."""
    asked: float
    due: float
    achieved: float
    deliveries: float
    ack: dict
    delivery: dict
    cpu: dict
    late: float = 0
    dropped: str = ""
    is_wrong: bool = False
    raw: dict = field(default_factory=dict, repr=False)

    def is_saturated(self):
        return bool(self.dropped) or self.achieved < LEAST_SHARE * self.due or \
            max(self.ack["p99"], self.delivery["p99"]) > LONGEST_P99_S * 1e3


def step(rate, raw, names):
    """From a result of martlet-load. `names` says whose each of its `cpu.serverEach` is."""
    seconds, latency = raw["seconds"], raw["latencyUs"]
    if "ack" not in latency or "delivery" not in latency:
        fail(f"nothing was answered at {rate:g} messages/s: {complaint(1, raw, '')}")
    if "serverEach" not in raw["cpu"]:
        fail(f"a process whose CPU was counted ended at {rate:g} messages/s, perhaps a backend of "
             f"Postgres: measure that rate again")
    cpu = dict.fromkeys(names, 0.0)
    for name, used in zip(names, raw["cpu"]["serverEach"], strict=True):
        cpu[name] += used / seconds
    deliveries = raw["rates"]["deliveredPerSecond"]
    oracle = raw["oracle"]
    return Step(
        asked=rate, due=raw["rates"]["sentPerSecond"], achieved=deliveries / (MEMBERS - 1),
        deliveries=deliveries, ack=milliseconds(latency["ack"]),
        delivery=milliseconds(latency["delivery"]),
        cpu=cpu | {name: raw["cpu"][name] / seconds for name in ("client", "other")},
        late=raw["late"] / max(1, raw["sent"]),
        dropped="" if raw["passed"] else complaint(1, raw, "not passed"),
        is_wrong=any(oracle[what] for what in ("repeated", "reordered", "foreign")), raw=raw)


def milliseconds(histogram):
    values = quantiles(histogram) | {"max": histogram["max"]}
    return {name: value / 1e3 for name, value in values.items()}


def measure(client, rate, connections, seconds, servers, words, folder, cores):
    """One step on servers that run. `servers`: (name, url or None, pids); `cores` for the client."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        file, result = Path(own) / "end-to-end.conf", Path(own) / "result"
        file.write_text(scenario(connections, rate, seconds))
        urls = [word for _, url, _ in servers if url for word in ("--url", url)]
        pids = [word for _, _, pids in servers for pid in pids for word in ("--server-pid", pid)]
        status, printed = run(
            [client, "run", file, "--dialect", "v1", *urls, *pids, *words,
             "--json", result, "--quiet"], seconds, cores)
        if not result.exists():
            fail(complaint(status, None, printed))
        names = [name for name, _, pids in servers for _ in pids]
        return step(rate, json.loads(result.read_text()), names)


# ---- saying


def latencies(values):
    return " / ".join(short(values[name]) for name in ("p50", "p99", "p999", "max"))


def short(milliseconds):
    """Three digits, or all of the whole number."""
    return f"{milliseconds:,.0f}" if milliseconds >= 99.95 else f"{milliseconds:.3g}"


def rows(steps):
    """Heads and a row a step; CPU as parts of a core, in the order in which it was named."""
    heads = ["messages/s asked", "achieved", "deliveries/s", "ack ms p50 / p99 / p99.9 / max",
             "delivery ms p50 / p99 / p99.9 / max", *(f"{name} CPU" for name in steps[0].cpu)]
    return heads, [
        [f"{each.asked:,.0f}" + (" ‡" if each.late > LATE_SHARE else ""),
         f"{each.achieved:,.0f}", f"{each.deliveries:,.0f}", latencies(each.ack),
         latencies(each.delivery), *(f"{share:.0%}" for share in each.cpu.values())]
        for each in steps]


def notes(steps):
    """What the table does not say, in sentences."""
    lines = [f"At {each.asked:,.0f} messages/s: {each.dropped}." for each in steps if each.dropped]
    if any(each.late > LATE_SHARE for each in steps):
        lines.append(f"‡ more than {LATE_SHARE:.0%} of the messages left the client over 10 ms "
                     f"after they were due: the latencies are partly its own.")
    last = steps[-1]
    if last.is_saturated():
        busiest = sorted((name for name in last.cpu if name != "other"), key=last.cpu.get,
                         reverse=True)
        lines.append(f"Saturated at {last.asked:,.0f} messages/s; of the CPU there "
                     + ", ".join(f"{name} had {last.cpu[name]:.0%}" for name in busiest)
                     + f" of a core, {sum(last.cpu.values()):.0%} in all.")
    else:
        lines.append(f"Not saturated at {last.asked:,.0f} messages/s, the highest that was asked.")
    return lines
