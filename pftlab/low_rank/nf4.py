"""Weights in four bits: NormalFloat with double quantisation, as in QLoRA.

Dettmers, Pagnoni, Holtzman and Zettlemoyer (2023), https://arxiv.org/abs/2305.14314, Section 3.
The bytes are those of bitsandbytes, but for a few scales: its kernel for the CPU rounds some that
lie near the middle of two codes to the farther one.
"""

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

BLOCK = 64  # weights that share one scale
OUTER_BLOCK = 256  # scales that share one scale of their own
#: The 16 values, Appendix E: quantiles of a normal distribution, as far apart in probability as
#: can be, with an exact zero; divided by the largest. `tests/low_rank/test_nf4.py` derives them.
NORMAL_FLOAT = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


class FourBits(NamedTuple):
    """A tensor in four bits for each entry.

    Attributes:
        codes: (n / 2,) bytes; each holds two places in `NORMAL_FLOAT`, the first in the high half.
        scales: (n / 64,) bytes: the largest absolute value of each block, itself quantised.
        outer: (n / 64 / 256,) in 32 bits: the scale of each block of scales.
        offset: (): the mean of the scales, which was subtracted so that they lie around zero.
    """

    codes: Tensor
    scales: Tensor
    outer: Tensor
    offset: Tensor


def quantise(values: Tensor) -> FourBits:
    """`values`, of any shape, in four bits; zeros fill up the last block."""
    places, largest = _by_blocks(values, _normal_float(values.device), BLOCK)
    offset = largest.mean()
    code = dynamic_code(values.device)
    scales, outer = _by_blocks(largest - offset, code, OUTER_BLOCK)
    codes = places[::2] << 4 | places[1::2]
    return FourBits(codes, scales[: len(largest)], outer, offset)


def dequantise(bits: FourBits, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The tensor of `shape` that `bits` stand for, Eq. 6: computed in 32 bits, then rounded.

    On a GPU `nf4_kernel` makes the same numbers in one pass, where Triton is installed.
    """
    if bits.codes.is_cuda and (kernel := _kernel()):
        device, made = bits.codes.device, torch.empty(shape, dtype=dtype, device=bits.codes.device)
        codes_of = _normal_float(device), dynamic_code(device)
        kernel.dequantise(bits, *codes_of, made, BLOCK, OUTER_BLOCK)
        return made
    return in_steps(bits, shape, dtype)


def in_steps(bits: FourBits, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """What `dequantise` is by definition, in single operations of PyTorch."""
    codes, scales, outer, offset = bits
    of_scale = outer.repeat_interleave(OUTER_BLOCK)[: len(scales)]
    largest = dynamic_code(codes.device)[scales.int()] * of_scale + offset
    places = torch.stack([codes >> 4, codes & 15], dim=-1).view(-1, BLOCK)
    values = _normal_float(codes.device)[places.int()] * largest[:, None]
    size = torch.Size(shape).numel()
    return values.flatten()[:size].view(shape).to(dtype)


@lru_cache(maxsize=8)
def dynamic_code(device: torch.device) -> Tensor:
    """256 values in [-1, 1], dense near zero: a sign, a power of ten and a linear fraction.

    The power takes one bit for each step, in unary, and leaves the others to the fraction
    (Dettmers, 2016, https://arxiv.org/abs/1511.04561). One tensor for each device, made once.
    """
    positive = []
    with torch.inference_mode(False):  # whoever asks first, training may ask later
        for power in range(7):
            edges = torch.linspace(0.1, 1, 2**power + 1)
            positive.append(10.0 ** (power - 6) * ((edges[:-1] + edges[1:]) / 2))
        found = torch.cat(positive)
        return torch.cat([-found, found, torch.tensor([0.0, 1.0])]).sort().values.to(device)


@lru_cache(maxsize=8)
def _normal_float(device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(NORMAL_FLOAT, device=device)


@lru_cache(maxsize=1)
def _kernel() -> Any:
    """The module `nf4_kernel`; None: there is no Triton here."""
    return import_module(".nf4_kernel", __package__) if find_spec("triton") else None


def _by_blocks(values: Tensor, code: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Places in `code` of values over their block's largest, and the largest."""
    flat = values.detach().flatten().float()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % block)).view(-1, block)
    largest = blocks.abs().amax(dim=1)
    scaled = (blocks * (1 / largest.clamp(min=1e-38))[:, None]).clamp(-1, 1)
    places = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2)
    return places.to(torch.uint8).flatten(), largest


class Product(Function):
    """x Wᵀ with W (d_out, d_in) in four bits.

    W is made anew in the backward pass: in between, only its bytes are kept.
    """

    @staticmethod
    def forward(ctx, x, *bits_and_shape):  # type: ignore[no-untyped-def]
        *bits, ctx.shape = bits_and_shape
        ctx.save_for_backward(*bits)
        return x @ dequantise(FourBits(*bits), ctx.shape, x.dtype).T

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        weight = dequantise(FourBits(*ctx.saved_tensors), ctx.shape, gradient.dtype)
        return gradient @ weight, None, None, None, None, None
