"""Keys and values in front of every layer's own: what the deep prompts of this family share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Delta, KeysValues, Site, planted


class Prefix(KeysValues):
    """[P_K; K] and [P_V; V]: n trainable keys and values for each head of a layer.

    P_K, P_V (heads, n, d); keys, values (B, heads, T, d)
    """

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)

    def prefix(self) -> tuple[Tensor, Tensor]:
        """P_K and P_V."""
        return self.keys, self.values

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> tuple[Tensor, Tensor]:
        p_k = self.keys.to(keys.dtype).expand(len(keys), -1, -1, -1)
        p_v = self.values.to(keys.dtype).expand(len(keys), -1, -1, -1)
        return torch.cat([p_k, keys], dim=2), torch.cat([p_v, values], dim=2)


class Reparametrisation(nn.Module):
    """P = MLP(P'): one small matrix and one network for the prefixes of all layers.

    embedding P' (n, d) → Linear (d, hidden) → tanh →
    Linear (hidden, layers · 2 · heads · width); Section 4.3 of Li and Liang (2021).
    """

    def __init__(
        self,
        length: int,
        d: int,
        hidden: int,
        shapes: list[tuple[int, int]],
    ):
        super().__init__()
        self.shapes = shapes
        self.embedding = nn.Parameter(torch.randn(length, d))
        total = sum(2 * heads * width for heads, width in shapes)
        first, last = nn.Linear(d, hidden), nn.Linear(hidden, total)
        self.mlp = nn.Sequential(first, nn.Tanh(), last)

    def prefix(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (heads, n, width) of a layer; no others are computed."""
        start = sum(2 * heads * width for heads, width in self.shapes[:layer])
        heads, width = self.shapes[layer]
        own = slice(start, start + 2 * heads * width)
        parts: Any = self.mlp
        first, activation, last = parts
        hidden = activation(first(self.embedding))
        out = nn.functional.linear(hidden, last.weight[own], last.bias[own])
        keys, values = out.view(-1, 2, heads, width).permute(1, 2, 0, 3)
        return keys, values


class ReparametrisedPrefix(KeysValues):
    """The prefix of one layer, from the network that all layers share."""

    def __init__(self, shared: Reparametrisation, layer: int):
        super().__init__()
        self.shared, self.layer = shared, layer

    def prefix(self) -> tuple[Tensor, Tensor]:
        """P_K and P_V."""
        return self.shared.prefix(self.layer)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        p_k, p_v = (p.to(keys.dtype).expand(len(keys), -1, -1, -1) for p in self.prefix())
        return torch.cat([p_k, keys], dim=2), torch.cat([p_v, values], dim=2)


class Recorder(KeysValues):
    """Keeps the keys and values that its layer computes."""

    seen: tuple[Tensor, Tensor]

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = keys[0].detach().clone(), values[0].detach().clone()
        return keys, values


def shape(site: Site) -> tuple[int, int]:
    """(key-value heads, width of a head) at an `attention.keys_values` site."""
    return site.key_value_heads, site.head_width


def prefixes(
    sites: Sequence[Site], length: int, hidden: int | None, std: float
) -> list[tuple[Site, Delta]]:
    """A prefix for each site: from a network of this width that all share, or each its own."""
    if hidden is None:
        return [
            (site, Prefix(*std * torch.randn(2, heads, length, width)))
            for site in sites
            for heads, width in [shape(site)]
        ]
    with sites[0].device or torch.device("cpu"):
        width = int(sites[0].config.hidden_size)
        shared = Reparametrisation(length, width, hidden, [shape(site) for site in sites])
    return [(site, ReparametrisedPrefix(shared, i)) for i, site in enumerate(sites)]


def prefixes_of(model: nn.Module, name: str | None = None) -> list[Any]:
    """The prefixes that are attached as `name`, or as whatever, from the first layer up."""
    kinds = (Prefix, ReparametrisedPrefix)
    return [delta for *_, delta in planted(model, name) if isinstance(delta, kinds)]
