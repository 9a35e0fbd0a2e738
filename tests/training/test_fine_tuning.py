"""Load, attach, train and test in one call: what the single calls do, and the same every time."""

from typing import Any

import pytest
import torch
from training_setup import ARGUMENTS, equal, state_of

import pftlab as pft
from pftlab.training import fine_tuning


def test_it_is_what_the_single_calls_do(base: str, task: pft.Task) -> None:
    model = pft.load_base(base, num_labels=2, seed=3)
    pft.LoRA(rank=2, dropout=0.1).attach(model, seed=3)
    run = pft.train(model, task, **ARGUMENTS, seed=3)
    test = pft.evaluate(model, task, "test", max_length=48)
    for noise in (1, 2):
        torch.manual_seed(noise)  # the caller's random numbers have no part in it
        done = pft.fine_tune(base, pft.LoRA(rank=2, dropout=0.1), task, seed=3, **ARGUMENTS)
        assert equal(state_of(done.model), state_of(model))
        assert done.run.history == run.history and done.test == test
    other = pft.fine_tune(base, pft.LoRA(rank=2, dropout=0.1), task, seed=4, **ARGUMENTS)
    assert not equal(state_of(other.model), state_of(model))


def test_random_weights_and_no_test(base: str, task: pft.Task, monkeypatch: Any) -> None:
    monkeypatch.setattr(fine_tuning, "Evaluator", None)
    seen: list[Any] = []
    arguments = ARGUMENTS | {"steps": 1, "seed": 5, "test": False, "begin": seen.append}
    weights = []
    for pretrained in (True, False, False):
        done = pft.fine_tune(base, pft.LinearProbe(), task, pretrained=pretrained, **arguments)
        assert seen[-1] is done.model and done.test == {}
        weights.append(done.model.bert.encoder.layer[0].output.dense.weight)
    assert torch.equal(weights[1], weights[2]) and not torch.equal(weights[0], weights[1])


def test_a_task_by_its_name(base: str) -> None:
    with pytest.raises(pft.UnknownName, match="There is no task"):
        pft.fine_tune(base, pft.LinearProbe(), "no such task", steps=1)


def test_a_test_split_that_does_not_fit_is_refused_before_training(monkeypatch: Any) -> None:
    rows = [{"source": "a hat", "target": "the hat"}] * 4
    long = [{"source": "a hat", "target": "the hat " * 40}]
    task = pft.load_task({"train": rows, "validation": rows, "test": long})
    monkeypatch.setattr(fine_tuning, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(pft.BadValue, match="longest target needs"):
        pft.fine_tune("tiny-decoder", pft.LoRA(rank=2), task, steps=1, max_length=32)
