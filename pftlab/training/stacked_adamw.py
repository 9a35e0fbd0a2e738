"""AdamW for several runs at once, each at its own rate and with its own clipping."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.errors import Refused

KNOWN = {"params", "lr", "weight_decay"}
EPSILON = 1e-8  # as of torch.optim.AdamW
APART = 8  # numbers: every tensor begins at a multiple, so that it lies as kernels like it


class StackedAdamW:
    """AdamW (Loshchilov and Hutter, 2019) over stacked parameters (K, …), one row for each run.

    The parameters of a run lie side by side as one row of a matrix (K, N), and so do its gradients
    and moments. A step is then a dozen operations on the matrix, however many parameters and runs
    there are; its numbers are those of `Optimiser`, run by run.

    Args:
        parameters: leaves (K, …) by name; their values move into the matrix.
        groups: for each run, what `Lifecycle.parameter_groups` gives for its model.
        names: for each run, parameter of its model → name.
        weight_decay: of groups that do not have their own.
        betas: of AdamW.

    Raises:
        Refused: a method wants an option of AdamW that is none of rate and weight decay.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        groups: Sequence[Sequence[Mapping[str, Any]]],
        names: Sequence[Mapping[Tensor, str]],
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        self.parameters, self.betas, self.steps = dict(parameters), betas, 0
        like = next(iter(parameters.values()))
        runs, start = len(like), 0
        self.columns: dict[str, slice] = {}
        for name, parameter in parameters.items():
            self.columns[name] = slice(start, start + parameter[0].numel())
            start += -(-parameter[0].numel() // APART) * APART
        new: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        self.values = torch.zeros(runs, start, **new)
        for name, parameter in parameters.items():
            mine = self.values[:, self.columns[name]]
            mine.copy_(parameter.detach().reshape(runs, -1))
            parameter.data = mine.view(parameter.shape)
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.peak, self.decay = torch.zeros(runs, start, **new), torch.zeros(runs, start, **new)
        for k, of_run in enumerate(groups):
            for group in of_run:
                if more := sorted(group.keys() - KNOWN):
                    raise Refused(
                        f"A method gives {', '.join(more)} to AdamW, and the runs of one pass have "
                        "rates and weight decays of their own only. Train the runs one by one."
                    )
                for parameter in group["params"]:
                    where = self.columns.get(names[k][parameter])
                    if where is not None:
                        self.peak[k, where] = group["lr"]
                        self.decay[k, where] = group.get("weight_decay", weight_decay)
        self.peak, self.decay = self._narrow(self.peak), self._narrow(self.decay)
        self.rate = self.peak
        self.padding = torch.zeros(runs, APART, **new)

    def set_rate(self, factor: float) -> None:
        """Let everything learn at `factor` times its peak rate."""
        self.rate = self.peak * factor

    @torch.no_grad()
    def step(self, clip: float = 0.0) -> None:
        """Move the parameters by their gradients, and forget these.

        Args:
            clip: largest norm of a run's gradient; 0 leaves them alone.
        """
        self.steps += 1
        gradient = self._gradient()
        if clip:
            norm = gradient.norm(dim=1, keepdim=True)
            gradient *= (clip / (norm + 1e-6)).clamp(max=1)
        one, two = (1 - beta**self.steps for beta in self.betas)  # corrections for the zero start
        self.first.lerp_(gradient, 1 - self.betas[0])
        self.second.lerp_(gradient.square_(), 1 - self.betas[1])
        scale = self.second.sqrt().div_(two**0.5).add_(EPSILON)
        self.values.mul_(1 - self.rate * self.decay)
        self.values.sub_(self.first.div(scale).mul_(self.rate).div_(one))

    def _narrow(self, options: Tensor) -> Tensor:
        """Options (K, N) of all columns, or (K, 1) where each run has the same in all of them."""
        one = options[:, :1]
        same = all(bool((options[:, where] == one).all()) for where in self.columns.values())
        return one.clone() if same else options

    def _gradient(self) -> Tensor:
        """All gradients, (K, N)."""
        parts = []
        for parameter in self.parameters.values():
            given = parameter.grad
            own = torch.zeros_like(parameter) if given is None else given
            parts.append(own.reshape(len(own), -1))
            if (over := parts[-1].shape[1] % APART) > 0:
                parts.append(self.padding[:, : APART - over])
            parameter.grad = None
        return torch.cat(parts, 1)
