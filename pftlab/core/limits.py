"""What values a hyper-parameter may have: its limit stands at its field, beside the type.

    rank: Whole = 8
    gate: Annotated[str, one_of("tanh", "plain")] = "tanh"

To a type checker `Whole` is int. Whoever makes the method has the values checked: a method of this
package, one of one's own, a line of a file. What concerns several fields at once is checked in the
method's `__post_init__`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from .errors import BadValue


@dataclass(frozen=True)
class Limit:
    """What must hold of a hyper-parameter's value, None excepted where the type allows it.

    Attributes:
        holds: whether it holds of a value, whatever its type.
        words: what does, as the end of a sentence: "rank must be …".
    """

    holds: Callable[[Any], bool]
    words: str


def one_of(*names: str) -> Limit:
    """The value is one of these words."""
    return Limit(lambda value: value in names, f"one of {', '.join(names)}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return _number(value) and isinstance(value, int)


def _tuple_of(kind: type, value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(v, kind) for v in value)


Whole = Annotated[int, Limit(lambda v: _whole(v) and v >= 1, "a whole number of at least 1")]
WholeOrZero = Annotated[int, Limit(lambda v: _whole(v) and v >= 0, "a whole number of at least 0")]
Positive = Annotated[float, Limit(lambda v: _number(v) and v > 0, "a number greater than 0")]
PositiveOrZero = Annotated[float, Limit(lambda v: _number(v) and v >= 0, "a number of at least 0")]
NotZero = Annotated[float, Limit(lambda v: _number(v) and v != 0, "a number other than 0")]
Share = Annotated[  # of something that is left: a dropout's probability, a part of the steps
    float, Limit(lambda v: _number(v) and 0 <= v < 1, "a share: at least 0, less than 1")
]
Density = Annotated[
    float, Limit(lambda v: _number(v) and 0 < v <= 1, "a share: greater than 0, at most 1")
]
SiteNames = Annotated[
    tuple[str, ...],
    Limit(
        lambda v: _tuple_of(str, v),
        'a tuple of site names, such as ("attention.query", "attention.value")',
    ),
    Limit(lambda v: len(set(v)) == len(v), "without repetition: a site is named twice"),
]
LayerNumbers = Annotated[
    tuple[int, ...],
    Limit(
        lambda v: _tuple_of(int, v) and min(v) >= 0,
        "a tuple of layer numbers from 0",
    ),
]


@cache
def limits_of(method: type) -> dict[str, tuple[tuple[Limit, ...], bool]]:
    """Name → its limits, and whether None is allowed; of a class and all that it inherits from.

    A field that is written again in a child, for another default, keeps the limits of its parent;
    whether it may be None is the child's to say.
    """
    found: dict[str, tuple[tuple[Limit, ...], bool]] = {}
    for each in reversed(method.__mro__):
        try:
            written = inspect.get_annotations(each, eval_str=True)
        except NameError:  # a type that only a type checker imports
            written = inspect.get_annotations(each)
        for name, hint in written.items():
            members = get_args(hint) if get_origin(hint) is not Annotated else (hint,)
            limits = tuple(
                part
                for member in members
                if get_origin(member) is Annotated
                for part in get_args(member)[1:]
                if isinstance(part, Limit)
            )
            limits = limits or found.get(name, ((), False))[0]
            if limits:
                found[name] = limits, type(None) in members
    return found


def check_limits(method: Any) -> None:
    """Refuse a method of which a hyper-parameter is beyond its limit.

    Raises:
        BadValue: the first that is.
    """
    limits = limits_of(type(method))  # type: ignore[arg-type]
    for field in fields(method):
        value = getattr(method, field.name)
        here, optional = limits.get(field.name, ((), False))
        if value is None and optional:
            continue
        for limit in here:
            if not limit.holds(value):
                allowed = ", or None" if optional else ""
                raise BadValue(
                    f"{type(method).__name__}({field.name}={value!r}): {field.name} must be "
                    f"{limit.words}{allowed}."
                )
