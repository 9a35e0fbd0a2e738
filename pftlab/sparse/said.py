"""Intrinsic dimension: Intrinsic Dimensionality Explains the Effectiveness of Language Model
Fine-Tuning.

Aghajanyan, Gupta and Zettlemoyer (2021), https://arxiv.org/abs/2012.13255. Surveys file it under
reparametrisation, for every weight changes; it stands here because few numbers change them. The
authors' code gives the transform a backward pass that scales the gradient by 1/L of each tensor;
this has the true gradient of the paper's equation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Method, Site, WeightDelta
from ..core.limits import Whole
from ..facts import FACTS
from .fastfood import Fastfood
from .mask import every_weight


class RandomlyProjected(WeightDelta):
    """W₀ + λ P(θ): a random projection of few numbers θ that all parameters share (Eq. 4).

    θ (d,) = 0 at first: training starts at the base; λ () scales this parameter's part
    """

    def __init__(self, shape: torch.Size, theta: nn.Parameter, scaled: bool, seed: int):
        super().__init__()
        self.theta = theta
        self.scale = nn.Parameter(torch.ones(())) if scaled else 1.0
        self.project = Fastfood(shape.numel(), seed, theta.device)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * self.project(self.theta).view_as(weight)


def first_numbers(left: int, sites: Sequence[Site]) -> nn.Parameter:
    """θ (left,), of which the scales have left so many.

    Raises:
        BadValue: none is left.
    """
    if left < 1:
        raise BadValue(
            f"This model has {len(sites)} parameter tensors, and each needs a scale of the "
            f"`dimension` numbers, which leaves {left}. Give more than {len(sites)}."
        )
    return nn.Parameter(torch.zeros(left, device=sites[0].device))


@dataclass(frozen=True)
class IntrinsicDID(Method):
    """Train d numbers, which a fixed random projection turns into a change of every weight.

    The direct intrinsic dimension: θ = θ₀ + P(θ_d) (Li et al., 2018, and Eq. 1). The smallest d
    that reaches 90 % of full fine-tuning measures how hard a task is for a base.

    Args:
        dimension: d, how many numbers are trained in all.
        seed: of the projection; base, seed and the d numbers are the whole model.
    """

    facts = FACTS["did"]

    dimension: Whole = 1000
    seed: int = 0

    def sites(self, model: nn.Module) -> list[Site]:
        return every_weight(model)

    def plan(self, model: nn.Module) -> list[tuple[Site, Delta]]:
        sites = self.sites(model)
        scales = self.scales(sites)
        theta = first_numbers(self.dimension - scales, sites)
        seeds = range(self.seed, self.seed + len(sites))
        return [
            (site, RandomlyProjected(site.parameter.shape, theta, scales > 0, seed))
            for site, seed in zip(sites, seeds, strict=True)
        ]

    def scales(self, sites: list[Site]) -> int:
        """How many of the trained numbers are scales λ."""
        return 0


@dataclass(frozen=True)
class IntrinsicSAID(IntrinsicDID):
    """The structure-aware form: one trained scale λ for each part of the network (Eq. 4).

    The scales are counted among the d numbers. A part is a parameter tensor, as in the authors'
    code; the paper says layer.

    Args: as for IntrinsicDID.
    """

    facts = FACTS["said"]

    def scales(self, sites: list[Site]) -> int:
        return len(sites)
