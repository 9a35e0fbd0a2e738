"""The scaled parallel adapter.

He, Zhou, Ma, Berg-Kirkpatrick and Neubig (2022), Towards a Unified View of Parameter-Efficient
Transfer Learning, https://arxiv.org/abs/2110.04366
"""

from dataclasses import dataclass

from ..core import Delta, Method, Site
from ..core.limits import NotZero, Whole
from ..facts import FACTS
from .bottleneck import Activation, ParallelBottleneck


@dataclass(frozen=True)
class ParallelAdapter(Method):
    """A bottleneck beside the feed-forward sub-layer instead of behind it.

    It reads what the sub-layer reads from the residual stream, before the layer norm where that
    comes first, as in the authors' code.

    Args:
        bottleneck: m, the width of the middle (paper: 512 for generation, 16 for GLUE).
        scale: s, a fixed factor (paper: 4 for XSum, 2 for GLUE).
        activation: the non-linearity.
        at: "ffn", the better place with more than 1 % of the parameters (Section 4.4), or
            "attention".
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["parallel"]

    bottleneck: Whole = 64
    scale: NotZero = 4.0
    activation: Activation = "relu"
    at: tuple[str, ...] = ("ffn",)
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return ParallelBottleneck(
            site.d_in, site.d_out, self.bottleneck, self.activation, self.scale
        )
