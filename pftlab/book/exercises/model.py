"""What an exercise and a question of a quiz are."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any


class Wrong(Exception):
    """Raised by a stage: the answer is wrong, and the message says where to look."""


@dataclass(frozen=True)
class Stage:
    """One step of a check, and one line of the rubric.

    Args:
        title: what the step establishes, as in "the shape is right".
        points: what it is worth.
        test: called with the answer and a seeded torch.Generator; raises `Wrong`. All that it
            does with a function or an object is to call it and to read its attributes, with
            numbers, texts, tensors and tuples, lists and dictionaries of these: an answer that is
            graded lives in another process.
    """

    title: str
    points: int
    test: Callable[[Any, Any], None]


@dataclass(frozen=True)
class Exercise:
    """One exercise. `stub` defines one name, a function, a class or a value: the answer.

    Args:
        name: "family.chapter.number".
        title: a few words.
        kind: "code" (a function or a class), "short" (numbers), or "open" (no stub, no stages).
        minutes: what it takes.
        stars: 1 to 3.
        statement: Markdown.
        stub: code that defines the answer's name and nothing else.
        hints: Markdown, from the gentlest to the plainest; none is the solution.
        stages: from the most basic to the subtlest.
    """

    name: str
    title: str
    kind: str
    minutes: int
    stars: int
    statement: str
    stub: str
    hints: tuple[str, ...]
    stages: tuple[Stage, ...]

    @property
    def points(self) -> int:
        """The full score."""
        return sum(stage.points for stage in self.stages)

    @property
    def defines(self) -> str:
        """The name that the answer must have."""
        last = ast.parse(self.stub).body[-1]
        if isinstance(last, ast.FunctionDef | ast.ClassDef):
            return last.name
        assert isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name)
        return last.targets[0].id


@dataclass(frozen=True)
class Option:
    """One answer of a question, and what is said to who chooses it."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """One question of a quiz; exactly one option is right.

    Texts may hold `code` and *emphasis*.
    """

    text: str
    options: tuple[Option, ...]

    def shuffled(self) -> list[Option]:
        """The options in the order in which they are shown: drawn once, from the question."""
        order = list(self.options)
        Random(self.text).shuffle(order)
        return order
