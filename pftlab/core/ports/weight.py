"""Weights themselves: a delta changes a parameter while its module computes.

    W  ←  W₀ + Δ(θ), with W₀ untouched and θ small

Sparse methods and intrinsic dimensions speak of parameters, not of hidden states. A `WeightDelta`
is planted at a parameter: while its module runs, the module sees the changed weight in the place
of its own. The frozen parameter keeps its name and its value, so that nothing is copied and a
checkpoint holds θ alone. The price is the gradient of the full W in each backward pass: what
defines a change of W must see it.

A parameter that several modules share (tied embeddings) carries one delta, which all of them use.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..delta import Delta, acts, delta_in, is_planted, own_type
from ..handover import Handover
from ..places import Place, Port, Site, base_prefix
from ..reading import reader_of


class RewritesWeight(Protocol):
    """The call of a delta of this port."""

    def __call__(self, weight: Tensor) -> Tensor:
        """W₀, of any shape → W of the same shape."""


class WeightDelta(Delta):
    """Rewrites one parameter of the base.

    forward: W₀, of any shape → W of the same shape

    Attributes:
        leaf: name of the parameter in its module, such as "weight"; set when planted.
    """

    ports: ClassVar[tuple[Port, ...]] = (Port.WEIGHT,)
    leaf: str

    def __init__(self) -> None:
        super().__init__()
        self.turn = Turn()

    def shown(self, weight: Tensor) -> Any:
        """What the module finds in the place of its parameter; `weight` is what it found before.

        Override it for a weight that is never to be a tensor while the module computes.
        """
        return rewrite(self, weight)


class Turn:
    """Whose turn it is to compute with a changed weight: one thread's at a time.

    The changed weight lies in the module, where every thread would find it. So a thread that comes
    while another one computes waits until the module is as it was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = Handover()  # the module, the parameter's name, and what lay in its place

    def begin(self, module: nn.Module, leaf: str) -> None:
        """From now on this thread alone may put something in the place of `module.leaf`."""
        if not torch.compiler.is_compiling():  # a graph is compiled by one thread
            self._lock.acquire()
        self._begun.leave((module, leaf, module.__dict__.get(leaf)))

    def end(self) -> None:
        """Put back what was there, if it is this thread's turn."""
        if (begun := self._begun.take()) is None:
            return
        module, leaf, before = begun
        if before is None:  # the parameter, which an attribute of that name has hidden
            module.__dict__.pop(leaf, None)
        else:  # a change that was planted earlier; or a replica's weight, which is no parameter
            module.__dict__[leaf] = before
        if not torch.compiler.is_compiling():
            self._lock.release()

    def __reduce__(self) -> tuple:
        return Turn, ()


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
        if not name.startswith(prefix) or is_planted(name) or not wanted(name, parameter):
            continue
        host, place = model.get_submodule(path), Place(path, Port.WEIGHT, x=leaf)
        size = parameter.shape
        site = Site(name, None, None, path, host, place, size[-1], size[0], model.config, model)
        found.append(site)
    return found


def plant(site: Site, name: str, delta: Delta) -> Iterator[RemovableHandle]:
    """Connect the delta `name` with every module that uses the site's parameter."""
    assert isinstance(delta, WeightDelta)
    delta.leaf = site.place.x
    parameter = site.host.get_parameter(delta.leaf)
    for path, module in list(site.model.named_modules()):
        for leaf, candidate in module.named_parameters(recurse=False):
            if candidate is parameter:
                if module is not site.host:
                    module.add_module(name, delta)
                reader, inner = reader_of(site.model, path)
                yield reader.register_forward_pre_hook(partial(_show, name, leaf, inner))
                # the change that came last goes first
                hide = partial(_hide, name, inner)
                yield reader.register_forward_hook(hide, always_call=True, prepend=True)


def rewrite(delta: WeightDelta, weight: Tensor) -> Tensor:
    """delta(W), computed in the delta's type and returned in the type of W."""
    change: RewritesWeight = delta
    return change(weight.to(own_type(delta) or weight.dtype)).to(weight.dtype)


def _show(name: str, leaf: str, inner: str, reader: nn.Module, args: tuple) -> None:
    """Let `module.weight` be the changed weight: an instance attribute hides the parameter."""
    module = reader.get_submodule(inner)
    delta = delta_in(module, name)
    assert isinstance(delta, WeightDelta)
    delta.turn.end()  # of a pass that Ctrl-C has ended
    if acts(delta):
        delta.turn.begin(module, leaf)
        # what is there now, a delta that was planted before may have put there
        module.__dict__[leaf] = delta.shown(getattr(module, leaf))


def _hide(name: str, inner: str, reader: nn.Module, args: tuple, output: Any) -> None:
    delta = delta_in(reader.get_submodule(inner), name)
    assert isinstance(delta, WeightDelta)
    delta.turn.end()
