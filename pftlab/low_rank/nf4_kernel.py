"""NF4 back into numbers on a GPU: one pass over the bytes.

PyTorch's own operations write every step of Eq. 6 into memory and read it again: twenty bytes and
more move for each weight. What must move are 0.5 bytes of codes in and 2 bytes of bfloat16 out, so
the time of the kernel below is that of its memory, if nothing else is slower:

* A thread takes one word of 32 bits, which holds eight codes, and writes eight weights: with 16
  bits each that is the widest store there is, and neighbouring threads write neighbouring bytes.
* The 16 values of NormalFloat lie in one line of the cache, so looking eight up costs eight reads
  of what is there already; a tree of comparisons would cost fifteen steps for each.
* The scale is decoded in passing: eight threads share the scale of a block of 64, and find it by
  one byte, one of 256 values and the scale of the scales.

Triton compiles the function for the GPU when it is first called; with TRITON_INTERPRET=1 it runs on
a CPU, which is how the tests compare it with `nf4.in_steps`. The numbers are the same bit for bit:
products and sums are rounded one after the other (`enable_fp_fusion=False`), as they are there.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

WORDS = 256  # of eight codes, in one program
WARPS = 8  # of 32 threads, in one program: one word for each thread


@triton.jit
def _dequantise(  # type: ignore[no-untyped-def]
    words,
    scales,
    outer,
    offset,
    normal_float,
    dynamic,
    made,
    n,
    CODES: tl.constexpr,  # in a word
    BLOCK: tl.constexpr,  # weights that share one scale
    OUTER_BLOCK: tl.constexpr,  # scales that share one
    WORDS: tl.constexpr,
):
    word = tl.program_id(0).to(tl.int64) * WORDS + tl.arange(0, WORDS)  # (WORDS,)
    inside = word * CODES < n
    codes = tl.load(words + word, mask=inside, other=0)
    block = word // (BLOCK // CODES)
    scale = tl.load(scales + block, mask=inside, other=0).to(tl.int32)
    of_scale = tl.load(outer + block // OUTER_BLOCK, mask=inside, other=0.0)
    largest = tl.load(dynamic + scale) * of_scale + tl.load(offset)
    # The first byte of a word is its lowest, and the first code of a byte its higher half.
    code = tl.arange(0, CODES)
    shift = 8 * (code // 2) + 4 * (1 - code % 2)
    place = (codes[:, None] >> shift[None, :]) & 15  # (WORDS, CODES)
    weight = tl.load(normal_float + place) * largest[:, None]
    at = word[:, None] * CODES + code[None, :]
    tl.store(made + at, weight.to(made.dtype.element_ty), mask=at < n)


def dequantise(
    bits: tuple[Tensor, Tensor, Tensor, Tensor],
    normal_float: Tensor,
    dynamic: Tensor,
    made: Tensor,
    block: int,
    outer_block: int,
) -> None:
    """Fill `made` with the numbers that `bits` stand for.

    Args:
        bits: the four tensors of `nf4.FourBits`, on the device of `made`.
        normal_float: the 16 values of a weight.
        dynamic: the 256 values of a scale.
        made: contiguous, of any shape and floating type.
        block: weights that share a scale.
        outer_block: scales that share one.
    """
    codes, scales, outer, offset = bits
    words = codes.view(torch.int32)
    grid = (triton.cdiv(len(words), WORDS),)
    _dequantise[grid](
        words, scales, outer, offset, normal_float, dynamic, made, made.numel(),
        CODES=8, BLOCK=block, OUTER_BLOCK=outer_block, WORDS=WORDS, num_warps=WARPS,
        enable_fp_fusion=False,
    )  # fmt: skip
