"""Every method by its name.

A method's module is imported when it is first asked for, so that looking at the names is quick.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from .core.errors import UnknownName
from .facts import FACTS

CLASSES = {row.place.partition(":")[2]: name for name, row in FACTS.items()}


class _Methods(Mapping[str, Any]):
    """name → method class, imported on first use."""

    def __getitem__(self, name: str) -> Any:
        if name not in FACTS:
            raise UnknownName("method", name, FACTS)
        module, _, cls = FACTS[name].place.partition(":")
        return getattr(import_module(f"pftlab.{module}"), cls)

    def __contains__(self, name: object) -> bool:
        return name in FACTS

    def __iter__(self) -> Iterator[str]:
        return iter(FACTS)

    def __len__(self) -> int:
        return len(FACTS)

    def __repr__(self) -> str:
        return f"METHODS({', '.join(FACTS)})"


METHODS = _Methods()


def load(model: Any, folder: str | Path, name: str | None = None, check_base: bool = True) -> Any:
    """Attach what `folder` holds, saved by `pftlab.save` or by Hugging Face PEFT.

    See pftlab.core.checkpoint.load for the arguments and errors.
    """
    from .core import checkpoint

    return checkpoint.load(model, folder, METHODS, name, check_base)
