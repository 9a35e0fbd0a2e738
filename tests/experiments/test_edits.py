"""The forms of LoReFT's equation, and the steering vector."""

import json
from typing import Any

import pytest
import torch
from tiny import tiny

import pftlab as pft
from pftlab.core import planted
from pftlab.experiments import edits
from pftlab.others.loreft import Edit

WORD = torch.randn(6, generator=torch.Generator().manual_seed(1))


def by_hand(form: Any, name: str, h: torch.Tensor) -> torch.Tensor:
    """Equations 2 and 3 and the four of Appendix E, for one state."""
    r, b = form.rotation(), form.source.bias
    if name == "R and b alone":
        return r.T @ b
    if name == "no W":
        return r.T @ (b - r @ h)
    w = form.source.weight
    if name == "loreft":
        return r.T @ (w @ h + b - r @ h)
    if name == "no difference":
        return r.T @ (w @ h + b)
    free = form.free
    return free.T @ (w @ h + b - free @ h) if name == "free rows" else free.T @ (w @ h + b)


@pytest.mark.parametrize("name", list(edits.FORMS))
def test_each_form_is_the_papers(name: str) -> None:
    form = edits.Form(6, 2, name)
    with torch.no_grad():
        for parameter in form.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.allclose(form(WORD), by_hand(form, name, WORD), atol=1e-5)


@pytest.mark.parametrize("name", list(edits.FORMS))
def test_the_form_is_planted_and_counted(name: str) -> None:
    model = edits.FormOfLoReFT(rank=2, form=name).attach(tiny("bert"))
    forms = [d.interventions[0] for *_, d in planted(model) if isinstance(d, Edit)]
    assert [type(form) for form in forms] == [edits.Form] * 2
    each = 2 * 2 * 32 + 2 if edits.FORMS[name][1] else 2 * 32 + 2
    assert pft.count(model).trainable == 2 * each


def test_a_steered_block_is_a_block_with_another_bias() -> None:
    base: Any = pft.load_base("tiny-decoder")
    model = edits.Steered(base, base.transformer.h, 1)
    vector = torch.linspace(-1, 1, 128)
    texts = ["It was", "We saw a very dull play. It was"]
    with torch.no_grad():
        plain, _ = model.answers(texts, 0 * vector)
        odds, loss = model.answers(texts, vector)
        base.transformer.h[1].mlp.c_proj.bias += vector
        biased, other = model.answers(texts, 0 * vector)
    assert torch.allclose(odds, biased, atol=1e-4)
    assert loss == pytest.approx(other, abs=1e-4)
    assert not torch.allclose(odds, plain, atol=1e-2)


def test_the_stored_file_has_every_run() -> None:
    stored = json.loads(edits.STORED_EDITS.read_text(encoding="utf-8"))
    names = list(edits.settings_of_edits())
    asked = sorted((run["edit"], run["seed"]) for run in stored["runs"])
    assert asked == sorted((name, seed) for name in names for seed in edits.SEEDS)
    searched = sorted((run["edit"], run["seed"], run["lr"]) for run in stored["searches"])
    every = [(n, s, lr) for n in names for s in edits.SEARCH_SEEDS for lr in edits.RATES]
    assert searched == sorted(every)
    steered = sorted((run["vector"], run["seed"], run["strength"]) for run in stored["steering"])
    kinds = {"difference of means": edits.STRENGTHS, "random": edits.CONTROLS}
    every_push = [(k, s, c) for k, cs in kinds.items() for s in edits.SEEDS for c in cs]
    assert steered == sorted(every_push)
