"""OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models.

Büyükakyüz (2024), https://arxiv.org/abs/2406.01775
"""

from dataclasses import dataclass, replace

import torch

from ..core import Delta, Site
from ..facts import FACTS
from .lora import LoRA
from .pissa import Replacement


@dataclass(frozen=True)
class OLoRA(LoRA):
    """LoRA that starts from the QR decomposition of the weight (Algorithm 1).

    With W = Q R, cut off after `rank`: B = Q, whose columns are orthonormal, and A = R at first.
    PEFT forgets that GPT-2's Conv1D stores W transposed, so there is no exchange with it there.

    Args: as for LoRA.
    """

    facts = FACTS["olora"]
    peft = replace(
        LoRA.peft,
        options=LoRA.peft.options | {"init_lora_weights": ("olora",)},
        fused={},
        conv1d=False,
    )

    def delta(self, site: Site) -> Delta:
        Q, R = torch.linalg.qr(site.weight.detach().double())
        Q, R = Q[:, : self.rank], R[: self.rank]
        sign = torch.where(R.diagonal() < 0, -1.0, 1.0)  # R's diagonal is made positive
        A, B = sign[:, None] * R, Q * sign
        return Replacement(A, B, self.rank, self.alpha, self.dropout)
