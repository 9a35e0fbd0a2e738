"""NF4 on a GPU: how fast the bytes become numbers, and a product with them.

The floor of de-quantising is its traffic: 0.5 bytes of codes for each weight and a little for the
scales are read, 2 bytes of bfloat16 written. What the memory does at best is measured by a copy.
"""

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..low_rank import nf4, nf4_kernel

#: (d_out, d_in) of projections of well-known models, the last of Llama 3.1 70B
WEIGHTS = ((768, 768), (3072, 768), (2048, 2048), (4096, 4096), (14336, 4096), (8192, 8192),
           (28672, 8192))  # fmt: skip
ROWS = (1, 16, 2048)  # of x in a product: a word that is written, some, a batch of training
COPY = 2**30  # bytes
CACHE = 2**30  # bytes that push all else out of the cache, while the next call is prepared
SETTINGS = ((128, 4), (256, 8), (512, 16), (512, 8), (1024, 8))  # words and warps of a program


def measured() -> list[dict[str, Any]]:
    """Rows of what was measured: "what", the shape, microseconds, GB/s or the ratio to bfloat16."""
    source = torch.randn(COPY // 4, device="cuda")
    took = _microseconds(partial(torch.empty_like(source).copy_, source))
    best = 2 * COPY / took / 1000
    rows: list[dict[str, Any]] = [{"what": "copy", "microseconds": took, "GB/s": best}]
    for shape in WEIGHTS:
        weight = 0.02 * torch.randn(shape, device="cuda")
        rows += _dequantising(weight, best)
        rows += _products(weight.bfloat16())
    return rows


def _dequantising(weight: Tensor, best: float) -> list[dict[str, Any]]:
    shape, bits = tuple(weight.shape), nf4.quantise(weight)
    rows: list[dict[str, Any]] = [
        {"what": f"away from the definition in {dtype}", "shape": shape,
         "difference": _difference(bits, shape, dtype)}
        for dtype in (torch.bfloat16, torch.float16, torch.float32)
    ]  # fmt: skip
    moved = sum(t.nbytes for t in bits) + 2 * weight.numel()
    ways: dict[str, Callable[[], Tensor]] = {
        "kernel": lambda: nf4.dequantise(bits, shape, torch.bfloat16),
        "PyTorch": lambda: nf4.in_steps(bits, shape, torch.bfloat16),
    }
    if (theirs := _bitsandbytes()) is not None:
        packed, state = theirs.quantize_4bit(
            weight.bfloat16(), blocksize=64, quant_type="nf4", compress_statistics=True
        )
        ways["bitsandbytes"] = lambda: theirs.dequantize_4bit(packed, state)
    for name, way in ways.items():
        took = _microseconds(way)
        speed = moved / took / 1000
        rows.append(
            {"what": f"dequantise, {name}", "shape": shape, "microseconds": took, "GB/s": speed,
             "of the copy": speed / best}
        )  # fmt: skip
    chosen = nf4_kernel.WORDS, nf4_kernel.WARPS
    for nf4_kernel.WORDS, nf4_kernel.WARPS in SETTINGS:
        took = _microseconds(ways["kernel"])
        rows.append(
            {"what": f"dequantise, {nf4_kernel.WORDS} words in {nf4_kernel.WARPS} warps",
             "shape": shape, "microseconds": took, "GB/s": moved / took / 1000}
        )  # fmt: skip
    nf4_kernel.WORDS, nf4_kernel.WARPS = chosen
    return rows


def _difference(bits: nf4.FourBits, shape: tuple[int, ...], dtype: torch.dtype) -> float:
    """The largest between the kernel's numbers and the definition's: 0 if they are the same."""
    torch.full(shape, float("nan"), dtype=dtype, device="cuda")  # what is not written will show
    made = nf4.dequantise(bits, shape, dtype)
    by_definition = nf4.in_steps(bits, shape, dtype)
    return 0.0 if torch.equal(made, by_definition) else float((made - by_definition).abs().max())


def _products(weight: Tensor) -> Iterable[dict[str, Any]]:
    shape, bits = tuple(weight.shape), nf4.quantise(weight)
    theirs = _bitsandbytes()
    for count in ROWS:
        x = torch.randn(count, shape[1], device="cuda", dtype=torch.bfloat16)
        ways: dict[str, Callable[[], Tensor]] = {
            "bfloat16": partial(nn.functional.linear, x, weight),
            "four bits": partial(nf4.Product.apply, x, *bits, shape),
        }
        if theirs is not None:
            import bitsandbytes

            packed, state = theirs.quantize_4bit(
                weight, blocksize=64, quant_type="nf4", compress_statistics=True
            )
            ways["bitsandbytes"] = partial(
                bitsandbytes.matmul_4bit, x, packed.t(), quant_state=state
            )
        took = {name: _microseconds(way) for name, way in ways.items()}
        for name, each in took.items():
            yield {"what": f"product of {count} rows, {name}", "shape": shape,
                   "microseconds": each, "to bfloat16": each / took["bfloat16"]}  # fmt: skip


def _microseconds(work: Callable[[], Any]) -> float:
    """Median of a call on the GPU by its own events, with a cold cache, without the launch."""
    flushed = torch.empty(CACHE // 4, dtype=torch.int32, device="cuda")
    found = []
    for number in range(25):
        flushed.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if number >= 5:
            found.append(1000 * begin.elapsed_time(end))
    return statistics.median(found)


def _bitsandbytes() -> Any:
    """Its functions; None: it is not installed, or cannot use this GPU."""
    try:
        from bitsandbytes import functional
    except ImportError:
        return None
    return functional
