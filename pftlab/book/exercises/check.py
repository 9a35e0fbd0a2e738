"""check(): examine an answer stage by stage and say what to look at."""

import ctypes
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalogue import exercise
from .model import Exercise, Wrong
from .progress import remember
from .stream import printable_here

SECONDS = 10.0
ROUNDS = 3  # each stage with as many draws of the inputs
HERE = Path(__file__).parents[2]  # the package


class TooSlow(BaseException):
    """Time is up. Not an Exception, so that an answer's `except Exception` does not catch it."""


class AnswerError(Exception):
    """What an answer in another process raised, or why it can say no more."""


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    `state` is "right", "wrong", "error", "too slow", "not written" or, in a graded notebook,
    "missing".
    """

    name: str
    state: str
    points: int
    out_of: int
    passed: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        lines = [f"✓ {title}" for title in self.passed]
        if self.state == "right":
            lines.append(f"All right: {self.points} of {self.out_of} points.")
        else:
            mark = "…" if self.state == "not written" else "✗"
            lines.append(f"{mark} {self.message}")
            if self.points:
                lines.append(f"{self.points} of {self.out_of} points so far.")
        return printable_here("\n".join(lines))

    __repr__ = __str__  # what a notebook shows


def check(name: str, answer: Any, seconds: float = SECONDS) -> Outcome:
    """Check an answer, keep the result for `pftlab progress`, and return it.

    Args:
        name: the exercise, such as "low_rank.lora.3".
        answer: the function, class, tensor or number asked for.
        seconds: time that the whole check may take.

    Raises:
        UnknownName: there is no such exercise.
    """
    result = examine(exercise(name), answer, seconds)
    remember(result)
    return result


def examine(
    asked: Exercise, answer: Any, seconds: float = SECONDS, seed: int | None = None
) -> Outcome:
    """The same without a record; `seed` fixes the inputs, else they are drawn anew."""
    import torch

    seed = time.time_ns() % 2**31 if seed is None else seed
    points = 0
    passed: list[str] = []

    def result(state: str, message: str = "") -> Outcome:
        return Outcome(asked.name, state, points, asked.points, tuple(passed), message)

    if answer is None or answer is ... or (isinstance(answer, tuple) and ... in answer):
        return result("not written", "Not written yet.")
    if asked.kind == "code" and not callable(answer):
        return result(
            "wrong",
            f"Give {asked.defines} itself, not what it returns: "
            f'check("{asked.name}", {asked.defines}).',
        )
    try:
        with limited(seconds):
            answer = guarded(answer)
            for stage in asked.stages:
                for turn in range(ROUNDS):
                    stage.test(answer, torch.Generator().manual_seed(seed + turn))
                points += stage.points
                passed.append(stage.title)
    except Wrong as error:
        return result("wrong", str(error))
    except NotImplementedError:
        return result("not written", "Not written yet.")
    except TooSlow:
        return result("too slow", f"Stopped after {seconds:g} seconds: is there an endless loop?")
    except AnswerError as error:
        return result("error", str(error))
    except SystemExit:
        return result("error", "Your code called exit().")
    except Exception as error:
        return result("error", said(error))
    return result("right")


IN_PLACE = (
    "Your code changed what it was given, in place, as += does. Return something new: who calls "
    "it still needs the old."
)


class Guarded:
    """A function, a class or an object of an answer; what it is called with must stay as it is.

    Otherwise an answer could make the question easier than it was.
    """

    def __init__(self, answer: Any):
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        return guarded(getattr(self._answer, name))

    def __call__(self, *args: Any, **named: Any) -> Any:
        import torch

        given = [v for v in (*args, *named.values()) if isinstance(v, torch.Tensor)]
        before = [v.clone() for v in given]
        value = self._answer(*args, **named)
        if not all(map(torch.equal, given, before)):
            raise Wrong(IN_PLACE)
        return guarded(value)


def guarded(value: Any) -> Any:
    """`value`, and if it can be called, behind a guard."""
    if not callable(value):
        return value
    return type(type(value).__name__, (Guarded,), {})(value)  # a message may name the type


def said(error: BaseException) -> str:
    """What to tell a learner about an error: whether it is the answer's, and where."""
    text = f"{type(error).__name__}: {error}".rstrip(": ")[:500]
    line = line_of(error)
    if line is None:
        return f"The check cannot use what your code gave ({text}). Is it what was asked for?"
    return f"Your code raised {text} (in line {line})"


def line_of(error: BaseException) -> int | None:
    """The deepest line that is neither in this package nor in an installed one."""
    foreign = (str(HERE), sys.prefix, sys.base_prefix)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if not frame.filename.startswith(foreign)]
    return own[-1] if own else None


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the block when it takes longer.

    A signal does it, in the main thread of Linux and macOS. Elsewhere (Windows, other threads) a
    second thread asks for it, which an endless loop of Python hears and a sleep does not.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        with _by_signal(seconds):
            yield
    else:
        with _by_thread(seconds):
            yield


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    own, lock, over = ctypes.c_ulong(threading.get_ident()), threading.Lock(), False

    def stop() -> None:
        with lock:
            if not over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(own, ctypes.py_object(TooSlow))

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
