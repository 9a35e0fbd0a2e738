"""DoRA: Weight-Decomposed Low-Rank Adaptation.

Liu, Wang, Yin, Molchanov, Wang, Cheng and Chen (2024), https://arxiv.org/abs/2402.09353
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..core import Delta, Site
from ..facts import FACTS
from .lora import LoRA, LowRank


class Decomposed(LowRank):
    """m ⊙ (V x) / ‖V‖ + b with V = W + (alpha / r) B A: the length m and the direction (Eq. 5).

    The paper's columns are the rows of W here: one length for each output. ‖V‖ is a constant for
    the gradient (Section 4.3). W x is h − b, so only dropout costs another product with W: it
    must be the same for both parts of V, as in PEFT.

    A (r, d_in), B (d_out, r), m (d_out,); x (..., d_in), h (..., d_out)
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float, dropout: float):
        super().__init__(weight.shape[1], weight.shape[0], rank, alpha, dropout)
        self.m = nn.Parameter(lengths(weight.detach()))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        W, bias = self.base_weight.to(self.m.dtype), self.base_bias
        with torch.no_grad():
            norm = lengths(W + self.scale * (self.B @ self.A))
        if self.training and self.dropout.p > 0:
            x = self.dropout(x)
            Wx = linear(x, W)
        else:
            Wx = h if bias is None else h - bias
        Vx = Wx + self.scale * (x @ self.A.T @ self.B.T)
        return h + (self.m / norm * Vx - Wx)  # Vx alone is kept for the backward pass


def lengths(weight: Tensor) -> Tensor:
    """The length of each row of `weight` (d_out, d_in), in 32 bits at least: (d_out,)."""
    return torch.linalg.vector_norm(weight.float() if weight.element_size() < 4 else weight, dim=1)


@dataclass(frozen=True)
class DoRA(LoRA):
    """LoRA for the direction of each row of a weight, and a trained number for its length.

    It needs the weights of linear maps that are not quantised. Other deltas on the same
    projection should be attached after it: it scales what they have added.

    Args: as for LoRA.
    """

    facts = FACTS["dora"]

    def delta(self, site: Site) -> Delta:
        return Decomposed(site.weight, self.rank, self.alpha, self.dropout)
