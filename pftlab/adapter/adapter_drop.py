"""AdapterDrop: On the Efficiency of Adapters in Transformers.

Rücklé, Geigle, Glockner, Beck, Pfeiffer, Reimers and Gurevych (2021),
https://arxiv.org/abs/2010.11918. What several tasks gain from it is in shared_trunk.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Site, planted
from ..core.sites import depth
from ..facts import FACTS
from .bottleneck import Bottleneck
from .houlsby import Houlsby


class DroppableBottleneck(Bottleneck):
    """Houlsby's adapter, or nothing while it is dropped. h (..., width)

    With everything below it frozen, the backward pass ends at the lowest adapter that is kept.
    """

    def __init__(self, width: int, bottleneck: int, activation: str, std: float, layer: int):
        super().__init__(width, bottleneck, activation, std)
        self.layer = layer
        self.skipped = False

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h if self.skipped and self.training else super().forward(x, h)


@dataclass(frozen=True)
class AdapterDrop(Houlsby):
    """Houlsby's adapters, with those of the first n layers dropped in each step, n at random.

    The robust variant (Section 3.2): n is drawn anew for every step, so that one set of adapters
    can later run with the lower ones left out. Layer norms stay frozen, for otherwise the backward
    pass could not end early. The specialised variant, a fixed n, is Houlsby(layers=…) with the
    upper layers.

    Args:
        bottleneck: m, the width of the middle.
        activation: the non-linearity.
        std: deviation of the initial weights.
        layer_norm: must stay False.
        highest: n is drawn from 0 to this number, included; None: the number of layers minus one.
        seed: of the draws.
        at: the outputs of attention and feed-forward sub-layers.
        layers: numbers of the layers that have adapters; None: all.
    """

    facts = FACTS["adapter_drop"]

    layer_norm: bool = False
    highest: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer_norm:
            raise BadValue("layer_norm=True would keep the backward pass from ending early.")

    def delta(self, site: Site) -> Delta:
        depth(site.model)  # refused where layers cannot be told apart
        width, layer = site.d_out, site.layer or 0
        return DroppableBottleneck(width, self.bottleneck, self.activation, self.std, layer)

    def before_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        adapters = [d for *_, d in planted(model) if isinstance(d, DroppableBottleneck)]
        highest = max(d.layer for d in adapters) if self.highest is None else self.highest
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        skip_below(model, int(torch.randint(highest + 1, (), generator=generator)))

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        if step == total_steps:
            drop(model, 0)


def skip_below(model: nn.Module, n: int) -> None:
    """Skip the adapters of the first n layers in training, until told otherwise."""
    for *_, delta in planted(model):
        if isinstance(delta, DroppableBottleneck):
            delta.skipped = delta.layer < n


def drop(model: nn.Module, n: int) -> None:
    """Run without the adapters of the first n layers, in evaluation too; 0 brings all back.

    Raises:
        BadValue: the model has no adapters to drop.
    """
    adapters = [d for *_, d in planted(model) if isinstance(d, DroppableBottleneck)]
    if not adapters:
        raise BadValue("There are no adapters to drop. Attach AdapterDrop first.")
    for delta in adapters:
        delta.skipped, delta.active = False, delta.layer >= n
