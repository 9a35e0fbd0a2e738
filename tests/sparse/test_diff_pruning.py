"""Diff pruning: the hard-concrete gate against its definition, the exact final density."""

import math
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


def test_a_step_follows_the_paper_entry_by_entry() -> None:
    """Equations 2 to 6 written out with loops: the losses of drawn gates, and gradients."""
    base, penalty = torch.tensor([0.5, -1.0, 2.0, 0.1]), 0.3
    diff = Diff(base, structured=True).train()
    with torch.no_grad():
        diff.logits.copy_(torch.tensor([-0.8, -0.3, 0.4, 3.0]))
        diff.group.fill_(0.2)
        diff.w.copy_(torch.tensor([0.7, -0.4, 0.9, -1.2]))
    w, a, a_group = (t.detach().clone().requires_grad_() for t in (diff.w, diff.logits, diff.group))

    def gate(noise: torch.Tensor, logit: torch.Tensor) -> torch.Tensor:
        s = 1 / (1 + torch.exp(-(torch.log(noise) - torch.log(1 - noise) + logit)))
        stretched = s * (1.5 - -1.5) + -1.5
        return torch.minimum(torch.tensor(1.0), torch.maximum(torch.tensor(0.0), stretched))

    def open_with(logit: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + torch.exp(-(logit - math.log(1.5 / 1.5))))

    for seed in range(30):
        torch.manual_seed(seed)
        loss = diff(base).pow(3).sum() + penalty * diff.open_gates()
        loss.backward()
        torch.manual_seed(seed)  # the same u, in the order in which the gates are drawn
        u, u_group = torch.rand(4), torch.rand(())
        task, expected_open = torch.tensor(0.0), torch.tensor(0.0)
        for i in range(4):
            task = task + (base[i] + gate(u_group, a_group) * gate(u[i], a[i]) * w[i]) ** 3
            expected_open = expected_open + open_with(a[i]) * open_with(a_group)
        expected = task + penalty * expected_open
        expected.backward()
        assert torch.allclose(loss, expected, atol=1e-5)
    for mine, slow in ((diff.w, w), (diff.logits, a), (diff.group, a_group)):
        assert slow.grad.abs().min() > 0
        assert torch.allclose(mine.grad, slow.grad, rtol=1e-4, atol=1e-5)


def test_ends_with_exactly_the_density_and_a_small_file(tmp_path: Path) -> None:
    model, method = tiny("bert"), pft.DiffPruning(density=0.01, tuning=0.5)
    weights = sum(p.numel() for n, p in model.named_parameters() if n.startswith("bert."))
    method.attach(model)
    diffs = method.planted_in(model, Diff)
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
