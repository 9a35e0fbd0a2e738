"""Fine-tuning with the bottom frozen: the embeddings and the first layers stay as pretrained.

Lee, Tang and Lin (2019), What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning,
https://arxiv.org/abs/1911.03090
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import BadValue, Method
from ..facts import FACTS
from .layers import above


@dataclass(frozen=True)
class FrozenBottom(Method):
    """Freeze the embeddings and the first `count` layers, train everything above them.

    Args:
        count: how many layers, from the bottom, are frozen; 0 freezes the embeddings alone.
    """

    facts = FACTS["frozen_bottom"]

    count: int = 1

    def trains(self, model: nn.Module) -> Iterable[str]:
        if self.count < 0:
            raise BadValue(f"count={self.count}: a number of layers is at least 0.")
        return above(model, self.count)
