"""Adapter+: the plain adapter with its pitfalls removed.

Steitz and Roth (2024), Adapters Strike Back, https://arxiv.org/abs/2406.06820. The paper adapts
vision transformers; the adapter stands at the same place here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import Delta, Method, Site
from ..core.limits import Whole
from ..facts import FACTS
from .bottleneck import Activation, Bottleneck


class ScaledBottleneck(Bottleneck):
    """h + s ⊙ (U φ(D h + d) + u): each channel learns how much of it to take.

    s (width,), 1 at first; h (..., width)
    """

    def __init__(self, width: int, bottleneck: int, activation: str, std: float):
        super().__init__(width, bottleneck, activation, std)
        self.s = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.s * self.change(h)


@dataclass(frozen=True)
class AdapterPlus(Method):
    """A small adapter behind each block's residual sum, with a trained scale for every channel.

    Args:
        bottleneck: m, the width of the middle (paper: 8).
        activation: the non-linearity.
        std: deviation of the initial weights, that of Houlsby's adapters as in the paper.
        at: the blocks, behind everything that they do.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["adapter_plus"]

    bottleneck: Whole = 8
    activation: Activation = "gelu"
    std: float = 1e-2
    at: tuple[str, ...] = ("block",)
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return ScaledBottleneck(site.d_out, self.bottleneck, self.activation, self.std)
