"""The optimiser: 32-bit masters of what is trained in 16 bits."""

import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_setup import ARGUMENTS, equal, few, model_with, state_of, without_dropout

import pftlab as pft
from pftlab.training import loop
from pftlab.training.optimiser import Optimiser
from pftlab.training.state import STATE

SMALL_STEPS: dict[str, Any] = ARGUMENTS | {"lr": 1e-4, "steps": 40, "evaluate_every": 40}


def trained(model: Any) -> torch.Tensor:
    """All numbers of the base that are trained, the head included."""
    parts = [p for n, p in model.named_parameters() if p.requires_grad and ".pft_" not in n]
    return torch.cat([p.detach().float().flatten() for p in parts])


@pytest.mark.parametrize(
    ("dtype", "share", "apart"), [(torch.bfloat16, 0.95, 0.3), (torch.float16, 0.85, 0.8)]
)
@pytest.mark.parametrize("how", [pft.BitFit(), pft.LayerNormTuning(), pft.FullFineTuning()])
def test_sixteen_bits_end_where_thirty_two_do(
    how: Any, dtype: torch.dtype, share: float, apart: float, base: str
) -> None:
    """As many numbers have moved as in 32 bits from the same start, rounded in the end.

    (The smallest gradients are zero in float16, and AdamW gives them steps as large as others.
    Without masters, full fine-tuning moves half as many numbers in bfloat16, and in float16, where
    AdamW divides by a rounded zero, everything ends tens of times as far away.)
    """
    task = few("reviews", 32)
    half = without_dropout(model_with(how, base).to(dtype))
    whole = without_dropout(model_with(how, base).to(dtype).float())
    before = trained(half)
    assert torch.equal(before, trained(whole))
    for model in (half, whole):
        pft.train(model, task, **SMALL_STEPS)
    ours, theirs = trained(half), trained(whole).to(dtype).float()
    assert {p.dtype for p in half.parameters()} == {dtype}
    moved, expected = (ours != before).float().mean(), (theirs != before).float().mean()
    assert expected > 0.5 and moved > share * expected
    assert (ours - theirs).norm() < apart * (theirs - before).norm(), "they go elsewhere"


def test_steps_too_small_for_sixteen_bits_add_up() -> None:
    parameter = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    optimiser = Optimiser([{"params": [parameter], "lr": 1e-3}])
    values = []
    for _ in range(8):
        parameter.grad = torch.ones_like(parameter)
        optimiser.set_rate(1.0)
        optimiser.step()
        assert parameter.grad is None
        values.append(float(parameter.detach()))
    assert values[0] == 1.0 and values[-1] == pytest.approx(1 - 8e-3, abs=2e-3)


def test_masters_are_resumed(base: str, tmp_path: Any, monkeypatch: Any) -> None:
    task = few("reviews", 32)
    arguments = SMALL_STEPS | {"steps": 12, "evaluate_every": 6}
    whole = model_with(pft.BitFit(), base).to(torch.bfloat16)
    cut, resumed = copy.deepcopy(whole), copy.deepcopy(whole)
    pft.train(whole, task, **arguments)
    save_run = loop.save_run

    def save_and_break(*given: Any) -> None:
        save_run(*given)
        raise ConnectionError("the power went")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(loop, "save_run", save_and_break)
        pft.train(cut, task, **arguments, folder=tmp_path)
    kinds = {k.split(".")[1] for k in load_file(tmp_path / STATE) if k.startswith("optimiser.")}
    assert kinds == {"step", "exp_avg", "exp_avg_sq", "master"}
    pft.train(resumed, task, **arguments, folder=tmp_path)
    assert equal(state_of(resumed), state_of(whole))


def test_thirty_two_bits_have_no_masters(base: str) -> None:
    model = model_with(pft.BitFit(), base)
    assert not Optimiser([{"params": list(model.parameters()), "lr": 1e-3}]).masters.of
