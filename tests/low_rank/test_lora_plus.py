"""LoRA+: which parameter learns at which rate."""

import pytest
import torch
from oracle import delta_at
from tiny import batch, tiny

import pftlab as pft
from pftlab.training import Lifecycle

QUERY = "bert.encoder.layer.0.attention.self.query"


def test_b_learns_faster_and_all_else_at_the_rate_of_a() -> None:
    model = pft.LoRAPlus(rank=2, ratio=4.0).attach(tiny("bert"))
    rates = {
        id(p): group["lr"]
        for group in Lifecycle(model, 1).parameter_groups(0.1)
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            expected = 0.4 if name.endswith(".B") else 0.1
            assert rates.pop(id(parameter)) == pytest.approx(expected), name
    assert not rates


def test_one_step_of_gradient_descent() -> None:
    """A ← A − η ∂A, B ← B − λ η ∂B."""
    method = pft.LoRAPlus(rank=2, ratio=4.0)
    model = method.attach(tiny("bert"))
    delta = delta_at(model, QUERY)
    torch.nn.init.ones_(delta.B)
    before = delta.A.detach().clone(), delta.B.detach().clone()
    optimiser = torch.optim.SGD(method.parameter_groups(model, 0.01))
    model(**batch("bert"), labels=torch.tensor([0, 1])).loss.backward()
    optimiser.step()
    assert torch.allclose(delta.A, before[0] - 0.01 * delta.A.grad)
    assert torch.allclose(delta.B, before[1] - 0.04 * delta.B.grad)
    assert delta.B.grad.abs().max() > 0


def test_another_method_keeps_its_rate() -> None:
    method = pft.LoRAPlus(rank=2)
    model = pft.LoRA(rank=2, at=("ffn.up",)).attach(tiny("bert"))
    method.attach(model)
    groups = Lifecycle(model, 1).parameter_groups(0.1)
    fast = [p for group in groups if group["lr"] > 1 for p in group["params"]]
    assert len(fast) == 4 and all(p.shape == (32, 2) for p in fast)


@pytest.mark.parametrize("ratio", [0, -1.0])
def test_impossible_ratios(ratio: float) -> None:
    with pytest.raises(pft.BadValue, match="greater than 0"):
        pft.LoRAPlus(ratio=ratio)
