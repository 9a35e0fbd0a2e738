"""LoRA+: LoRA whose B learns faster than its A.

Hayou, Ghosh and Yu (2024), LoRA+: Efficient Low Rank Adaptation of Large Models,
https://arxiv.org/abs/2402.12354
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..core import planted
from ..core.limits import Positive
from ..facts import FACTS
from .lora import LoRA


@dataclass(frozen=True)
class LoRAPlus(LoRA):
    """LoRA with two learning rates: η for A and ratio · η for B (Section 4.1).

    B is zero at first and A is not, so that one rate for both is too small for B in wide models.
    What is planted and saved is LoRA's. The head and what else is trained learn at η; PEFT gives
    vectors, such as the head's bias, B's rate.

    Args:
        ratio: λ, how many times faster B learns (paper: 2⁴ for language models).

    The others are as for LoRA.
    """

    facts = FACTS["lora_plus"]

    ratio: Positive = 16.0

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        deltas = [delta for *_, delta in planted(model, self.attached_as(model))]
        return [
            {"params": [delta.A for delta in deltas], "lr": lr},
            {"params": [delta.B for delta in deltas], "lr": self.ratio * lr},
        ]
