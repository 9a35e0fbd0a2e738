"""What checks have in common: draw inputs, look at answers, name the known mistake."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .model import Wrong


def normal(g: Any, *shape: int) -> Tensor:
    """Normal numbers in 64 bits, so that a right answer differs by rounding alone."""
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def whole(g: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=g))


def close(a: Any, b: Any, tolerance: float = 1e-8) -> bool:
    """Whether two tensors have one shape and the same numbers."""
    return bool(
        a.shape == b.shape and torch.allclose(a.double(), b.double(), atol=tolerance, rtol=1e-6)
    )


def tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """`value`, if it is a tensor of this shape.

    Raises:
        Wrong: it is not.
    """
    if not isinstance(value, Tensor):
        raise Wrong(
            f"{what} should be a tensor, and is {type(value).__name__}. Is a return missing?"
        )
    if tuple(value.shape) != shape:
        raise Wrong(f"{what} has shape {tuple(value.shape)}, it should be {shape}.")
    return value


def pair(value: Any, what: str) -> tuple[Any, Any]:
    """The two parts of `value`.

    Raises:
        Wrong: it is no tuple of two; the message is "Return two …: `what`."
    """
    if not isinstance(value, tuple) or len(value) != 2:
        raise Wrong(f"Return two things: {what}.")
    return value


def compare(
    given: Tensor, right: Tensor, mistakes: Iterable[tuple[Tensor, str]], other: str
) -> None:
    """Raise the message of the known mistake that `given` is, or `other`; nothing if it is right.

    Raises:
        Wrong: `given` is not `right`.
    """
    if close(given, right):
        return
    for value, message in mistakes:
        if close(given, value):
            raise Wrong(message)
    raise Wrong(other)


def number(value: Any, what: str = "The answer") -> float:
    """`value` as a number.

    Raises:
        Wrong: it is none, or not finite.
    """
    try:
        found = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} should be one number, and is {type(value).__name__}.") from None
    if found != found or found in (float("inf"), float("-inf")):
        raise Wrong(f"{what} is {found}.")
    return found


def numbers(value: Any, names: tuple[str, ...]) -> tuple[float, ...]:
    """`value` as this many numbers.

    Raises:
        Wrong: it is something else.
    """
    asked = f"({', '.join(names)})"
    try:
        parts = tuple(value)
    except TypeError:
        parts = ()
    if len(parts) != len(names):
        raise Wrong(f"Give {len(names)} numbers in brackets: {asked}.")
    return tuple(number(part, name) for part, name in zip(parts, names, strict=True))


def measure(
    given: Any,
    right: float,
    mistakes: Iterable[tuple[float, str]],
    other: str,
    within: float = 1e-6,
    what: str = "The answer",
) -> None:
    """`compare` for one number; `within` is the relative error that is still right.

    Raises:
        Wrong: `given` is not `right`.
    """
    found = number(given, what)

    def same(value: float) -> bool:
        return abs(found - value) <= within * max(abs(value), 1e-12)

    if same(right):
        return
    for value, message in mistakes:
        if same(value):
            raise Wrong(message)
    raise Wrong(other)
