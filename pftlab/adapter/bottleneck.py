"""The bottleneck network that most adapters share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..core import Delta

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "relu": nn.functional.relu,
    "swish": nn.functional.silu,
    "tanh": torch.tanh,
}


class Bottleneck(Delta):
    """h + U φ(D h + d) + u: down to m numbers, a non-linearity, up again (Section 2.1 of Houlsby).

    D (m, width), U (width, m); h (..., width)
    """

    def __init__(self, width: int, bottleneck: int, activation: str, std: float):
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.activation = activation
        for layer in (self.down, self.up):
            # The paper: a zero-mean normal of this deviation, cut off at two deviations.
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return h + self.up(ACTIVATIONS[self.activation](self.down(h)))
