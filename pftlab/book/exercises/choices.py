"""Checks of answers that choose: a cause for each run, and which sentences may be printed."""

from collections.abc import Callable
from typing import Any

from .compare import numbers
from .model import Wrong

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
Test = Callable[[Any, Any], None]


def causes(right: tuple[int, ...], hints: tuple[str, ...], of: str = "run") -> Test:
    """A test of an answer with the number of a cause for each case a, b, …, each used once.

    Args:
        right: the causes, counted from 1.
        hints: what to look at in each case, if its cause is another.
        of: what a case is, in a word.
    """
    names = tuple("abcdefgh"[: len(right)])
    allowed = sorted(right)

    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, names)
        if sorted(given) != allowed:
            listed = f"{', '.join(map(str, allowed[:-1]))} and {allowed[-1]}"
            raise Wrong(f"Each cause belongs to one {of}: give {listed} in some order.")
        _same(given, right, hints)

    return test


def sentences(right: tuple[int, ...], hints: tuple[str, ...]) -> Test:
    """A test of an answer with 1 for each sentence i, ii, … that may be printed, and 0 for others.

    Args:
        right: of each sentence.
        hints: what to look at for each, if the answer is wrong there.
    """
    names = ("i", "ii", "iii", "iv", "v", "vi")[: len(right)]

    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, names)
        if any(value not in (0, 1) for value in given):
            raise Wrong(f"Give 1 or 0 for each of the {NUMBERS[len(right)]} sentences.")
        _same(given, right, hints)

    return test


def _same(given: tuple[float, ...], right: tuple[int, ...], hints: tuple[str, ...]) -> None:
    for value, wanted, hint in zip(given, right, hints, strict=True):
        if value != wanted:
            raise Wrong(hint)
