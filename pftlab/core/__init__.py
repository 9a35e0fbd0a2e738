"""The one mechanism that every method shares. It knows no method, no task and no book.

What a method file needs is here by name; the functions `sites`, `count` and `merge` are in the
modules of the same names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import BadCheckpoint, BadValue, PftError, Refused, Unavailable, UnknownName

if TYPE_CHECKING:
    from .attachment import detach, disabled
    from .count import Count
    from .delta import Delta, planted
    from .method import Method
    from .record import attached
    from .sites import Site
    from .trained import load_trainable_state, trainable_state

_WHERE = {
    "Count": "count",
    "Delta": "delta",
    "planted": "delta",
    "Method": "method",
    "attached": "record",
    "detach": "attachment",
    "disabled": "attachment",
    "load_trainable_state": "trained",
    "trainable_state": "trained",
    "Site": "sites",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BadCheckpoint",
    "BadValue",
    "Count",
    "Delta",
    "Method",
    "PftError",
    "Refused",
    "Site",
    "Unavailable",
    "UnknownName",
    "attached",
    "detach",
    "disabled",
    "load_trainable_state",
    "planted",
    "trainable_state",
]
