"""Two processes with half of each batch do what one does with all of it."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_setup import ARGUMENTS, equal, model_with

import pftlab as pft
from pftlab.training.processes import Processes


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def test_two_processes_train_as_one(separately: Any, tmp_path: Path) -> None:
    arguments = {"steps": 4, "batch_size": 8, "max_length": 48, "lr": 1e-3, "accumulate": 2}
    # Sentences have unequal numbers of tags, so a mean of the processes' means would be wrong.
    job = {"task": "tagging", "arguments": arguments}
    environment = {
        "ACCELERATE_USE_CPU": "true",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    two = [
        job
        | {
            "folder": str(tmp_path / "state"),
            "result": str(tmp_path / f"rank{rank}"),
            # each draws another LoRA at the start: the first one's must win
            "environment": environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        }
        for rank in range(2)
    ]
    assert separately(*two) == [0, 0]
    assert separately(job | {"result": str(tmp_path / "alone")}) == [0]
    first, second, alone = (load_file(tmp_path / name) for name in ("rank0", "rank1", "alone"))
    assert equal(first, second)
    for name, tensor in alone.items():
        assert torch.allclose(first[name], tensor, atol=2e-5), name


def test_a_batch_must_be_divisible(base: str, task: pft.Task, monkeypatch: Any) -> None:
    def three(self: Processes) -> None:
        self.device, self.index, self.count = torch.device("cpu"), 0, 3

    monkeypatch.setattr(Processes, "__init__", three)
    with pytest.raises(pft.BadValue, match="multiple of 3 processes × accumulate=1"):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS)


def test_a_sharded_model_is_refused(base: str, task: pft.Task, monkeypatch: Any) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(pft.Refused, match="ACCELERATE_USE_FSDP"):
        pft.train(model_with(pft.BitFit(), base), task, **ARGUMENTS)
