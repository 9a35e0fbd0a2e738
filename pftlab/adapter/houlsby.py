"""Parameter-Efficient Transfer Learning for NLP: the first adapters for transformers.

Houlsby, Giurgiu, Jastrzebski, Morrone, de Laroussilhe, Gesmundo, Attariyan and Gelly (2019),
https://arxiv.org/abs/1902.00751. The paper initialises with a deviation of 1e-2, its code with
1e-3; this follows the paper.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ..core import Delta, Method, Site, norm_parameters
from ..core.limits import Whole
from ..facts import FACTS
from .bottleneck import Activation, Bottleneck


@dataclass(frozen=True)
class Houlsby(Method):
    """A bottleneck after each sub-layer, before the residual sum; layer norms train too.

    Args:
        bottleneck: m, the width of the middle.
        activation: the non-linearity, "gelu" in the paper's code.
        std: deviation of the initial weights; near 0, so that training starts near the base.
        layer_norm: train the base's layer norms as well, as the paper does (Figure 2).
        at: the outputs of attention and feed-forward sub-layers (Figure 2).
        layers: numbers of the layers to adapt, with their norms; None: all.
    """

    facts = FACTS["houlsby"]

    bottleneck: Whole = 64
    activation: Activation = "gelu"
    std: float = 1e-2
    layer_norm: bool = True
    at: tuple[str, ...] = ("attention", "ffn")
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return Bottleneck(site.d_out, self.bottleneck, self.activation, self.std)

    def trains(self, model: nn.Module) -> Iterable[str]:
        return norm_parameters(model, self.layers) if self.layer_norm else []
