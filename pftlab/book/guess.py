r"""What a reader guesses before an output is shown, and what the output answers.

A cell with the tag `predict` may have a guess in its metadata, a number or a choice:

    "guess": {"ask": "Distance at rank 2", "from": 0, "to": 10, "step": 1, "unit": " points",
              "find": "rank 2: distance ([\d.]+)"}
    "guess": {"ask": "Which loss is lower?", "choices": ["the first", "neither"],
              "answer": "neither", "find": "0.1042[^$]*0.1042"}

`find` is a regular expression for what the cell showed: its text, and the alternative text of its
figure. Of a number it catches the digits, so that the truth is the output's and never typed; of a
choice it is the evidence, without which the answer may have become another.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pftlab.core.errors import BadValue

NUMBER = {"ask", "from", "to", "step", "find"}
CHOICE = {"ask", "choices", "answer", "find"}


@dataclass(frozen=True)
class Guess:
    """What is asked, and the truth: a number as the cell showed it, or one of the choices."""

    ask: str
    truth: str
    choices: tuple[str, ...] = ()
    lowest: float = 0
    highest: float = 0
    step: float = 1
    unit: str = ""

    @property
    def options(self) -> str:
        """What may be guessed, in words."""
        if self.choices:
            return " / ".join(self.choices)
        return f"{self.lowest:g} to {self.highest:g}{self.unit}"


def guess_of(given: Mapping[str, Any], shown: str) -> Guess:
    """Read the metadata of a cell that showed `shown`.

    Raises:
        BadValue: a key is missing, is unknown or does not fit the output.
    """
    keys = set(given) - {"unit"}
    if keys not in (NUMBER, CHOICE):
        number, choice = (", ".join(sorted(kind)) for kind in (NUMBER, CHOICE))
        raise BadValue(
            f"A guess with the keys {', '.join(sorted(given))}. "
            f"A number has {number} and perhaps unit; a choice has {choice}."
        )
    found = re.search(given["find"], shown)
    if not found:
        raise BadValue(
            f"The guess {given['ask']!r} finds no {given['find']!r} in what the cell shows. "
            "Look at the output: the answer may be another now."
        )
    if keys == CHOICE:
        choices = tuple(given["choices"])
        if given["answer"] not in choices or len(set(choices)) < len(choices) or len(choices) < 2:
            raise BadValue(
                f"The answer {given['answer']!r} is to be one of at least two choices, "
                f"each another: {', '.join(map(repr, choices))}."
            )
        return Guess(given["ask"], given["answer"], choices)
    if found.re.groups != 1:
        raise BadValue(f"find={given['find']!r} is to catch one number: digits in one (…).")
    lowest, highest, step = (float(given[key]) for key in ("from", "to", "step"))
    truth = found[1].replace(",", "")
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?", truth) or not lowest <= float(truth) <= highest:
        raise BadValue(f"The truth {found[1]!r} is no number from {lowest:g} to {highest:g}.")
    if step <= 0 or (highest - lowest) / step < 2:
        raise BadValue(f"step={step:g} leaves no choice from {lowest:g} to {highest:g}.")
    return Guess(given["ask"], truth, (), lowest, highest, step, given.get("unit", ""))
