"""Delta-LoRA against its algorithm, which really rewrites W, and what that algorithm adds up to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from low_rank_setup import UP
from oracle import delta_at
from tiny import batch, tiny
from torch import Tensor

import pftlab as pft
from pftlab.experiments.sizes import blank

STEPS, K, RATIO = 6, 2, 3.0


def data() -> dict[str, Tensor]:
    return batch("bert", size=4) | {"labels": torch.tensor([0, 1, 1, 0])}


def attach() -> tuple[Any, Any]:
    torch.manual_seed(0)
    method = pft.DeltaLoRA(rank=2, alpha=6.0, ratio=RATIO, start=K / STEPS, at=("ffn.up",))
    return method.attach(tiny("bert")), method


def optimiser(model: Any) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)


def step(model: Any, adam: torch.optim.Optimizer) -> None:
    adam.zero_grad()
    model(**data()).loss.backward()
    adam.step()


def train(model: Any, method: Any, first: int = 1, last: int = STEPS, adam: Any = None) -> None:
    adam = adam or optimiser(model)
    for number in range(first, last + 1):
        method.before_step(model, number, STEPS)
        step(model, adam)
        method.after_step(model, number, STEPS)


def rewriting() -> Any:
    """The oracle: plain LoRA, and after step K each step of B A is added to W, λ times."""
    torch.manual_seed(0)
    model = pft.LoRA(rank=2, alpha=6.0, at=("ffn.up",)).attach(tiny("bert"))
    adam = optimiser(model)
    paths = [f"bert.encoder.layer.{layer}.intermediate.dense" for layer in range(2)]
    for number in range(1, STEPS + 1):
        before = [delta_at(model, p).B.detach() @ delta_at(model, p).A.detach() for p in paths]
        step(model, adam)
        if number > K:
            for path, old in zip(paths, before, strict=True):
                delta = delta_at(model, path)
                with torch.no_grad():
                    increment = delta.B @ delta.A - old
                    model.get_submodule(path).weight.add_(RATIO * 6.0 / 2 * increment)
    return model


def test_computes_what_rewriting_the_weight_computes() -> None:
    model, method = attach()
    train(model, method)
    oracle = rewriting()
    ours, theirs = delta_at(model, UP), delta_at(oracle, UP)
    assert torch.allclose(ours.A, theirs.A, atol=1e-5)
    assert torch.allclose(ours.B, theirs.B, atol=1e-5)
    assert torch.equal(model.get_submodule(UP).weight, tiny("bert").get_submodule(UP).weight)
    pft.merge(model)
    pft.merge(oracle)
    assert torch.allclose(
        model.get_submodule(UP).weight, oracle.get_submodule(UP).weight, atol=1e-5
    )


def test_the_change_has_twice_the_rank() -> None:
    model, method = attach()
    train(model, method)
    pft.merge(model)
    change = model.get_submodule(UP).weight - tiny("bert").get_submodule(UP).weight
    singular = torch.linalg.svdvals(change.detach().double())
    assert (singular > 1e-5).sum() == 4  # 2 r: with r = 2, more than LoRA has


def test_is_lora_before_step_k() -> None:
    model, method = attach()
    train(model, method, last=K)
    assert delta_at(model, UP).A_K is None
    torch.manual_seed(0)
    plain = pft.LoRA(rank=2, alpha=6.0, at=("ffn.up",)).attach(tiny("bert"))
    adam = optimiser(plain)
    for _ in range(K):
        step(plain, adam)
    assert torch.equal(plain(**data()).logits, model(**data()).logits)


def test_the_weight_is_a_constant_for_the_gradient_of_the_update_but_not_for_x() -> None:
    delta = pft.DeltaLoRA(rank=2, alpha=4.0, ratio=5.0).delta(
        pft.sites(tiny("bert"), ("ffn.up",))[0]
    )
    torch.nn.init.normal_(delta.B)
    delta.follow()
    with torch.no_grad():
        delta.A += 0.3
    x, g = torch.randn(3, 32, requires_grad=True), torch.randn(3, 48)
    (delta(x, torch.zeros(3, 48)) * g).sum().backward()
    assert torch.allclose(delta.B.grad, 2 * g.T @ (x @ delta.A.T), atol=1e-4)
    weight = 2 * delta.B @ delta.A + 5 * 2 * (delta.B @ delta.A - delta.B_K @ delta.A_K)
    assert torch.allclose(x.grad, g @ weight, atol=1e-3)


@pytest.mark.parametrize("last", [K, STEPS - 1])
def test_a_checkpoint_knows_where_the_weight_began_to_move(last: int, tmp_path: Path) -> None:
    """Also one of before step K, read into a model that is past it."""
    model, method = attach()
    adam = optimiser(model)
    train(model, method, last=last, adam=adam)
    pft.save(model, tmp_path)
    expected = model(**data()).logits
    loaded = pft.load(tiny("bert"), tmp_path)
    assert torch.equal(loaded(**data()).logits, expected)
    state = {n: t.clone() for n, t in pft.core.trainable_state(model).items()}
    train(model, method, first=last + 1, adam=adam)
    assert not torch.equal(model(**data()).logits, expected)
    pft.core.load_trainable_state(model, state)
    assert torch.equal(model(**data()).logits, expected)


def test_trains_as_much_as_lora() -> None:
    model = pft.DeltaLoRA(rank=8).attach(blank("roberta-base"))
    assert pft.count(model).trainable == 294_912


@pytest.mark.parametrize("values", [{"start": 1.0}, {"start": -0.1}, {"ratio": -1.0}])
def test_impossible_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(pft.BadValue, match="start must be a share|ratio must be"):
        pft.DeltaLoRA(**values)
