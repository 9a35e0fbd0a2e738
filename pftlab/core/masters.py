"""32-bit masters of what is trained in 16 bits.

A number in 16 bits has eight binary digits, or eleven: added to a weight of 1, a step of 1e-4 is
rounded away, and so is the next one. An optimiser therefore moves copies in 32 bits, the masters,
and after each step the parameters are the masters, rounded. (What is planted is in 32 bits anyway.)
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)


class Masters:
    """Stands between an optimiser and the parameters that it trains.

    Args:
        parameters: of any type; those that are not in 16 bits are their own masters.
    """

    def __init__(self, parameters: Iterable[Tensor]):
        self.of: dict[Tensor, Tensor] = {
            p: nn.Parameter(p.detach().float()) for p in parameters if p.dtype in HALF
        }

    def __getitem__(self, parameter: Tensor) -> Tensor:
        """What the optimiser moves in the place of a parameter."""
        return self.of.get(parameter, parameter)

    def take_gradients(self) -> None:
        """Before the optimiser's step: give the masters the gradients of their parameters."""
        for parameter, master in self.of.items():
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None

    @torch.no_grad()
    def give_values(self) -> None:
        """After the step: let the parameters be their masters, rounded."""
        for parameter, master in self.of.items():
            if master.grad is not None:
                parameter.copy_(master)
