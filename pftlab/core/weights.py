"""Changes of the weights themselves: W ← W₀ + Δ(θ), with W₀ untouched and θ small.

Sparse methods and intrinsic dimensions speak of parameters, not of hidden states. A `WeightDelta`
is planted at a parameter: while its module runs, the module sees the changed weight in the place
of its own. The frozen parameter keeps its name and its value, so that nothing is copied and a
checkpoint holds θ alone. The price is the gradient of the full W in each backward pass: what
defines a change of W must see it.

A parameter that several modules share (tied embeddings) carries one delta, which all of them use.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from .delta import Delta
from .errors import BadValue
from .sites import WEIGHT, Place, Site, base_prefix


class WeightDelta(Delta):
    """Rewrites one parameter of the base.

    forward: W₀, of any shape → W of the same shape

    Attributes:
        leaf: name of the parameter in its module, such as "weight"; set when planted.
    """

    leaf: str

    def forward(self, weight: Tensor) -> Tensor:  # type: ignore[override]
        raise NotImplementedError

    def shown(self, weight: Tensor) -> Any:
        """What the module finds in the place of its parameter; `weight` is what it found before.

        Override it for a weight that is never to be a tensor while the module computes.
        """
        return rewrite(self, weight)


def parameter_sites(model: nn.Module, wanted: Callable[[str, nn.Parameter], bool]) -> list[Site]:
    """One site for each distinct base parameter for which `wanted(name, parameter)` holds.

    Args:
        model: a transformers model.
        wanted: is given the parameter's name in the model.
    """
    prefix = base_prefix(model)
    found = []
    for name, parameter in model.named_parameters():
        path, _, leaf = name.rpartition(".")
        if not name.startswith(prefix) or ".pft_" in f".{name}" or not wanted(name, parameter):
            continue
        place = Place(path, WEIGHT, x=leaf)
        host = model.get_submodule(path)
        size = parameter.shape
        found.append(
            Site(name, None, None, path, host, place, size[-1], size[0], model.config, model)
        )
    return found


def hook(site: Site, name: str, delta: Delta) -> list[Any]:
    """Plant `delta` in every module that uses the site's parameter; return the hooks' handles.

    Raises:
        BadValue: the delta does not rewrite weights.
    """
    if not isinstance(delta, WeightDelta):
        raise BadValue(
            f"The parameter {site.name!r} takes a WeightDelta, not a {type(delta).__name__}. "
            "Plant this delta at a site of hidden states."
        )
    delta.leaf = site.place.x
    parameter = site.host.get_parameter(delta.leaf)
    handles: list[Any] = []
    for module in list(site.model.modules()):
        for leaf, candidate in module.named_parameters(recurse=False):
            if candidate is parameter:
                if module is not site.host:
                    module.add_module(name, delta)
                hide = partial(_hide, leaf)
                handles.append(module.register_forward_pre_hook(partial(_show, name, leaf)))
                handles.append(module.register_forward_hook(hide, always_call=True))
    return handles


def _show(name: str, leaf: str, module: nn.Module, args: tuple) -> None:
    """Let `module.weight` be the changed weight: an instance attribute hides the parameter."""
    delta: WeightDelta = getattr(module, name)
    if not delta.active:
        return
    frozen = module._parameters[leaf]
    assert frozen is not None
    current = module.__dict__.get(leaf, frozen)  # what a delta planted before has made of it
    module.__dict__[leaf] = delta.shown(current)


def rewrite(delta: WeightDelta, weight: Tensor) -> Tensor:
    """delta(W), computed in the delta's type and returned in the type of W."""
    dtype = next((p.dtype for p in delta.parameters()), weight.dtype)
    return delta(weight.to(dtype)).to(weight.dtype)


def _hide(leaf: str, module: nn.Module, args: tuple, output: Any) -> None:
    module.__dict__.pop(leaf, None)
