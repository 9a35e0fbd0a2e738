"""Gradual unfreezing: what is closed gets no gradient, no weight decay and no backward pass."""

import re
from typing import Any

import pytest
import torch
from tiny import batch, tiny

import pftlab as pft
from pftlab.finetune.gradual_unfreezing import open_groups
from pftlab.finetune.layers import from_the_top


def layer_of(name: str) -> int:
    """An oracle by the names of BERT: 2 for what is above the layers, -1 for the embeddings."""
    found = re.search(r"layer\.(\d)\.", name)
    return int(found[1]) if found else (-1 if "embeddings" in name else 2)


def test_the_groups_are_the_layers_from_the_top_down() -> None:
    groups = from_the_top(tiny("bert"))
    assert [sorted({layer_of(n) for n in group}) for group in groups] == [[1, 2], [0], [-1]]
    for name in ("bert", "gpt2", "llama", "t5", "roberta-words", "bert-features", "opt"):
        model = tiny(name)
        groups = from_the_top(model)
        assert len(groups) == 3 and all(groups)
        flat = [n for group in groups for n in group]
        assert sorted(flat) == sorted(n for n, _ in model.named_parameters()), name


def test_closed_layers_do_not_move_and_are_not_differentiated() -> None:
    """Four steps in phases of one: the top, all layers, everything, everything."""
    method = pft.GradualUnfreezing(phase_steps=1)
    model = method.attach(tiny("bert"))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(method.parameter_groups(model, 1e-2), lr=1e-2, weight_decay=0.5)
    reached: list[bool] = []
    for layer in model.bert.encoder.layer:
        layer.register_forward_hook(lambda m, a, out: reached.append(out.requires_grad))
    for step, lowest in ((1, 1), (2, 0), (3, -1), (4, -1)):
        method.before_step(model, step, 4)
        reached.clear()
        model(**batch("bert")).logits.pow(2).sum().backward()
        assert reached == [lowest <= 0, True]  # the graph begins at the lowest open layer
        for n, p in model.named_parameters():
            assert (p.grad is not None) == (layer_of(n) >= lowest), (step, n)
        optimiser.step()
        optimiser.zero_grad()
        method.after_step(model, step, 4)
        assert all(p.requires_grad for p in model.parameters())  # stopped here, nothing is lost
        for n, p in model.named_parameters():
            moved = not torch.equal(p, before[n])
            assert moved == (layer_of(n) >= lowest), (step, n)
    # a parameter that was closed has no moments from before it was opened
    steps = {layer_of(n): int(optimiser.state[p]["step"]) for n, p in model.named_parameters()}
    assert steps == {2: 4, 1: 4, 0: 3, -1: 2}
    pft.detach(model)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_new_run_after_an_error_in_a_step_trains_everything() -> None:
    method = pft.GradualUnfreezing()
    model = method.attach(tiny("bert"))
    method.before_step(model, 1, 3)
    assert not all(p.requires_grad for p in model.parameters())
    method.before_training(model, lambda: iter(()), 3)
    (group,) = method.parameter_groups(model, 1e-3)
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("options", "steps", "expected"),
    [
        ({}, 9, [1, 1, 1, 2, 2, 2, 3, 3, 3]),
        ({}, 2, [1, 2]),
        ({"start": 2}, 4, [2, 2, 3, 3]),
        ({"start": 3}, 3, [3, 3, 3]),
        ({"phase_steps": 1}, 5, [1, 2, 3, 3, 3]),
        ({"phase_steps": 2}, 3, [1, 1, 2]),
    ],
)
def test_schedule(options: dict[str, Any], steps: int, expected: list[int]) -> None:
    method = pft.GradualUnfreezing(**options)
    assert [open_groups(method, 3, step, steps) for step in range(1, steps + 1)] == expected


def test_impossible_schedules() -> None:
    with pytest.raises(pft.BadValue, match="at least 1"):
        pft.GradualUnfreezing(phase_steps=0)
    with pytest.raises(pft.BadValue, match="at least 1"):
        pft.GradualUnfreezing(start=0)
    with pytest.raises(pft.BadValue, match="at most 3"):
        pft.GradualUnfreezing(start=4).attach(tiny("bert"))
