"""The loop: it learns, repeats itself, keeps the best, and says early what cannot be."""

import copy
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training_setup import ARGUMENTS, equal, few, model_with, state_of, with_splits, without_dropout
from transformers import pipeline

import pftlab as pft
from pftlab.training import loop
from pftlab.training.data import rows_of_step
from pftlab.training.evaluation import Evaluator
from pftlab.training.lifecycle import Lifecycle
from pftlab.training.memory import PeakMemory
from pftlab.training.optimiser import schedule


def test_learns_eight_examples_by_heart(base: str, task: pft.Task) -> None:
    few_examples = task.subset(8)
    model = model_with(pft.FullFineTuning(), base)
    pft.train(model, few_examples, **ARGUMENTS | {"steps": 60, "lr": 3e-3, "evaluate_every": 60})
    assert pft.evaluate(model, few_examples, "train", max_length=48)["accuracy"] == 1.0


def test_same_seed_same_run_and_the_callers_random_numbers_stay(base: str, task: pft.Task) -> None:
    states, runs = [], []
    for noise in (1, 2):
        torch.manual_seed(0)  # the deltas' start is drawn from the caller's numbers
        model = model_with(pft.LoRA(rank=2, dropout=0.1), base)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        runs.append(pft.train(model, task, **ARGUMENTS))
        assert torch.equal(torch.get_rng_state(), before)
        states.append(state_of(model))
    assert equal(*states)
    assert runs[0].history == runs[1].history
    torch.manual_seed(0)
    other = model_with(pft.LoRA(rank=2, dropout=0.1), base)
    assert pft.train(other, task, **ARGUMENTS | {"seed": 1}).losses != runs[0].losses


def test_texts_of_like_length_share_batches_when_asked(base: str, task: pft.Task) -> None:
    def run(**given: Any) -> pft.Run:
        return pft.train(pft.LoRA(rank=2).attach(pft.load_base(base, 2), seed=0), task, **given)

    given = ARGUMENTS | {"steps": 4}
    one, again, other = (
        run(**given, like_lengths=True),
        run(**given, like_lengths=True),
        run(**given),
    )
    assert one.history == again.history
    assert one.losses != other.losses
    assert one.arguments["like_lengths"] is True


def test_dropout_differs_from_step_to_step(base: str, task: pft.Task) -> None:
    one = task.subset(1)  # every step sees the same, and with a rate of nearly 0 learns nothing
    model = model_with(pft.LoRA(rank=2, dropout=0.5), base)
    run = pft.train(model, one, **ARGUMENTS | {"steps": 6, "lr": 1e-12})
    assert len({loss for _, loss in run.losses}) == 6


def test_frozen_parameters_do_not_move_and_all_others_do(base: str, task: pft.Task) -> None:
    model = model_with(pft.LoRA(rank=2), base)
    before = {n: p.clone() for n, p in model.named_parameters()}
    pft.train(model, task, **ARGUMENTS | {"evaluate_every": 12})
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


@pytest.mark.parametrize("name", ["reviews", "tagging"])
def test_accumulation_gives_the_same_gradients(name: str, base: str) -> None:
    task = few(name, 16)  # tagging: the parts have unequal numbers of labels
    seen: list[dict[str, torch.Tensor]] = []

    class Watching(pft.BitFit):
        def after_backward(self, model: Any, step: int, total_steps: int) -> None:
            gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
            seen.append(gradients)

    for accumulate in (1, 3):
        model = model_with(Watching(), base, task.num_labels or 0, task.model_task)
        arguments = ARGUMENTS | {"accumulate": accumulate, "steps": 1}
        pft.train(without_dropout(model), task, **arguments)
    for parameter, gradient in seen[0].items():
        assert torch.allclose(seen[1][parameter], gradient, atol=1e-6), parameter


def test_the_gradient_is_clipped(base: str, task: pft.Task, monkeypatch: Any) -> None:
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    for clip in (1e-3, 0):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS | {"steps": 1, "clip": clip})
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)
    assert norms[1] > 1e-2


def test_the_best_evaluation_is_what_remains(base: str, task: pft.Task, monkeypatch: Any) -> None:
    scores = iter([0.5, math.nan, 0.7, 0.7, math.nan, 0.6])
    states: list[dict[str, torch.Tensor]] = []

    def fake(self: Evaluator) -> dict[str, float]:
        states.append(state_of(self.model))
        return {"loss": 1.0, "accuracy": next(scores)}

    monkeypatch.setattr(Evaluator, "__call__", fake)
    model = model_with(pft.LoRA(rank=2), base)
    run = pft.train(model, task, **ARGUMENTS | {"evaluate_every": 2})
    assert run.best == {"step": 6, "validation_loss": 1.0, "accuracy": 0.7}
    assert run.metrics == {"validation_loss": 1.0, "accuracy": 0.7}
    assert equal(state_of(model), states[2])
    assert not equal(states[3], states[2])
    assert not model.training


def test_a_score_that_is_no_number_never_wins(base: str, task: pft.Task) -> None:
    run = pft.Run({})
    assert run.evaluated(1, {"loss": 1.0, "accuracy": math.nan}, "accuracy")
    run.best = run.history[-1]
    assert run.evaluated(2, {"loss": 1.0, "accuracy": 0.1}, "accuracy")
    run.best = run.history[-1]
    assert not run.evaluated(3, {"loss": 1.0, "accuracy": math.nan}, "accuracy")
    assert not run.evaluated(4, {"loss": 1.0, "accuracy": 0.1}, "accuracy")


def test_schedules_end_in_their_last_state(base: str, task: pft.Task) -> None:
    model = model_with(pft.DiffPruning(density=0.02, tuning=0.5), base)
    run = pft.train(model, task, **ARGUMENTS)
    assert run.best["step"] == 12
    masks = {id(d): int(d.mask.sum()) for *_, d in pft.core.planted(model)}
    weights = sum(
        p.numel() for n, p in model.named_parameters() if n.startswith("bert.") and "pft_" not in n
    )
    assert sum(masks.values()) == int(0.02 * weights)


@pytest.mark.parametrize(("n", "batch_size", "steps"), [(32, 4, 8), (10, 4, 5), (3, 8, 3)])
def test_every_example_is_seen_equally_often(n: int, batch_size: int, steps: int) -> None:
    rows = [r for step in range(1, steps + 1) for r in rows_of_step(n, batch_size, 3, step)]
    epochs = [rows[i : i + n] for i in range(0, len(rows), n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert n < 10 or rows[:n] != list(range(n))
    assert len(epochs) == 1 or len(set(map(tuple, epochs))) > 1


def test_the_rate_rises_and_falls() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(1, 101)]
    assert max(rates) == rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 0.02
    assert schedule(1, 1, 0.0) == schedule(1, 1, 1.0) == 1.0


def test_the_history_tells_losses_rates_and_scores(base: str, task: pft.Task) -> None:
    run = pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS | {"evaluate_every": 6})
    logged = [e for e in run.history if "loss" in e]
    assert [e["step"] for e in logged] == list(range(1, 13))
    assert [e["lr"] for e in logged] == [
        pytest.approx(1e-2 * schedule(s, 12, 0.06)) for s in range(1, 13)
    ]
    assert [e["step"] for e in run.history if "accuracy" in e] == [6, 12]


def test_few_losses_are_read_back_in_a_long_run(base: str, task: pft.Task) -> None:
    model = model_with(pft.LinearProbe(), base)
    arguments = ARGUMENTS | {"steps": 150, "batch_size": 1, "evaluate_every": 150}
    run = pft.train(model, task.subset(2), **arguments)
    assert [step for step, _ in run.losses] == list(range(3, 151, 3))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 1.5}, "steps=1.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"accumulate": 9}, "accumulate=9"),
        ({"evaluate_every": 0}, "evaluate_every=0"),
        ({"max_length": 65}, "max_length=65"),
        ({"lr": 0.0}, "lr=0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"weight_decay": -1.0}, "weight_decay=-1"),
        ({"clip": -1.0}, "clip=-1"),
        ({"warmup": 1.5}, "warmup=1.5"),
        ({"seed": "a"}, "seed='a'"),
        ({"precision": "fp8"}, "precision='fp8'"),
    ],
)
def test_impossible_arguments(base: str, task: pft.Task, change: dict[str, Any], word: str) -> None:
    with pytest.raises(pft.BadValue, match=word):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS | change)


def test_a_model_that_cannot_be_trained_is_refused_at_once(base: str, task: pft.Task) -> None:
    with pytest.raises(pft.BadValue, match="Nothing is attached"):
        pft.train(pft.load_base(base, num_labels=2), task, **ARGUMENTS)
    frozen = model_with(pft.BitFit(), base)
    frozen.requires_grad_(False)
    with pytest.raises(pft.BadValue, match="No parameter of this model is trainable"):
        pft.train(frozen, task, **ARGUMENTS)
    with pytest.raises(
        pft.BadValue, match="needs a model …ForSequenceClassification.*num_labels=2"
    ):
        pft.train(model_with(pft.BitFit(), base, 2, "token_classification"), task, **ARGUMENTS)
    with pytest.raises(pft.BadValue, match="needs a language model"):
        pft.train(model_with(pft.BitFit(), base), few("data_to_text", 4), **ARGUMENTS)


def test_labels_out_of_range_are_refused_at_once(base: str, task: pft.Task) -> None:
    one = model_with(pft.BitFit(), base, 1, "sequence_classification")
    with pytest.raises(
        pft.BadValue, match="label 1, and the model's head knows 0 to 0.*num_labels=2"
    ):
        pft.train(one, task, **ARGUMENTS)
    rows = task.splits["validation"].map(lambda row: {"label": -1})
    with pytest.raises(pft.BadValue, match="'validation' .* label -1"):
        pft.train(model_with(pft.BitFit(), base), with_splits(task, validation=rows), **ARGUMENTS)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_empty_split_is_refused_at_once(split: str, base: str, task: pft.Task) -> None:
    empty = with_splits(task, **{split: task.splits[split].select([])})
    with pytest.raises(pft.BadValue, match=f"{split}.* is empty"):
        pft.train(model_with(pft.BitFit(), base), empty, **ARGUMENTS)


def test_a_folder_that_cannot_be_written_is_refused_at_once(
    base: str, task: pft.Task, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(pft.Unavailable, match="cannot be written"):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path / "file")


def test_bfloat16_trains_and_leaves_the_model_as_it_was(base: str, task: pft.Task) -> None:
    full, half = (model_with(pft.BitFit(), base) for _ in range(2))
    runs = [
        pft.train(model, task, **ARGUMENTS | {"precision": precision, "evaluate_every": 12})
        for model, precision in ((full, "fp32"), (half, "bf16"))
    ]
    assert all(p.dtype == torch.float32 for p in half.parameters())
    assert runs[1].losses != runs[0].losses
    assert runs[1].losses[-1][1] == pytest.approx(runs[0].losses[-1][1], abs=0.1)


def test_methods_act_in_order(base: str, task: pft.Task) -> None:
    seen: list[str] = []

    class Watching(pft.BitFit):
        def before_training(self, model: Any, batches: Any, total_steps: int) -> None:
            sizes = [len(batch["labels"]) for batch in batches()]
            seen.append(f"before_training {total_steps} {sizes}")

        def parameter_groups(self, model: Any, lr: float) -> list[dict[str, Any]]:
            seen.append(f"groups {lr}")
            return super().parameter_groups(model, lr)

        def before_step(self, model: Any, step: int, total_steps: int) -> None:
            seen.append(f"before {step}")

        def extra_loss(self, model: Any) -> torch.Tensor:
            assert model.training
            seen.append("extra")
            return 0.0 * next(p for p in model.parameters() if p.requires_grad).sum()

        def after_backward(self, model: Any, step: int, total_steps: int) -> None:
            assert any(p.grad is not None for p in model.parameters())
            seen.append(f"backward {step}")

        def after_step(self, model: Any, step: int, total_steps: int) -> None:
            assert all(p.grad is None for p in model.parameters())
            seen.append(f"after {step}")

    pft.train(
        model_with(Watching(), base), task.subset(20), **ARGUMENTS | {"steps": 2, "accumulate": 2}
    )
    steps = [(f"before {n}", "extra", "extra", f"backward {n}", f"after {n}") for n in (1, 2)]
    assert seen == ["before_training 2 [8, 8, 4]", "groups 0.01", *steps[0], *steps[1]]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_extra_loss_counts_once_a_step(accumulate: int, base: str, task: pft.Task) -> None:
    gradients: list[torch.Tensor] = []

    class Pulling(pft.BitFit):
        pull = 0.0

        def extra_loss(self, model: Any) -> torch.Tensor | None:
            return self.pull * model.classifier.bias.sum() if self.pull else None

        def after_backward(self, model: Any, step: int, total_steps: int) -> None:
            gradients.append(model.classifier.bias.grad.clone())

    for Pulling.pull in (0.0, 2.0):
        model = without_dropout(model_with(Pulling(), base))
        run = pft.train(model, task, **ARGUMENTS | {"steps": 1, "accumulate": accumulate})
    assert torch.allclose(gradients[1] - gradients[0], torch.tensor(2.0), atol=1e-5)
    assert run.losses[0][1] < 1.0, "the logged loss is the task's alone"


def test_groups_of_two_methods_are_merged(base: str) -> None:
    class Faster(pft.LoRA):
        def parameter_groups(self, model: Any, lr: float) -> list[dict[str, Any]]:
            up = [p for n, p in model.named_parameters() if n.endswith(".B")]
            return [{"params": up, "lr": 16 * lr, "weight_decay": 0.5}]

    model = model_with(pft.BitFit(), base)
    Faster(rank=2).attach(model)
    groups = Lifecycle(model, 1).parameter_groups(0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    faster, rest = ({names[id(p)] for p in group["params"]} for group in groups)
    assert faster == {n for n in names.values() if n.endswith(".B")}
    assert rest == {n for n, p in model.named_parameters() if p.requires_grad} - faster
    assert [group["lr"] for group in groups] == [1.6, 0.1]
    assert groups[0]["weight_decay"] == 0.5


def test_a_groups_own_rate_follows_the_schedule(base: str, task: pft.Task) -> None:
    class Still(pft.BitFit):
        def parameter_groups(self, model: Any, lr: float) -> list[dict[str, Any]]:
            return [{"params": [model.classifier.bias], "lr": 0.0}]

    model = model_with(Still(), base)
    before = {n: p.clone() for n, p in model.named_parameters()}
    pft.train(model, task, **ARGUMENTS | {"evaluate_every": 12})
    assert torch.equal(model.classifier.bias, before["classifier.bias"])
    assert not torch.equal(model.classifier.weight, before["classifier.weight"])


def test_run_reads_back_from_json(base: str, task: pft.Task) -> None:
    run = pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS)
    assert pft.Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert f"12 steps in {run.seconds:.1f} s" in repr(run)
    assert f"at step {run.best['step']}" in repr(run)
    assert "\n" not in repr(run)


def test_speed_leaves_evaluation_out(base: str, task: pft.Task, monkeypatch: Any) -> None:
    def slow(self: Evaluator) -> dict[str, float]:
        time.sleep(0.5)
        return {"loss": 1.0, "accuracy": 0.5}

    monkeypatch.setattr(Evaluator, "__call__", slow)
    began = time.perf_counter()
    run = pft.train(model_with(pft.LinearProbe(), base), task, **ARGUMENTS | {"evaluate_every": 3})
    assert run.seconds < time.perf_counter() - began - 4 * 0.5
    assert run.examples_per_second == pytest.approx(12 * 8 / run.seconds)


def test_peak_memory_sees_what_is_gone_again(monkeypatch: Any) -> None:
    """By how much the process grew at most; how much it has is told by the system, here by us."""
    sizes = iter([100, 130, 180, 90])
    info = lambda self: SimpleNamespace(rss=next(sizes))  # noqa: E731
    monkeypatch.setattr("psutil.Process.memory_info", info)
    memory = PeakMemory(torch.device("cpu"))
    for expected in (30, 80, 80):
        memory.sample()
        assert memory.peak == expected


def test_the_bar_shows_loss_and_score_and_can_be_silenced(
    base: str, task: pft.Task, capsys: Any
) -> None:
    model = model_with(pft.LinearProbe(), base)
    pft.train(model, task, **ARGUMENTS | {"progress": True})
    shown = capsys.readouterr()
    assert not shown.out
    last = shown.err.split("\r")[-1]
    assert "12/12" in last and "step/s" in last and "loss=" in last and "accuracy=" in last
    pft.train(model, task, **ARGUMENTS)
    assert not capsys.readouterr().err


def test_a_state_is_saved_now_and_then(
    base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(loop, "save_run", lambda *a: saved.append(a[-1].steps))
    arguments = ARGUMENTS | {"evaluate_every": 6, "folder": tmp_path}
    pft.train(model_with(pft.LinearProbe(), base), task, **arguments)
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    pft.train(model_with(pft.LinearProbe(), base), task, **arguments)
    assert saved == [6, 12, *range(1, 13)]


def test_the_names_of_the_classes_are_learnt_and_kept(
    base: str, task: pft.Task, tmp_path: Path
) -> None:
    model = model_with(pft.LoRA(rank=2), base)
    pft.train(model, task, **ARGUMENTS | {"steps": 1})
    named = dict(enumerate(task.labels))
    assert model.config.id2label == named
    pft.save(model, tmp_path)
    again = pft.load(pft.load_base(base, num_labels=2), tmp_path)
    assert again.config.id2label == named
    classify = pipeline("text-classification", model=again, tokenizer=pft.load_tokenizer(base))
    assert classify("a text")[0]["label"] in task.labels
    turned = pft.load_base(base, labels=task.labels[::-1])
    for action in (pft.train, pft.evaluate):
        with pytest.raises(pft.BadValue, match="Give both one order"):
            action(pft.LoRA(rank=2).attach(copy.deepcopy(turned)), task, progress=False)
