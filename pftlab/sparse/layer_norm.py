"""LayerNorm tuning: train the gains and biases of the normalisation layers.

Qi, Ruan, Zuo and Li (2022), Parameter-Efficient Tuning on Layer Normalization for Pre-trained
Language Models, https://arxiv.org/abs/2211.08682
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import Method
from ..core.sites import norm_parameters


@dataclass(frozen=True)
class LayerNormTuning(Method):
    """Train every layer norm of the base, about 0.03 % of its parameters, and nothing else.

    Houlsby et al. (2019) report it as too weak a method on CoLA and MNLI.
    """

    name = "layer_norm"
    title = "LayerNorm tuning"
    family = "sparse"
    paper = "Qi et al. (2022), Parameter-Efficient Tuning on Layer Normalization"
    url = "https://arxiv.org/abs/2211.08682"
    year = 2022
    learning_rate = 2e-3
    mergeable = True

    def trains(self, model: nn.Module) -> Iterable[str]:
        return norm_parameters(model)
