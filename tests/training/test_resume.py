"""A run that is killed, stopped or repeated ends as if nothing had happened, or says what is wrong."""

import copy
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import method
from training_setup import ARGUMENTS, equal, model_with, state_of

import pftlab as pft
from pftlab.core import Method
from pftlab.training import loop, resume
from pftlab.training.state import LOCK, STATE, read_state

KILLED = -signal.SIGKILL
JOB: dict[str, Any] = {
    "dropout": 0.1,
    "arguments": {"steps": 12, "batch_size": 8, "max_length": 48, "lr": 1e-2, "evaluate_every": 4},
}


@pytest.fixture(scope="module")
def undisturbed(separately: Any, tmp_path_factory: Any) -> dict[str, torch.Tensor]:
    result = tmp_path_factory.mktemp("undisturbed") / "result"
    assert separately(JOB | {"folder": str(result.parent), "result": str(result)}) == [0]
    return load_file(result)


@pytest.mark.parametrize(
    "moment",
    ["step 1", "step 6", "write 2", "write 7", "rename 5", "renamed 4", "evaluation 2"],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(
    moment: str, separately: Any, undisturbed: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    job = JOB | {"folder": str(tmp_path), "result": str(tmp_path / "result")}
    assert separately(job | {"kill": moment}) == [KILLED]
    assert not (tmp_path / "result").exists()
    assert separately(job) == [0]
    assert equal(load_file(tmp_path / "result"), undisturbed)  # the logged losses included
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["result", LOCK, STATE]), (
        "leftovers"
    )


def test_a_run_that_is_killed_again_and_again_at_any_moment(
    separately: Any, undisturbed: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    job = JOB | {"folder": str(tmp_path), "result": str(tmp_path / "result")}
    for _ in range(5):
        separately(job | {"kill": f"seconds {random.uniform(0.2, 1.0)}"})
    assert separately(job) == [0]
    assert equal(load_file(tmp_path / "result"), undisturbed)


def acts_in_training(name: str) -> bool:
    hooks = [n for n in vars(Method) if n.startswith(("before_", "after_"))]
    hooks += ["extra_loss", "parameter_groups"]
    return any(getattr(pft.METHODS[name], hook) is not getattr(Method, hook) for hook in hooks)


ACTING = [name for name in pft.METHODS if acts_in_training(name)]


@pytest.mark.parametrize("name", [*ACTING, "full"])
def test_methods_that_act_in_training_resume(
    name: str, base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any
) -> None:
    """Whatever such a method keeps in mind must be in the saved state, or follow from the step."""
    arguments = ARGUMENTS | {"steps": 8, "evaluate_every": 4}
    torch.manual_seed(0)
    whole = model_with(method(name), base)
    cut, resumed = copy.deepcopy(whole), copy.deepcopy(whole)
    pft.train(whole, task, **arguments)

    def save_and_break(folder: Path, *rest: Any) -> None:
        resume.save_run(folder, *rest)
        raise ConnectionError("the power went")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(loop, "save_run", save_and_break)
        pft.train(cut, task, **arguments, folder=tmp_path)
    run = pft.train(resumed, task, **arguments, folder=tmp_path)
    assert run.steps == 8
    assert equal(state_of(resumed), state_of(whole))


class Interrupting(pft.BitFit):
    """Presses Ctrl-C in step 5, so many times."""

    times = 1

    def after_step(self, model: Any, step: int, total_steps: int) -> None:
        if step == 5:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_what_was_done_and_goes_on_later(
    base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any
) -> None:
    arguments = ARGUMENTS | {"evaluate_every": 3}
    stopped = model_with(Interrupting(), base)
    run = pft.train(stopped, task, **arguments, folder=tmp_path)
    assert run.interrupted
    assert run.steps == 5
    assert run.losses[-1][0] == 5
    assert "interrupted" in repr(run)
    assert not stopped.training
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    kept = read_state(tmp_path)[1]["model"]
    assert equal(state_of(stopped), kept), "the model is as step 5 made it"

    monkeypatch.setattr(Interrupting, "times", 0)
    resumed, whole = model_with(Interrupting(), base), model_with(Interrupting(), base)
    again = pft.train(resumed, task, **arguments, folder=tmp_path)
    pft.train(whole, task, **arguments)
    assert not again.interrupted
    assert equal(state_of(resumed), state_of(whole))


def test_a_second_ctrl_c_leaves_at_once(base: str, task: pft.Task, monkeypatch: Any) -> None:
    monkeypatch.setattr(Interrupting, "times", 2)
    with pytest.raises(KeyboardInterrupt):
        pft.train(model_with(Interrupting(), base), task, **ARGUMENTS)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_is_returned_without_training(
    base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any
) -> None:
    first, second, third = (model_with(pft.BitFit(), base) for _ in range(3))
    run = pft.train(first, task, **ARGUMENTS, folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Optimiser", None)  # training would fail
        again = pft.train(second, task, **ARGUMENTS, folder=tmp_path)
    assert again.to_dict() == run.to_dict()
    assert equal(state_of(second), state_of(first))
    anew = pft.train(third, task, **ARGUMENTS, folder=tmp_path, resume=False)
    assert anew.seconds != run.seconds


@pytest.mark.parametrize(
    ("change", "words"),
    [({"lr": 0.5}, r"lr=0.01 \(here 0.5\)"), ({"steps": 13, "seed": 4}, "steps=12 .*, .*seed=0")],
)
def test_a_folder_of_another_run_is_refused(
    base: str, task: pft.Task, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    arguments = ARGUMENTS | {"evaluate_every": 12}
    pft.train(model_with(pft.LoRA(rank=2), base), task, **arguments, folder=tmp_path)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(pft.BadCheckpoint, match=words):
        pft.train(model_with(pft.LoRA(rank=2), base), task, **arguments | change, folder=tmp_path)
    assert (tmp_path / STATE).read_bytes() == before


def test_a_folder_of_another_model_or_task_is_refused(
    base: str, task: pft.Task, tmp_path: Path
) -> None:
    pft.train(model_with(pft.LoRA(rank=2), base), task, **ARGUMENTS, folder=tmp_path)

    def refused(words: str, model: Any, of: pft.Task = task) -> None:
        with pytest.raises(pft.BadCheckpoint, match=words):
            pft.train(model, of, **ARGUMENTS, folder=tmp_path)

    refused(r"methods=lora \(here bitfit\)", model_with(pft.BitFit(), base))
    refused(r"methods.lora.rank=2 \(here 3\)", model_with(pft.LoRA(rank=3), base))
    refused("saved from another model", model_with(pft.LoRA(rank=2), base, num_labels=3))
    other = pft.load_base(base, num_labels=2)
    with torch.no_grad():
        other.bert.encoder.layer[0].output.dense.weight.add_(1.0)
    refused("base=", pft.LoRA(rank=2).attach(other))
    refused("data=", model_with(pft.LoRA(rank=2), base), task.subset(32))


@pytest.mark.parametrize("damage", ["truncated", "text", "no run"])
def test_a_damaged_state_is_refused(damage: str, base: str, task: pft.Task, tmp_path: Path) -> None:
    model = model_with(pft.BitFit(), base)
    pft.train(model, task, **ARGUMENTS, folder=tmp_path)
    file = tmp_path / STATE
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "text":
        file.write_text("nothing of the kind")
    else:
        save_file({"model.x": torch.zeros(1)}, file)
    with pytest.raises(pft.BadCheckpoint, match="cannot be read"):
        pft.train(model, task, **ARGUMENTS, folder=tmp_path)
