"""Discriminative learning rates: lr / 2.6^(L − l) for layer l of L."""

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.training import Lifecycle


def test_rates_by_layer() -> None:
    method = pft.DiscriminativeLearningRates()
    model = method.attach(tiny("bert"))
    groups = Lifecycle(model, 1).parameter_groups(0.1)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        below = {"layer.0.": 1, "embeddings": 2}
        power = next((power for part, power in below.items() if part in name), 0)
        assert rates[id(parameter)] == pytest.approx(0.1 / 2.6**power), name


def test_beside_gradual_unfreezing_as_in_the_paper() -> None:
    gradual, rates = pft.GradualUnfreezing(phase_steps=1), pft.DiscriminativeLearningRates()
    model = rates.attach(gradual.attach(tiny("bert")))
    gradual.before_step(model, 1, 3)  # as after a kill in the middle of a step
    groups = Lifecycle(model, 3).parameter_groups(0.1)
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert len({group["lr"] for group in groups}) == 3
    model(**batch("bert")).logits.sum().backward()
    assert model.bert.embeddings.word_embeddings.weight.grad is None
    assert torch.is_tensor(model.bert.encoder.layer[1].output.dense.weight.grad)


def test_impossible_divisor() -> None:
    for divisor in (0, -1, 0.5):
        with pytest.raises(pft.BadValue, match="at least 1"):
            pft.DiscriminativeLearningRates(divisor=divisor)
