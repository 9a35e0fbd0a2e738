"""A base, a task and processes to kill, which the tests of training share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import save_tiny_base
from training_setup import few

import pftlab as pft

HERE = Path(__file__).parent
Separately = Callable[..., list[int]]


@pytest.fixture(scope="session")
def base(tmp_path_factory: Any) -> str:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def task() -> pft.Task:
    return few("reviews")


@pytest.fixture(scope="session")
def separately(base: str) -> Iterator[Separately]:
    """Train in processes of their own, all at the same time; returns their exit codes."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "separate.py"), base],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1])]),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert process.stdin and process.stdout

    def train(*jobs: dict[str, Any]) -> list[int]:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(jobs) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield train
    process.stdin.close()
    process.wait(60)
