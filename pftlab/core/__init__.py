"""The one mechanism that every method shares. It knows no method, no task and no book.

What method files share is here by name; beside it they use the functions `sites`, `count` and
`merge`, from the modules of the same names. README.md in this folder follows one hidden state
through all of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import BadCheckpoint, BadValue, PftError, Refused, Unavailable, UnknownName

if TYPE_CHECKING:
    from .architectures import architecture
    from .attachment import detach, disabled
    from .count import Count
    from .delta import Delta, is_planted, planted
    from .method import Method
    from .places import Port, Site, Slice, base_prefix, config_of, is_conv1d, is_linear, widths
    from .planting import plant, uproot
    from .ports.attention import KeysValues
    from .ports.parameters import norm_parameters
    from .ports.sequence import PositionShift, Prompt, TextMask
    from .ports.weight import WeightDelta, parameter_sites
    from .record import attached, record_of
    from .sites import with_cross_attention
    from .trained import load_trainable_state, trainable_state

_WHERE = {
    "architecture": "architectures",
    "detach": "attachment",
    "disabled": "attachment",
    "Count": "count",
    "Delta": "delta",
    "is_planted": "delta",
    "planted": "delta",
    "Method": "method",
    "Port": "places",
    "Site": "places",
    "Slice": "places",
    "base_prefix": "places",
    "config_of": "places",
    "is_conv1d": "places",
    "is_linear": "places",
    "widths": "places",
    "plant": "planting",
    "uproot": "planting",
    "KeysValues": "ports.attention",
    "PositionShift": "ports.sequence",
    "Prompt": "ports.sequence",
    "TextMask": "ports.sequence",
    "WeightDelta": "ports.weight",
    "parameter_sites": "ports.weight",
    "attached": "record",
    "record_of": "record",
    "norm_parameters": "ports.parameters",
    "with_cross_attention": "sites",
    "load_trainable_state": "trained",
    "trainable_state": "trained",
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
    "KeysValues",
    "Method",
    "PftError",
    "Port",
    "PositionShift",
    "Prompt",
    "Refused",
    "Site",
    "Slice",
    "TextMask",
    "Unavailable",
    "UnknownName",
    "WeightDelta",
    "architecture",
    "attached",
    "base_prefix",
    "config_of",
    "detach",
    "disabled",
    "is_conv1d",
    "is_linear",
    "is_planted",
    "load_trainable_state",
    "norm_parameters",
    "parameter_sites",
    "plant",
    "planted",
    "record_of",
    "trainable_state",
    "uproot",
    "widths",
    "with_cross_attention",
]
