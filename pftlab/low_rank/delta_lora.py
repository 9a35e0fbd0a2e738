"""Delta-LoRA: Fine-Tuning High-Rank Parameters with the Delta of Low-Rank Matrices.

Zi, Qi, Wang, Wang, Wong and Zhang (2023), https://arxiv.org/abs/2309.02411
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ..core import Delta, Method, Site
from ..core.limits import Positive, PositiveOrZero, Share, Whole
from ..facts import FACTS
from .lora import LowRank


class Following(LowRank):
    """LoRA whose frozen weight follows its update: after step K, in every step (Algorithm 1),

        W ← W + λ s (B' A' − B A),   s = alpha / r,  with B, A before the step and B', A' after it

    The sum of these increments telescopes, so W need not be rewritten: at any time it is

        W = W₀ + λ s (B A − B_K A_K)

    which is a constant for the gradient of A and B. Two products of rank r: W changes by rank 2r.

    A, A_K (r, d_in), B, B_K (d_out, r); x (..., d_in), h (..., d_out)
    """

    A_K: Tensor | None  # None before step K, when W is still W₀
    B_K: Tensor | None

    def __init__(
        self,
        d_in: int,
        d_out: int,
        rank: int,
        alpha: float,
        ratio: float,
    ):
        super().__init__(d_in, d_out, rank, alpha, dropout=0.0)
        self.ratio = ratio
        self.register_buffer("A_K", None)
        self.register_buffer("B_K", None)

    def follow(self) -> None:
        """Let W follow from now on: this is step K."""
        self.A_K, self.B_K = self.A.detach().clone(), self.B.detach().clone()

    def fit(self, packed: dict[str, Tensor]) -> None:
        if "A_K" in packed:
            self.follow()
        else:
            self.A_K = self.B_K = None

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        h = super().forward(x, h)
        if self.A_K is None or self.B_K is None:
            return h
        now = x @ self.A.detach().T @ self.B.detach().T
        moved = now - x @ self.A_K.T @ self.B_K.T
        return h + self.ratio * self.scale * moved


@dataclass(frozen=True)
class DeltaLoRA(Method):
    """LoRA, and the weight that it updates moves along with the update.

    Nothing more is trained than with LoRA, and W costs the optimiser no memory. There is no
    dropout: with it, the update of A and B would not be one of W (Section 3.3).

    Args:
        rank: r, the rank of the update.
        alpha: the update is scaled by alpha / rank.
        ratio: λ, how far W moves for each step of the update.
        start: share of the training's steps before W begins to move (the paper's K, a number of
            steps); in these it is LoRA.
        at: the sites.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["delta_lora"]

    rank: Whole = 8
    alpha: Positive = 16.0
    ratio: PositiveOrZero = 2.0
    start: Share = 0.1
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return Following(site.d_in, site.d_out, self.rank, self.alpha, self.ratio)

    def before_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        if step <= round(self.start * total_steps):
            return
        for delta in self.planted_in(model, Following):
            if delta.A_K is None:
                delta.follow()
