"""Of what LoadTests/compare and LoadTests/end-to-end do with numbers, words and files. Run, in LoadTests:

    python3 -m unittest comparison.tests
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from . import processes
from .cases import CASES
from .clients import complaint
from .peers import PEERS, PEERS_FOLDER, absent, configuration, given
from .results import Results, markdown
from .steps import notes, rows, scenario, short, step

BY_NAME = {peer.name: peer for peer in PEERS}
CASE = {case.name: case for case in CASES}


def results(*names, cases=("fan-out-1000",)):
    return Results([CASE[name] for name in cases], [BY_NAME[name] for name in names],
                   ["socketify", "raw-join"])


def window(rate, client=0.5, **more):
    return {"rate": rate, "p50": 1, "p99": 2, "p999": 3, "cpuEach": 100 / rate, "server": 1,
            "client": client, "other": 0, **more}


class ResultsTests(unittest.TestCase):
    case = CASE["fan-out-1000"]

    def test_a_ratio_is_taken_within_a_repeat_and_not_of_medians(self):
        found = results("martlet", "socketify")
        for repeat, (mine, theirs) in enumerate([(100, 50), (10, 10), (30, 10)]):
            found.add(self.case, BY_NAME["martlet"], repeat, window(mine))
            found.add(self.case, BY_NAME["socketify"], repeat, window(theirs))
        self.assertEqual(found.values(self.case, "martlet", "rate", by_base=True), [2, 1, 3])
        self.assertEqual(found.of_case(self.case)[1][0][1:3], ["30 [10–100]", "2.00 [1.00–3.00]"])

    def test_a_repeat_in_which_the_base_failed_gives_no_ratio(self):
        found = results("martlet", "socketify")
        found.add(self.case, BY_NAME["martlet"], 0, window(100))
        found.add(self.case, BY_NAME["martlet"], 1, window(100))
        found.add(self.case, BY_NAME["socketify"], 1, window(50))
        found.add_failure(self.case, BY_NAME["socketify"], 0, "3 lost")
        self.assertEqual(found.values(self.case, "martlet", "rate", by_base=True), [2])
        self.assertEqual(found.notes(self.case), [
            "uWebSockets (socketify): failed in 1 of 2 repeats: 3 lost"])

    def test_the_base_shows_what_it_can_in_the_case(self):
        found = results("martlet", "socketify", "raw-join", cases=("echo", "fan-out-1000"))
        for name in ("martlet", "socketify", "raw-join"):
            for case in found.cases:
                found.add(case, BY_NAME[name], 0, window(100))
        self.assertEqual(found.base_of(CASE["echo"]), "raw-join")
        self.assertEqual(found.base_of(self.case), "socketify")
        self.assertIn(" †", found.of_case(CASE["echo"])[1][1][1])
        self.assertEqual([note[0] for note in found.notes(CASE["echo"])], ["†"])
        self.assertEqual(found.notes(self.case), [])

    def test_a_full_client_is_marked_and_a_busy_one_is_not(self):
        for client, mark, notes in ((0.95, "100 [100–100]", 0), (0.951, "100 [100–100] *", 1)):
            found = results("martlet")
            found.add(self.case, BY_NAME["martlet"], 0, window(100, client=client))
            self.assertEqual(found.of_case(self.case)[1][0][1], mark)
            self.assertEqual(len(found.notes(self.case)), notes)

    def test_a_client_that_is_late_is_marked_where_latency_is_from_the_time_due(self):
        case = CASE["p99-room"]
        for late, mark, notes in ((0.01, "100 [100–100]", 0), (0.011, "100 [100–100] ‡", 1)):
            found = results("martlet", cases=("p99-room",))
            found.add(case, BY_NAME["martlet"], 0, window(100, client=1, late=late))
            self.assertEqual(found.of_case(case)[1][0][1], mark)
            self.assertEqual(len(found.notes(case)), notes)

    def test_nobody_is_left_out_silently(self):
        found = results("martlet", "nats", "nchan", "node-ws", "raw-join")
        found.not_installed["nats"] = "no network"
        found.left_out[self.case.name, "nchan"] = "has no such thing"
        found.add_failure(self.case, BY_NAME["node-ws"], 0, "refused")
        found.add(self.case, BY_NAME["martlet"], 0, window(100))
        second = [row[1] for row in found.of_case(self.case)[1]]
        expected = ["not installed", "has no such thing", "failed", "not measured"]
        self.assertEqual(second[1:], expected)
        self.assertEqual(found.overview()[1][0][2:], expected)

    def test_all_kinds_of_cases_make_a_table_with_cells_under_all_heads(self):
        found = results("martlet", "nats", cases=tuple(CASE))
        for case in CASES:
            found.add(case, BY_NAME["martlet"], 0, window(100, memory=500))
            heads, rows = found.of_case(case)
            self.assertEqual({len(row) for row in rows}, {len(heads)}, case.name)
            self.assertNotIn("{", "".join(heads))
        self.assertEqual(len(found.to_json()["runs"]), len(CASES))

    def test_markdown_keeps_a_bar_inside_a_cell(self):
        self.assertEqual(markdown(["a", "b"], [["x|y", "1"]]),
                         "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n")


def course(rate=100, due=100, delivered=900, p99=5e3, late=0, **oracle):
    """A step on two instances and a Postgres of two processes."""
    histogram = {"p50": 1e3, "p99": 4e3, "p999": 9e3, "max": 12_345.6}
    oracle = {"lost": 0, "repeated": 0, "reordered": 0, "foreign": 0} | oracle
    return step(rate, {
        "seconds": 2, "sent": 200, "late": late, "passed": not any(oracle.values()),
        "rates": {"sentPerSecond": due, "deliveredPerSecond": delivered},
        "latencyUs": {"ack": histogram, "delivery": histogram | {"p99": p99}},
        "cpu": {"serverEach": [0.4, 0.6, 0.3, 0.1], "client": 0.5, "other": 0.02},
        "oracle": oracle, "errors": {}}, ["A", "B", "Postgres", "Postgres"])


class StepsTests(unittest.TestCase):
    def test_cpu_is_of_whom_the_process_belongs_to_as_a_share_of_a_core(self):
        self.assertEqual(course().cpu, {
            "A": 0.2, "B": 0.3, "Postgres": 0.2, "client": 0.25, "other": 0.01})

    def test_a_step_is_saturated_where_less_arrives_than_was_due_or_one_waits_or_is_lost(self):
        for found, expected in (
                (course(due=100, delivered=0.95 * 900), False),
                (course(due=100, delivered=0.94 * 900), True),
                # Chance has fewer of them due than were asked: they came.
                (course(rate=120, due=100, delivered=900), False),
                (course(p99=1e6), False), (course(p99=1.001e6), True),
                (course(lost=1), True)):
            self.assertEqual(found.is_saturated(), expected, found)

    def test_only_what_no_load_excuses_is_wrong(self):
        self.assertEqual(course(lost=3).dropped, "3 not delivered")
        self.assertFalse(course(lost=3).is_wrong)
        for what in ("repeated", "reordered", "foreign"):
            self.assertTrue(course(**{what: 1}).is_wrong)

    def test_a_step_in_which_a_counted_process_ended_is_none(self):
        raw = course().raw
        del raw["cpu"]["serverEach"]
        with self.assertRaisesRegex(SystemExit, "measure that rate again"):
            step(100, raw, ["A", "B", "Postgres", "Postgres"])

    def test_nothing_answered_is_no_step(self):
        with self.assertRaisesRegex(SystemExit, "3 × refused"):
            step(1, {"seconds": 1, "latencyUs": {}, "oracle": {}, "errors": {"refused": 3}}, [])

    def test_the_table_has_a_cell_under_each_head_and_marks_a_late_client(self):
        heads, cells = rows([course(late=2), course(rate=3200, late=3)])
        self.assertEqual([len(row) for row in cells], [len(heads)] * 2)
        self.assertEqual([row[0] for row in cells], ["100", "3,200 ‡"])
        self.assertEqual(cells[0][3:6], ["1 / 4 / 9 / 12.3", "1 / 5 / 9 / 12.3", "20%"])
        self.assertEqual([short(value) for value in (0.1234, 99.94, 99.95, 1234.5)],
                         ["0.123", "99.9", "100", "1,234"])

    def test_the_notes_say_what_was_lost_and_who_was_busy(self):
        self.assertEqual(notes([course()]), [
            "Not saturated at 100 messages/s, the highest that was asked."])
        lost, saturated = notes([course(), course(rate=200, lost=1)])
        self.assertEqual(lost, "At 200 messages/s: 1 not delivered.")
        self.assertRegex(saturated, "^Saturated at 200 .* B had 30%, client had 25%, .* 96% in all")

    def test_its_scenario_is_an_open_loop_of_durable_chats(self):
        keys = dict(re.findall(r"^(\S+) = (.+)$", scenario(10_000, 400.0, 2.5), re.M))
        self.assertEqual((keys["layout"], keys["traffic"], keys["rate"], keys["duration"]),
                         ("group", "message", "400", "2.5s"))


class WordsTests(unittest.TestCase):
    def test_a_peer_is_given_as_an_address_or_as_a_command(self):
        runs = given("uws=ws://127.0.0.1:9001/,raw")
        self.assertEqual((runs.name, runs.url, runs.dialect, runs.start),
                         ("uws", "ws://127.0.0.1:9001", "raw", None))
        command = given("uws=bin/uws --port {port},nats")
        started = command.start(None, None)
        self.assertEqual(started.command, ["bin/uws", "--port", str(started.port)])
        self.assertIn("echo", command.cannot)

    def test_what_is_no_peer_is_refused_with_a_reason(self):
        for text in ("uws", "uws=", "=ws://h:1,raw", "uws=ws://h:1", "uws=bin/uws,raw",
                     "uws=ws://h:1,rawish"):
            with self.assertRaises(ValueError, msg=text):
                given(text)

    def test_a_peer_that_should_run_already_is_looked_for(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            peer = given(f"mine=ws://127.0.0.1:{server.getsockname()[1]}/x,raw")
            self.assertIsNone(absent(peer))
        self.assertIn("mine: no process", absent(peer))
        self.assertIsNone(absent(given("mine=bin/mine {port},raw")))

    def test_a_scenario_has_a_rate_or_messages_in_flight_where_it_has_traffic(self):
        for case in CASES:
            keys = dict(re.findall(r"^(\S+) = (.+)$", case.scenario(2.5, "typing"), re.M))
            has_pace = ("rate" in keys) + ("in-flight" in keys)
            if keys["traffic"] == "none":
                self.assertEqual(has_pace, 0, case.name)
            else:
                self.assertEqual((has_pace, keys["traffic"], keys["duration"]),
                                 (1, "typing", "2.5s"), case.name)

    def test_what_a_run_lost_is_why_it_does_not_count(self):
        raw = {"oracle": {"lost": 1200, "repeated": 0, "reordered": 0, "foreign": 1},
               "errors": {"closed": 3}}
        self.assertEqual(complaint(1, raw, "x"), "1,200 not delivered; 1 foreign; 3 × closed")
        self.assertEqual(complaint(2, None, "a\nno server\n\n"), "no server")
        self.assertEqual(complaint(2, None, ""), "the load ended with 2")


class FilesTests(unittest.TestCase):
    def filled(self, name, folder, **values):
        text = configuration(name, folder, port=1234, **values).read_text()
        self.assertEqual(text.count("{"), text.count("}"), name)
        self.assertNotRegex(text, r"\{[a-z_]+\}(?!\})", f"{name} has a place that nobody fills")
        self.assertIn("1234", text)
        return text

    def test_configurations_have_no_place_unfilled(self):
        with tempfile.TemporaryDirectory() as folder:
            self.filled("nchan.conf", folder, modules="/m", user="")
            self.filled("nats.conf", folder, plain_port=4321)

    def test_configurations_are_what_their_servers_understand(self):
        tried = 0
        with tempfile.TemporaryDirectory() as folder:
            for name in ("nchan", "nats"):
                peer = BY_NAME[name]
                command = [str(word) for word in peer.start(None, folder).command]
                if shutil.which(command[0]):
                    tried += 1
                    done = subprocess.run([*command, "-t"], stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, text=True)
                    self.assertEqual(done.returncode, 0, done.stdout)
        if not tried:
            self.skipTest("neither nginx nor nats-server is installed")

    def test_programs_parse(self):
        for path in PEERS_FOLDER.glob("*.py"):
            compile(path.read_text(), path, "exec")

    def test_node_parses_its_program(self):
        if not shutil.which("node"):
            self.skipTest("no node")
        subprocess.run(["node", "--check", PEERS_FOLDER / "ws_app.js"], check=True)

    def test_every_version_from_pypi_is_pinned(self):
        for peer in PEERS:
            if peer.requirements:
                lines = (PEERS_FOLDER / peer.requirements).read_text().splitlines()
                for line in lines:
                    self.assertRegex(line, r"^(#.*|[A-Za-z0-9_.-]+==[0-9][0-9.]*)$")

    def test_names_are_of_one_thing_and_cases_that_are_named_exist(self):
        for known in (PEERS, CASES):
            self.assertEqual(len({each.name for each in known}), len(known))
        for peer in PEERS:
            self.assertLessEqual({*peer.cannot, *peer.caveats}, set(CASE), peer.name)
            self.assertEqual(bool(peer.caveats), bool(peer.caveat), peer.name)


class ProcessesTests(unittest.TestCase):
    def test_a_process_and_its_child_are_found_with_their_memory_and_time(self):
        child = "import sys; sys.stdout.write('.'); sys.stdout.flush(); sys.stdin.read()"
        parent = (f"import subprocess, sys; subprocess.run([sys.executable, '-c', "
                  f"{child!r}])")
        with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            process.stdout.read(1)
            pids = processes.tree(process.pid)
            self.assertEqual(len(pids), 2)
            self.assertGreater(processes.private_bytes(pids), processes.private_bytes(pids[:1]))
            self.assertGreaterEqual(processes.cpu_seconds(pids), 0)
            process.stdin.close()

    def test_descriptors_and_listeners_are_found(self):
        before = processes.descriptors([os.getpid()])
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.assertEqual(processes.descriptors([os.getpid()]), before + 1)
            port = server.getsockname()[1]
            self.assertIn(os.getpid(), processes.listeners(port))
        self.assertNotIn(os.getpid(), processes.listeners(port))


if __name__ == "__main__":
    unittest.main(argv=[str(Path(__file__).name)])
