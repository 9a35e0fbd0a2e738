"""rsLoRA: LoRA with a scale that keeps the update's size at any rank.

Kalajdzievski (2023), A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA,
https://arxiv.org/abs/2312.03732
"""

import math
from dataclasses import dataclass

from ..core import Delta, Site
from ..facts import FACTS
from .lora import LoRA, LowRank


@dataclass(frozen=True)
class RsLoRA(LoRA):
    """LoRA whose update is scaled by alpha / √rank (Theorem 3.2) and not by alpha / rank.

    With alpha / rank the update shrinks as the rank grows, so that high ranks learn no more than
    low ones.

    Args: as for LoRA.
    """

    facts = FACTS["rslora"]

    def delta(self, site: Site) -> Delta:
        alpha = self.alpha * math.sqrt(self.rank)  # over rank: alpha / √rank
        return LowRank(site.d_in, site.d_out, self.rank, alpha, self.dropout)
