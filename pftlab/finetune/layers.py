"""Which parameters belong to which layer: shared by the methods that treat layers differently."""

from typing import Any

from torch import nn

from ..core import BadValue, is_planted
from ..core.sites import depth, sites


def above(model: nn.Module, first: int) -> list[str]:
    """Names of the base parameters from layer `first` up: its layers and what follows them.

    Embeddings are below every layer. In an encoder-decoder model both stacks count alike.

    Raises:
        BadValue: the model has no such layer.
        Refused: its layers share their parameters.
    """
    blocks, layers = sites(model, ("block",)), depth(model)
    if not 0 <= first < layers:
        raise BadValue(
            f"This {type(model).__name__} has {layers} layers: between 1 and {layers} of them can "
            f"be trained, not {layers - first}."
        )
    below = [f"{s.path}." for s in blocks if s.layer is not None and s.layer < first]
    below += _embeddings(model, [s.path for s in blocks])
    base: Any = model.base_model
    inside = {id(p) for p in base.parameters()}
    return [
        name
        for name, parameter in model.named_parameters()
        if id(parameter) in inside
        and not is_planted(name)
        and not any(name.startswith(prefix) for prefix in below)
    ]


def from_the_top(model: nn.Module) -> list[list[str]]:
    """Names of all parameters of the model, layer by layer, from the top down.

    The first group is what lies above the layers, a head included, with the top layer; the last
    one is the embeddings. In an encoder-decoder model both stacks count alike.

    Raises:
        Refused: the layers share their parameters.
    """
    layers = depth(model)
    base: Any = model.base_model
    inside = {id(p) for p in base.parameters()}
    ours = {n: p for n, p in model.named_parameters() if not is_planted(n)}
    groups = [[n for n, p in ours.items() if id(p) not in inside]]
    for layer in range(layers - 1, -1, -1):
        seen = {n for group in groups for n in group}
        groups.append([n for n in above(model, layer) if n not in seen])
    top = groups.pop(0)
    groups[0] = [*groups[0], *top]
    seen = {n for group in groups for n in group}
    return [*groups, [n for n in ours if n not in seen]]


def _embeddings(model: nn.Module, blocks: list[str]) -> list[str]:
    """Prefixes of the parameter names of everything before the first layer."""
    prefixes = []
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) and not any(path.startswith(f"{b}.") for b in blocks):
            parent = path.rpartition(".")[0]
            holds_layers = not parent or any(b.startswith(f"{parent}.") for b in blocks)
            prefixes.append(f"{path}." if holds_layers else f"{parent}.")
    return prefixes
