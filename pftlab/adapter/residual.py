"""Residual adapters of a language model: one behind every block, with a layer norm of its own.

Lin, Madotto and Fung (2020), Exploring Versatile Generative Language Model Via Parameter-Efficient
Transfer Learning, https://arxiv.org/abs/2004.03829, after the residual adapters of vision:
Rebuffi, Bilen and Vedaldi (2017), https://arxiv.org/abs/1705.08045
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ..core import Delta, Method, Site
from ..core.limits import Whole
from ..facts import FACTS
from .bottleneck import Bottleneck


class ResidualBottleneck(Bottleneck):
    """h + U relu(D LN(h)): the layer norm is new and trained (Section 2.1, Eq. 1).

    h (..., d)
    """

    def __init__(self, width: int, bottleneck: int, std: float):
        super().__init__(width, bottleneck, "relu", std)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.change(self.norm(h))


@dataclass(frozen=True)
class ResidualAdapter(Method):
    """One adapter behind every block of the network, a few per cent of its parameters a task.

    Args:
        bottleneck: m, the width of the middle (paper: 10 to 300, by task).
        std: deviation of the initial weights (the authors' code: 0.02).
        at: the blocks.
        layers: numbers of the layers to adapt; None: all.
    """

    facts = FACTS["residual"]

    bottleneck: Whole = 100
    std: float = 0.02
    at: tuple[str, ...] = ("block",)
    layers: tuple[int, ...] | None = None

    def delta(self, site: Site) -> Delta:
        return ResidualBottleneck(site.d_out, self.bottleneck, self.std)
