"""Walls around the processes of answers: existing tools, and a probe of what they keep out.

Isolation is no subject of this book, so it is bubblewrap's on Linux, with system calls filtered
by libseccomp, and docker's or podman's elsewhere. None of them is believed: before the first answer
a probe in its place tries what an answer must not be able to do.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...core.errors import Refused, Unavailable

WORLD = Path(__file__).parent / "world"
ROOM = 64  # MiB that an answer may write in all
TORCH = 3072  # MiB that a container gives Python and torch
PROCESSES = 64  # in a container
REMOVAL_SECONDS = 60.0  # for docker or podman to remove one
PYTHON = ("bin", "include", "lib", "lib64", "pyvenv.cfg")  # in the folder of an installation
HIDDEN = ("pftlab", "peft")  # packages that know right values


class Walls(Protocol):
    """How to start `world` so that it reaches nothing else."""

    @property
    def name(self) -> str:
        """As in a sentence."""

    @property
    def tool(self) -> str:
        """The program that stands them up."""

    def command(self, megabytes: int, called: str) -> list[str]:
        """The command line; its input and output are the line to the grader.

        Args:
            megabytes: of memory for an answer, on top of what torch itself needs.
            called: a name that no other process behind these walls has.
        """

    def end(self, called: str) -> None:
        """End what is left of it when its command has ended."""

    def environment(self) -> dict[str, str]:
        """The environment of that command."""


def _setting(megabytes: int, filtered: bool) -> str:
    return f'{{"megabytes": {megabytes}, "filter": {str(filtered).lower()}}}'


def _plain(**more: str) -> dict[str, str]:
    """What is told to Python: nothing of the grader's own environment."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "HOME": "/tmp", **more}


@dataclass(frozen=True)
class Bubblewrap:
    """Linux: namespaces for everything, read-only binds of what Python needs, a room in memory."""

    name: str = "bubblewrap"
    tool: str = "bwrap"

    def command(self, megabytes: int, called: str) -> list[str]:
        inside = _plain(PYTHONPATH="/answers")
        words = [self.tool, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
        words += ["--cap-drop", "ALL", "--hostname", "answers"]
        words += [
            "--size",
            str(ROOM * 2**20),
            "--tmpfs",
            "/tmp",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]
        for place in readable():
            words += ["--ro-bind-try", str(place), str(place)]
        for place in hidden():
            words += ["--tmpfs", str(place), "--remount-ro", str(place)]
        words += ["--ro-bind", str(WORLD), "/answers/world"]
        words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
        for key, value in inside.items():
            words += ["--setenv", key, value]
        return [*words, sys.executable, "-P", "-m", "world", _setting(megabytes, filtered=True)]

    def end(self, called: str) -> None:
        """Nothing is left: it dies with its parent."""

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath)}


def readable() -> list[Path]:
    """What Python and torch need to be read, and no other part of the disk.

    Of Python's own folders these are the parts that it has: a virtual environment may have been
    made in the folder of a teacher's work, with the submissions in it.
    """
    places = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache"]
    places += ["/sys/devices/system/cpu"]
    places += [f"{root}/{part}" for root in (sys.base_prefix, sys.prefix) for part in PYTHON]
    paths = sysconfig.get_paths()
    places += [paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    places += [place for place in sys.path if place.endswith("-packages")]
    kept: list[Path] = []
    for place in map(Path, dict.fromkeys(places)):
        if place.exists() and not any(place.is_relative_to(other) for other in kept):
            kept.append(place)
    return kept


def hidden() -> list[Path]:
    """Packages among them that hold the methods, installed beside torch."""
    found = {Path(place) / name for place in sys.path if place.endswith("-packages")
             for name in HIDDEN}  # fmt: skip
    return sorted(place for place in found if place.is_dir())


@dataclass(frozen=True)
class Container:
    """A container for each submission; `image` has Python, torch, IPython and nbformat."""

    tool: str  # "docker" or "podman"
    image: str

    @property
    def name(self) -> str:
        return self.tool

    def command(self, megabytes: int, called: str) -> list[str]:
        memory = f"{TORCH + megabytes}m"
        words = [self.tool, "run", "--rm", "--interactive", "--network", "none", "--read-only"]
        words += ["--name", called, "--stop-signal", "SIGKILL"]  # an answer may ignore all others
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "1000:1000"]
        words += ["--pids-limit", str(PROCESSES), "--memory", memory, "--memory-swap", memory]
        words += ["--tmpfs", f"/tmp:size={ROOM}m", "--workdir", "/tmp"]
        words += ["--volume", f"{WORLD}:/answers/world:ro"]
        for key, value in _plain(PYTHONPATH="/answers").items():
            words += ["--env", f"{key}={value}"] if key != "PATH" else []
        return [*words, self.image, "python", "-P", "-m", "world",
                _setting(megabytes, filtered=False)]  # fmt: skip

    def end(self, called: str) -> None:
        """Remove the container, which outlives the client that started it.

        It may be gone already, which docker and podman report in ways of their own.
        """
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [self.tool, "rm", "--force", called],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=REMOVAL_SECONDS,
                start_new_session=True,  # Ctrl-C is the grader's
            )  # fmt: skip

    def environment(self) -> dict[str, str]:
        return dict(os.environ)


@dataclass(frozen=True)
class NoWalls:
    """A process of its own, with the rights of whoever grades."""

    name: str = "nothing"
    tool: str = sys.executable

    def command(self, megabytes: int, called: str) -> list[str]:
        module = f"{__package__}.world"
        return [sys.executable, "-P", "-m", module, _setting(megabytes, filtered=False)]

    def end(self, called: str) -> None:
        """What an answer started in a session of its own is left."""

    def environment(self) -> dict[str, str]:
        return _plain(PYTHONPATH=str(Path(__file__).parents[3]))


# The probe

PROBE = """
import ctypes, mmap, os, signal, socket, time
from importlib import import_module

def limited(most):
    # Whether the kernel's files tell of such a limit; where there is none, one says "max".
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int(open(f"/sys/fs/cgroup/{file}").read()) <= most
        except (OSError, ValueError):
            continue

def attempt(what, where=None):
    if what == "read": open(where).read()
    if what == "list": os.listdir(os.path.dirname(where))
    if what == "write": open(where, "w").write("forged")
    if what == "leave a file": open(os.path.join(os.path.dirname(where), "left"), "w")
    if what == "truncate": os.truncate(where, 0)
    if what == "chmod": os.chmod(where, 0o777)
    if what == "utime": os.utime(where, (0, 0))
    if what == "remove": os.remove(where)
    if what == "signal": os.kill(where, signal.SIGKILL)
    if what == "TCP": socket.create_connection(("127.0.0.1", where), 2)
    if what == "UDP":
        socket.socket(2, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", where))
        return "sent"  # maybe to nobody: the listener tells
    if what.endswith(("socket file", "abstract socket")): socket.socket(1).connect(where)
    if what == "memory": mmap.mmap(-1, where)
    if what == "memory files": os.memfd_create("x")
    if what == "a process": os.fork() or os._exit(0)
    if what == "many processes": [os.fork() or time.sleep(1000) for _ in range(where)]
    if what == "memory of several processes": assert not limited(where)
    if what == "a namespace": ctypes.CDLL(None).unshare(0x10000000) and 1 / 0
    if what == "ptrace": ctypes.CDLL(None).ptrace(0, 0, 0, 0) and 1 / 0
    if what == "the methods": import_module("pftlab")
    return "done"
"""


def found(image: str, megabytes: int) -> Walls:
    """Walls that stand on this system, after a probe.

    Raises:
        Refused: there are none, with what was tried.
    """
    tools: list[Walls] = [Bubblewrap()] if sys.platform == "linux" else []
    tools += [Container(tool, image) for tool in ("docker", "podman")]
    reasons = []
    for walls in tools:
        if shutil.which(walls.tool) is None:
            reasons.append(f"{walls.name} is not installed")
            continue
        open_ways = ways_through(walls, megabytes)
        if not open_ways:
            return walls
        reasons.append(f"{walls.name}: {'; '.join(open_ways)}")
    raise Refused(
        f"Nothing confines the students' code here. Tried: {'. '.join(reasons)}. Install "
        "bubblewrap (Linux: apt install bubblewrap), or docker and the image of the chapter for "
        "teachers. "
        "With --unconfined it runs with your rights: it can read, change and send all that you can."
    )


def ways_through(walls: Walls, megabytes: int) -> list[str]:
    """What a probe in the place of an answer could do that it must not; empty: the walls stand."""
    from ..exercises.check import AnswerError, TooSlow
    from .remote import Sandbox

    through = []
    try:
        with outside() as (ways, harmed), Sandbox(walls, megabytes) as sandbox:
            ways["memory"] = (megabytes + 1024) * 2**20
            ways["the methods"] = None
            if isinstance(walls, Container):
                ways["many processes"] = 2 * PROCESSES
                ways["memory of several processes"] = (TORCH + megabytes) * 2**20
            if isinstance(walls, Bubblewrap):
                ways |= dict.fromkeys(("memory files", "a process", "a namespace", "ptrace"))
            for way, where in ways.items():
                try:
                    with sandbox.answer(PROBE, "attempt", 20.0) as attempt:
                        through += [way] if attempt(way, where) == "done" else []
                except (AnswerError, NotImplementedError, TooSlow):
                    continue
            through += harmed()
    except Unavailable as error:
        return [str(error)]
    return [f"an answer could reach {', '.join(dict.fromkeys(through))}"] if through else []


@contextlib.contextmanager
def outside() -> Iterator[tuple[dict[str, Any], Any]]:
    """({what to try: where}, a function that tells what of it was harmed)."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pftlab-probe-")))
        grades = folder / "grades"
        grades.write_text("of the class")
        os.utime(grades, (10**9, 10**9))
        tcp, udp, local = (
            stack.enter_context(socket.socket(family, kind))
            for family, kind in ((socket.AF_INET, socket.SOCK_STREAM),
                                 (socket.AF_INET, socket.SOCK_DGRAM),
                                 (socket.AF_UNIX, socket.SOCK_STREAM))
        )  # fmt: skip
        for each, address in (
            (tcp, ("127.0.0.1", 0)), (udp, ("127.0.0.1", 0)), (local, str(folder / "line"))
        ):  # fmt: skip
            each.bind(address)
            each.setblocking(False)
        tcp.listen()
        local.listen()
        other = subprocess.Popen(["sleep", "1000"])
        stack.callback(other.wait)
        stack.callback(other.kill)
        ways: dict[str, Any] = dict.fromkeys(
            ("read", "list", "write", "leave a file", "truncate", "chmod", "utime", "remove"),
            str(grades),
        )
        ways |= {"signal": other.pid, "TCP": tcp.getsockname()[1], "UDP": udp.getsockname()[1]}
        ways["a socket file"] = str(folder / "line")
        if sys.platform == "linux":
            hidden_line = stack.enter_context(socket.socket(socket.AF_UNIX))
            name = f"pftlab-probe-{os.getpid()}"
            hidden_line.bind(f"\0{name}")
            hidden_line.listen()
            ways["an abstract socket"] = f"\0{name}"

        def harmed() -> list[str]:
            found = [] if other.poll() is None else ["another process"]
            try:
                state = (grades.read_text(), grades.stat().st_mtime, sorted(os.listdir(folder)))
            except OSError:
                state = None
            fine = ("of the class", 10**9, ["grades", "line"])
            found += [] if state == fine else ["another file"]
            for each in (tcp, local):
                with contextlib.suppress(BlockingIOError):
                    each.accept()[0].close()
                    found.append("a listener")
            with contextlib.suppress(BlockingIOError):
                udp.recv(1)
                found.append("UDP")
            return found

        yield ways, harmed
