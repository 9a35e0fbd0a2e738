"""The bottleneck network that most adapters share."""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn

from ..core import Delta
from ..core.limits import one_of

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "swish": nn.functional.silu,
    "tanh": torch.tanh,
}


Activation = Annotated[str, one_of(*ACTIVATIONS)]


class Bottleneck(Delta):
    """h + U φ(D h + d) + u: down to m numbers, φ, up again (Houlsby, Section 2.1).

    D (m, d_in), U (width, m); h (..., width). d_in is the width of what the adapter
    reads: that of h, if it is not given.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        activation: str,
        std: float,
        d_in: int | None = None,
    ):
        super().__init__()
        self.down = nn.Linear(width if d_in is None else d_in, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.activation = activation
        for layer in (self.down, self.up):
            # Houlsby et al.: a normal around zero, cut off at two deviations.
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def change(self, z: Tensor) -> Tensor:
        """U φ(D z + d) + u: what the adapter adds."""
        return self.up(ACTIVATIONS[self.activation](self.down(z)))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.change(h)


class ParallelBottleneck(Bottleneck):
    """h + s · (U φ(D x + d) + u): beside the sub-layer (He et al., Table 1).

    It reads what the sub-layer reads. U = 0 at first, as in LoRA: training starts
    at the base. x (..., d_in), h (..., d_out)
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        bottleneck: int,
        activation: str,
        scale: float,
    ):
        super().__init__(d_out, bottleneck, activation, std=0.01, d_in=d_in)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)
        self.scale = scale

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.scale * self.change(x)
