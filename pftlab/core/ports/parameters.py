"""The base's own parameters: a method opens some of them for training.

Nothing is planted and no pass is touched. What such a parameter was before is kept, in host
memory, so that the base comes back bit for bit when the method goes.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..delta import is_planted
from ..errors import Refused
from ..places import is_norm
from ..sites import sites


def norm_parameters(model: nn.Module, layers: Iterable[int] | None = None) -> list[str]:
    """Names of the parameters of the layer norms in the base.

    Args:
        model: a transformers model.
        layers: numbers of the layers whose norms are meant; None: all, and those outside of layers.
    """
    base = getattr(model, "base_model", model)
    norms = {id(p) for m in base.modules() if is_norm(m) for p in m.parameters(recurse=False)}
    named = model.named_parameters()
    return in_layers(model, [n for n, p in named if id(p) in norms and not is_planted(n)], layers)


def in_layers(model: nn.Module, names: list[str], layers: Iterable[int] | None) -> list[str]:
    """Those of `names` that belong to the layers of these numbers; of None, all."""
    if layers is None:
        return names
    blocks = tuple(f"{site.path}." for site in sites(model, ("block",), layers))
    return [name for name in names if name.startswith(blocks)]


def check_trainable(model: nn.Module, names: Iterable[str]) -> None:
    """Refuse to train a parameter that holds no floating-point numbers.

    Raises:
        Refused: one of them is quantised.
    """
    for n in names:
        if not model.get_parameter(n).is_floating_point():
            raise Refused(f"{n} is quantised and cannot be trained. Load it in 16 bits.")


def taken(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Name → value, copied into host memory (of a model without values, what stands for it)."""
    values = {n: model.get_parameter(n).detach() for n in names}
    return {n: v.clone() if v.is_meta else v.to("cpu", copy=True) for n, v in values.items()}


@torch.no_grad()
def put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Let the parameters of these names have these values, wherever and in whatever type they are.

    A parameter stays the object that it is, so that an optimiser goes on with it.
    """
    for n, value in values.items():
        parameter = model.get_parameter(n)
        parameter.data = value.to(parameter, copy=True)
        parameter.grad = None
