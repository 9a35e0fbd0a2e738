"""The Pfeiffer adapter: one bottleneck for each layer, behind its feed-forward sub-layer.

Pfeiffer, Kamath, Rücklé, Cho and Gurevych (2021), AdapterFusion: Non-Destructive Task Composition
for Transfer Learning, https://arxiv.org/abs/2005.00247, Appendix B
"""

from dataclasses import dataclass

from torch import Tensor

from ..core import Delta, Method, Port, Site
from ..core.limits import Whole
from ..facts import FACTS
from .bottleneck import Activation, Bottleneck


class NormedBottleneck(Bottleneck):
    """s + U φ(D LN(s) + d) + u, with s the residual sum that the next norm reads.

    x = LN(s), h = s (..., width). The frozen layer norm is thus used twice.
    """

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.change(x)


@dataclass(frozen=True)
class Pfeiffer(Method):
    """Half of Houlsby's adapters at about the same accuracy: only behind the feed-forward network.

    In models with the layer norm behind the residual sum (BERT) the adapter stands between the two
    and reads the normalised sum; in the others it reads the residual stream as the layer leaves it.

    Args:
        bottleneck: m, the width of the middle (paper: a sixteenth of the model's width).
        activation: the non-linearity.
        std: deviation of the initial weights.
        at: the residual stream behind the feed-forward sub-layer.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["pfeiffer"]

    bottleneck: Whole = 48
    activation: Activation = "relu"
    std: float = 1e-2
    at: tuple[str, ...] = ("stream",)
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        kind = NormedBottleneck if site.place.port is Port.NORMED else Bottleneck
        return kind(site.d_out, self.bottleneck, self.activation, self.std)
