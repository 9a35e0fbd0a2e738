"""The state on disk: damaged, on a full disk, left behind by a killed run, wanted by two runs."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from training_setup import ARGUMENTS, equal, model_with, state_of

import pftlab as pft
from pftlab.core.files import FORGOTTEN, atomic_write
from pftlab.training import loop, state
from pftlab.training.state import LOCK, STATE, RunFolder, read_state

MUTANTS = 300


@pytest.fixture
def unfinished(base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any) -> Path:
    """A folder with the state of a run that was stopped half-way."""
    save_run = loop.save_run

    def save_and_break(*given: Any) -> None:
        save_run(*given)
        raise ConnectionError("the power went")

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(loop, "save_run", save_and_break)
        pft.train(model_with(pft.AdaLoRA(), base), task, **ARGUMENTS, folder=tmp_path)
    return tmp_path


def content(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(folder / STATE, framework="pt") as file:
        return load_file(folder / STATE), json.loads(file.metadata()["run"])


ODD: list[Any] = [None, -1, 10**30, 1.5, "x", [], {}, [[1]], {"step": "a"}, True, "9" * 500]


def mutate(value: Any, draw: random.Random) -> Any:
    """`value` with one thing in it that is another."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        if draw.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: mutate(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.7:
        place = draw.randrange(len(value))
        return [*value[:place], mutate(value[place], draw), *value[place + 1 :]]
    return draw.choice(ODD)


def mutate_tensors(tensors: dict[str, torch.Tensor], draw: random.Random) -> None:
    key = draw.choice(list(tensors))
    tensor = tensors[key]
    changes = [
        lambda: tensors.pop(key),
        lambda: tensors.update({key: tensor.flatten()[:-1].clone()}),
        lambda: tensors.update({key: torch.zeros(3, 1, 2)}),
        lambda: tensors.update({key: torch.zeros(0)}),
        lambda: tensors.update({key: tensor.to(torch.complex64)}),
        lambda: tensors.update({draw.choice(["model.x", "optimiser.step", "a.b"]): tensor.clone()}),
        lambda: tensors.update({key.replace("exp_avg", "exp"): tensors.pop(key)}),
    ]
    draw.choice(changes)()


def test_a_damaged_state_is_refused_and_the_model_stays(
    unfinished: Path, base: str, task: pft.Task, monkeypatch: Any
) -> None:
    """Whatever is wrong in the file: it goes on, where that is harmless, or BadCheckpoint says so."""
    tensors, run = content(unfinished)
    model = model_with(pft.AdaLoRA(), base)
    start = state_of(model)
    monkeypatch.setattr(loop, "Lifecycle", _Reached)
    refused = 0
    for seed in range(MUTANTS):
        draw, changed, record = random.Random(seed), dict(tensors), run
        if draw.random() < 0.5:
            record = mutate(run, draw)
        else:
            mutate_tensors(changed, draw)
        save_file(changed, unfinished / STATE, metadata={"run": json.dumps(record)})
        try:
            pft.train(model, task, **ARGUMENTS, folder=unfinished)
        except pft.BadCheckpoint as error:
            refused += 1
            assert len(str(error)) < 4000
            assert equal(state_of(model), start), f"seed {seed}: {error}"
        except _Resumed:
            pft.core.load_trainable_state(model, start)
    assert refused > 0.6 * MUTANTS


class _Resumed(Exception):
    """The state has been accepted."""


class _Reached:
    def __init__(self, *given: Any):
        raise _Resumed


@pytest.mark.parametrize("text", ["[" * 100_000, '{"steps": ' + "9" * 5000 + "}", "[]", "5", "{}"])
def test_a_header_that_is_no_record(text: str, unfinished: Path, base: str, task: pft.Task) -> None:
    tensors, _ = content(unfinished)
    save_file(tensors, unfinished / STATE, metadata={"run": text})
    with pytest.raises(pft.BadCheckpoint, match="cannot be read"):
        pft.train(model_with(pft.AdaLoRA(), base), task, **ARGUMENTS, folder=unfinished)


def full(real: Any, fails: set[int], error: Exception) -> Any:
    """A `save_file` for which the disk is full the n-th time."""
    calls = [0]

    def save(tensors: Any, path: Path, metadata: Any) -> None:
        calls[0] += 1
        if calls[0] in fails:
            path.write_bytes(b"half of it")
            raise error
        real(tensors, path, metadata=metadata)

    return save


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("full")])
def test_a_full_disk_ends_no_training(
    error: Exception, base: str, task: pft.Task, tmp_path: Path, monkeypatch: Any
) -> None:
    arguments = ARGUMENTS | {"evaluate_every": 3}
    whole, ours = model_with(pft.BitFit(), base), model_with(pft.BitFit(), base)
    pft.train(whole, task, **arguments)
    steps: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(state, "save_file", full(state.save_file, {2, 4}, error))
        patch.setattr(pft.BitFit, "after_step", lambda *_: steps.append(_on_disk(tmp_path)))
        with pytest.warns(UserWarning, match="could not be saved, and training goes on"):
            run = pft.train(ours, task, **arguments, folder=tmp_path)
    assert run.steps == 12 and equal(state_of(ours), state_of(whole))
    assert steps == [0, 0, 0, 3, 3, 3, 3, 3, 3, 9, 9, 9], "the state saved before stays"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([LOCK, STATE])
    assert _on_disk(tmp_path) == 9  # the last one failed, too: the run goes on from there
    again = model_with(pft.BitFit(), base)
    pft.train(again, task, **arguments, folder=tmp_path)
    assert equal(state_of(again), state_of(whole))


def _on_disk(folder: Path) -> int:
    found = read_state(folder)
    return found[0]["steps"] if found else 0


def test_other_files_on_a_full_disk(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    file.write_text("old")
    for error in (OSError(28, "No space left on device"), SafetensorError("full")):
        refused = pytest.raises(pft.Unavailable, match="cannot be written.*Make room")
        with refused, atomic_write(file) as path:
            path.write_text("half")
            raise error
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
    with pytest.raises(KeyError), atomic_write(file) as path:
        raise KeyError("no matter of the disk")


def test_what_killed_writers_left_is_removed(base: str, task: pft.Task, tmp_path: Path) -> None:
    left = tmp_path / f".{STATE}.abc"
    left.mkdir()
    (left / ".tmpXYZ").write_bytes(b"0" * 100)  # as safetensors calls its own
    pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path)
    assert not left.exists()

    old, new = tmp_path / ".file[1].txt.abc", tmp_path / ".file[1].txt.def"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, time.time() - FORGOTTEN - 1))
    with atomic_write(tmp_path / "file[1].txt") as path:
        path.write_text("text")
    assert not old.exists() and new.exists(), "another process may still be writing"


def test_two_trainings_in_one_folder(base: str, task: pft.Task, tmp_path: Path) -> None:
    first = RunFolder(tmp_path)
    with first, pytest.raises(pft.Refused, match="Another training is using the folder"):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path)
    pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path)


def test_the_lock_of_a_killed_process_is_none(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pftlab.training.state import RunFolder\n"
        f"with RunFolder({str(tmp_path)!r}): print('in', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout and other.stdout.readline() == "in\n"
        with pytest.raises(pft.Refused), RunFolder(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with RunFolder(tmp_path):
        pass


def test_training_in_a_thread_may_use_the_folder_next(
    base: str, task: pft.Task, tmp_path: Path
) -> None:
    def train() -> None:
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS, folder=tmp_path)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert _on_disk(tmp_path) == 12
    train()
