"""Experiments: grids of runs, their results as lines of JSON, and their summaries."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .grid import Grid
    from .memory import training_memory
    from .results import STORED, Result, load_results
    from .summary import Summary, summarise

_WHERE = {
    "Grid": "grid",
    "training_memory": "memory",
    "STORED": "results",
    "Result": "results",
    "load_results": "results",
    "Summary": "summary",
    "summarise": "summary",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = list(_WHERE)
