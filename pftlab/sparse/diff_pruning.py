"""Diff pruning: Parameter-Efficient Transfer Learning with Diff Pruning.

Guo, Rush and Kim (2021), https://arxiv.org/abs/2012.07463
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ..core import Delta, Method, Site, WeightDelta
from ..core.limits import Density, Share
from ..facts import FACTS
from .mask import every_weight

LEFT, RIGHT = -1.5, 1.5  # the stretched interval of the hard-concrete distribution, Section 3.1
START = 5.0  # initial logit: every gate is open


class Diff(WeightDelta):
    """W₀ + z_τ z ⊙ w: a difference whose gates z are trained towards zero (Section 3).

    Each weight has a gate z, and the whole tensor one more, z_τ (structured, Section 3.2), from a
    hard-concrete distribution with logit α:

        s = σ(log u − log(1 − u) + α),  z = min(1, max(0, s (r − l) + l)),  u uniform in (0, 1)

    In evaluation u = 1/2. w = 0 at first: training starts at the base.
    w, logits and, after pruning, mask: the shape of W₀; group (), the logit of z_τ
    """

    mask: Tensor | None

    def __init__(self, weight: Tensor, structured: bool):
        super().__init__()
        self.w = nn.Parameter(torch.zeros_like(weight))
        self.logits = nn.Parameter(torch.full_like(weight, START))
        self.group = nn.Parameter(torch.tensor(START)) if structured else None
        self.register_buffer("mask", None)

    def gates(self) -> Tensor:
        """z_τ z, of the shape of W."""
        z = self._gate(self.logits)
        return z if self.group is None else z * self._gate(self.group)

    def _gate(self, logits: Tensor) -> Tensor:
        noise = torch.zeros_like(logits)
        if self.training:
            u = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
            noise = u.log() - (1 - u).log()
        return (torch.sigmoid(noise + logits) * (RIGHT - LEFT) + LEFT).clamp(0, 1)

    def open_gates(self) -> Tensor:
        """Expected number of gates z_τ z above zero, Eq. 5: of a weight, with that of its group.

        The authors' code adds the expectation of the group's gate once to the sum over weights.
        """
        shift = torch.log(torch.tensor(-LEFT / RIGHT))
        log_open = logsigmoid(self.logits - shift)
        if self.group is not None:
            log_open = log_open + logsigmoid(self.group - shift)
        return log_open.exp().sum()

    def prune(self, mask: Tensor) -> None:
        """Keep the differences under `mask` (boolean, W's shape) and fix the gates."""
        with torch.no_grad():
            self.w.copy_(self.gates() * self.w * mask)
        self.mask = mask
        self.logits.requires_grad_(False)
        if self.group is not None:
            self.group.requires_grad_(False)

    def pack(self) -> dict[str, Tensor]:
        if self.mask is None:
            return super().pack()
        places = self.mask.flatten().nonzero().flatten()
        return {"values": self.w.detach().flatten()[places], "places": places.to(torch.int32)}

    def fit(self, packed: dict[str, Tensor]) -> None:
        if "places" in packed:
            mask = torch.zeros_like(self.w, dtype=torch.bool)
            mask.view(-1)[packed["places"].to(mask.device).long()] = True
            self.prune(mask)

    def unpack(self, packed: dict[str, Tensor]) -> None:
        if self.mask is None:
            return super().unpack(packed)
        with torch.no_grad():
            self.w[self.mask] = packed["values"].to(self.w)

    def forward(self, weight: Tensor) -> Tensor:
        gates = self.gates() if self.mask is None else self.mask
        return weight + gates * self.w


@dataclass(frozen=True)
class DiffPruning(Method):
    """Learn a difference to the base that becomes sparse while it is learned.

    The penalty on open gates acts until the share `tuning` of the steps is left; then the largest
    differences are kept, exactly `density` of the weights, and trained on under a fixed mask.
    Training holds three numbers for every weight, so it needs more memory than full fine-tuning.

    Args:
        density: share of the base's weights that differ in the end (paper: 0.005).
        penalty: λ, the weight of the expected number of open gates (paper: 1.25e-7).
        structured: give each parameter tensor a gate of its own (Section 3.2).
        gate_learning_rate: of the logits (the authors' code: 0.1).
        tuning: share of the steps that train the kept differences under a fixed mask.
    """

    facts = FACTS["diff_pruning"]

    density: Density = 0.005
    penalty: float = 1.25e-7
    structured: bool = True
    gate_learning_rate: float = 0.1
    tuning: Share = 0.25

    def sites(self, model: nn.Module) -> list[Site]:
        return every_weight(model)

    def delta(self, site: Site) -> Delta:
        return Diff(site.parameter.detach(), self.structured)

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        logits = {id(p) for d in self.planted_in(model, Diff) for p in (d.logits, d.group)}
        trained = [p for p in model.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if id(p) not in logits], "lr": lr},
            {
                "params": [p for p in trained if id(p) in logits],
                "lr": self.gate_learning_rate,
                "weight_decay": 0.0,
            },
        ]

    def extra_loss(self, model: nn.Module) -> Tensor | None:
        diffs = [d for d in self.planted_in(model, Diff) if d.mask is None]
        if not diffs:
            return None
        return self.penalty * torch.stack([d.open_gates() for d in diffs]).sum()

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        diffs = self.planted_in(model, Diff)
        if diffs[0].mask is None and step >= round(total_steps * (1 - self.tuning)):
            prune(diffs, self.density)


@torch.no_grad()
def prune(diffs: list[Diff], density: float) -> None:
    """Keep the largest differences of all `diffs` together, exactly density × weights."""
    training = [d.training for d in diffs]
    for d in diffs:
        d.eval()  # the gates' median, not a sample
    sizes = torch.cat([(d.gates() * d.w).abs().flatten() for d in diffs])
    keep = torch.zeros(len(sizes), dtype=torch.bool, device=sizes.device)
    keep[sizes.topk(max(1, int(density * len(sizes)))).indices] = True
    for d, mask in zip(diffs, keep.split([d.w.numel() for d in diffs]), strict=True):
        d.prune(mask.view_as(d.w))
    for d, flag in zip(diffs, training, strict=True):
        d.train(flag)
