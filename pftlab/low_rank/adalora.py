"""AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning.

Zhang, Chen, Bukharin, Karampatziakis, He, Cheng, Chen and Zhao (2023),
https://arxiv.org/abs/2303.10512
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Site
from ..core.limits import Positive, PositiveOrZero, Share, Whole
from ..facts import FACTS


class SVDUpdate(Delta):
    """h + s P Λ Q x, Eq. 3: the form of a singular value decomposition, of a rank that falls.

    A triplet is one column of P, one entry of Λ and one row of Q. Λ = 0 at first: training starts
    at the base model. s = alpha / (r + 1e-5) with the rank r of the start, as in the authors' code.

    P (d_out, r), Lambda (r,), Q (r, d_in); x (..., d_in), h (..., d_out)
    importance (2, r, d_out + 1 + d_in): Ī and Ū of each entry of each triplet, Eqs. 9 and 10
    kept (r,): which triplets are left once the budget is spent; None before
    """

    importance: Tensor | None
    kept: Tensor | None

    def __init__(self, d_in: int, d_out: int, rank: int, alpha: float, dropout: float):
        super().__init__()
        if rank > min(d_in, d_out):
            raise BadValue(
                f"A {d_out} × {d_in} matrix has rank {min(d_in, d_out)} at most, and start_rank is "
                f"{rank}. Choose a smaller one."
            )
        self.P = nn.Parameter(0.02 * torch.randn(d_out, rank))
        self.Lambda = nn.Parameter(torch.zeros(rank))
        self.Q = nn.Parameter(0.02 * torch.randn(rank, d_in))
        self.register_buffer("importance", None)
        self.register_buffer("kept", None)
        self.dropout = nn.Dropout(dropout)
        self.scale = alpha / (rank + 1e-5)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        Lambda = self.Lambda if self.kept is None else self.Lambda * self.kept
        change = self.dropout(x) @ (Lambda[:, None] * self.Q).T @ self.P.T
        return h + self.scale * change

    def far_from_orthogonal(self) -> Tensor:
        """‖Pᵀ P − I‖ + ‖Q Qᵀ − I‖ in the Frobenius norm, Eq. 4 (there squared).

        Of the triplets that are left: those that are not have no part in anything any more, and
        in no checkpoint. PEFT goes on to push them, and the others away from them.
        """
        left = slice(None) if self.kept is None else self.kept
        P, Q = self.P[:, left], self.Q[left]
        unit = torch.eye(len(Q), device=Q.device, dtype=Q.dtype)
        return (P.T @ P - unit).norm() + (Q @ Q.T - unit).norm()

    def observe(self, beta1: float, beta2: float) -> None:
        """Average sensitivities I = |w ∂L/∂w| and their uncertainty, Eqs. 8 to 10."""
        own = self.parameters()
        P, Lambda, Q = (p.detach() * p.grad for p in own)  # type: ignore[operator]
        now = torch.cat([P.T, Lambda[:, None], Q], dim=1).abs()
        if self.importance is None:
            self.importance = torch.zeros_like(now).repeat(2, 1, 1)
        mean, spread = self.importance
        mean = beta1 * mean + (1 - beta1) * now
        spread = beta2 * spread + (1 - beta2) * (now - mean).abs()
        self.importance = torch.stack([mean, spread])

    def scores(self) -> Tensor:
        """Importance of triplets (r,): s(λ) + mean s(P's column) + mean s(Q's row)."""
        if self.importance is None:
            return torch.zeros_like(self.Lambda)
        s = self.importance[0] * self.importance[1]  # Eq. 11
        d_out = len(self.P)
        return s[:, :d_out].mean(1) + s[:, d_out] + s[:, d_out + 1 :].mean(1)  # Eq. 7

    @torch.no_grad()
    def keep(self, chosen: Tensor, forever: bool) -> None:
        """Set the singular values outside `chosen` (r,) to zero; they may grow again, or never."""
        self.Lambda.mul_(chosen)
        if forever:
            self.kept, self.importance = chosen, None

    def pack(self) -> dict[str, Tensor]:
        packed = super().pack()
        if self.kept is not None:
            packed["P"] = packed["P"][:, self.kept]
            packed["Lambda"], packed["Q"] = packed["Lambda"][self.kept], packed["Q"][self.kept]
        return packed

    def fit(self, packed: dict[str, Tensor]) -> None:
        for name in ("importance", "kept"):
            given = packed.get(name)
            setattr(self, name, None if given is None else given.to(self.P.device))

    @torch.no_grad()
    def unpack(self, packed: dict[str, Tensor]) -> None:
        left = slice(None) if self.kept is None else self.kept
        for name in packed.keys() & {"Lambda", "Q"}:
            self.get_parameter(name)[left] = packed[name].to(self.P)
        if "P" in packed:
            self.P[:, left] = packed["P"].to(self.P)


@dataclass(frozen=True)
class AdaLoRA(Method):
    """Start with more rank than wanted, and leave it where it matters most (Algorithm 1).

    After the warm-up the budget, a number of triplets of the whole model, falls with a cubic
    schedule; the triplets of the lowest scores lose their singular value. In the final phase
    exactly `rank` triplets for each matrix are left, unevenly spread. The sensitivity is taken as
    in the paper, of the weights before the optimiser's step; in PEFT it is of those after it.

    Args:
        rank: of the budget at the end, on average over the matrices.
        start_rank: of each matrix at the start.
        alpha: the update is scaled by alpha / start_rank.
        dropout: probability with which entries of x are dropped on their way to Q.
        warmup: share of the training's steps before the budget begins to fall.
        final: share of the steps at the end in which nothing is pruned any more.
        interval: steps between two prunings.
        beta1: of the moving average of the sensitivity.
        beta2: of the moving average of its uncertainty.
        orthogonality: γ, the weight of the penalty that keeps P and Q orthogonal, as in PEFT a
            mean over all of them. It is no part of the loss in evaluation.
        at: the sites; the paper adapts all six linear maps of a layer.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["adalora"]

    rank: Whole = 8
    start_rank: Whole = 12
    alpha: Positive = 16.0
    dropout: Share = 0.0
    warmup: Share = 0.1
    final: Share = 0.5
    interval: Whole = 10
    beta1: Share = 0.85
    beta2: Share = 0.85
    orthogonality: PositiveOrZero = 0.5
    at: tuple[str, ...] = ("attention.query", "attention.value")
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_rank < self.rank or self.warmup + self.final >= 1:
            raise BadValue(
                f"rank={self.rank}, start_rank={self.start_rank}, warmup={self.warmup}, final="
                f"{self.final}: the rank cannot rise, so start_rank is at least rank; warmup and "
                "final together are less than 1, so that there are steps in which it falls."
            )

    def delta(self, site: Site) -> Delta:
        return SVDUpdate(site.d_in, site.d_out, self.start_rank, self.alpha, self.dropout)

    def extra_loss(self, model: nn.Module) -> Tensor | None:
        distances = [d.far_from_orthogonal() / 2 for d in self.planted_in(model, SVDUpdate)]
        return self.orthogonality * torch.stack(distances).mean()

    def after_backward(self, model: nn.Module, step: int, total_steps: int) -> None:
        for delta in self.planted_in(model, SVDUpdate):
            if delta.kept is None:
                delta.observe(self.beta1, self.beta2)

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        deltas = self.planted_in(model, SVDUpdate)
        first, last = (
            round(self.warmup * total_steps),
            total_steps - round(self.final * total_steps),
        )
        if deltas[0].kept is not None or (step <= first and step < last):
            return
        if step >= last or step % self.interval == 0:
            self.allocate(deltas, self.budget(len(deltas), step, first, last), step >= last)

    def budget(self, matrices: int, step: int, first: int, last: int) -> int:
        """Triplets of all `matrices` after `step`: cubic from `first` to `last`."""
        start, target = matrices * self.start_rank, matrices * self.rank
        left = 0.0 if step >= last else 1 - (step - first) / (last - first)
        return int((start - target) * left**3 + target)

    def allocate(self, deltas: list[SVDUpdate], budget: int, forever: bool) -> None:
        """Keep the `budget` triplets that score highest, of all `deltas` together."""
        scores = torch.cat([delta.scores() for delta in deltas])
        chosen = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
        chosen[scores.topk(budget).indices] = True
        for delta, part in zip(deltas, chosen.split(self.start_rank), strict=True):
            delta.keep(part.clone(), forever)
