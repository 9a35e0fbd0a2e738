"""What `save` and `load` ask of a checkpoint format of another library; see pftlab.exchange.

The formats are handed in, as the registry of methods is: this package knows none of them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from .method import Method


class Held(NamedTuple):
    """What a file holds, for one model.

    Attributes:
        name: under which the method is attached if no other is given.
        method: with the hyper-parameters that the file says.
        head: name of a parameter in the model → its value, of all that the file holds whole.
        fill: copies the rest into the method that was attached under the name that it is given.
    """

    name: str
    method: Method
    head: dict[str, Tensor]
    fill: Callable[[str], None]


class Foreign(Protocol):
    """A format to read: a module with these names.

    Attributes:
        FILE: name of the file with the tensors.
        ADVICE: what to do if there is none, such as pickles alone.
    """

    FILE: str
    ADVICE: str

    def recognises(self, config: Mapping[str, Any]) -> bool:
        """Whether adapter_config.json is of this format."""

    def read(
        self,
        model: nn.Module,
        folder: Path,
        config: Mapping[str, Any],
        tensors: dict[str, Tensor],
        methods: Mapping[str, type[Method]],
        known: Method | None,
    ) -> Held:
        """What the file holds; `known` is its method if PFT Lab wrote it. Nothing is attached."""


class Writable(Foreign, Protocol):
    """A format to write as well."""

    def write(
        self, model: nn.Module, name: str, head: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Configuration and tensors of what is attached as `name`; None if it has no such form."""
