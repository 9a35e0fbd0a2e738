"""AdamW over what is trained, and its learning rate."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import BadCheckpoint
from ..core.masters import HALF, Masters

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
MASTER = "master"


class Optimiser:
    """AdamW (Loshchilov and Hutter, 2019) with peak rates, clipping and 32-bit masters.

    What is trained in 16 bits, such as the head, the biases or the norms of a base that was loaded
    so, is moved through its masters, so that small steps add up; see `core.masters`.

    The fused kernel is used where there is one: with PEFT's many small tensors it is several times
    faster than the plain loop.

    Args:
        groups: of parameters, {"params": …, "lr": peak rate, and options of AdamW}.
        weight_decay: of groups that do not have their own.
        betas: of AdamW.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        self.parameters: list[Tensor] = [p for group in groups for p in group["params"]]
        self.masters = Masters(self.parameters)
        self.adamw = torch.optim.AdamW(
            [
                {
                    **group,
                    "params": [self.masters[p] for p in group["params"]],
                    "peak": group["lr"],
                }
                for group in groups
            ],
            weight_decay=weight_decay,
            betas=betas,
            fused={p.device.type for p in self.parameters} <= {"cpu", "cuda"},
        )

    @property
    def gradients(self) -> Iterable[Tensor]:
        """Those that the backward passes have left."""
        return (p.grad for p in self.parameters if p.grad is not None)

    def set_rate(self, factor: float) -> None:
        """Let every group learn at `factor` times its peak rate."""
        for group in self.adamw.param_groups:
            group["lr"] = group["peak"] * factor

    def step(self, clip: float = 0.0) -> None:
        """Move the parameters by their gradients, and forget these.

        Args:
            clip: largest norm of all gradients together; 0 leaves them alone.
        """
        self.masters.take_gradients()
        if clip:
            nn.utils.clip_grad_norm_([self.masters[p] for p in self.parameters], clip)
        self.adamw.step()
        self.masters.give_values()
        self.adamw.zero_grad()

    def state(self, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
        """Moments and masters as "<kind>.<name>" → tensor, by the parameters' `names`.

        By names, not by places: a parameter that a method has retired since leaves no gap.
        """
        found = {}
        for parameter in self.parameters:
            moved = self.masters[parameter]
            for kind, value in self.adamw.state.get(moved, {}).items():
                found[f"{kind}.{names[parameter]}"] = value
            if moved is not parameter:
                found[f"{MASTER}.{names[parameter]}"] = moved.detach()
        return found

    def load(self, state: Mapping[str, Tensor], names: Mapping[Tensor, str]) -> None:
        """Take on what `state` gave, for those of its parameters that are still trained."""
        places = {}
        for place, parameter in enumerate(self.parameters):
            name, moved = names[parameter], self.masters[parameter]
            if f"{MOMENTS[0]}.{name}" in state:
                places[place] = {kind: state[f"{kind}.{name}"] for kind in MOMENTS}
            if moved is not parameter:
                moved.data.copy_(state[f"{MASTER}.{name}"])
        groups = self.adamw.state_dict()["param_groups"]
        self.adamw.load_state_dict({"state": places, "param_groups": groups})


def check_state(state: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    """Refuse what `Optimiser.state` cannot have given for a model.

    Args:
        state: as read from a file.
        parameters: name → tensor of the model, parameters and buffers.

    Raises:
        BadCheckpoint: a kind, a name or a shape is wrong, or one of several is missing.
    """
    found: dict[str, set[str]] = {name: set() for name in parameters}
    for key, tensor in state.items():
        kind, _, name = key.partition(".")
        shape = () if kind == MOMENTS[0] else getattr(parameters.get(name), "shape", None)
        if kind not in (*MOMENTS, MASTER) or tensor.shape != shape or tensor.is_complex():
            raise BadCheckpoint(f"{key[:200]!r} is no part of the optimiser's state of this model.")
        found.setdefault(name, set()).add(kind)
    for name, kinds in found.items():
        half = name in parameters and parameters[name].dtype in HALF
        needs_master = half and parameters[name].requires_grad
        if kinds - {MASTER} not in (set(), set(MOMENTS)) or (needs_master and MASTER not in kinds):
            raise BadCheckpoint(f"The optimiser's state of {name[:200]!r} is not complete.")


def schedule(step: float, steps: float, warmup: float) -> float:
    """The factor on the peak rate: linear warm-up to 1, then linear decay.

    Args:
        step: from 1.
        steps: of the whole run. The rate would be 0 one step after the last.
        warmup: share of the steps in which the rate rises; at least one step.
    """
    rising = max(1, round(warmup * steps))
    if step <= rising:
        return step / rising
    return (steps + 1 - step) / (steps + 1 - rising)
