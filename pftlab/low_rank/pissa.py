"""PiSSA: Principal Singular Values and Singular Vectors Adaptation.

Meng, Wang and Zhang (2024), https://arxiv.org/abs/2404.02948
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import Delta, Site
from ..core.limits import Positive, Whole
from ..facts import FACTS
from .lora import LoRA, LowRank


class Replacement(LowRank):
    """h + (alpha / r) (B A − B₀ A₀) x: a part B₀ A₀ of the base's weight is replaced by B A.

    The papers take B₀ A₀ out of the weight, W_res = W − (alpha / r) B₀ A₀, and train B A from
    there on. The base's weight stays as it is here, which is the same function, and the start is
    exactly the base. A₀ and B₀ are not saved: they are computed from W again, in 64 bits and with
    fixed signs, so that every machine finds the same.

    A (r, d_in), B (d_out, r); x (..., d_in), h (..., d_out)
    """

    A0: Tensor
    B0: Tensor

    def __init__(self, A: Tensor, B: Tensor, rank: int, alpha: float, dropout: float):
        super().__init__(A.shape[1], B.shape[0], rank, alpha, dropout)
        self.A, self.B = nn.Parameter(A.clone()), nn.Parameter(B.clone())
        self.register_buffer("A0", A, persistent=False)
        self.register_buffer("B0", B, persistent=False)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        now = self.dropout(x) @ self.A.T @ self.B.T
        return h + self.scale * (now - x @ self.A0.T @ self.B0.T)


@dataclass(frozen=True)
class PiSSA(LoRA):
    """LoRA that trains the weight's largest singular values and vectors (Eq. 2 to 4).

    With W = U S Vᵀ, cut off after `rank`: B = U √S and A = √S Vᵀ at first, each divided by
    √(alpha / rank).

    Args:
        alpha: the update is scaled by alpha / rank; the paper sets alpha = rank.

    The others are as for LoRA.
    """

    facts = FACTS["pissa"]

    rank: Whole = 8
    alpha: Positive = 8.0

    def delta(self, site: Site) -> Delta:
        U, S, Vt = torch.linalg.svd(site.weight.detach().double(), full_matrices=False)
        U, S, Vt = U[:, : self.rank], S[: self.rank], Vt[: self.rank]
        largest = U.gather(0, U.abs().argmax(0, keepdim=True))  # is made positive
        sign, root = torch.where(largest < 0, -1.0, 1.0), (S * self.rank / self.alpha).sqrt()
        A, B = (sign * root).T * Vt, U * sign * root
        return Replacement(A, B, self.rank, self.alpha, self.dropout)
