"""AdamW over what the attached methods train, and its learning rate."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..core.method import Method


def make_optimiser(
    model: nn.Module, methods: Sequence[Method], lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, 2019) with the methods' parameter groups.

    Every group keeps its peak learning rate as "peak". The fused kernel is used where there is
    one: with PEFT's many small tensors it is several times faster than the plain loop.
    """
    groups = parameter_groups(model, methods, lr)
    kinds = {p.device.type for group in groups for p in group["params"]}
    return torch.optim.AdamW(
        [group | {"peak": group["lr"]} for group in groups],
        lr=lr,
        weight_decay=weight_decay,
        fused=kinds <= {"cpu", "cuda"},
    )


def parameter_groups(
    model: nn.Module, methods: Sequence[Method], lr: float
) -> list[dict[str, Any]]:
    """The groups of all methods together; every trainable parameter is in exactly one.

    A parameter belongs to the first method that speaks for it. A method that overrides
    `Method.parameter_groups` comes before those that do not, and what nobody speaks for (the
    head, perhaps) is trained at `lr`.

    Args:
        model: with the methods attached.
        methods: in the order of attachment.
        lr: the run's peak learning rate.
    """
    taken: set[int] = set()
    groups = []
    special = [m for m in methods if type(m).parameter_groups is not Method.parameter_groups]
    for wish in [*(m.parameter_groups(model, lr) for m in special), _everything(model, lr)]:
        for group in wish:
            mine = [p for p in group["params"] if id(p) not in taken]
            taken |= {id(p) for p in mine}
            if mine:
                groups.append({"lr": lr, **group, "params": mine})
    return groups


def _everything(model: nn.Module, lr: float) -> list[dict[str, Any]]:
    return [{"params": [p for p in model.parameters() if p.requires_grad], "lr": lr}]


def schedule(step: int, steps: int, warmup: float) -> float:
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
