"""Fine-tuning of the top layers only.

Howard and Ruder (2018), https://arxiv.org/abs/1801.06146; as a baseline "variable fine-tuning" in
Houlsby et al. (2019), https://arxiv.org/abs/1902.00751, Section 3.1
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import BadValue, Method
from ..core.sites import depth
from ..facts import FACTS
from .layers import above


@dataclass(frozen=True)
class TopLayers(Method):
    """Train the last `count` layers and what follows them; embeddings and the rest are frozen.

    Args:
        count: how many layers, from the top, are trained.
    """

    facts = FACTS["top_layers"]

    count: int = 2

    def trains(self, model: nn.Module) -> Iterable[str]:
        if self.count < 1:
            raise BadValue(f"count={self.count}: at least 1 layer, or use LinearProbe.")
        return above(model, depth(model) - self.count)
