"""Shared set-up of the tests."""

import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
# so that tests import the tiny models and the tools by name
sys.path[:0] = [str(HERE), str(HERE.parent / "tools")]
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    torch.manual_seed(0)
