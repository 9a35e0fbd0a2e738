"""LoRA: Low-Rank Adaptation of Large Language Models.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang and Chen (2022), https://arxiv.org/abs/2106.09685
How the equation below reaches a model is told in pftlab/core/README.md.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Site
from ..core.limits import Positive, Share, Whole
from ..facts import FACTS


class LowRank(Delta):
    """h + (alpha / r) B A x, Eq. 3. B = 0 at first: training starts at the base.

    A (r, d_in), B (d_out, r); x (..., d_in), h (..., d_out)
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        rank: int,
        alpha: float,
        dropout: float,
    ):
        super().__init__()
        largest = min(d_in, d_out)
        if rank > largest:
            raise BadValue(
                f"A {d_out} × {d_in} matrix has rank {largest} at most, so an "
                f"update of rank {rank} saves nothing. Choose a smaller rank."
            )
        self.A = nn.Parameter(torch.empty(rank, d_in))
        self.B = nn.Parameter(torch.zeros(d_out, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout)
        self.scale = alpha / rank

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.scale * (self.dropout(x) @ self.A.T @ self.B.T)


@dataclass(frozen=True)
class LoRA(Method):
    """Update each projection in `at` by a matrix of low rank, which can be merged afterwards.

    Args:
        rank: r, the rank of the update.
        alpha: the update is scaled by alpha / rank.
        dropout: probability with which entries of x are dropped on their way to A.
        at: the sites; query and value are the paper's choice (Section 4.2).
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["lora"]

    rank: Whole = 8
    alpha: Positive = 16.0
    dropout: Share = 0.0
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return LowRank(site.d_in, site.d_out, self.rank, self.alpha, self.dropout)
