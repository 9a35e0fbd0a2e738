"""Experiments: grids of runs, their results as lines of JSON, and their summaries."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .grid import Cell, Grid, InContext, read_grid
    from .memory import training_memory
    from .protocol import Protocol
    from .results import STORED, Failure, Result, load_failures, load_results
    from .runner import run
    from .summary import Summary, summarise

_WHERE = {
    "Cell": "grid",
    "Grid": "grid",
    "InContext": "grid",
    "read_grid": "grid",
    "training_memory": "memory",
    "Protocol": "protocol",
    "STORED": "results",
    "Failure": "results",
    "Result": "results",
    "load_failures": "results",
    "load_results": "results",
    "run": "runner",
    "Summary": "summary",
    "summarise": "summary",
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = list(_WHERE)
