"""The one mechanism: a delta, planted at a site, rewrites what passes there.

    h  ←  delta(x, h)                                        (He et al., 2022, Table 1)

The host module keeps its class, its forward and its parameter names; the delta is one more child
of it, called by a hook. A hook finds its delta by name in the host that it is called with, never
by closure, so that copies, pickles and replicas of the network run their own deltas. What the
hooks of one pass tell each other goes through a `Handover`, so that passes may run side by side.

What h is, and so the form of a delta's `forward`, is the matter of its port: see `ports`.

Precision is decided here, once, for every method: a delta's parameters are float32 when the host
is 16-bit (sums of small updates vanish in 16 bits) and have the host's type otherwise. Its inputs
are cast to that type and its result back to the type of h. Under autocast, autocast decides.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import Refused
from .handover import Passes
from .places import WHOLE, Port, Slice

PREFIX = "pft_"  # of the child's name in its host, and so in the state dict


class Delta(nn.Module):
    """A trainable rewriting of what passes a site.

    A plain Delta rewrites a hidden state. Its subclasses in the other rooms of `ports` rewrite
    something else, and their `forward` says what.

    forward: x (..., d_in), h (..., d_out) → the new h (..., d_out)
    """

    ports: ClassVar[tuple[Port, ...]] = (Port.OUTPUT, Port.INPUT, Port.NORMED)  # it fits there
    active: bool = True  # False inside `disabled`, and where its method leaves a site out
    weight: float = 1.0  # of what it adds; 0: its attachment is not in use, see `use`
    passes: Passes = Passes()  # of its model: what `rows` has chosen; set when attached
    # set by plant:
    site_name: str = ""
    method_name: str = ""
    hooks: Sequence[RemovableHandle] = ()
    slice: Slice = WHOLE  # which of the host's outputs are ours
    widths: tuple[int | None, int] = (None, 0)  # of x and of h; None: x is no vector
    reads_elsewhere: bool = False  # x is what another module reads than the host
    reads_h: bool = False  # x is h, or made of it
    # The host; in a tuple, which hides it from nn.Module, so that it is no child of the delta.
    home: tuple[nn.Module, ...] = ()
    # For `save_pretrained` of transformers: a tensor that deltas share is written under one name.
    # It takes these for patterns, with the delta's path in front: all that is in it.
    _tied_weights_keys: ClassVar[dict[str, str]] = {"": ""}

    @property
    def host(self) -> nn.Module:
        """The module that carries this delta: in a replica of the network, the replica's."""
        assert len(self.home) == 1, "planted deltas alone have a host"
        return self.home[0]

    @property
    def base_weight(self) -> Tensor:
        """The host's frozen weight W (d_out, d_in) at this site, whatever layout it has."""
        return self.slice.weight(self.host).detach()

    @property
    def base_bias(self) -> Tensor | None:
        """The host's bias (d_out,) at this site; None: it has none."""
        bias = self.slice.bias(self.host)
        return None if bias is None else bias.detach()

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


def delta_in(host: nn.Module, name: str) -> Delta:
    """The delta that `host` carries under `name`; from now on it knows this host.

    Raises:
        Refused: it is gone, for another module was put in the place of the host.
    """
    delta = host._modules.get(name)
    if not isinstance(delta, Delta):
        raise Refused(
            f"A {type(host).__name__} has taken the place of the module in which {name!r} was "
            "planted, and its hooks without it. Merge the method first, then quantise or convert "
            "the model: pftlab.merge(model)."
        )
    if delta.home != (host,):
        delta.home = (host,)
    return delta


def acts(delta: Delta) -> bool:
    """Whether this delta's hooks have anything to do in this pass."""
    rows = delta.passes.look()
    if rows is None:
        return delta.active and delta.weight != 0
    return bool(rows.leads(delta))


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
                yield path, host, name, child


def is_planted(name: str) -> bool:
    """Whether the parameter or module of this name in the model is one of a delta's."""
    return f".{PREFIX}" in f".{name}"


def own_type(delta: Delta) -> torch.dtype | None:
    """The type of the delta's parameters; None: it has none."""
    for parameter in delta.parameters():
        return parameter.dtype
    for module in delta.modules():  # a replica's are tensors, no longer parameters
        for parameter in getattr(module, "_former_parameters", {}).values():
            return parameter.dtype
    return None
