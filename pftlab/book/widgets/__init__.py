"""The interactive figures of the book.

    from pftlab.book.widgets import ParameterCounter

    ParameterCounter(base="llama-7b", method="lora")

All of their logic runs in the browser, so that they work in the built book, where there is no
kernel. In a live notebook their state and Python's are one: what the reader chooses can be read
from the object, and what is assigned to the object moves the figure.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .budget_player import BudgetPlayer, WatchedAdaLoRA
    from .low_rank_explorer import LowRankExplorer
    from .nf4_explorer import NF4Explorer
    from .parameter_counter import ParameterCounter
    from .placement_explorer import PlacementExplorer
    from .prefix_attention import PrefixAttention
    from .scale_curve import ScaleCurve
    from .tradeoff_explorer import TradeoffExplorer
    from .training_scrubber import TrainingScrubber

_WHERE = {
    "ParameterCounter": "parameter_counter",
    "TradeoffExplorer": "tradeoff_explorer",
    "PlacementExplorer": "placement_explorer",
    "LowRankExplorer": "low_rank_explorer",
    "NF4Explorer": "nf4_explorer",
    "BudgetPlayer": "budget_player",
    "WatchedAdaLoRA": "budget_player",
    "PrefixAttention": "prefix_attention",
    "ScaleCurve": "scale_curve",
    "TrainingScrubber": "training_scrubber",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = list(_WHERE)
