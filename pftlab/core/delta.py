"""The one mechanism: a delta, planted at a site, rewrites the hidden state that passes there.

    h  ←  delta(x, h)                                        (He et al., 2022, Table 1)

The host module keeps its class, its forward and its parameter names; the delta is one more child
of it, called by a hook. A hook finds its delta by name in the host that it is called with, never
by closure, so that copies, pickles and replicas of the network run their own deltas.

Precision is decided here, once, for every method: a delta's parameters are float32 when the host
is 16-bit (sums of small updates vanish in 16 bits) and have the host's type otherwise. Its inputs
are cast to that type and its result back to the type of h. Under autocast, autocast decides.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import BadValue
from .sites import INPUT, KEYS_VALUES, NORMED, OUTPUT, SEQUENCE, WEIGHT, Site, Slice, base_prefix

PREFIX = "pft_"  # of the child's name in its host, and so in the state dict


class Delta(nn.Module):
    """A trainable rewriting of a hidden state.

    forward: x (..., d_in), h (..., d_out) → the new h (..., d_out)
    """

    active: bool = True  # False inside `disabled`
    # set by plant:
    site_name: str = ""
    method_name: str = ""
    hooks: Sequence[RemovableHandle] = ()
    # Where the tap is that hands it x, and its name there. A tuple hides the module from
    # nn.Module, so that it is no child of the delta; copies keep the pair.
    tapped: tuple[nn.Module, str] | None = None
    # The host and which of its outputs are ours; in a tuple for the same reason.
    home: tuple[nn.Module, Slice] | None = None

    @property
    def base_weight(self) -> Tensor:
        """The host's frozen weight W (d_out, d_in) at this site, whatever layout it has."""
        assert self.home is not None, "planted deltas alone have a host"
        host, ours = self.home
        return ours.weight(host).detach()

    @property
    def base_bias(self) -> Tensor | None:
        """The host's bias (d_out,) at this site; None: it has none."""
        assert self.home is not None, "planted deltas alone have a host"
        host, ours = self.home
        bias = ours.bias(host)
        return None if bias is None else bias.detach()

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        raise NotImplementedError

    def pack(self) -> dict[str, Tensor]:
        """What a checkpoint must hold of this delta: own names → tensors."""
        return {name: t.detach() for name, t in self.state_dict(keep_vars=True).items()}

    def fit(self, packed: dict[str, Tensor]) -> None:
        """Take on the shapes of `packed`, which the data decided: a mask, a rank that was pruned.

        `unpack` follows when all shapes agree.
        """

    @torch.no_grad()
    def unpack(self, packed: dict[str, Tensor]) -> None:
        """Take on the values of `packed`, which `pack` of a delta of this shape has made."""
        own = self.state_dict(keep_vars=True)
        for name, tensor in packed.items():
            own[name].copy_(tensor)


class Tap(nn.Module):
    """Remembers what its host reads, for a delta whose own host does not read x."""

    def __init__(self) -> None:
        super().__init__()
        self.x: Tensor | None = None

    def take(self) -> Tensor | None:
        x, self.x = self.x, None
        return x

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"x": None}  # copies start empty


def plant(site: Site, method_name: str, delta: Delta) -> None:
    """Make `delta` a child of the site's host; from now on it rewrites h there.

    Args:
        site: where.
        method_name: the name under which its method is attached; the child is called
            "pft_<method name>", plus the site's last word where several share a host.
        delta: what; moved to the host's device and to the type of the policy above.

    Raises:
        BadValue: the host already carries a delta of that name.
    """
    from . import attention, sequence, weights

    name = child_name(site, method_name)
    if name in dict(site.host.named_children()):
        raise BadValue(
            f"{site.path!r} already carries {name!r}. Detach it first, or attach under another "
            "name; two sites of one module take two attachments."
        )
    reference = _reference_parameter(site)
    if reference is not None:
        half = reference.dtype in (torch.float16, torch.bfloat16)
        floating = reference.dtype.is_floating_point
        dtype = torch.float32 if half or not floating else reference.dtype
        delta.to(device=reference.device, dtype=dtype)
    delta.site_name, delta.method_name = site.name, method_name
    delta.train(site.host.training)
    site.host.add_module(name, delta)
    hooks: list[RemovableHandle] = []
    delta.hooks = hooks  # filled in place: uproot finds them even when an error comes between
    port = site.place.port
    if port == KEYS_VALUES:
        attention.listen(site.model)
    elif port == SEQUENCE:
        hooks += sequence.hook(site, name, delta)
    elif port == WEIGHT:
        hooks += weights.hook(site, name, delta)
    elif port in (INPUT, NORMED):
        hook = partial(_rewrite_input, name, port == NORMED)
        hooks.append(site.host.register_forward_pre_hook(hook, with_kwargs=True))
    elif port == OUTPUT:
        if site.place.x:
            hooks.append(_plant_tap(site, name, delta))
        delta.home = (site.host, site.slice)
        hook = partial(_rewrite_output, name, site.slice)
        hooks.append(site.host.register_forward_hook(hook, with_kwargs=True))


def uproot(host: nn.Module, name: str) -> None:
    """Take the delta called `name` out of `host`, with its hooks and its tap."""
    delta: Delta = getattr(host, name)
    for hook in delta.hooks:
        hook.remove()
    if delta.tapped:
        delattr(*delta.tapped)
    delattr(host, name)


def planted(
    model: nn.Module, method_name: str | None = None
) -> Iterator[tuple[str, nn.Module, str, Delta]]:
    """Every planted delta as (path of the host, host, name in the host, delta)."""
    for path, host in list(model.named_modules()):
        if isinstance(host, Delta):
            continue
        for name, child in list(host.named_children()):
            ours = isinstance(child, Delta) and name.startswith(PREFIX)
            if ours and method_name in (None, child.method_name):
                yield path, host, name, child  # type: ignore[misc]


def child_name(site: Site, method_name: str) -> str:
    """Name of the delta in its host. Slices and inputs share hosts, so they get a suffix."""
    suffix = ""
    shares_host = site.place.parts > 1 or site.place.port in (INPUT, WEIGHT)
    if shares_host:
        suffix = "_" + site.name.split(".")[-1]
    return PREFIX + method_name + suffix


def apply(delta: Delta, x: Tensor, h: Tensor) -> Tensor:
    """delta(x, h), computed in the delta's type and returned in the type of h."""
    if torch.is_autocast_enabled(h.device.type):
        return delta(x, h).to(h.dtype)
    dtype = next((p.dtype for p in delta.parameters()), h.dtype)
    return delta(x.to(dtype) if x.is_floating_point() else x, h.to(dtype)).to(h.dtype)


def _rewrite_output(
    name: str, ours: Slice, host: nn.Module, args: tuple, kwargs: dict, output: Any
) -> Any:
    delta: Delta = getattr(host, name)
    x = getattr(*delta.tapped).take() if delta.tapped else _first(args, kwargs)
    if not delta.active:
        return None
    h, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
    if ours.parts == 1:
        h = apply(delta, x, h)
    else:  # (..., groups · parts · width): a fused projection
        blocks = list(h.unflatten(-1, (ours.groups, ours.parts, -1)).unbind(-2))
        block = blocks[ours.part]
        blocks[ours.part] = apply(delta, x, block.flatten(-2)).view_as(block)
        h = torch.stack(blocks, dim=-2).flatten(-3)
    return h if rest is None else (h, *rest)


def _rewrite_input(
    name: str, normed: bool, host: nn.Module, args: tuple, kwargs: dict
) -> tuple[tuple, dict] | None:
    delta: Delta = getattr(host, name)
    if not delta.active:
        return None
    h = _first(args, kwargs)
    h = apply(delta, host.forward(h) if normed else h, h)  # forward, not a call: no hooks run
    if args:
        return (h, *args[1:]), kwargs
    return args, kwargs | {_first_name(kwargs): h}


def _plant_tap(site: Site, name: str, delta: Delta) -> RemovableHandle:
    source = site.model.get_submodule(base_prefix(site.model) + site.place.x)
    name = f"{name}_tap"
    source.add_module(name, Tap())
    delta.tapped = (source, name)
    return source.register_forward_pre_hook(partial(_remember, name), with_kwargs=True)


def _remember(name: str, source: nn.Module, args: tuple, kwargs: dict) -> None:
    getattr(source, name).x = _first(args, kwargs)


def _first(args: tuple, kwargs: dict) -> Tensor:
    return args[0] if args else kwargs[_first_name(kwargs)]


def _first_name(kwargs: dict) -> str:
    return "hidden_states" if "hidden_states" in kwargs else next(iter(kwargs))


def _reference_parameter(site: Site) -> Tensor | None:
    """A parameter of the host or of the nearest module around it: for device and type."""
    path = site.path
    while True:
        module = site.model.get_submodule(path)
        for tensor in module.parameters():
            return tensor
        if not path:
            return None
        path = path.rpartition(".")[0]
