"""PFT Lab: parameter-efficient fine-tuning, from scratch.

    import pftlab as pft

    model = pft.load_base("minilm", num_labels=2)
    pft.LoRA(rank=8).attach(model)
    run = pft.train(model, pft.load_task("reviews"), steps=200)
    pft.save(model, "out/")

Importing this package is quick: torch and transformers are imported when first needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.errors import BadCheckpoint, BadValue, PftError, Refused, Unavailable, UnknownName
from .registry import CLASSES, METHODS, load

if TYPE_CHECKING:
    from .bases import BASES, load_base, load_tokenizer, random_weights
    from .core import Count, attached, count, detach, disabled, merge, sites
    from .core.checkpoint import save
    from .tasks import TASKS, Task, load_task
    from .training import Run, evaluate, train

__version__ = "0.1.0"

_WHERE = {
    "BASES": "bases",
    "load_base": "bases",
    "load_tokenizer": "bases",
    "random_weights": "bases",
    "Count": "core.count",
    "attached": "core.method",
    "count": "core.count",
    "detach": "core.method",
    "disabled": "core.method",
    "merge": "core.merge",
    "sites": "core.sites",
    "save": "core.checkpoint",
    "TASKS": "tasks",
    "Task": "tasks",
    "load_task": "tasks",
    "Run": "training",
    "evaluate": "training",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name in CLASSES:
        return METHODS[CLASSES[name]]
    if name in _WHERE:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *CLASSES})


__all__ = [
    "METHODS",
    "BadCheckpoint",
    "BadValue",
    "PftError",
    "Refused",
    "Unavailable",
    "UnknownName",
    "load",
    *_WHERE,
    *CLASSES,
]
