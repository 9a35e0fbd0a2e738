"""The grader's side of the line: processes of answers, and what stands for an answer here."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ...core.errors import BadValue, Unavailable
from ..exercises.check import IN_PLACE, AnswerError, TooSlow
from ..exercises.model import Exercise, Wrong
from .walls import NoWalls, Walls
from .world.messages import Closed, Line, pack, unpack
from .world.notebook import clean

START_SECONDS = 120.0  # to import torch
END_SECONDS = 5.0
READ_SECONDS = 20.0  # for the notebook of one student
UNREADABLE = "Your code sent what cannot be read."
ENDED = "Your code ended the process."


class Sandbox:
    """Runs the answers of one submission after the other; a context manager.

    `fresh` begins the next submission, with a process that knows nothing of the last; it is
    started while the submission before is graded, for importing torch takes longer than grading.

    Args:
        walls: what keeps the processes from everything else.
        megabytes: of memory for an answer, on top of what torch itself needs.
    """

    def __init__(self, walls: Walls, megabytes: int):
        self.walls, self.megabytes = walls, megabytes
        self.world: World | None = None
        self.spare: World | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: Any) -> None:
        with ExitStack() as stack:  # each, also when the end of another is interrupted
            for world in (self.world, self.spare):
                if world:
                    stack.callback(world.end)

    def fresh(self, more: bool = True) -> None:
        """End the process of the last submission.

        Args:
            more: another submission follows, for which a process is started now.

        Raises:
            Unavailable: none can be started.
        """
        if self.world:
            self.world.end()
        self.world, self.spare = self.spare, None
        self._ready()
        self.spare = World(self.walls, self.megabytes) if more else None

    def _ready(self) -> "World":
        """A process that answers; a new one where the last is lost."""
        if self.world is None or self.world.lost:
            if self.world:
                self.world.end()
            self.world = World(self.walls, self.megabytes)
        if not self.world.started:
            self.world.wait()
        return self.world

    def read(self, notebook: bytes, asked: list[Exercise]) -> tuple[dict[str, str], list[str]]:
        """({exercise: source of its answer}, notes) of a notebook.

        Raises:
            BadValue: it is no notebook, or cannot be read within time, memory or size.
        """
        wanted = {e.name: {"defines": e.defines, "stub": e.stub} for e in asked}
        with self._session(READ_SECONDS) as session:
            try:
                session.line.send(
                    {"do": "read", "seconds": READ_SECONDS, "asked": wanted}, notebook
                )
                found = session.receive()[0]
            except (Closed, TimeoutError, AnswerError) as error:
                session.lost = True
                raise BadValue(
                    "This notebook cannot be read: it needs too much time, memory or room."
                ) from error
        if "not" in found:
            raise BadValue(str(found["not"]))
        return found["answers"], found["notes"]

    @contextmanager
    def answer(self, source: str, name: str, seconds: float) -> Iterator[Any]:
        """What `name` is after the cell `source` has run: plain data, or a `Remote`.

        Raises:
            AnswerError: the cell cannot be run, or does not define the name.
            NotImplementedError: the cell raised it.
            TooSlow: time was up.
        """
        with self._session(seconds) as session:
            try:
                given = session.ask("run", source=source, name=name, seconds=seconds)
            except (AttributeError, Wrong) as error:
                raise AnswerError(UNREADABLE) from error
            yield given

    @contextmanager
    def _session(self, seconds: float) -> Iterator["Session"]:
        world = self._ready()
        world.line.deadline = time.monotonic() + seconds
        session = Session(world.line)
        try:
            yield session
        finally:
            world.lost = not session.end()


class World:
    """A process behind walls, see `world/__main__.py`."""

    def __init__(self, walls: Walls, megabytes: int):
        self.lost = self.started = False
        self.walls, self.called = walls, f"pftlab-{os.getpid()}-{secrets.token_hex(8)}"
        open_to_disk = isinstance(walls, NoWalls)
        self.place = tempfile.mkdtemp(prefix="pftlab-answers-") if open_to_disk else None
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.socket = ours
        self.line = Line(ours.fileno(), ours.fileno(), trusted=False)
        with theirs:
            try:
                self.process = subprocess.Popen(
                    walls.command(megabytes, self.called), stdin=theirs.fileno(),
                    stdout=theirs.fileno(), stderr=self.said, cwd=self.place or "/",
                    env=walls.environment(), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                ours.close()
                self._clear()
                raise Unavailable(f"{walls.name} cannot be started: {error}.") from error

    def wait(self) -> None:
        """Return when it answers.

        Raises:
            Unavailable: it does not.
        """
        self.line.deadline = time.monotonic() + START_SECONDS
        try:
            ready = self.line.receive()[0]
        except (Closed, TimeoutError):
            ready = {}
        self.started = ready == {"ready": True}
        if not self.started:
            self.said.seek(0)
            said = self.said.read(10_000).decode("utf-8", "replace").strip().splitlines()
            self.end()
            raise Unavailable(f"it did not start ({said[-1][:300] if said else 'no word'})")

    def end(self) -> None:
        """End it, and all that it started where the walls allow that."""
        self.socket.close()
        try:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        finally:
            self.walls.end(self.called)
        self.said.close()
        self._clear()
        self.lost = True

    def _clear(self) -> None:
        if self.place:
            with suppress(OSError, RecursionError):  # an answer can nest its folders
                shutil.rmtree(self.place)


class Session:
    """One answer on the line.

    Attributes:
        lost: the line can carry no further answer.
        over: the process of this answer has ended.
    """

    def __init__(self, line: Line):
        self.line, self.lost, self.over = line, False, False

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next message about this answer.

        Raises:
            Closed, TimeoutError: as of `Line.receive`.
            AnswerError: its process has ended.
        """
        content, numbers = self.line.receive()
        if "ready" in content:
            self.over = True
            raise AnswerError(ENDED)
        return content, numbers

    def ask(self, do: str, given: Any = None, **words: Any) -> Any:
        """Send one question and return the answer's value.

        Raises:
            AnswerError, NotImplementedError, AttributeError: the answer raised one, or is broken.
            Wrong: the answer changed what it was given.
            TooSlow: time was up.
        """
        numbers = bytearray()
        packed = pack(given, numbers, _refuse)
        if self.lost or self.over:
            raise AnswerError(ENDED)
        try:
            self.line.send({"do": do, "given": packed, **words}, bytes(numbers))
            problem, value = self._open(*self.receive())
        except AnswerError:
            raise
        except TimeoutError as error:
            self.lost = True
            raise TooSlow from error
        except Closed as error:
            self.lost = True
            raise AnswerError(f"Your code {error}.") from error
        except Exception as error:  # whatever a broken message makes of the reading
            self.lost = True
            raise AnswerError(UNREADABLE) from error
        except BaseException:  # TooSlow, of the clock around the whole check
            self.lost = True
            raise
        if problem:
            raise problem
        return value

    def _open(self, reply: dict[str, Any], numbers: bytes) -> tuple[Exception | None, Any]:
        """(what to raise, value) of a reply."""
        if "error" in reply:
            kinds = {"stub": NotImplementedError, "attribute": AttributeError}
            kind = kinds.get(str(reply.get("kind")), AnswerError)
            return kind(clean(str(reply["error"])[:700])), None
        if reply.get("changed"):
            return Wrong(IN_PLACE), None
        return None, unpack(reply["value"], numbers, self.remote)

    def remote(self, kept: dict[str, Any]) -> "Remote":
        """Something on the other side that is no plain data; its class has the name of there."""
        kind = Callable_ if kept["callable"] else Remote
        made = type(str(kept["type"])[:40] or "object", (kind,), {})()
        object.__setattr__(made, "_session", self)
        object.__setattr__(made, "_kept", int(kept["kept"]))
        return made

    def end(self) -> bool:
        """End the process of the answer; tell whether the line can carry another."""
        if self.over or self.lost:
            return not self.lost
        self.line.deadline = time.monotonic() + END_SECONDS
        try:
            self.line.send({"do": "end"})
            return self.line.receive()[0] == {"ready": True}
        except (Closed, TimeoutError):
            return False


class Remote:
    """Stands for an object in the process of the answer."""

    _session: Session
    _kept: int

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._session.ask("get", of=self._kept, name=name)


class Callable_(Remote):
    """Stands for a function, a class or another object that can be called."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._session.ask("call", (args, named), of=self._kept)


def _refuse(value: Any) -> dict[str, Any]:
    raise TypeError(f"A check gave a {type(value).__name__} to an answer in another process.")
