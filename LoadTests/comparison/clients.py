"""The two load clients, and what a measured window says whichever of them it was.

A window is a dictionary: `rate` a second, `p50`, `p99`, `p999` in µs (null where there is none),
`cpuEach` server CPU in µs a unit, `server`, `client` and `other` as parts of a core, `late` the
part of the messages that the client sent over 10 ms after they were due, `raw` what the client
itself printed. `memory` of a case of memory: bytes a connection."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import processes
from .measuring import CLIENT_CORE, WSLOAD, fail, pinned

# Beyond the window: chats of thousands are made over HTTP first, and a slow peer opens slowly.
PATIENCE_S = 300
MEMORY_PATIENCE_S = 300
CORES = "server", "client", "other"


class MartletLoad:
    """.build/release/martlet-load: every dialect and every case."""

    name = "martlet-load"

    def __init__(self, program):
        self.program = program

    def why_not(self, peer, case):
        """Why that case is not measured on that peer; empty where it is."""
        return "has no such thing" if case.name in peer.cannot else ""

    def command(self, case, server, folder, seconds, result):
        scenario = Path(folder) / f"{case.name}.conf"
        scenario.write_text(case.scenario(seconds, server.peer.traffic))
        pids = [word for pid in server.pids for word in ("--server-pid", pid)]
        return [self.program, "run", scenario, "--url", server.url,
                "--dialect", server.peer.dialect, "--workers", 1, "--cores", CLIENT_CORE,
                *server.load_words, *pids, "--json", result, "--quiet"]

    def measure(self, case, server, folder, seconds):
        with tempfile.TemporaryDirectory(dir=folder) as own:
            if case.kind == "memory":
                return hold(case, server, own, self.command(case, server, own, seconds,
                                                            Path(own) / "result"))
            return self.window(case, server, own, seconds)

    def window(self, case, server, folder, seconds):
        file = Path(folder) / "result"
        status, printed = run(self.command(case, server, folder, seconds, file), seconds)
        raw = json.loads(file.read_text()) if file.exists() else None
        if status or raw is None:
            fail(complaint(status, raw, printed))
        return of_handshakes(raw) if case.kind == "opens" else of_messages(raw)


def of_messages(raw):
    # What nobody waited for in this scenario is left out.
    kinds = [raw["latencyUs"][kind] for kind in ("delivery", "typing", "ack")
             if kind in raw["latencyUs"]]
    if not kinds:
        fail("nothing came in the measured window")
    cpu = raw["cpu"]
    return {"rate": raw["rates"]["deliveredPerSecond"], **quantiles(kinds[0]),
            "cpuEach": cpu["serverUsPerDelivery"], **cores(cpu, raw["seconds"]),
            "late": raw["late"] / max(1, raw["sent"]), "raw": raw}


def of_handshakes(raw):
    opened, cpu = raw["connections"], raw["cpu"]["openingServer"]
    return {"rate": opened["perSecond"], **quantiles(opened["latencyUs"]),
            "cpuEach": cpu * 1e6 / opened["opened"], **dict.fromkeys(CORES), "raw": raw}


def quantiles(histogram):
    return {name: histogram[name] for name in ("p50", "p99", "p999")}


def cores(cpu, seconds):
    return {name: cpu[name] / seconds for name in CORES}


def complaint(status, raw, printed):
    """Why a run of martlet-load does not count."""
    reasons = []
    if raw:
        oracle = raw["oracle"]
        # Lost, or under way for as long as the scenario was patient.
        said = {"lost": "not delivered"}
        reasons += [f"{oracle[what]:,} {said.get(what, what)}" for what in (
            "lost", "repeated", "reordered", "foreign") if oracle.get(what)]
        reasons += [f"{count:,} × {what}" for what, count in raw["errors"].items()]
    lines = [line for line in printed.splitlines() if line.strip()]
    return "; ".join(reasons) or (lines[-1] if lines else f"the load ended with {status}")


class Baseline:
    """LoadTests/Baseline/wsload: in C, without a histogram beyond p99; echo and fan-out of raw."""

    name = "wsload"

    def why_not(self, peer, case):
        if case.name in peer.cannot:
            return "has no such thing"
        speaks = peer.dialect == "raw" and case.kind == "closed" and case.layout in ("echo", "room")
        return "" if speaks else "not with wsload"

    def measure(self, case, server, folder, seconds):
        mode, path, count = ("echo", "/echo", "--connections") if case.layout == "echo" else \
            ("fanout", "/room/x", "--receivers")
        status, printed = run(
            [WSLOAD, mode, "--url", server.url + path, count, case.amount("connections"),
             "--in-flight", case.amount("in-flight"), "--size", 128, "--seconds", seconds,
             # It takes one process; where there are several the youngest does the work.
             "--server-pid", server.pids[-1]], seconds)
        if status:
            fail(printed.strip().splitlines()[-1] if printed.strip() else f"wsload: {status}")
        raw = json.loads(printed)
        cpu = {name: raw[f"{name}_cpu_s"] for name in CORES}
        latency = raw["latency_us"]
        return {"rate": raw["rate"], "p50": latency["p50"], "p99": latency["p99"], "p999": None,
                "cpuEach": raw["server_cpu_us_each"], **cores(cpu, raw["seconds"]), "raw": raw}


def run(command, seconds, core=CLIENT_CORE):
    """Exit status and what it printed."""
    process = start(command, core)
    try:
        printed, _ = process.communicate(timeout=seconds + PATIENCE_S)
    except subprocess.TimeoutExpired:
        fail(f"the load did not end within {PATIENCE_S} s of its window")
    finally:
        end(process)
    return process.returncode, printed


def start(command, core=CLIENT_CORE):
    # A session of its own, so that its workers go with it.
    return subprocess.Popen(pinned(core, command), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                            start_new_session=True)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    process.stdout.close()


def hold(case, server, folder, command):
    """Private bytes a connection: with all of them open, beyond what the server has without."""
    wanted = case.amount("connections")
    before = settled_bytes(server.pids)
    held = processes.descriptors(server.pids) + wanted
    process = start(command)
    try:
        deadline = time.monotonic() + MEMORY_PATIENCE_S
        while processes.descriptors(server.pids) < held:
            if process.poll() is not None:
                fail(complaint(process.returncode, None, process.stdout.read()))
            if time.monotonic() > deadline:
                fail(f"not {wanted:,} connections within {MEMORY_PATIENCE_S} s")
            time.sleep(0.5)
        after = settled_bytes(server.pids)
        if processes.descriptors(server.pids) < held:
            fail("connections were lost while they were counted")
    finally:
        end(process)
    return {"memory": (after - before) / wanted, "raw": {"before": before, "after": after}}


def settled_bytes(pids):
    """Once it has stood still for two seconds; at most 20 s."""
    seen = []
    for _ in range(20):
        seen.append(processes.private_bytes(pids))
        if len(seen) > 2 and seen[-1] == seen[-2] == seen[-3]:
            break
        time.sleep(1)
    return seen[-1]
