"""Compacter: Efficient Low-Rank Hypercomplex Adapter Layers.

Karimi Mahabadi, Henderson and Ruder (2021), https://arxiv.org/abs/2106.04647
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Port, Site, norm_parameters
from ..core.limits import Whole
from ..facts import FACTS


class LPHM(nn.Module):
    """x W + b with W = Σᵢ Aᵢ ⊗ (sᵢ tᵢ): a sum of Kronecker products (Eq. 5).

    A (n, n, n) is shared by all layers; s (n, d_in / n, rank), t (n, rank, d_out / n)
    """

    def __init__(self, d_in: int, d_out: int, rule: nn.Parameter, rank: int):
        super().__init__()
        n = len(rule)
        self.A = rule
        self.s = nn.Parameter(torch.empty(n, d_in // n, rank))
        self.t = nn.Parameter(torch.empty(n, rank, d_out // n))
        self.b = nn.Parameter(torch.zeros(d_out))
        for factor in (*self.s.data, *self.t.data):  # the authors' code: gain √2
            nn.init.xavier_uniform_(factor, gain=2**0.5)

    def weight(self) -> Tensor:
        """W (d_in, d_out)."""
        return sum(torch.kron(a, b) for a, b in zip(self.A, self.s @ self.t, strict=True))  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight() + self.b


class HypercomplexBottleneck(Delta):
    """h + LPHM(gelu(LPHM(q))): Houlsby's adapter with hypercomplex layers. h (..., width)

    q is h, or LN(h) where the adapter stands before a layer norm, as Pfeiffer's does in BERT.
    """

    def __init__(self, site: Site, bottleneck: int, rule: nn.Parameter, rank: int):
        super().__init__()
        width, n = site.d_out, len(rule)
        if width % n or bottleneck % n:
            raise BadValue(
                f"terms={n} must divide the model's width {width} and bottleneck={bottleneck}: "
                "the matrices are made of n × n blocks."
            )
        self.normed = site.place.port is Port.NORMED
        self.down = LPHM(width, bottleneck, rule, rank)
        self.up = LPHM(bottleneck, width, rule, rank)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        q = x if self.normed else h
        return h + self.up(nn.functional.gelu(self.down(q), approximate="tanh"))


@dataclass(frozen=True)
class Compacter(Method):
    """Houlsby's adapters with a tenth and less of their parameters; layer norms train too.

    Args:
        bottleneck: m, the width of the middle; a multiple of `terms` (paper: d / 32 = 24).
        terms: n, the number of Kronecker products; divides the model's width (paper: 4).
        rank: of the second factors (paper: 1).
        std: deviation of the shared factors A (the authors' settings for shared ones: 0.0001).
        layer_norm: train the base's layer norms as well, as the paper does.
        at: the outputs of attention and feed-forward sub-layers. AdapterHub's compacter++ stands
            at ("stream",), and its activation is the exact gelu; here it is the authors'.
        layers: numbers of the layers to adapt, with their norms; None: all.
    """

    facts = FACTS["compacter"]

    bottleneck: Whole = 24
    terms: Whole = 4
    rank: Whole = 1
    std: float = 1e-4
    layer_norm: bool = True
    at: tuple[str, ...] = ("attention", "ffn")
    layers: tuple[int, ...] | None = None

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        n, chosen = self.terms, self.sites(model)
        rule = nn.Parameter(self.std * torch.randn(n, n, n, device=chosen[0].device))
        m, r = self.bottleneck, self.rank
        return [(site, HypercomplexBottleneck(site, m, rule, r)) for site in chosen]

    def trains(self, model: nn.Module) -> Iterable[str]:
        return norm_parameters(model, self.layers) if self.layer_norm else []


@dataclass(frozen=True)
class CompacterPlusPlus(Compacter):
    """Compacter behind the feed-forward sub-layers only: the 0.047 % of the paper's abstract.

    Args: as for Compacter.
    """

    facts = FACTS["compacter_plus_plus"]

    at: tuple[str, ...] = ("ffn",)
