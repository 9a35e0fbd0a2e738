"""What an exercise is."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Wrong(Exception):
    """Raised by a stage: the answer is wrong, and the message says where to look."""


@dataclass(frozen=True)
class Stage:
    """One step of a check.

    Args:
        title: what the step establishes, as in "the shape is right".
        points: what it is worth.
        test: called with the answer and a seeded torch.Generator; raises `Wrong`.
    """

    title: str
    points: int
    test: Callable[[Any, Any], None]


@dataclass(frozen=True)
class Exercise:
    """One exercise. `stub` defines one name, a function or a value, which is the answer."""

    name: str
    title: str
    kind: str  # "code" or "short"
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
