"""GaLore against the paper's algorithm, which rewrites W, and what its optimiser holds."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from low_rank_setup import ALL_LINEAR
from tiny import batch, tiny
from torch import Tensor

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments.sizes import blank
from pftlab.low_rank.galore import Projected

RANK, ALPHA, INTERVAL, STEPS, LR, DECAY = 3, 0.5, 3, 8, 1e-2, 0.1


def data() -> dict[str, Tensor]:
    return batch("bert", size=4) | {"labels": torch.tensor([0, 1, 1, 0])}


def projected(name: str) -> bool:
    return "encoder.layer" in name and name.endswith("weight") and "LayerNorm" not in name


def literal(decay: float) -> Any:
    """Algorithm 2 for each weight of the layers, and AdamW for all else; refreshed twice.

    Decay as in AdamW: the share η λ of W itself goes in each step.
    """
    model = tiny("bert").double()
    M: dict[str, Tensor] = {}
    V: dict[str, Tensor] = {}
    P: dict[str, Tensor] = {}
    others = [p for n, p in model.named_parameters() if not projected(n)]
    adam = torch.optim.AdamW(others, lr=LR, weight_decay=decay)
    for t in range(STEPS):
        model.zero_grad()
        model(**data()).loss.backward()
        adam.step()
        for n, W in model.named_parameters():
            if not projected(n):
                continue
            turned = W.shape[0] >= W.shape[1]
            if t % INTERVAL == 0:
                # Moments outlive a projector, so the signs of its vectors matter: one call here
                # for both sides, as in the authors' code.
                U, S, Vh = torch.linalg.svd(W.grad, full_matrices=False)
                assert S[RANK] < 0.999 * S[RANK - 1]  # otherwise the projector is not defined
                P[n] = Vh[:RANK].T if turned else U[:, :RANK]
            R = P[n].T @ (W.grad.T if turned else W.grad)
            M[n] = 0.9 * M.get(n, torch.zeros_like(R)) + 0.1 * R
            V[n] = 0.999 * V.get(n, torch.zeros_like(R)) + 0.001 * R**2
            N = M[n] / (1 - 0.9 ** (t + 1)) / ((V[n] / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
            step = LR * ALPHA * P[n] @ N
            W.data *= 1 - LR * decay
            W.data -= step.T if turned else step
    return model


def train(
    model: Any,
    how: Any,
    first: int = 1,
    last: int = STEPS,
    adam: Any = None,
    decay: float = DECAY,
) -> Any:
    adam = adam or torch.optim.AdamW(how.parameter_groups(model, LR), weight_decay=decay)
    for step in range(first, last + 1):
        model.zero_grad()
        model(**data()).loss.backward()
        how.after_backward(model, step, STEPS)
        adam.step()
    return adam


def method(**more: Any) -> Any:
    return pft.GaLore(**{"rank": RANK, "alpha": ALPHA, "interval": INTERVAL, **more})


@pytest.mark.parametrize("decay", [0.0, DECAY, 10.0])
def test_computes_algorithm_2(decay: float) -> None:
    model, expected = method().attach(tiny("bert").double()), literal(decay)
    train(model, method(), decay=decay)
    base = tiny("bert").double().state_dict()
    for n, p in model.named_parameters():
        if projected(n) and ".pft_" not in n:
            assert torch.equal(p, base[n])
    pft.merge(model)
    moved = 0
    for n, p in expected.named_parameters():
        ours = model.get_parameter(n)
        assert torch.allclose(ours, p, atol=1e-6), n  # without decay of W: 4e-3 and more
        moved += not torch.allclose(p, base[n], atol=1e-4)
    assert moved > 30


def test_the_change_outgrows_the_rank_of_a_projector() -> None:
    how = method()
    model = how.attach(tiny("bert").double())
    train(model, how)
    for *_, delta in planted(model):
        total = delta.C + ALPHA * delta.step_so_far() / delta.s
        singular = torch.linalg.svdvals(total)
        assert (singular > 1e-8).sum() == 3 * RANK  # steps 1, 4 and 7 chose a projector


def test_the_coordinates_get_the_projected_gradient() -> None:
    """Without α, on either side, and the change gets the whole one."""
    for shape in ((5, 8), (8, 5)):
        delta = Projected(torch.zeros(shape), rank=2, scale=7.0)
        torch.nn.init.normal_(delta.P)
        torch.nn.init.normal_(delta.R)
        G = torch.randn(shape)
        W = delta(torch.zeros(shape))
        (W * G).sum().backward()
        left = shape == (5, 8)
        assert torch.allclose(delta.R.grad, delta.P.T @ G if left else G @ delta.P, atol=1e-5)
        assert torch.allclose(W, 7 * (delta.P @ delta.R if left else delta.R @ delta.P.T))
        before = W.detach()
        delta.refresh()
        assert torch.allclose(delta(torch.zeros(shape)), before, atol=1e-5)
        u, _, vh = torch.linalg.svd(G)
        side = u[:, :2].abs() if left else vh[:2].T.abs()
        assert torch.allclose(delta.P.abs(), side, atol=1e-4)


def test_the_optimiser_never_holds_a_full_moment_of_a_projected_weight() -> None:
    how = method()
    model = how.attach(tiny("bert"))
    adam = train(model, how, last=2)
    for *_, delta in planted(model):
        assert delta.C not in adam.state and delta.C.grad is None
        assert adam.state[delta.R]["exp_avg"].shape == delta.R.shape
    base = [p for n, p in model.named_parameters() if projected(n) and ".pft_" not in n]
    assert not any(p in adam.state for p in base)
    (group,) = how.parameter_groups(model, LR)
    decayed = {id(delta.s) for *_, delta in planted(model)}
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in group["params"]} == trained | decayed


def test_state_of_a_square_matrix_is_three_eighths_of_adams() -> None:
    """m = n = 4096, r = 1024: a projector and two moments, for two full moments."""
    delta = Projected(torch.empty(4096, 4096, device="meta"), rank=1024, scale=1.0)
    assert (delta.P.numel() + 2 * delta.R.numel()) / (2 * delta.C.numel()) == 0.375
    wide = Projected(torch.empty(4096, 11008, device="meta"), rank=1024, scale=1.0)
    tall = Projected(torch.empty(11008, 4096, device="meta"), rank=1024, scale=1.0)
    for delta in (wide, tall):  # the smaller side is projected
        assert delta.P.numel() + 2 * delta.R.numel() == 4096 * 1024 + 2 * 11008 * 1024


def test_trains_all_parameters() -> None:
    model = pft.GaLore(rank=4).attach(blank("roberta-base", num_labels=2))
    coordinates = sum(d.R.numel() for *_, d in planted(model))
    full = pft.count(pft.FullFineTuning().attach(blank("roberta-base", num_labels=2)))
    assert pft.count(model).trainable == full.trainable + coordinates
    assert coordinates == 12 * 4 * (4 * 768 + 2 * 3072)


def test_projects_every_linear_map_of_a_layer() -> None:
    model = tiny("llama")
    names = {site.name for site in pft.GaLore(rank=2).sites(model)}
    assert len(names) == 2 * len(ALL_LINEAR)
    assert pft.GaLore(rank=2, at=("ffn.up",), layers=(1,)).sites(model)[0].name == (
        "model.layers.1.mlp.up_proj.weight"
    )


def test_goes_on_from_a_saved_state_bit_for_bit(tmp_path: Path) -> None:
    how = method()
    model = how.attach(tiny("bert"))
    adam = train(model, how, last=5)
    pft.save(model, tmp_path)
    other = pft.load(tiny("bert"), tmp_path)
    second = torch.optim.AdamW(how.parameter_groups(other, LR), weight_decay=DECAY)
    second.load_state_dict(copy.deepcopy(adam.state_dict()))
    train(model, how, first=6, adam=adam)
    train(other, how, first=6, adam=second)
    ours, theirs = pft.core.trainable_state(other), pft.core.trainable_state(model)
    assert all(torch.equal(ours[n], theirs[n]) for n in theirs)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(pft.BadValue, match="interval=0"):
        pft.GaLore(interval=0)
    with pytest.raises(pft.BadValue, match="32 × 32 gradient has rank 32"):
        pft.GaLore(rank=33).attach(tiny("bert"))
