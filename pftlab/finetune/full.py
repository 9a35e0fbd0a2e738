"""Full fine-tuning: every parameter of the base is trained. The yardstick of every other method.

Devlin, Chang, Lee and Toutanova (2019), https://arxiv.org/abs/1810.04805, Section 3.2
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import Method


@dataclass(frozen=True)
class FullFineTuning(Method):
    """Train all parameters of the base, and the head.

    So that `detach` and `disabled` can bring the base back, a copy of its parameters is kept in
    host memory.
    """

    name = "full"
    title = "Full fine-tuning"
    family = "finetune"
    paper = "Devlin et al. (2019), BERT: Pre-training of Deep Bidirectional Transformers"
    url = "https://arxiv.org/abs/1810.04805"
    year = 2018
    where = "every parameter"
    learning_rate = 5e-5
    mergeable = True

    def trains(self, model: nn.Module) -> Iterable[str]:
        return [name for name, _ in model.named_parameters() if ".pft_" not in f".{name}"]
