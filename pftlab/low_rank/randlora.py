"""RandLoRA: full-rank updates from random low-rank bases.

Albert, Zhang, Saratchandran, Rodriguez-Opazo, van den Hengel and Abbasnejad (2025),
https://arxiv.org/abs/2502.00987
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import Delta, Method, Site
from ..core.limits import Positive, Share, Whole
from ..facts import FACTS
from .drawn import Drawn, shared


def bases(d_max: int, d_min: int, rank: int, seed: int, device: str = "cpu") -> Drawn:
    """A (r, d_min) and B (d_max, n, r) for n = ⌈d_min / r⌉ bases, each of standard deviation 1.

    Drawn in bfloat16 from one generator, A first, so that Hugging Face PEFT finds the same.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        bound = math.prod(shape[1:]) ** -0.5
        drawn = torch.empty(shape, dtype=torch.bfloat16, device=device)
        return drawn.uniform_(-bound, bound, generator=generator)

    A = uniform(rank, d_min)
    B = torch.stack([uniform(d_max, rank) for _ in range(math.ceil(d_min / rank))], 1)
    return Drawn((A / A.std()).float(), (B / B.std()).float())


class RandomBases(Delta):
    """h + s Σⱼ Bⱼ Λⱼ A Γⱼ x, Eq. 4: diagonals Λⱼ and Γⱼ are trained. Λ = 0 at first: the base.

    With n bases of rank r the sum has full rank n r ≥ d_min, the smaller of d_in and d_out; where
    d_out is the smaller one, the product is transposed.

    Lambda (r, n), Gamma (n, d_min); x (..., d_in), h (..., d_out)
    """

    def __init__(self, d_in: int, d_out: int, drawn: Drawn, scale: float, dropout: float):
        super().__init__()
        rank, d_min = len(drawn.A), min(d_in, d_out)
        n = math.ceil(d_min / rank)
        self.shared = drawn
        self.Lambda = nn.Parameter(torch.zeros(rank, n))
        self.Gamma = nn.Parameter(torch.full((n, d_min), 1 / max(n, d_min)))
        self.d_max, self.narrows = max(d_in, d_out), d_out < d_in
        self.scale, self.dropout = scale, nn.Dropout(dropout)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        n, d_min = self.Gamma.shape
        A, B = self.shared.A[:, None, :d_min], self.shared.B[: self.d_max, :n].flatten(1)
        A = (self.Lambda[..., None] * A * self.Gamma).flatten(0, 1)  # (r n, d_min)
        z = self.dropout(x)
        return h + self.scale * (z @ B @ A if self.narrows else z @ A.T @ B.T)


@dataclass(frozen=True)
class RandLoRA(Method):
    """Scale many random bases of low rank, so that their sum has full rank.

    A smaller rank needs more bases and so trains more numbers: n (r + d_min) for each projection.
    The bases are no low-rank factors of a trained matrix, and what is stored are their scales.

    Args:
        rank: r, of each base.
        alpha: the update is scaled by alpha / rank (PEFT: 20 times the rank).
        dropout: probability with which entries of x are dropped on their way to the bases.
        seed: from which the bases are drawn.
        at: the sites; query and value as for LoRA.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["randlora"]

    rank: Whole = 32
    alpha: Positive = 640.0
    dropout: Share = 0.0
    seed: int = 0
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        chosen = self.sites(model)
        d_in, d_out = max(site.d_in for site in chosen), max(site.d_out for site in chosen)
        scale = self.alpha / self.rank
        return shared(
            chosen,
            lambda device: bases(max(d_in, d_out), min(d_in, d_out), self.rank, self.seed, device),
            lambda site, drawn: RandomBases(site.d_in, site.d_out, drawn, scale, self.dropout),
        )
