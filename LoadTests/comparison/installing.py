"""Gets the peers: from Debian, and from PyPI into a virtual environment under .build-compare/."""

import subprocess
import sys

from .measuring import ROOT, say
from .peers import PEERS_FOLDER, VENV


class NotInstalled(Exception):
    """Why, in one line."""


def run(words, **more):
    """What it printed, or NotInstalled with its first complaint."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, **more)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        complaints = [line for line in lines if line.startswith(("ERROR: ", "E: "))]
        raise NotInstalled((complaints + lines[-1:] + [f"status {done.returncode}"])[0])
    return done.stdout


def version(package):
    """Of an installed Debian package; None where it is not."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    status, _, number = done.stdout.partition(" ")
    return number if status == "installed" else None


def stamp(requirements):
    """A copy of the list, made when all of it was installed."""
    return VENV / requirements


def is_there(requirements):
    mark = stamp(requirements)
    return mark.exists() and mark.read_text() == (PEERS_FOLDER / requirements).read_text()


def missing(peer):
    """What of it would have to be installed, as words for people."""
    packages = [name for name in peer.debian if not version(name)]
    pip = [f"{peer.requirements} (pip)"] if peer.requirements and not is_there(
        peer.requirements) else []
    # It is wanted for making the environment, and not for one that is made.
    return [name for name in packages if name != "python3-venv" or pip] + pip


def install(peer):
    """Raises NotInstalled."""
    wanted = missing(peer)
    packages = [name for name in wanted if name in peer.debian]
    if packages:
        say(f"  {peer.name}: Debian's {', '.join(packages)}")
        install_debian(packages)
    if peer.requirements and not is_there(peer.requirements):
        say(f"  {peer.name}: pip install -r LoadTests/Peers/{peer.requirements}")
        if not (VENV / "bin/pip").exists():
            run([sys.executable, "-m", "venv", VENV])
        listed = PEERS_FOLDER / peer.requirements
        run([VENV / "bin/pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check",
             "-r", listed])
        run([VENV / "bin/pip", "check"])  # the lists are whole: nothing was resolved
        stamp(peer.requirements).write_text(listed.read_text())


def install_debian(packages):
    """Those that are not there. It holds back the services that Debian would start."""
    run(["bash", "-c", '. "$0"; install_missing "$@"', ROOT / "Scripts/lib.sh", *packages])


def versions(peer):
    """Of what a peer is made of: its own packages, not what they stand on."""
    named = [f"{name} {version(name)}" for name in peer.debian
             if name != "python3-venv" and version(name)]
    if peer.requirements:
        own = (PEERS_FOLDER / peer.requirements).read_text().partition(" stand")[0]
        named += [line.replace("==", " ") for line in own.splitlines() if "==" in line]
    return named + interpreter(peer)


def interpreter(peer):
    """Python's or Node's version, where it runs a peer; else nothing."""
    if peer.requirements:
        return [f"Python {sys.version.split()[0]}"]
    return [f"Node {run(['node', '--version']).strip()}"] if "node-ws" in peer.debian else []
