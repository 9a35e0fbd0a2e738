"""Hidden states: a delta rewrites what a module returns, or what it reads.

    h  ←  delta(x, h)

At an output x is what the module has read, or what another module reads of the residual stream; at
an input x and h are the same; in front of a layer norm h is the residual sum and x what the norm
would make of it.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..delta import Delta, acts, delta_in, own_type
from ..grouped import Part
from ..handover import Handover
from ..places import Site, base_prefix


class RewritesHiddenState(Protocol):
    """The call of a delta of this port."""

    def __call__(self, x: Tensor, h: Tensor) -> Tensor:
        """X (..., d_in), h (..., d_out) → the new h (..., d_out)."""


def plant_at_output(site: Site, name: str, delta: Delta) -> Iterator[RemovableHandle]:
    """Let the delta `name` rewrite what the host returns, or its slice of it."""
    passed_on = None
    if site.place.x:
        passed_on = Handover()
        source = site.model.get_submodule(base_prefix(site.model) + site.place.x)
        note = partial(_note, name, passed_on)
        yield source.register_forward_pre_hook(note, with_kwargs=True)
    rewrite = partial(_rewrite_output, name, passed_on)
    yield site.host.register_forward_hook(rewrite, with_kwargs=True)


def plant_at_input(site: Site, name: str, delta: Delta) -> Iterator[RemovableHandle]:
    """Let the delta `name` rewrite what the host reads."""
    yield site.host.register_forward_pre_hook(partial(_rewrite_input, name), with_kwargs=True)


def plant_before_norm(site: Site, name: str, delta: Delta) -> Iterator[RemovableHandle]:
    """Let the delta `name` rewrite what the layer norm reads, knowing its norm."""
    yield site.host.register_forward_pre_hook(partial(_rewrite_sum, name), with_kwargs=True)


def apply(delta: Delta, x: Tensor, h: Tensor) -> Tensor:
    """delta(x, h), computed in the delta's type and returned in the type of h."""
    rewrite: RewritesHiddenState = delta
    x = x.to(h.device)  # a model spread over devices moves what a module reads inside of it
    if torch.is_autocast_enabled(h.device.type):
        return rewrite(x, h).to(h.dtype)
    dtype = own_type(delta) or h.dtype
    return rewrite(x.to(dtype) if x.is_floating_point() else x, h.to(dtype)).to(h.dtype)


def rewritten(name: str, delta: Delta, x: Tensor, h: Tensor) -> Tensor:
    """What the delta `name`, or the group that it acts for, makes of h."""
    if (rows := delta.passes.look()) is None:
        new = apply(delta, x, h)
        return new if delta.weight == 1 else torch.lerp(h, new, delta.weight)
    part: Part | None = rows.part(delta, name, h)
    if part is None:
        return h
    new = part.compute(apply, x, h)
    return part.put(h, new)


# A module that replaces the host calls its hooks in another way, and carries no delta: the last
# argument of each hook may then be missing, but the search for the delta comes first and says why.


def _rewrite_output(
    name: str,
    passed_on: Handover | None,
    host: nn.Module,
    args: tuple,
    kwargs: dict,
    output: Any = None,
) -> Any:
    delta = delta_in(host, name)
    x = first_input(args, kwargs) if passed_on is None else passed_on.take()
    if not acts(delta):
        return None
    h, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
    if delta.slice.is_whole:
        h = rewritten(name, delta, x, h)
    else:  # a fused projection
        blocks = delta.slice.cut(h)
        part = delta.slice.part
        own = rewritten(name, delta, x, blocks[part].flatten(-2))
        blocks[part] = own.view_as(blocks[part])
        h = torch.cat(blocks, dim=-1).flatten(-2)
    return h if rest is None else (h, *rest)


def _rewrite_input(
    name: str, host: nn.Module, args: tuple, kwargs: dict | None = None
) -> tuple[tuple, dict] | None:
    delta = delta_in(host, name)
    assert kwargs is not None
    if not acts(delta):
        return None
    h = first_input(args, kwargs)
    return _with_first(args, kwargs, rewritten(name, delta, h, h))


def _rewrite_sum(
    name: str, norm: nn.Module, args: tuple, kwargs: dict | None = None
) -> tuple[tuple, dict] | None:
    delta = delta_in(norm, name)
    assert kwargs is not None
    if not acts(delta):
        return None
    h = first_input(args, kwargs)
    x = norm.forward(h)  # forward, not a call: no hooks run
    return _with_first(args, kwargs, rewritten(name, delta, x, h))


def _note(name: str, passed_on: Handover, source: nn.Module, args: tuple, kwargs: dict) -> None:
    passed_on.leave(first_input(args, kwargs))


def first_input(args: tuple, kwargs: dict) -> Tensor:
    """The hidden states that a module is called with, whether by position or by name."""
    return args[0] if args else kwargs[_first_name(kwargs)]


def _with_first(args: tuple, kwargs: dict, h: Tensor) -> tuple[tuple, dict]:
    if args:
        return (h, *args[1:]), kwargs
    return args, kwargs | {_first_name(kwargs): h}


def _first_name(kwargs: dict) -> str:
    return "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))
