"""GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection.

Zhao, Zhang, Chen, Wang, Anandkumar and Tian (2024), https://arxiv.org/abs/2403.03507
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import (
    BadValue,
    Delta,
    Method,
    Site,
    WeightDelta,
    is_planted,
    parameter_sites,
)
from ..core.limits import Positive, Whole
from ..core.sites import sites
from ..facts import FACTS


class Projected(WeightDelta):
    """s (W₀ + C) + α P R: a full weight of which the optimiser sees low-rank coordinates R alone.

    R's gradient is that of the weight, projected: Pᵀ G (without α, which scales the step). So
    Adam on R is Algorithm 2. Every T steps what R has done is added to C, R begins again at zero,
    and P becomes the r first singular vectors of the gradient. C is given to the optimiser as
    well, so that its gradient, s G, is summed over processes; but it is taken away before a step.

    The number s, 1 at first, is there for weight decay: the optimiser takes the share η λ of s and
    of R away in each step, and so of all of W, as AdamW would. The gradient of s is zero.

    Adam's moments outlive a projector, as in the authors' code. They mean something else under the
    next one, and depend on the signs of the singular vectors, which are arbitrary.

    The smaller side is projected: P (m, r), R (r, n) if m < n, else P (n, r), R (m, r), R Pᵀ.
    """

    P: Tensor
    s: Tensor

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        rows, columns = weight.shape
        if rank > min(rows, columns):
            raise BadValue(
                f"A {rows} × {columns} gradient has rank {min(rows, columns)} at most, so "
                f"projecting it to rank {rank} saves nothing. Choose a smaller rank."
            )
        self.left, self.scale = rows < columns, scale
        new = weight.detach().new_zeros
        self.C = nn.Parameter(new(rows, columns))
        self.R = nn.Parameter(new(rank, columns) if self.left else new(rows, rank))
        self.register_buffer("P", new(min(rows, columns), rank))
        self.register_buffer("s", new(()) + 1)

    def step_so_far(self) -> Tensor:
        """P R, or R Pᵀ: (m, n)."""
        return self.P @ self.R if self.left else self.R @ self.P.T

    def forward(self, weight: Tensor) -> Tensor:
        step = self.step_so_far()
        constant = (self.scale - 1) * step.detach()  # so that α is no factor of the gradient
        return self.s * (weight + self.C) + step + constant

    @torch.no_grad()
    def refresh(self) -> None:
        """Choose P anew by the gradient G that C has got, and project G with it."""
        assert self.C.grad is not None and self.R.grad is not None, "no gradients yet"
        self.C.add_(self.scale * self.step_so_far() / self.s)
        self.R.zero_()
        G = self.C.grad / self.s
        u, _, vh = torch.linalg.svd(G, full_matrices=False)
        rank = self.P.shape[1]
        self.P.copy_(u[:, :rank] if self.left else vh[:rank].T)
        self.R.grad.copy_(self.P.T @ G if self.left else G @ self.P)


@dataclass(frozen=True)
class GaLore(Method):
    """Train every weight, but let the optimiser remember a projection of each gradient only.

    No parameter-efficient method: the base changes in full and in the end by full rank. Its
    counterpoint: what is small is the optimiser's state, for a matrix (m, n) with m ≤ n two
    moments of (r, n) and a projector (m, r) instead of two moments of (m, n). The linear maps of
    the layers are projected, all else is trained as it is. A checkpoint is larger than the base:
    for each projected weight it holds its change, P and R, so that training can go on.

    Here W stays frozen, so the change costs as much memory as W; the paper rewrites W in place.
    Weight decay acts on all of W, as in the paper. A limit on the norm of the gradient sees Pᵀ G,
    of a smaller norm than the G that the authors' training script clips.

    Args:
        rank: r, of the projected gradient.
        alpha: the projected step is scaled by it (the authors: 4 in fine-tuning, 0.25 in
            pretraining).
        interval: T, steps between two choices of the projector.
        at: the sites of the linear maps to project; None: all.
        layers: numbers of the layers to project; None: all.
    """

    facts = FACTS["galore"]

    rank: Whole = 8
    alpha: Positive = 4.0
    interval: Whole = 200
    at: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None

    def sites(self, model: nn.Module) -> list[Site]:
        chosen = {
            f"{site.path}.weight"
            for site in sites(model, self.at, self.layers)
            if site.is_projection
        }
        return parameter_sites(model, lambda name, _: name in chosen)

    def delta(self, site: Site) -> Delta:
        return Projected(site.parameter, self.rank, self.alpha)

    def trains(self, model: nn.Module) -> Iterable[str]:
        projected = {site.name for site in self.sites(model)}
        return [
            name
            for name, _ in model.named_parameters()
            if name not in projected and not is_planted(name)
        ]

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        """All that is trainable, and with it the numbers s, for weight decay alone."""
        decayed = [delta.s for delta in self.planted_in(model, Projected)]
        trained = [p for p in model.parameters() if p.requires_grad]
        return [{"params": [*trained, *decayed], "lr": lr}]

    def after_backward(self, model: nn.Module, step: int, total_steps: int) -> None:
        for delta in self.planted_in(model, Projected):
            if (step - 1) % self.interval == 0:
                delta.refresh()
            delta.C.grad = None  # the optimiser leaves alone what has no gradient
            delta.s.grad = torch.zeros_like(delta.s)  # and decays what has one
