"""Discriminative fine-tuning: every layer has its own learning rate, lower ones a smaller one.

Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification,
https://arxiv.org/abs/1801.06146, Section 3.1
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from torch import nn

from ..core import Method
from ..core.limits import Limit
from ..facts import FACTS
from .layers import from_the_top

SLOWER = Limit(lambda divisor: divisor >= 1, "at least 1, so that no lower layer learns faster")


@dataclass(frozen=True)
class DiscriminativeLearningRates(Method):
    """Full fine-tuning in which layer l of L learns at lr / divisor^(L − l).

    The run's rate holds for the top layer, for what lies above it and for the head; the embeddings
    count as layer 0. Attached beside GradualUnfreezing it is the paper's way of fine-tuning.

    Args:
        divisor: of the rate, from one layer to the next lower one (paper: 2.6).
    """

    facts = FACTS["discriminative"]

    divisor: Annotated[float, SLOWER] = 2.6

    def trains(self, model: nn.Module) -> Iterable[str]:
        return [name for group in from_the_top(model) for name in group]

    def parameter_groups(self, model: nn.Module, lr: float) -> list[dict[str, Any]]:
        return [
            {
                "params": [model.get_parameter(name) for name in names],
                "lr": lr / self.divisor**below,
            }
            for below, names in enumerate(from_the_top(model))
        ]
