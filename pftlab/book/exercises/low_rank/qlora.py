"""Exercises of the chapter book/low_rank/qlora.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor, whole
from ..model import Exercise, Option, Question, Stage


def _bits(answer: Any, g: Any) -> None:
    bits, _ = numbers(answer, ("bits", "megabytes"))
    measure(bits, (4 * 128 + 16) / 128, [
        (4.0, "The constants take room as well."),
        (20.0, "One constant serves 128 weights, not one."),
        (4 + 32 / 128, "The constant has 16 bits here."),
    ], "Count the bits of one block, then divide by its weights.", within=1e-6)  # fmt: skip


def _megabytes(answer: Any, g: Any) -> None:
    _, size = numbers(answer, ("bits", "megabytes"))
    right = 4096 * 4096 * (4 * 128 + 16) / 128 / 8 / 1e6
    measure(size, right, [
        (8 * right, "Those are megabits."),
        (right * 1e6 / 2**20, "One MB is a million bytes in this book."),
    ], "The number of weights times the bits, in bytes.", within=1e-3)  # fmt: skip


_causes = causes((3, 1, 4, 2), (
    "(a) What can be wrong before any step was taken, and with one matrix alone?",
    "(b) The loss moves, so something is trained. What is not?",
    "(c) Good before, bad after, and nothing was trained in between.",
    "(d) Which of the causes is left, and what does a rate do to the loss?",
))  # fmt: skip

_printed = sentences((0, 1, 1), (
    "(i) An interval around zero also holds losses. Is that evidence of none?",
    "(ii) Does the interval hold zero?",
    "(iii) Overlap of two single intervals is no test; the paired one is.",
))  # fmt: skip


LEVELS = torch.tensor([-1.0, -0.4, 0.0, 0.3, 1.0]).double()


def _round(values: Tensor, levels: Tensor, block: int) -> Tensor:
    made = []
    for part in values.split(block):
        largest = part.abs().max()
        for value in part / largest:
            made.append(levels[(value - levels).abs().argmin()] * largest)
    return torch.stack(made)


def _round_shape(answer: Any, g: Any) -> None:
    tensor(answer(normal(g, 24), LEVELS, 8), (24,), "The result")


def _round_value(answer: Any, g: Any) -> None:
    values = normal(g, 24) * torch.tensor([1.0, 5.0, 25.0]).double().repeat_interleave(8)
    blocks = values.view(3, 8)
    largest = blocks.abs().amax(1, keepdim=True)
    right = _round(values, LEVELS, 8)
    compare(
        answer(values, LEVELS, 8),
        right,
        [
            ((right.view(3, 8) / largest).flatten(), "Multiply by the block's size again."),
            (_round(values, LEVELS, 24), "Each block has a size of its own, not the whole."),
            (values, "These are the values themselves: nothing was rounded."),
            (LEVELS[(values[:, None] - LEVELS).abs().argmin(1)],
             "Divide by the block's largest absolute value before you look for a level."),
        ],
        "Divide, take the nearest level, multiply back: which step differs?",
    )  # fmt: skip


def _bytes(g: Any) -> Tensor:
    return torch.tensor([whole(g, 0, 255) for _ in range(6)] + [0x1F], dtype=torch.uint8)


def _places_shape(answer: Any, g: Any) -> None:
    tensor(answer(_bytes(g)), (14,), "The result")


def _places_value(answer: Any, g: Any) -> None:
    codes = _bytes(g)
    right = torch.tensor([int(digit, 16) for c in codes.tolist() for digit in f"{c:02x}"])
    compare(
        answer(codes).double(),
        right.double(),
        [
            (right.view(-1, 2).flip(1).flatten().double(), "The first code is in the high half."),
            (torch.cat([right[::2], right[1::2]]).double(), "Pairs stay side by side."),
            (codes.repeat_interleave(2).double(), "Each byte stands twice: take it apart."),
        ],
        "The high half is the byte shifted right by 4, the low half what 15 keeps of it.",
    )


def _memory(answer: Any, g: Any) -> None:
    frozen, trained = 16384 * whole(g, 10, 99), 1000 * whole(g, 1, 9)
    weights = frozen * (4 * 16384 + 8 * 256 + 32) / 16384 / 8
    measure(float(answer(frozen, trained)), weights + 16 * trained, [
        (8 * weights + 16 * trained, "The frozen part is in bits, the rest in bytes."),
        (weights, "What is trained takes room too."),
        (weights + 4 * trained, "Gradients and two moments are missing."),
        (weights + 12 * trained, "Four numbers for each trained one, not three."),
        (frozen / 2 + 16 * trained, "Both kinds of constants are missing."),
        (frozen * 4.5 / 8 + 16 * trained, "That is without double quantisation."),
        (frozen * 4.127 / 8 + 16 * trained, "4.127 is rounded. Write the fractions instead."),
    ], "Frozen bits / 8, plus 16 bytes for each trained number.")  # fmt: skip


def _name(number: int) -> str:
    return f"low_rank.qlora.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Another format", "short", 5, 1,
        "Weights of 4 bits stand in blocks of 128 with one constant of 16 bits each, and nothing "
        "else. How many bits does a weight take, and how many MB a matrix of 4096 × 4096?",
        "answer = (..., ...)\n",
        ("How many bits does one block take?", "8 bits are a byte, $10^6$ bytes a MB."),
        (Stage("the bits", 1, _bits), Stage("the megabytes", 1, _megabytes)),
    ),
    Exercise(
        _name(2), "Diagnose four runs", "short", 10, 2,
        "(a) Before the first step one layer's outputs are far off, those of the others are not. "
        "(b) The loss falls a little, as with the head alone. (c) Good after training; merged and "
        "rounded again, much of the training is gone. (d) The loss jumps up and stays. "
        "Causes: 1 the adapter is missing from the optimiser; 2 the rate is ten times too high; "
        "3 a block holds one huge weight; 4 the update is smaller than the gaps between levels. "
        "Give the cause of (a), (b), (c) and (d).",
        "causes = (..., ..., ..., ...)\n",
        ("Which of the four can act before training?", "Use each cause once."),
        (Stage("each run has its cause", 2, _causes),),
    ),
    Exercise(
        _name(3), "Read the intervals", "short", 10, 2,
        "Accuracy minus that of LoRA on 32-bit weights, paired by seed, with 95 % intervals: NF4 "
        "−0.3 ± 0.9; three levels −2.1 ± 0.8; int4 −1.2 ± 0.5, while the single intervals of int4 "
        "and of 32 bits overlap. May one print: (i) NF4 costs nothing; (ii) three levels cost "
        "accuracy in these runs; (iii) int4 costs accuracy in these runs? Give 1 or 0 for each.",
        "printed = (..., ..., ...)\n",
        ("Which differences are told apart from zero?", "Absence of evidence is not evidence."),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(4), "Round by blocks", "code", 15, 2,
        "Take `values` (n,) to the nearest of `levels` and back, by blocks of `block`, which "
        "divides n. No block is all zeros.",
        "def rounded(values, levels, block):\n    raise NotImplementedError\n",
        ("`values.view(-1, block)`", "Distances to all levels, then `argmin`."),
        (Stage("the shape", 1, _round_shape), Stage("the values", 3, _round_value)),
    ),
    Exercise(
        _name(5), "Two codes in a byte", "code", 10, 1,
        "Return the places (2 n,) that `codes`, n bytes, hold; the first in the high half.",
        "def places(codes):\n    raise NotImplementedError\n",
        ("`codes >> 4` and `codes & 15`", "`torch.stack(…, dim=-1).flatten()`"),
        (Stage("the shape", 1, _places_shape), Stage("the places", 2, _places_value)),
    ),
    Exercise(
        _name(6), "What must be held", "code", 10, 1,
        "`frozen` weights in NF4 with double quantisation, and `trained` numbers in 32 bits with "
        "gradient and Adam's two moments. Return the bytes, activations left out.",
        "def held(frozen, trained):\n    raise NotImplementedError\n",
        ("4 + 8/64 + 32/(64 · 256) bits", "Four numbers of four bytes for each trained one."),
        (Stage("the bytes", 3, _memory),),
    ),
    Exercise(
        _name(7), "Extend: three bits", "open", 40, 3,
        "Make eight levels from the quantiles of a normal distribution, with an exact zero. What "
        "is their error on the weights of this page, and does the adapter make up for it? Use the "
        "seeds of the page and print paired intervals.",
        "", ("Derive NF4's own levels first, then change the number of quantiles.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Weights in NF4, inputs in bfloat16: in which format are QLoRA's matrix products computed?",
        (
            Option("In 4 bits, on integer units", "No product is computed in 4 bits."),
            Option("In 16 bits", "Each weight is made anew from its bytes first.", right=True),
            Option("In 4 bits forward and in 16 bits backward", "Both directions are the same."),
        ),
    ),
    Question(
        "Double quantisation rounds",
        (
            Option("the weights a second time", "Each weight is rounded once."),
            Option("the blocks' constants", "8 bits in place of 32 for each.", right=True),
            Option("the adapter's matrices after training", "A and B stay as they are."),
        ),
    ),
    Question(
        "For which weights are fifteen levels at even distances better than NF4?",
        (
            Option("Uniform ones", "NF4's levels suit a normal distribution.", right=True),
            Option("Normal ones, in blocks of 64", "For these NF4 has the smaller error."),
            Option("All, if the blocks are large enough", "The table of errors says otherwise."),
        ),
    ),
    Question(
        "Compared with LoRA on weights in 16 bits, a training step of QLoRA",
        (
            Option("is four times as fast: a quarter is read", "It also makes them anew."),
            Option("takes longer, for weights are made anew each time", "Forward and backward.",
                   right=True),
            Option("takes as long, since the adapter decides", "Most of a step is the base's."),
        ),
    ),
    Question(
        "Look at the figure of levels: in blocks of more weights, the error of NF4",
        (
            Option("falls, since there are fewer constants", "The curve says otherwise."),
            Option("rises, for one large weight sets the scale of all", "The curve goes up.",
                   right=True),
            Option("stays where it is", "Follow the curve from left to right."),
        ),
    ),
)  # fmt: skip
