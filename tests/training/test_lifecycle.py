"""A method that acts in the steps of training is trained by loops that let it act, or not at all."""

import copy
from typing import Any

import pytest
import torch
from tiny import batch, method, tiny
from transformers import Trainer, TrainingArguments

import pftlab as pft
from pftlab.core.ports.steps import CALLBACKS, announced, own_callbacks
from pftlab.training import Lifecycle

INPUTS = batch("bert")
ACTING = [name for name in pft.METHODS if own_callbacks(pft.METHODS[name])]


def training_pass(model: Any) -> torch.Tensor:
    return model.train()(**INPUTS).logits


def test_the_class_says_which_callbacks_a_method_has() -> None:
    assert own_callbacks(pft.LoRA) == ()
    assert own_callbacks(pft.LoRAPlus) == ("parameter_groups",)
    assert set(own_callbacks(pft.AdaLoRA)) == {"extra_loss", "after_backward", "after_step"}

    class Mine(pft.LoRA):
        def after_step(self, model: Any, step: int, total_steps: int) -> None: ...

    class Child(Mine): ...

    assert own_callbacks(Child) == ("after_step",)
    assert len(CALLBACKS) == 6


@pytest.mark.parametrize("name", pft.METHODS)
def test_a_loop_that_calls_nothing_is_refused_where_something_would_be_missed(name: str) -> None:
    model = method(name).attach(tiny("bert"))
    if name not in ACTING:
        assert not model._forward_pre_hooks
        training_pass(model)
        return
    title, missed = pft.METHODS[name].title, own_callbacks(pft.METHODS[name])[0]
    with pytest.raises(
        pft.Refused, match=r"acts in the steps of training .*pftlab\.train;"
    ) as told:
        training_pass(model)
    assert title in str(told.value) and missed in str(told.value)
    with torch.no_grad():
        training_pass(model)
    model.eval()(**INPUTS)
    with announced(model):
        training_pass(model)
    with pytest.raises(pft.Refused):
        training_pass(model)
    with pytest.raises(pft.Refused):
        training_pass(copy.deepcopy(model))
    assert not training_pass(pft.detach(model)).isnan().any()
    assert not model._forward_pre_hooks


def test_beside_another_method_until_it_is_detached() -> None:
    model = pft.LoRA(rank=2).attach(tiny("bert"))
    pft.AdaLoRA(rank=2, start_rank=3).attach(model)
    with pytest.raises(pft.Refused, match="AdaLoRA"):
        training_pass(model)
    training_pass(pft.detach(model, "adalora"))


def test_a_refused_attachment_leaves_no_guard() -> None:
    model = tiny("bert")
    with pytest.raises(pft.PftError):
        pft.AdaLoRA(at=("nowhere",)).attach(model)
    assert not model._forward_pre_hooks


def test_merging_ends_the_guard() -> None:
    model = pft.merge(pft.LoRAPlus(rank=2).attach(tiny("bert")))
    assert not model._forward_pre_hooks
    training_pass(model)


def test_a_plain_trainer_is_told_what_to_use(tmp_path: Any) -> None:
    rows = [{n: t[0] for n, t in INPUTS.items()} | {"labels": torch.tensor(0)}] * 4
    arguments = TrainingArguments(str(tmp_path), max_steps=1, report_to=[], use_cpu=True)
    with pytest.raises(pft.Refused, match=r"pftlab\.LifecycleTrainer"):
        Trainer(pft.AdaLoRA(rank=2).attach(tiny("bert")), arguments, train_dataset=rows).train()
    Trainer(pft.LoRA(rank=2).attach(tiny("bert")), arguments, train_dataset=rows).train()


def test_a_loop_of_ones_own() -> None:
    """As the docstring of Lifecycle has it; AdaLoRA prunes in it."""
    how = pft.AdaLoRA(rank=2, start_rank=4, warmup=0.1, final=0.4, interval=1)
    model = how.attach(tiny("bert"))
    labels = torch.zeros(len(INPUTS["input_ids"]), dtype=torch.long)
    with Lifecycle(model, total_steps=10) as methods:
        methods.before_training(lambda: iter([INPUTS | {"labels": labels}]))
        optimiser = torch.optim.AdamW(methods.parameter_groups(lr=1e-2))
        model.train()
        for step in range(1, 11):
            methods.before_step(step)
            methods.with_extra_loss(model(**INPUTS, labels=labels).loss).backward()
            methods.after_backward(step)
            optimiser.step()
            optimiser.zero_grad()
            methods.after_step(step)
    kept = [int(delta.kept.sum()) for *_, delta in pft.core.planted(model)]
    assert sum(kept) == 2 * len(kept)


def test_nothing_attached() -> None:
    with pytest.raises(pft.Refused, match="Nothing is attached"):
        Lifecycle(tiny("bert"), 1)


def test_reentrant_checkpointing_needs_inputs_with_a_gradient() -> None:
    """Else it trains the head alone. The other kind, and trained embeddings, need nothing."""
    task = pft.load_task("reviews")

    def after(method: Any, reentrant: bool, asked: bool = True) -> float:
        model = pft.load_base("tiny-encoder", num_labels=2)
        method.attach(model, seed=0)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        if not asked:
            model.disable_input_require_grads()
        pft.train(model, task, steps=1, batch_size=4)
        return float(sum(p.detach().abs().sum() for p in model.parameters() if p.requires_grad))

    with pytest.raises(pft.Refused, match="enable_input_require_grads"):
        after(pft.LoRA(rank=2), reentrant=True, asked=False)
    assert after(pft.LoRA(rank=2), True) == pytest.approx(after(pft.LoRA(rank=2), False))
    after(pft.FullFineTuning(), reentrant=True, asked=False)
