"""LayerNorm tuning: train the gains and biases of the normalisation layers.

Qi, Ruan, Zuo and Li (2022), Parameter-Efficient Tuning on Layer Normalization for Pre-trained
Language Models, https://arxiv.org/abs/2211.08682
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import Method, UnknownName, norm_parameters
from ..facts import FACTS


@dataclass(frozen=True)
class LayerNormTuning(Method):
    """Train every layer norm of the base, about 0.03 % of its parameters, and nothing else.

    Houlsby et al. (2019) report it as too weak a method on CoLA and MNLI.

    Args:
        norms: names of the modules to train, such as ("ln_1",); None: every layer norm.
    """

    facts = FACTS["layer_norm"]

    norms: tuple[str, ...] | None = None

    def trains(self, model: nn.Module) -> Iterable[str]:
        every = norm_parameters(model)
        if self.norms is None:
            return every
        known = {name.split(".")[-2] for name in every}
        for norm in self.norms:
            if norm not in known:
                raise UnknownName(f"layer norm in a {type(model).__name__}", norm, sorted(known))
        return [name for name in every if name.split(".")[-2] in self.norms]
