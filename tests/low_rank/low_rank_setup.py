"""What the tests of the low-rank methods share."""

from typing import Any

import torch
from oracle import delta_at
from tiny import perturb, tiny
from torch import Tensor

#: all linear maps of a Llama, and those of DoRA's experiments
ALL_LINEAR = (
    *("attention.query", "attention.key", "attention.value", "attention.output"),
    *("ffn.gate", "ffn.up", "ffn.down"),
)
DORA_LINEAR = ("attention.query", "attention.key", "attention.value", "ffn.up", "ffn.down")
#: a linear map (48, 32), which is not square
UP = "bert.encoder.layer.1.intermediate.dense"


@torch.no_grad()
def update_at_up(method: Any) -> tuple[Any, Tensor, Tensor]:
    """Plant `method`, which must be at "ffn.up", in BERT and move it.

    Returns:
        The delta, the frozen weight W (48, 32), and the update of W (48, 32) that the model
        computes with: its answers to each unit vector, less those of the base.
    """
    model = method.attach(tiny("bert"))
    perturb(model)
    host, unit = model.get_submodule(UP), torch.eye(32)
    answers = host(unit) - host(torch.zeros(1, 32))
    assert torch.allclose(host(torch.zeros(1, 32))[0], host.bias, atol=1e-6)  # no bias is added
    return delta_at(model, UP), host.weight.detach(), answers.T - host.weight
