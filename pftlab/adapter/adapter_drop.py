"""AdapterDrop: On the Efficiency of Adapters in Transformers.

Rücklé, Geigle, Glockner, Beck, Pfeiffer, Reimers and Gurevych (2021),
https://arxiv.org/abs/2010.11918. What several tasks gain from it is in shared_trunk.py.
The specialised variant of the paper, with a fixed n, is Houlsby(layers=…) with the upper layers.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from ..core import BadValue, Delta, Site, planted
from ..core.limits import Limit
from ..core.sites import depth
from ..facts import FACTS
from .bottleneck import Bottleneck
from .houlsby import Houlsby


class DroppableBottleneck(Bottleneck):
    """Houlsby's adapter, or nothing while it is dropped. h (..., width)

    All below the lowest adapter kept is frozen, so the backward pass ends there.
    """

    def __init__(self, site: Site, bottleneck: int, activation: str, std: float):
        super().__init__(site.d_out, bottleneck, activation, std)
        depth(site.model)  # refused where layers cannot be told apart
        self.layer = site.layer or 0
        self.skipped = False

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h if self.skipped and self.training else super().forward(x, h)


FROZEN = Limit(lambda v: v is False, "False: else the backward pass could not end early")


@dataclass(frozen=True)
class AdapterDrop(Houlsby):
    """Houlsby's adapters, with those of the first n layers dropped in each step, n at random.

    The robust variant (Section 3.2): n is drawn anew for every step, so that one set of adapters
    can later run with the lower ones left out.

    Args:
        bottleneck: m, the width of the middle.
        activation: the non-linearity.
        std: deviation of the initial weights.
        layer_norm: must stay False: the backward pass ends below the lowest adapter kept.
        highest: n is drawn from 0 to this number, included; None: the number of layers minus one.
        seed: of the draws.
        at: the outputs of attention and feed-forward sub-layers.
        layers: numbers of the layers that have adapters; None: all.
    """

    facts = FACTS["adapter_drop"]

    layer_norm: Annotated[bool, FROZEN] = False
    highest: int | None = None
    seed: int = 0

    def delta(self, site: Site) -> Delta:
        return DroppableBottleneck(site, self.bottleneck, self.activation, self.std)

    def before_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        layers = [d.layer for d in self.planted_in(model, DroppableBottleneck)]
        highest = max(layers) if self.highest is None else self.highest
        skip_below(model, drawn(self.seed, step, highest))

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        if step == total_steps:
            drop(model, 0)


def drawn(seed: int, step: int, highest: int) -> int:
    """How many layers lose their adapters in this step: from 0 up to `highest`."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    return int(torch.randint(highest + 1, (), generator=generator))


def skip_below(model: nn.Module, n: int) -> None:
    """Skip the adapters of the first n layers in training, until told otherwise."""
    for *_, delta in planted(model):
        if isinstance(delta, DroppableBottleneck):
            delta.skipped = delta.layer < n


def drop(model: nn.Module, n: int) -> None:
    """Run without adapters in the first n layers, in evaluation too; 0: with all.

    Raises:
        BadValue: the model has no adapters to drop.
    """
    adapters = [d for *_, d in planted(model) if isinstance(d, DroppableBottleneck)]
    if not adapters:
        raise BadValue("There are no adapters to drop. Attach AdapterDrop first.")
    for delta in adapters:
        delta.skipped, delta.active = False, delta.layer >= n
