"""Several processes: what accelerate and FSDP make of an adapted model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found() -> Any:
    script = Path(__file__).with_name("together.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["accelerate", "fsdp"])
def test_two_processes_find_the_gradients_of_one(found: Any, kind: str) -> None:
    assert len(found[kind]) == 3 and all(apart < 1e-5 for apart in found[kind].values()), found


def test_a_model_in_parts_is_gathered_before_it_is_saved(found: Any) -> None:
    saving, merging = found["refused"]
    assert saving.startswith("Saving needs whole tensors") and "get_model_state_dict" in saving
    assert merging.startswith("Merging needs whole tensors")
    assert found["gathered"] < 1e-6
