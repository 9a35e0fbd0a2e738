"""VeRA: Vector-based Random Matrix Adaptation.

Kopiczko, Blankevoort and Asano (2024), https://arxiv.org/abs/2310.11454
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import Delta, Method, Site
from ..core.limits import NotZero, Share, Whole
from ..facts import FACTS
from .drawn import Drawn, shared


def projections(d_in: int, d_out: int, rank: int, seed: int, device: str = "cpu") -> Drawn:
    """A (r, d_in) and B (d_out, r), uniform with variance 2 / fan-in.

    From one generator, A first, so that PEFT finds the same.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        bound = (3 * 2 / shape[1]) ** 0.5
        return torch.empty(shape, device=device).uniform_(-bound, bound, generator=generator)

    return Drawn(uniform(rank, d_in), uniform(d_out, rank))


class VectorBased(Delta):
    """h + b ⊙ (B (d ⊙ (A x))), Eq. 2: two vectors are trained. b = 0 at first: the base.

    b (d_out,), d (r,); x (..., d_in), h (..., d_out)
    """

    def __init__(self, d_in: int, d_out: int, drawn: Drawn, initial: float, dropout: float):
        super().__init__()
        self.shared = drawn
        self.b = nn.Parameter(torch.zeros(d_out))
        self.d = nn.Parameter(torch.full((len(drawn.A),), initial))
        self.dropout = nn.Dropout(dropout)
        self.d_in = d_in

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        # The shared matrices have the size of the largest projection.
        A, B = self.shared.A[:, : self.d_in], self.shared.B[: len(self.b)]
        return h + self.b * (self.d * (self.dropout(x) @ A.T) @ B.T)


@dataclass(frozen=True)
class VeRA(Method):
    """Train two vectors for each projection, between random matrices that all of them share.

    Args:
        rank: r, the width between the two matrices; it may be larger than the model's.
        initial: value of d at first (paper: 0.1); not 0, for with b = 0 nothing could move then.
        dropout: probability with which entries of x are dropped on their way to A.
        seed: from which A and B are drawn.
        at: the sites; query and value are the paper's choice (Section 4.1).
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["vera"]

    rank: Whole = 256
    initial: NotZero = 0.1
    dropout: Share = 0.0
    seed: int = 0
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        chosen = self.sites(model)
        widest = max(site.d_in for site in chosen), max(site.d_out for site in chosen)
        return shared(
            chosen,
            lambda device: projections(*widest, self.rank, self.seed, device),
            lambda site, drawn: VectorBased(
                site.d_in, site.d_out, drawn, self.initial, self.dropout
            ),
        )
