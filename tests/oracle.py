"""What the oracles share: reading a hidden state inside a plain model, and setting tensors."""

from typing import Any

import torch
from torch import Tensor, nn


def states(model: nn.Module, inputs: dict[str, Tensor], *paths: str) -> dict[str, tuple]:
    """What the modules at `paths` read and wrote in one forward pass: path → (input, output)."""
    seen: dict[str, tuple] = {}

    def keep(path: str, args: tuple, kwargs: dict, output: Any) -> None:
        read = args[0] if args else kwargs["hidden_states"]
        seen[path] = (read, output[0] if isinstance(output, tuple) else output)

    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda module, args, kwargs, output, path=path: keep(path, args, kwargs, output),
            with_kwargs=True,
        )
        for path in paths
    ]
    with torch.no_grad():
        model(**inputs)
    for handle in handles:
        handle.remove()
    return seen


def delta_at(model: nn.Module, path: str) -> Any:
    """The delta planted in the module at `path`."""
    (child,) = (c for n, c in model.get_submodule(path).named_children() if n.startswith("pft_"))
    return child
