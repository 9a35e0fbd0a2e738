"""LoHa: an update that is the Hadamard product of two low-rank matrices.

Hyeon-Woo, Ye-Bin and Oh (2022), FedPara: Low-Rank Hadamard Product for Communication-Efficient
Federated Learning, https://arxiv.org/abs/2108.06098, who parameterise the weight itself so; as an
update of a frozen weight: Yeh et al. (2024), https://arxiv.org/abs/2309.14859
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..core import Delta, Method, Site
from ..core.limits import Positive, Whole
from ..facts import FACTS


class Hadamard(Delta):
    """h + (alpha / r) ((B₁ A₁) ⊙ (B₂ A₂)) x: of rank up to r². A₂ = 0 at first: the base.

    A1, A2 (r, d_in), B1, B2 (d_out, r); x (..., d_in), h (..., d_out)
    """

    def __init__(self, d_in: int, d_out: int, rank: int, alpha: float):
        super().__init__()
        self.B1, self.A1 = _uniform(d_out, rank), _uniform(rank, d_in)
        self.B2, self.A2 = _uniform(d_out, rank), nn.Parameter(torch.zeros(rank, d_in))
        self.scale = alpha / rank

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.scale * linear(x, (self.B1 @ self.A1) * (self.B2 @ self.A2))


def _uniform(*shape: int) -> nn.Parameter:
    parameter = nn.Parameter(torch.empty(*shape))
    nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
    return parameter


@dataclass(frozen=True)
class LoHa(Method):
    """Update each projection by the entrywise product of two matrices of low rank.

    Twice LoRA's parameters buy the rank r² (FedPara, Proposition 1). The start is PEFT's, uniform
    numbers and one zero factor; LyCORIS draws normal ones. The update is multiplied out in every
    step, which costs a matrix of the weight's size.

    Args:
        rank: r, the rank of each of the two matrices.
        alpha: the update is scaled by alpha / rank.
        at: the sites; query and value by default.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["loha"]

    rank: Whole = 8
    alpha: Positive = 8.0
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return Hadamard(site.d_in, site.d_out, self.rank, self.alpha)
