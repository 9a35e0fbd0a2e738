"""OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models.

Büyükakyüz (2024), https://arxiv.org/abs/2406.01775
"""

from dataclasses import dataclass

import torch

from ..core import Delta, Site
from ..facts import FACTS
from .lora import LoRA
from .pissa import Replacement


@dataclass(frozen=True)
class OLoRA(LoRA):
    """LoRA that starts from the QR decomposition of the weight (Algorithm 1).

    With W = Q R, cut off after `rank`: B = Q, whose columns are orthonormal, and A = R at first.

    Args: as for LoRA.
    """

    facts = FACTS["olora"]

    def delta(self, site: Site) -> Delta:
        Q, R = torch.linalg.qr(site.weight.detach().double())
        Q, R = Q[:, : self.rank], R[: self.rank]
        sign = torch.where(R.diagonal() < 0, -1.0, 1.0)  # R's diagonal is made positive
        A, B = sign[:, None] * R, Q * sign
        return Replacement(A, B, self.rank, self.alpha, self.dropout)
