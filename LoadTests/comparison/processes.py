"""What /proc says of a server: all its processes (nginx has two), their CPU and their memory."""

import os
import re
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """That process and all that descend from it, the eldest first."""
    children = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(after_name(folder)[1])
        except OSError:
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def command_line(pid):
    """Its words, each with a zero byte behind it; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def cpu_seconds(pids):
    """User and system time of all their threads, also of those that ended (proc(5), stat)."""
    fields = [after_name(Path(f"/proc/{pid}")) for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def private_bytes(pids):
    """Anonymous memory and shared memory (nchan keeps its subscribers there), each page once
    however many of the processes have it; no page cache."""
    return sum(int(size) * 1024 for pid in pids for size in re.findall(
        r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M))


def descriptors(pids):
    """How many they have open."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def listeners(port):
    """Who listens on that port of 127.0.0.1 or of all addresses, as far as we may see it."""
    inodes = set()
    for file in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(file).exists():
            continue
        for line in Path(file).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) in inodes for link in (folder / "fd").iterdir()):
                found.append(int(folder.name))
        except OSError:
            continue  # not ours, or ended meanwhile
    return found


def after_name(folder):
    """The fields of stat from the state on; the name before them may hold spaces."""
    return (folder / "stat").read_text().rpartition(")")[2].split()
