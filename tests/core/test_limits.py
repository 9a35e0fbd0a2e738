"""Limits of hyper-parameters stand at their fields."""

from dataclasses import dataclass
from typing import Annotated

import pytest

import pftlab as pft
from pftlab.core import Method
from pftlab.core.limits import Limit, Share, Whole, limits_of, one_of

EVEN = Limit(lambda value: value % 2 == 0, "an even number")


@dataclass(frozen=True)
class Mine(Method):
    """A method of one's own."""

    width: Whole = 2
    leak: Share | None = None
    kind: Annotated[str, one_of("a", "b")] = "a"
    parts: Annotated[Whole, EVEN] = 2
    at: tuple[str, ...] = ("ffn",)


@dataclass(frozen=True)
class Child(Mine):
    """With other defaults, and no word of limits."""

    width: int = 3
    leak: float = 0.5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 0}, r"Mine\(width=0\): width must be a whole number of at least 1\.$"),
        ({"width": True}, "whole number"),
        ({"width": None}, r"at least 1\.$"),
        ({"leak": 1}, r"less than 1, or None\.$"),
        ({"kind": "c"}, "one of a, b"),
        ({"parts": 3}, "an even number"),
        ({"parts": 0}, "at least 1"),
        ({"at": ("ffn", "ffn")}, "named twice"),
        ({"at": None}, r"by default they are \('ffn',\)"),
    ],
)
def test_a_method_of_ones_own_has_limits_too(values: dict, words: str) -> None:
    with pytest.raises(pft.BadValue, match=words):
        Mine(**values)
    assert Mine(leak=None).leak is None


def test_a_child_keeps_the_limits_of_its_parent() -> None:
    assert limits_of(Child)["width"][0] == limits_of(Mine)["width"][0]
    with pytest.raises(pft.BadValue, match="at least 1"):
        Child(width=0)
    with pytest.raises(pft.BadValue, match="less than 1"):
        Child(leak=None)  # type: ignore[arg-type]


def test_every_width_of_the_package_has_a_limit() -> None:
    for method in pft.METHODS.values():
        for name in {"rank", "alpha", "dropout", "bottleneck", "length"}.intersection(
            getattr(method, "__match_args__", ())
        ):
            assert name in limits_of(method), (method, name)
