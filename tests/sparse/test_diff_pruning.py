"""Diff pruning: the hard-concrete gate against its definition, the exact final density."""

import os
from pathlib import Path

import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.sparse.diff_pruning import Diff


def test_gates_are_open_as_often_as_their_expectation_says() -> None:
    diff = Diff(torch.zeros(200, 200), structured=False).train()
    torch.nn.init.constant_(diff.logits, -0.4)
    sampled = (diff.gates() > 0).float().mean()
    assert abs(sampled - diff.open_gates() / diff.logits.numel()) < 0.02
    # with l = -1.5 and r = 1.5 the shift log(-l / r) vanishes
    assert torch.allclose(diff.open_gates(), torch.sigmoid(diff.logits).sum())


def test_gates_follow_the_formula_in_evaluation() -> None:
    diff = Diff(torch.zeros(3), structured=True).eval()
    with torch.no_grad():
        diff.logits.copy_(torch.tensor([-4.0, 0.3, 4.0]))
        diff.group.fill_(0.5)
        diff.w.fill_(2.0)

    def gate(a: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(a) * 3.0 - 1.5).clamp(0, 1)

    expected = gate(torch.tensor([-4.0, 0.3, 4.0])) * gate(torch.tensor(0.5)) * 2.0
    assert torch.allclose(diff(torch.zeros(3)), expected)


def test_ends_with_exactly_the_density_and_a_small_file(tmp_path: Path) -> None:
    model, method = tiny("bert"), pft.DiffPruning(density=0.01, tuning=0.5)
    weights = sum(p.numel() for n, p in model.named_parameters() if n.startswith("bert."))
    method.attach(model)
    diffs = method._diffs(model)
    for diff in diffs:
        torch.nn.init.normal_(diff.w)
    assert method.extra_loss(model) > 0
    sizes = torch.cat([(d.eval().gates() * d.w).abs().flatten() for d in diffs])
    method.after_step(model, 4, 10)
    assert diffs[0].mask is None
    method.after_step(model, 5, 10)
    assert method.extra_loss(model) is None
    masks = torch.cat([d.mask.flatten() for d in diffs])
    assert masks.sum() == int(0.01 * weights)
    assert sizes[masks].min() >= sizes[~masks].max()
    model.eval()
    with torch.no_grad():
        output = model(**batch("bert")).logits
        pft.save(model, tmp_path)
        loaded = pft.load(tiny("bert"), tmp_path)
        assert torch.equal(loaded(**batch("bert")).logits, output)
    stored = os.path.getsize(tmp_path / "adapter_model.safetensors")
    assert stored < 8 * int(0.01 * weights) + 16_000  # a value and a place each, and the header


def test_logits_have_their_own_rate_and_no_decay() -> None:
    method = pft.DiffPruning()
    model = method.attach(tiny("bert"))
    weights, logits = method.parameter_groups(model, 1e-4)
    assert (weights["lr"], logits["lr"], logits["weight_decay"]) == (1e-4, 0.1, 0.0)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(p.numel() for g in (weights, logits) for p in g["params"]) == count
