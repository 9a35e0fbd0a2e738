"""Recorded steps: refused where they cannot be, and elsewhere the same as plain ones.

Where there is no GPU, the second half is left out; `benchmarks/capture.py` tries all methods.
"""

from typing import Any

import pytest
import torch
from tiny import method, tiny
from training_setup import few, without_dropout

import pftlab as pft
from pftlab.experiments import Grid
from pftlab.tasks.encoding import Collator
from pftlab.training.step import CHANGING, changes_steps, check_captured

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_is_said(base: str, task: pft.Task) -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    with pytest.raises(pft.Unavailable, match="no GPU"):
        pft.train(model, task, capture=True)
    with pytest.raises(pft.Unavailable, match="there is none"):
        Grid.of(base, "reviews", (pft.LoRA(),), capture=True)


def test_methods_that_act_in_the_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = pft.AdapterDrop().attach(tiny("bert"))
    with pytest.raises(pft.Refused, match="AdapterDrop: what is computed may change"):
        check_captured(model)
    pft.detach(model)
    check_captured(pft.LoRA().attach(model))


def test_most_methods_can_be_recorded() -> None:
    refused = {name for name, method in pft.METHODS.items() if changes_steps(method)}
    assert {"adapter_drop", "gradual_unfreezing", "adalora"} <= refused
    assert len(refused) < 10
    for name in set(pft.METHODS) - refused:
        assert not CHANGING & set(vars(pft.METHODS[name]))


def test_batches_have_few_lengths_and_the_same_loss(base: str) -> None:
    task = few("reviews", 8)
    model: Any = pft.load_base(base, num_labels=2)
    tokenizer = pft.load_tokenizer(model)
    rows = task.encode(tokenizer, "train", max_length=42)
    plain, padded = Collator(tokenizer)(rows), Collator(tokenizer, 16)(rows)
    assert plain["input_ids"].shape[1] % 16
    assert padded["input_ids"].shape[1] % 16 == 0
    assert padded["attention_mask"].sum() == plain["attention_mask"].sum()
    with torch.no_grad():
        assert torch.allclose(model(**plain).loss, model(**padded).loss, atol=1e-6)


@on_gpu
@pytest.mark.parametrize(
    ("kind", "name", "precision"),
    [
        ("tiny-encoder", "lora", "fp32"),
        ("tiny-encoder", "lora", "bf16"),
        ("tiny-encoder", "prefix_tuning", "fp32"),
        ("tiny-encoder", "fish_mask", "fp32"),
        ("tiny-decoder", "houlsby", "fp32"),
        ("tiny-decoder", "p_tuning", "fp32"),
        ("tiny-decoder", "full", "fp32"),
    ],
)
def test_a_recorded_step_trains_as_a_plain_one(kind: str, name: str, precision: str) -> None:
    """Twenty steps of batches of several lengths in two parts.

    Without dropout: what falls out depends on the shape of a batch, and captured ones are padded.
    """
    task, losses = few("reviews", 32), []
    for capture in (False, True):
        model = without_dropout(pft.load_base(kind, num_labels=2, seed=0))
        without_dropout(method(name).attach(model, seed=0))
        run = pft.train(
            model, task, steps=20, batch_size=8, accumulate=2, precision=precision,
            capture=capture, progress=False, seed=1,
        )  # fmt: skip
        losses.append([loss for _, loss in run.losses])
    assert len(losses[0]) == 20
    assert losses[0] == pytest.approx(losses[1], rel=1e-3 if precision == "fp32" else 3e-2)
