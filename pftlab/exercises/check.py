"""check(): examine an answer stage by stage and say what to look at."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .catalogue import exercise
from .model import Exercise, Stage, Wrong
from .progress import remember

SECONDS = 10.0
ROUNDS = 3  # each stage with as many draws of the inputs


class _TooSlow(BaseException):
    """Not an Exception, so that an answer's own `except Exception` does not catch it."""


@dataclass(frozen=True)
class Result:
    """What a check found. `state` is "right", "wrong", "error", "too slow" or "not written"."""

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
        return "\n".join(lines)

    __repr__ = __str__  # what a notebook shows


def check(name: str, answer: Any, seconds: float = SECONDS) -> Result:
    """Check an answer, keep the result for `pftlab progress`, and return it.

    Args:
        name: the exercise, such as "low_rank.lora.3".
        answer: the function, class, tensor or number asked for.
        seconds: time that the whole check may take. The limit needs a main thread and a system
            with interval timers (Linux, macOS); elsewhere the check runs without one.

    Raises:
        UnknownName: there is no such exercise.
    """
    result = examine(exercise(name), answer, seconds)
    remember(result)
    return result


def examine(
    asked: Exercise, answer: Any, seconds: float = SECONDS, seed: int | None = None
) -> Result:
    """The same without a record; `seed` fixes the inputs, else they are drawn anew."""
    import torch

    seed = time.time_ns() % 2**31 if seed is None else seed
    points = 0
    passed: list[str] = []

    def result(state: str, message: str = "") -> Result:
        return Result(asked.name, state, points, asked.points, tuple(passed), message)

    if answer is None or answer is ... or (isinstance(answer, tuple) and ... in answer):
        return result("not written", "Not written yet.")
    try:
        with _limit(seconds):
            for stage in asked.stages:
                for turn in range(ROUNDS):
                    _run(stage, answer, torch.Generator().manual_seed(seed + turn))
                points += stage.points
                passed.append(stage.title)
    except Wrong as error:
        return result("wrong", str(error))
    except NotImplementedError:
        return result("not written", "Not written yet.")
    except _TooSlow:
        return result("too slow", f"Stopped after {seconds:g} seconds: is there an endless loop?")
    except Exception as error:
        return result("error", f"Your code raised {type(error).__name__}: {error}")
    return result("right")


def _run(stage: Stage, answer: Any, generator: Any) -> None:
    stage.test(answer, generator)


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "setitimer")):
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
