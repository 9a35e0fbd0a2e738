"""Many runs in one pass: each ends where it would have ended alone, or all are refused."""

import copy
from typing import Any

import pytest
import torch
from tiny import method, tiny
from training_setup import few, model_with, state_of, without_dropout

import pftlab as pft
from pftlab.training import fine_tune, fine_tune_many
from pftlab.training.lifecycle import Lifecycle
from pftlab.training.optimiser import Optimiser
from pftlab.training.processes import Processes
from pftlab.training.stack import Stack, check_stackable, share_frozen
from pftlab.training.stacked_adamw import StackedAdamW

RUNS = [(0, 1e-2), (1, 1e-2), (0, 3e-3)]
ARGUMENTS: dict[str, Any] = dict(batch_size=8, max_length=48, progress=False)


def alone(base: str, name: str, task: Any, **arguments: Any) -> list[Any]:
    return [fine_tune(base, method(name), task, seed=seed, lr=lr, **arguments) for seed, lr in RUNS]


def exact(model: Any) -> Any:
    """In 64 bits, so that AdamW cannot make more of rounding where a gradient is nearly 0."""
    return without_dropout(model).double()


def losses(done: Any) -> list[float]:
    return [loss for _, loss in done.run.losses]


@pytest.mark.parametrize(
    "name", ["lora", "prefix_tuning", "p_tuning", "bitfit", "unipelt", "said", "full", "vera"]
)
def test_each_run_ends_where_it_would_alone(name: str, base: str, task: pft.Task) -> None:
    """One method for each way in which a trained tensor can act, in all that a run leaves."""
    given = {**ARGUMENTS, "steps": 8, "evaluate_every": 4, "begin": exact}
    together = fine_tune_many(base, method(name), task, RUNS, **given)
    for one, other in zip(alone(base, name, task, **given), together, strict=True):
        theirs = state_of(other.model)
        for n, tensor in state_of(one.model).items():
            assert (theirs[n] - tensor).norm() <= 1e-6 * (tensor.norm() + 1e-3), n
        assert losses(other) == pytest.approx(losses(one), rel=1e-6)
        assert other.run.best == pytest.approx(one.run.best, abs=1e-6)
        assert other.test == pytest.approx(one.test, abs=1e-6)


def test_a_hundred_steps_in_32_bits(base: str, task: pft.Task) -> None:
    given = {**ARGUMENTS, "steps": 100, "evaluate_every": 50, "begin": without_dropout}
    given["forgetting"] = True
    together = fine_tune_many(base, method("lora"), task, RUNS, **given)
    for one, other in zip(alone(base, "lora", task, **given), together, strict=True):
        theirs = state_of(other.model)
        for n, tensor in state_of(one.model).items():
            assert (theirs[n] - tensor).norm() <= 1e-4 * (tensor.norm() + 1e-3), n
        assert losses(other) == pytest.approx(losses(one), rel=1e-4)
        assert other.forgetting.after == pytest.approx(one.forgetting.after, abs=1e-4)
        assert other.forgetting.before == pytest.approx(one.forgetting.before, abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "name"), [("tiny-encoder", "tagging"), ("tiny-decoder", "data_to_text")]
)
def test_other_losses_are_those_of_the_model(kind: str, name: str) -> None:
    """Tags, and words that are written: runs with other counts of labels, in two parts."""
    task = few(name, 8)
    given = {**ARGUMENTS, "max_length": 96, "steps": 3, "accumulate": 2, "test": False}
    runs = RUNS[1:]
    together = fine_tune_many(kind, pft.LoRA(rank=2), task, runs, begin=without_dropout, **given)
    for (seed, lr), other in zip(runs, together, strict=True):
        one = fine_tune(
            kind, pft.LoRA(rank=2), task, seed=seed, lr=lr, begin=without_dropout, **given
        )
        assert losses(other) == pytest.approx(losses(one), rel=1e-4)
        assert other.run.best == pytest.approx(one.run.best, abs=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["lora", "prefix_tuning", "p_tuning", "bitfit", "said", "full"])
def test_recorded_steps_are_the_plain_ones(name: str, task: pft.Task) -> None:
    plain, recorded = (
        fine_tune_many(
            "tiny-encoder", method(name), task, RUNS, begin=without_dropout, steps=20, test=False,
            accumulate=2, capture=capture, **ARGUMENTS,
        )
        for capture in (False, True)
    )  # fmt: skip
    for one, other in zip(plain, recorded, strict=True):
        assert losses(other) == pytest.approx(losses(one), rel=1e-3)


def test_with_dropout_the_list_of_runs_decides(base: str, task: pft.Task) -> None:
    def states(runs: Any) -> list[dict[str, torch.Tensor]]:
        done = fine_tune_many(base, pft.LoRA(rank=2), task, runs, steps=3, test=False, **ARGUMENTS)
        return [state_of(each.model) for each in done]

    first, again = states(RUNS), states(RUNS)
    assert all(torch.equal(a[n], b[n]) for a, b in zip(first, again, strict=True) for n in a)
    one, other = states([(0, 1e-2), (0, 1e-2)])
    assert any(not torch.equal(one[n], other[n]) for n in one)


def test_the_frozen_base_is_in_memory_once(base: str, task: pft.Task) -> None:
    done = fine_tune_many(
        base, pft.LoRA(rank=2), task, [(0, 1e-2), (1, 1e-2), (1, 1e-3)], steps=1, test=False,
        **ARGUMENTS,
    )  # fmt: skip
    first, *others = (dict(each.model.named_parameters()) for each in done)
    for other in others:
        for n, parameter in first.items():
            same = parameter.data_ptr() == other[n].data_ptr()
            assert same is not parameter.requires_grad, n


def test_what_acts_on_one_model_is_refused(base: str, task: pft.Task) -> None:
    with pytest.raises(pft.Refused, match="AdapterDrop acts in the steps"):
        fine_tune_many(base, pft.AdapterDrop(), task, RUNS, steps=1, **ARGUMENTS)
    with pytest.raises(pft.Refused, match="AdapterFusion acts in the steps .*extra_loss"):
        check_stackable(method("adapter_fusion").attach(tiny("bert")))
    with pytest.raises(pft.Refused, match="tables that all rows of a batch share"):
        check_stackable(pft.LoRA().attach(tiny("t5")))
    with pytest.raises(pft.Refused, match="several bases"):
        fine_tune_many(base, pft.LoRA(), task, RUNS, pretrained=False, steps=1, **ARGUMENTS)
    with pytest.raises(pft.BadValue, match="at least two"):
        fine_tune_many(base, pft.LoRA(), task, RUNS[:1], **ARGUMENTS)
    with pytest.raises(pft.BadValue, match=r"The run \(0, -1\)"):
        fine_tune_many(base, pft.LoRA(), task, [(0, 1e-3), (0, -1)], **ARGUMENTS)


def test_other_bases_are_refused() -> None:
    one, other = (pft.LoRA(rank=2).attach(tiny("bert")) for _ in range(2))
    with torch.no_grad():
        other.get_input_embeddings().weight.add_(1)
    share_frozen(one, other)
    with pytest.raises(pft.Refused, match="no base in common"):
        Stack([one, other])


def test_other_shapes_and_numbers_are_refused() -> None:
    one, other = (pft.LoRA(rank=rank).attach(tiny("bert")) for rank in (2, 3))
    with pytest.raises(pft.Refused, match="different shapes"):
        Stack([one, other])
    one, other = (pft.LoRA(rank=2, alpha=alpha).attach(tiny("bert")) for alpha in (2.0, 4.0))
    with pytest.raises(pft.Refused, match="scale, which is no tensor"):
        Stack([one, other])


def test_what_goes_past_the_modules_is_found_before_training() -> None:
    """A bias that the base reads elsewhere than in its own module: alone it gets more gradient."""
    models = [method("layer_norm").attach(tiny("bert")).eval() for _ in range(2)]
    batch = {"input_ids": torch.arange(4, 20).view(4, 4), "labels": torch.tensor([0, 1, 0, 1])}
    Stack(models).check_alike(batch)

    def add_bias(layer: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + layer.output.LayerNorm.bias

    for model in models:
        model.base_model.encoder.layer[0].register_forward_hook(add_bias)
    with pytest.raises(pft.Refused, match="is another one than alone"):
        Stack(models).check_alike(batch)


def test_adamw_of_runs_is_adamw_of_each(base: str) -> None:
    """LoRA+ has two groups with rates of their own; the gradients are clipped, the weights decay."""
    models = [model_with(pft.LoRAPlus(rank=2), base) for _ in range(2)]
    reference = [copy.deepcopy(model) for model in models]
    stack, rates = Stack(models), (1e-2, 3e-3)

    def groups(model: Any, lr: float) -> Any:
        return Lifecycle(model, 3).parameter_groups(lr)

    named = [{p: n for n, p in model.named_parameters()} for model in models]
    given = [groups(model, lr) for model, lr in zip(models, rates, strict=True)]
    together = StackedAdamW({n: stack.values[n] for n in stack.trained}, given, named, 0.1)
    separate = [
        Optimiser(groups(model, lr), 0.1) for model, lr in zip(reference, rates, strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 4):
        for n, parameter in stack.values.items():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            for k, model in enumerate(reference):
                model.get_parameter(n).grad = parameter.grad[k].clone()
        for each in (together, *separate):
            each.set_rate(1 / step)
            each.step(clip=1.0)
    for k, model in enumerate(reference):
        for n in stack.trained:
            assert torch.allclose(stack.values[n][k], model.get_parameter(n), atol=1e-7), n


def test_one_process_has_them_all(
    base: str, task: pft.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Processes, "__init__", lambda self: vars(self).update(count=2))
    with pytest.raises(pft.Refused, match="one process's work"):
        fine_tune_many(base, pft.LoRA(), task, RUNS, steps=1, **ARGUMENTS)
