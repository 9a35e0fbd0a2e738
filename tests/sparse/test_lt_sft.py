"""LT-SFT: the mask is where a full fine-tuning moved most, and the weights are rewound."""

from typing import Any

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.core import Delta
from pftlab.sparse.lt_sft import full_fine_tuning
from pftlab.sparse.mask import entries


def data() -> dict[str, torch.Tensor]:
    return batch("bert", size=4) | {"labels": torch.tensor([0, 1, 1, 0])}


def phase_one(seed: int, steps: int = 3) -> Any:
    model = tiny("bert")
    pft.LTSFT(density=0.01, seed=seed, full_steps=steps, full_learning_rate=1e-3).attach(model)
    torch.manual_seed(3)  # of dropout
    (method,) = pft.attached(model).values()
    method.before_training(model, lambda: iter([data()]), 10)
    return model


def test_masks_what_moved_most_and_rewinds() -> None:
    """Ansell et al.'s phase 1 on a plain model: Adam, dropout, clipping at 1, a falling rate."""
    oracle = tiny("bert").train()
    torch.manual_seed(3)
    optimiser = torch.optim.AdamW(oracle.parameters(), lr=1e-3, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: 1 - done / 3)
    for _ in range(3):
        optimiser.zero_grad()
        oracle(**data()).loss.backward()
        torch.nn.utils.clip_grad_norm_(oracle.parameters(), 1.0)
        optimiser.step()
        falling.step()
    base = dict(tiny("bert").named_parameters())
    moved = {n: (p.detach() - base[n].detach()).abs() for n, p in oracle.named_parameters()}

    before = pft.count(pft.LTSFT(density=0.01).attach(tiny("bert")))
    model = phase_one(seed=0)
    assert pft.count(model) == before and not model.training
    for n, p in base.items():
        assert torch.equal(model.get_parameter(n), p), n  # rewound, the head too
    names = {id(p): n for n, p in model.named_parameters()}
    kept, dropped = [], []
    for parameter, delta in entries(model, "lt_sft"):
        change = moved[names[id(parameter)]].flatten()
        mask = torch.zeros(change.numel(), dtype=torch.bool)
        mask[delta.places.long()] = True
        kept.append(change[mask])
        dropped.append(change[~mask])
    assert torch.cat(kept).min() >= torch.cat(dropped).max() - 1e-5  # Adam blows rounding up


def test_the_random_places_have_no_part_in_the_choice() -> None:
    """Two seeds of the places before training give one mask; phase 1 sees the base alone."""
    one, other = (entries(phase_one(seed), "lt_sft") for seed in (0, 1))
    for (_, ours), (_, theirs) in zip(one, other, strict=True):
        assert torch.equal(ours.places, theirs.places)
        assert ours.active and not ours.values.any()


def test_beside_a_method_that_trains_weights_of_the_base() -> None:
    model = pft.LayerNormTuning().attach(tiny("bert"))
    pft.LTSFT(density=0.01, full_steps=2).attach(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if ".pft_" not in n}
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    pft.attached(model)["lt_sft"].before_training(model, lambda: iter([data()]), 10)
    assert flags == {n: p.requires_grad for n, p in model.named_parameters()}
    assert all(torch.equal(model.get_parameter(n), p) for n, p in before.items())


def test_differences_of_two_tasks_add_up() -> None:
    model, inputs = tiny("bert"), batch("bert")
    pft.LTSFT(density=0.01, seed=1).attach(model, "task")
    pft.LTSFT(density=0.01, seed=2).attach(model, "language")
    weight = model.bert.encoder.layer[0].output.dense.weight
    expected = weight.detach().flatten().clone()
    for name in ("task", "language"):
        for parameter, delta in entries(model, name):
            torch.nn.init.normal_(delta.values)
            if parameter is weight:
                expected.index_add_(0, delta.places.long(), delta.values.detach())
    together = model(**inputs).logits
    pft.merge(model)
    merged = model.bert.encoder.layer[0].output.dense.weight
    assert torch.allclose(merged.flatten(), expected, atol=1e-6)
    assert torch.allclose(model(**inputs).logits, together, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_small_steps_of_phase_one_count_in_sixteen_bits_too(dtype: torch.dtype) -> None:
    """At a rate at which 16 bits alone would round every step of a weight near 1 away."""
    method = pft.LTSFT(density=0.01)
    model = method.attach(tiny("bert").to(dtype))
    norm = model.bert.encoder.layer[0].output.LayerNorm.weight
    before = norm.detach().clone()
    inputs = batch("bert") | {"labels": torch.tensor([0, 1])}
    own = method.planted_in(model, Delta)
    moved = full_fine_tuning(model, own, [norm], lambda: iter([inputs]), 4, 1e-6)
    assert torch.equal(norm, before)
    assert (moved[0] > 0).float().mean() > 0.9
