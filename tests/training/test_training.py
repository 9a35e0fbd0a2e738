"""The loop: it learns, repeats itself, resumes after a kill, and says early what cannot be."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import save_tiny_base

import pftlab as pft
from pftlab.core.method import trainable_state
from pftlab.training.data import rows_of_step
from pftlab.training.optimiser import schedule
from pftlab.training.resume import STATE

ARGUMENTS: dict[str, Any] = dict(steps=12, batch_size=8, max_length=48, lr=1e-2, progress=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: Any) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def task() -> pft.Task:
    full = pft.load_task("reviews", size="tiny")
    return pft.tasks.task.replace(
        full,
        splits={name: rows.select(range(min(64, len(rows)))) for name, rows in full.splits.items()},
    )


def model_with(method: Any, base: str, **options: Any) -> Any:
    return method.attach(pft.load_base(base, num_labels=2, **options))


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in trainable_state(model).items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_learns_eight_examples_by_heart(base: str, task: pft.Task) -> None:
    few = task.subset(8)
    model = model_with(pft.FullFineTuning(), base)
    pft.train(model, few, **ARGUMENTS | {"steps": 60, "lr": 3e-3, "evaluate_every": 60})
    assert pft.evaluate(model, few, "train", max_length=48)["accuracy"] == 1.0


def test_same_seed_same_run_and_the_callers_random_numbers_stay(base: str, task: pft.Task) -> None:
    states, runs = [], []
    for noise in (1, 2):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        model = model_with(pft.LoRA(rank=2, dropout=0.1), base)
        torch.manual_seed(noise)
        with torch.no_grad():  # the deltas' start is drawn from the caller's numbers
            for i, p in enumerate(p for p in model.parameters() if p.requires_grad):
                p.copy_(torch.full_like(p, 0.01 * (i + 1)))
        before = torch.get_rng_state()
        runs.append(pft.train(model, task, **ARGUMENTS))
        assert torch.equal(torch.get_rng_state(), before)
        states.append(state_of(model))
    assert equal(*states)
    assert runs[0].losses == runs[1].losses
    other = model_with(pft.LoRA(rank=2), base)
    assert pft.train(other, task, **ARGUMENTS | {"seed": 1}).losses != runs[0].losses


def test_frozen_parameters_do_not_move(base: str, task: pft.Task) -> None:
    model = model_with(pft.LoRA(rank=2), base)
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    pft.train(model, task, **ARGUMENTS)
    assert all(torch.equal(dict(model.named_parameters())[n], p) for n, p in frozen.items())


def test_accumulation_gives_the_same_gradients(base: str, task: pft.Task) -> None:
    states = []
    for accumulate in (1, 4):
        torch.manual_seed(0)
        model = model_with(pft.BitFit(), base)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        pft.train(model, task, **ARGUMENTS | {"accumulate": accumulate, "steps": 3, "lr": 1e-3})
        states.append(state_of(model))
    for name, tensor in states[0].items():
        if ".key.bias" not in name:  # its gradient is rounding noise around 0, which Adam blows up
            assert torch.allclose(states[1][name], tensor, atol=1e-5), name


def test_the_best_evaluation_is_what_remains(base: str, task: pft.Task) -> None:
    model = model_with(pft.LoRA(rank=2), base)
    run = pft.train(model, task, **ARGUMENTS | {"evaluate_every": 2, "lr": 0.1})
    evaluations = [e for e in run.history if "accuracy" in e]
    assert run.best["accuracy"] == max(e["accuracy"] for e in evaluations)
    assert pft.evaluate(model, task, max_length=48)["accuracy"] == run.best["accuracy"]


def test_every_example_is_seen_once_in_an_epoch() -> None:
    rows = [r for step in range(1, 9) for r in rows_of_step(32, 4, seed=3, step=step)]
    assert sorted(rows) == list(range(32))
    assert rows != sorted(rows)


def test_the_rate_rises_and_falls() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(1, 101)]
    assert max(rates) == rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] > 0


SCRIPT = """
    import sys, torch
    sys.path.insert(0, {tests!r})
    import pftlab as pft
    task = pft.load_task("reviews", size="tiny")
    task = pft.tasks.task.replace(
        task, splits={{n: r.select(range(min(64, len(r)))) for n, r in task.splits.items()}})
    torch.manual_seed(0)
    model = pft.LoRA(rank=2, dropout=0.1).attach(pft.load_base({base!r}, num_labels=2))
    print("ready", flush=True)
    run = pft.train(model, task, steps=30, batch_size=8, max_length=48, lr=1e-2, evaluate_every=3,
                    progress=False, folder={folder!r})
    pft.save(model, {folder!r} + "/final")
"""


def start(base: str, folder: Path) -> subprocess.Popen[str]:
    code = textwrap.dedent(SCRIPT).format(
        tests=str(Path(__file__).parents[1]), base=base, folder=str(folder)
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(base: str, folder: Path) -> dict[str, torch.Tensor]:
    process = start(base, folder)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    return load_file(folder / "final" / "adapter_model.safetensors")


def test_killed_runs_end_as_if_nothing_had_happened(base: str, tmp_path: Path) -> None:
    expected = finish(base, tmp_path / "whole")
    folder, draw, kills = tmp_path / "killed", random.Random(0), 0
    for _ in range(2):
        process = start(base, folder)
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 30
        while not (folder / STATE).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills, "every run was over before it could be killed"
    assert equal(finish(base, folder), expected)


def test_a_kill_while_writing_leaves_the_old_state(
    base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any
) -> None:
    from pftlab.training import resume

    whole = model_with(pft.BitFit(), base)
    pft.train(whole, task, **ARGUMENTS, evaluate_every=3, folder=tmp_path / "whole")
    written = {"n": 0}
    real = resume.save_file

    def torn(tensors: Any, path: Path, metadata: Any) -> None:
        written["n"] += 1
        real(tensors, path, metadata=metadata)
        if written["n"] == 3:  # half of the third state reaches the disk, then the lights go out
            os.truncate(path, path.stat().st_size // 2)
            raise KeyboardInterrupt

    monkeypatch.setattr(resume, "save_file", torn)
    model = model_with(pft.BitFit(), base)
    with pytest.raises(KeyboardInterrupt):
        pft.train(model, task, **ARGUMENTS, evaluate_every=3, folder=tmp_path / "torn")
    monkeypatch.undo()
    again = model_with(pft.BitFit(), base)
    run = pft.train(again, task, **ARGUMENTS, evaluate_every=3, folder=tmp_path / "torn")
    assert run.steps == 12
    assert equal(state_of(again), state_of(whole))


def test_ctrl_c_keeps_what_was_done_and_goes_on_later(
    base: str, task: pft.Task, tmp_path: Path
) -> None:
    class Interrupting(pft.BitFit):
        def after_step(self, model: Any, step: int, total_steps: int) -> None:
            if step == 5 and not (tmp_path / "go-on").exists():
                os.kill(os.getpid(), signal.SIGINT)

    run = pft.train(model_with(Interrupting(), base), task, **ARGUMENTS, folder=tmp_path / "run")
    assert run.interrupted
    assert run.steps == 5
    assert "interrupted" in repr(run)
    (tmp_path / "go-on").touch()
    model = model_with(Interrupting(), base)
    again = pft.train(model, task, **ARGUMENTS, folder=tmp_path / "run")
    assert not again.interrupted
    whole = model_with(pft.BitFit(), base)
    pft.train(whole, task, **ARGUMENTS)
    assert equal(state_of(model), state_of(whole))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_is_returned_without_training(
    base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any
) -> None:
    first = model_with(pft.BitFit(), base)
    run = pft.train(first, task, **ARGUMENTS, folder=tmp_path)
    monkeypatch.setattr(torch.optim, "AdamW", None)  # training would fail
    second = model_with(pft.BitFit(), base)
    assert pft.train(second, task, **ARGUMENTS, folder=tmp_path).to_dict() == run.to_dict()
    assert equal(state_of(second), state_of(first))


@pytest.mark.parametrize(
    ("change", "word"), [({"lr": 0.5}, "lr"), ({"steps": 13}, "steps"), ({"seed": 4}, "seed")]
)
def test_a_folder_of_another_run_is_refused(
    base: str, task: pft.Task, tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path)
    with pytest.raises(pft.BadCheckpoint, match=f"{word}="):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS | change, folder=tmp_path)
    with pytest.raises(pft.BadCheckpoint, match="methods="):
        pft.train(model_with(pft.LoRA(rank=2), base), task, **ARGUMENTS, folder=tmp_path)


def test_a_damaged_state_is_refused(base: str, task: pft.Task, tmp_path: Path) -> None:
    pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path)
    file = tmp_path / STATE
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(pft.BadCheckpoint, match="cannot be read"):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"accumulate": 9}, "accumulate=9"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_impossible_arguments(base: str, task: pft.Task, change: dict[str, Any], word: str) -> None:
    with pytest.raises(pft.BadValue, match=word):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS | change)


def test_what_cannot_be_trained_is_said_at_once(base: str, task: pft.Task, tmp_path: Path) -> None:
    with pytest.raises(pft.BadValue, match="Nothing is attached"):
        pft.train(pft.load_base(base, num_labels=2), task, **ARGUMENTS)
    with pytest.raises(pft.BadValue, match="num_labels=2"):
        one = pft.BitFit().attach(pft.load_base(base, num_labels=1, task="sequence_classification"))
        pft.train(one, task, **ARGUMENTS)
    empty = pft.tasks.task.replace(
        task, splits={**task.splits, "train": task.splits["train"].select([])}
    )
    with pytest.raises(pft.BadValue, match="empty"):
        pft.train(model_with(pft.BitFit(), base), empty, **ARGUMENTS)
    (tmp_path / "file").touch()
    with pytest.raises(pft.Unavailable, match="cannot be written"):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path / "file")


def test_bfloat16_trains_and_leaves_the_model_as_it_was(base: str, task: pft.Task) -> None:
    model = model_with(pft.LoRA(rank=2), base)
    forward = model.forward
    run = pft.train(model, task, **ARGUMENTS | {"precision": "bf16"})
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert run.steps == 12
    assert model.forward == forward


def test_methods_act_in_order(base: str, task: pft.Task) -> None:
    seen: list[str] = []

    class Watching(pft.BitFit):
        def before_training(self, model: Any, batches: Any, total_steps: int) -> None:
            seen.append(f"before_training {total_steps} {len(next(batches())['labels'])}")

        def parameter_groups(self, model: Any, lr: float) -> list[dict[str, Any]]:
            seen.append("groups")
            return super().parameter_groups(model, lr)

        def before_step(self, model: Any, step: int, total_steps: int) -> None:
            seen.append(f"before {step}")

        def extra_loss(self, model: Any) -> torch.Tensor:
            seen.append("extra")
            return 0.0 * next(p for p in model.parameters() if p.requires_grad).sum()

        def after_backward(self, model: Any, step: int, total_steps: int) -> None:
            seen.append(f"backward {step}")

        def after_step(self, model: Any, step: int, total_steps: int) -> None:
            seen.append(f"after {step}")

    pft.train(model_with(Watching(), base), task, **ARGUMENTS | {"steps": 2, "accumulate": 2})
    steps = [(f"before {n}", "extra", "extra", f"backward {n}", f"after {n}") for n in (1, 2)]
    assert seen == ["before_training 2 8", "groups", *steps[0], *steps[1]]


def test_run_reads_back_from_json(base: str, task: pft.Task) -> None:
    run = pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS)
    assert pft.Run(**json.loads(json.dumps(run.to_dict()))) == run
    assert run.examples_per_second > 0
    assert "12 steps" in repr(run)


def test_schedules_end_in_their_last_state(base: str, task: pft.Task) -> None:
    model = model_with(pft.DiffPruning(density=0.02, tuning=0.5), base)
    pft.train(model, task, **ARGUMENTS)
    masks = {id(d): int(d.mask.sum()) for *_, d in pft.core.planted(model)}
    weights = sum(
        p.numel() for n, p in model.named_parameters() if n.startswith("bert.") and "pft_" not in n
    )
    assert sum(masks.values()) == int(0.02 * weights)


def test_transformers_trainer_runs_the_lifecycle(base: str, task: pft.Task, tmp_path: Path) -> None:
    from transformers import TrainingArguments

    from pftlab.training import LifecycleTrainer

    seen: list[str] = []

    class Watching(pft.LoRA):
        def before_training(self, model: Any, batches: Any, total_steps: int) -> None:
            seen.append(f"before_training {total_steps}")

        def before_step(self, model: Any, step: int, total_steps: int) -> None:
            seen.append(f"before {step}")

        def extra_loss(self, model: Any) -> torch.Tensor:
            seen.append("extra")
            return 1e3 + 0.0 * next(p for p in model.parameters() if p.requires_grad).sum()

        def after_backward(self, model: Any, step: int, total_steps: int) -> None:
            assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
            seen.append(f"backward {step}")

        def after_step(self, model: Any, step: int, total_steps: int) -> None:
            seen.append(f"after {step}")

    model = model_with(Watching(rank=2), base)
    tokenizer = pft.load_tokenizer(base)
    trainer = LifecycleTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
        ),
        train_dataset=task.encode(tokenizer, "train", max_length=48),
        data_collator=task.collate(tokenizer),
    )
    trainer.train()
    steps = [s for n in (1, 2) for s in (f"before {n}", "extra", f"backward {n}", f"after {n}")]
    assert seen == ["before_training 2", *steps]
    assert trainer.state.log_history[0]["loss"] > 1e3
