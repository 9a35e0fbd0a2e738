"""Full fine-tuning: every parameter of the base is trained. The yardstick of every other method.

Devlin, Chang, Lee and Toutanova (2019), https://arxiv.org/abs/1810.04805, Section 3.2
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import Method, is_planted
from ..facts import FACTS


@dataclass(frozen=True)
class FullFineTuning(Method):
    """Train all parameters of the base, and the head.

    So that `detach` and `disabled` can bring the base back, a copy of its parameters is kept in
    host memory.
    """

    facts = FACTS["full"]

    def trains(self, model: nn.Module) -> Iterable[str]:
        return [name for name, _ in model.named_parameters() if not is_planted(name)]
