"""The arithmetic of a forward pass and of a training step, counted: the same on every machine.

Only matrix products are counted, which is where nearly all of the arithmetic is. A time would say
more and hold for one machine alone.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from ..core.ports.steps import announced


def forward_flops(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """Floating-point operations of a forward pass of `model` in evaluation mode."""
    training = model.training
    model.eval()
    try:
        with _counter() as counter:  # which fails on some modules without gradients
            model(**batch)
    finally:
        model.train(training)
    return counter.get_total_flops()


def step_flops(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """Floating-point operations of a forward and a backward pass, for what is trained.

    Gradients and random state are left as they were.

    Args:
        model: with a method attached.
        batch: with labels.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    kept, training = [p.grad for p in trained], model.training
    model.train()
    for parameter in trained:
        parameter.grad = None
    try:
        with torch.random.fork_rng(devices=[]), _counter() as counter, announced(model):
            model(**batch).loss.backward()
    finally:
        model.train(training)
        for parameter, gradient in zip(trained, kept, strict=True):
            parameter.grad = gradient
    return counter.get_total_flops()


def _attention(query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(out: Any, query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> int:
    return sdpa_backward_flop_count(out, query, key, value)


def _counter() -> Any:
    fused = torch.ops.aten  # attention on a processor, which torch leaves out of its counts
    return FlopCounterMode(
        display=False,
        custom_mapping={
            fused._scaled_dot_product_flash_attention_for_cpu: _attention,
            fused._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
        },
    )
