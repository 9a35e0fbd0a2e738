"""The kernel for NF4 on a GPU, run on the CPU by Triton's interpreter, against PyTorch's steps."""

import sys
from importlib import import_module
from typing import Any

import pytest
import torch

from pftlab.low_rank import nf4
from pftlab.low_rank.nf4 import BLOCK, OUTER_BLOCK, dynamic_code, in_steps, quantise

CPU = torch.device("cpu")
CODES = torch.tensor(nf4.NORMAL_FLOAT), dynamic_code(CPU)


@pytest.fixture(scope="module")
def kernel() -> Any:
    """Triton decides when a kernel is defined how it will run: so the module is imported here."""
    pytest.importorskip("triton", reason="Triton is for Linux")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        yield import_module("pftlab.low_rank.nf4_kernel")
        del sys.modules["pftlab.low_rank.nf4_kernel"]


# the last has more than one block of scales and no whole program, block or word at its end
@pytest.mark.parametrize("shape", [(1,), (7, 9), (64,), (64, 512), (3, 5, 40), (257, 77)])
# the interpreter cuts bfloat16 where a GPU rounds it; `test_on_a_gpu` compares that
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_numbers_are_the_same_bit_for_bit(kernel: Any, shape: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    bits = quantise(torch.randn(shape))
    made = torch.full(shape, float("nan"), dtype=dtype)
    kernel.dequantise(bits, *CODES, made, BLOCK, OUTER_BLOCK)
    assert torch.equal(made, in_steps(bits, shape, dtype))


def test_nothing_is_written_behind_the_end(kernel: Any) -> None:
    bits, room = quantise(torch.randn(100)), torch.full((400,), 7.0)
    kernel.dequantise(bits, *CODES, room[:100], BLOCK, OUTER_BLOCK)
    assert (room[:100] != 7).all() and (room[100:] == 7).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_a_gpu(dtype: torch.dtype) -> None:
    bits = quantise(torch.randn(257, 77, device="cuda"))
    made = nf4.dequantise(bits, (257, 77), dtype)
    assert torch.equal(made, in_steps(bits, (257, 77), dtype))
