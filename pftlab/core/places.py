"""What a place, a site and a slice are.

A *place* is where a name of the field, such as "attention.query", is found in every layer of an
architecture; a *site* is one such place in one model; a *slice* says which outputs of a fused
projection belong to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import nn

from .errors import BadValue, Refused


class Port(Enum):
    """What passes at a place, which decides the kinds of deltas that fit there."""

    OUTPUT = "what a module returns"
    INPUT = "what a module reads"
    NORMED = "the sum that a layer norm reads"
    KEYS_VALUES = "the keys and values of an attention"
    SEQUENCE = "the sequence of embedded words"
    WEIGHT = "a parameter"


class Slice(NamedTuple):
    """Which outputs of a fused projection are meant: its rows are `groups` times all `sizes`.

    Attributes:
        groups: how often the parts repeat: 1, or once for each head (GPT-NeoX).
        sizes: the widths of the parts of a group, in their order; (): the host is not fused.
        part: which of them.
    """

    groups: int = 1
    sizes: tuple[int, ...] = ()
    part: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all outputs are meant."""
        return not self.sizes

    @property
    def width(self) -> int:
        """How many outputs are meant, of a fused projection."""
        return self.groups * self.sizes[self.part]

    @property
    def total(self) -> int:
        """How many outputs the fused projection has."""
        return self.groups * sum(self.sizes)

    def weight(self, host: Any) -> torch.Tensor:
        """The weight of the linear map `host`, these outputs only: (d_out, d_in).

        Raises:
            Refused: `host` is no linear map, or its weight is quantised.
        """
        if not is_linear(host):
            raise Refused(
                f"A {type(host).__name__} has no weight matrix to start from. Choose projections, "
                "such as attention.query or ffn.up."
            )
        if not host.weight.is_floating_point():
            raise Refused("The base is quantised, and its weights are needed. Load it in 16 bits.")
        return self.of(host.weight.T if is_conv1d(host) else host.weight)

    def bias(self, host: Any) -> torch.Tensor | None:
        """The bias of the linear map `host`, these outputs only: (d_out,); None: it has none."""
        return None if host.bias is None else self.of(host.bias)

    def of(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of `rows` (all outputs, …) that are meant."""
        if self.is_whole:
            return rows
        return rows.unflatten(0, (self.groups, -1)).split(self.sizes, 1)[self.part].flatten(0, 1)

    def cut(self, h: torch.Tensor) -> list[torch.Tensor]:
        """All parts of `h` (..., all outputs), each (..., groups, its size)."""
        return list(h.unflatten(-1, (self.groups, -1)).split(self.sizes, -1))


WHOLE = Slice()


class Place(NamedTuple):
    """Where a site is found in any layer of one architecture.

    Attributes:
        path: of the host in the base model; `*` stands for the number of the layer.
        port: what h is.
        x: path of the module whose input is x, if it is not the host. A sub-layer's x is what it
            reads from the residual stream: before its layer norm, where that comes first. Of a
            parameter: its name in the host.
        slice: of a fused projection, which outputs are h, by the model's configuration.
    """

    path: str
    port: Port = Port.OUTPUT
    x: str = ""
    slice: Callable[[Any], Slice] | None = None


@dataclass(frozen=True)
class Site:
    """One place in one model.

    Attributes:
        name: the field's word for it, such as "attention.query".
        layer: number of the layer from 0, or None outside the layers.
        stack: "encoder" or "decoder" in an encoder-decoder model, else None.
        path: path of the host module in the model.
        host: the module that reads x and writes h.
        place: which of its inputs or outputs h is.
        x_width: width of x; None: x is no vector, as at an embedding, which reads numbers of words.
        d_out: width of h.
        config: the model's configuration.
        model: the model itself, for deltas that start from its weights.
    """

    name: str
    layer: int | None
    stack: str | None
    path: str
    host: nn.Module = field(repr=False, compare=False)
    place: Place
    x_width: int | None
    d_out: int
    config: Any = field(repr=False, compare=False)
    model: nn.Module = field(repr=False, compare=False)

    @property
    def d_in(self) -> int:
        """Width of x.

        Raises:
            Refused: x is no vector.
        """
        if self.x_width is None:
            raise Refused(
                f"At {self.name!r} the base reads numbers of words, and this method needs a vector "
                "there. Choose projections, such as attention.query or ffn.up."
            )
        return self.x_width

    @property
    def key_value_heads(self) -> int:
        """Number of heads that keys and values have (fewer than queries have, if grouped)."""
        return getattr(self.config, "num_key_value_heads", None) or self.query_heads

    @property
    def query_heads(self) -> int:
        """Number of heads that queries have: each stack of BART may have another."""
        of_stack = getattr(self.config, f"{self.stack}_attention_heads", None)
        return of_stack or self.config.num_attention_heads

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        given = head_width(self.config)
        return given * self.config.num_attention_heads // self.query_heads

    @property
    def slice(self) -> Slice:
        """Which of the host's outputs belong to this site."""
        return WHOLE if self.place.slice is None else self.place.slice(self.config)

    @property
    def is_projection(self) -> bool:
        """Whether h is what one linear map makes of x: all of its outputs, or a slice of them."""
        return self.place.port is Port.OUTPUT and not self.place.x and is_linear(self.host)

    @property
    def weight(self) -> torch.Tensor:
        """The host's frozen weight for this site, as (d_out, d_in), whatever layout it has.

        Raises:
            Refused: h is not what a linear map makes of x, or its weight is quantised.
        """
        if self.place.port is not Port.OUTPUT or self.place.x:
            raise Refused(
                f"{self.name} is not the output of a linear map, and this method needs the "
                "map's weight. Choose projections, such as attention.query or ffn.up."
            )
        return self.slice.weight(self.host)

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that passes here, at a site of the weight port."""
        return self.host.get_parameter(self.place.x)

    @property
    def words(self) -> torch.Tensor:
        """What the host, a stack of layers, makes of each word (V, d): its row, scaled perhaps.

        Raises:
            Refused: the host embeds no words.
        """
        if not hasattr(self.host, "get_input_embeddings"):
            raise Refused(
                f"Words are embedded at the site 'sequence', and not at {self.name!r}. Put the "
                "prompt there."
            )
        table: nn.Embedding = self.host.get_input_embeddings()  # type: ignore[operator]
        if type(table).forward is nn.Embedding.forward:
            return table.weight
        every = torch.arange(table.num_embeddings, device=table.weight.device)
        return table.forward(every).detach()  # forward, not a call: no hooks run

    @property
    def device(self) -> torch.device | None:
        """Where the host computes; None: in a model without parameters."""
        return next((parameter.device for parameter in self._nearest()), None)

    @property
    def dtype(self) -> torch.dtype:
        """The type in which deltas of this host are kept: float32 beside 16 bits and fewer."""
        for parameter in self._nearest():
            half = parameter.dtype in (torch.float16, torch.bfloat16)
            whole = not parameter.dtype.is_floating_point
            return torch.float32 if half or whole else parameter.dtype
        return torch.get_default_dtype()

    def _nearest(self) -> Iterator[nn.Parameter]:
        """The parameters of the host, and then those of what is around it."""
        parts = self.path.split(".") if self.path else []
        for n in range(len(parts), -1, -1):
            yield from self.model.get_submodule(".".join(parts[:n])).parameters()


def head_width(config: Any) -> int:
    """Width of one attention head of a model with this configuration."""
    for name in ("head_dim", "d_kv"):
        if getattr(config, name, None):
            return getattr(config, name)
    return config.hidden_size // config.num_attention_heads


def is_conv1d(module: nn.Module) -> bool:
    """Whether this is GPT-2's Conv1D, a linear map that stores its weight as (in, out)."""
    return hasattr(module, "nx") and hasattr(module, "nf")


def is_linear(module: nn.Module) -> bool:
    """Whether this is a linear map, of whatever class."""
    return is_conv1d(module) or hasattr(module, "in_features")


def widths(module: nn.Module) -> tuple[int | None, int] | None:
    """(d_in, d_out) of a linear map or a norm, (None, d_out) of an embedding; else None."""
    if is_conv1d(module):
        return module.nx, module.nf  # type: ignore[return-value]
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features  # type: ignore[return-value]
    if isinstance(module, nn.Embedding):
        return None, module.embedding_dim
    if is_norm(module) and isinstance(weight := module.weight, nn.Parameter):
        return len(weight), len(weight)
    return None


def is_norm(module: nn.Module) -> bool:
    """Whether this is a layer normalisation, of whatever class the architecture has."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith(
        ("LayerNorm", "RMSNorm")
    )


def config_of(model: nn.Module) -> Any:
    """The configuration of `model`.

    Raises:
        BadValue: it has none, so it is no transformers model.
    """
    if not hasattr(model, "config"):
        raise BadValue(
            f"A {type(model).__name__} is no transformers model: it has no config. "
            "Load one with pftlab.load_base or from_pretrained."
        )
    return model.config


def base_prefix(model: nn.Module) -> str:
    """What stands before a base-model path to make it a path in `model`: "bert." or ""."""
    base = getattr(model, "base_model", model)
    return "" if base is model else f"{model.base_model_prefix}."
