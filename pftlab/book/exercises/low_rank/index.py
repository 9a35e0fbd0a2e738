"""Exercises of the chapter book/low_rank/index.ipynb. Shapes: A (r, d_in), B (d_out, r)."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..compare import close, compare, measure, normal, number, numbers, pair, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _same_budget(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("rank of LoHa", "reachable rank"))[which]
        lora = torch.empty(8, 768 + 768, device="meta").numel()
        rank = next(
            r for r in range(1, 9) if torch.empty(2, r, 1536, device="meta").numel() == lora
        )
        if which == 0:
            measure(
                given,
                rank,
                [
                    (8, "LoHa has two products, so each has fewer parameters than LoRA's one."),
                    (16, "Twice as many matrices for the same budget: the rank goes down."),
                ],
                "LoHa has 2 r (d_in + d_out) parameters. Set that equal to LoRA's.",
            )
        else:
            product = torch.kron(torch.eye(rank), torch.eye(rank))  # ranks multiply
            measure(given, float(torch.linalg.matrix_rank(product)), [
                (2 * rank, "Ranks add up when matrices are added; here they are multiplied."),
                (rank, "The entrywise product of two matrices can have a higher rank than both."),
            ], "The rank of an entrywise product is at most the product of the ranks.")  # fmt: skip

    return test


def _bits(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("plain", "double"))[which]
        block, second = 64, 256
        plain = (4 * block + 32) / block
        twice = (4 * block * second + 8 * second + 32) / (block * second)
        if which == 0:
            measure(
                given,
                plain,
                [
                    (4.0, "Plain: each block has a constant besides."),
                    (36.0, "Plain: one constant for 64 weights, not for one."),
                ],
                "Plain: 64 weights of 4 bits and one constant of 32.",
                within=1e-4,
            )
        else:
            measure(given, twice, [
                (plain, "Double: the constants themselves are in 8 bits."),
                (4 + 8 / 64, "Double: the constants of the constants are missing.", ),
                (4 + 8 / 64 + 32 / 256, "Double: 256 *constants* share one, so 256 · 64 weights."),
            ], "Double: 4 bits, 8 bits for 64 weights, 32 bits for 256 such blocks.",
                within=5e-5)  # fmt: skip

    return test


SHAPES = [(64, 64), (64, 64), (256, 64)]  # d_out, d_in


def _need(rank: int, parameters: int, bits: float, spare: int) -> float:
    trained = sum(torch.empty(rank, o + i, device="meta").numel() for o, i in SHAPES)
    return parameters * bits / 8 + 16 * trained + spare


def _budget(answer: Any, card: float, parameters: int = 200_000, bits: float = 4.5) -> float:
    return number(answer(card, parameters, bits, 50_000, SHAPES), "The rank")


def _budget_none(answer: Any, g: Any) -> None:
    for card in (10_000, 150_000):
        given = _budget(answer, card)
        if given < 0:
            raise Wrong("The card is too small, and the rank is negative: the answer is then 0.")
        if given > 0:
            raise Wrong(
                f"On a card of {card:,.0f} bytes even rank 1 does not fit. Count what is frozen, "
                "what is trained and what is kept for activations."
            )


def _budget_value(answer: Any, g: Any) -> None:
    for rank in (20, 7, 3, 1):  # at a low rank mistakes look alike
        exact = _need(rank, 200_000, 4.5, 50_000)
        per_rank = exact - _need(rank - 1, 200_000, 4.5, 50_000)
        for card, right in ((exact, rank), (exact + per_rank - 1, rank)):
            given = _budget(answer, card)
            if given == right:
                continue
            room = card - 50_000
            guesses = [
                ((room - 200_000 * 4.5 / 8) / (per_rank / 4), "A trained number takes 16 bytes: "
                 "weight, gradient and two averages."),
                ((room - 200_000 * 4.5 / 8) * 16 / 12 // per_rank,
                 "Gradient and averages are 12 bytes; the trained weight itself is 4 more."),
                (right + 1, "Rounded up, it does not fit."),
                (right - 1, "One rank more would fit exactly."),
            ]  # fmt: skip
            for value, message in guesses:
                if given == min(64, int(value)):
                    raise Wrong(message)
            if given != int(given):
                raise Wrong("A rank is a whole number, rounded down.")
            raise Wrong(f"With {card:,.0f} bytes rank {right} fits and no more; you say {given:g}. "
                        "Look at a budget with pen and paper.")  # fmt: skip


def _budget_cap(answer: Any, g: Any) -> None:
    given = _budget(answer, 1e9)
    if given > 64:
        raise Wrong("There is room for more, but a rank above the smallest side saves nothing.")
    if given < 64:
        raise Wrong("With plenty of room the rank can be as large as the smallest side, 64.")


def _path(g: Any) -> tuple[list[Tensor], list[Tensor]]:
    return [normal(g, 2, 7) for _ in range(4)], [normal(g, 6, 2) for _ in range(4)]


def _path_shapes(answer: Any, g: Any) -> None:
    As, Bs = _path(g)
    left, right = pair(answer(As, Bs, 0.5, 3.0), "(left, right)")
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        if left.ndim == right.ndim == 2 and left.shape[1] == right.shape[0] > 4:
            raise Wrong(f"The product goes through {left.shape[1]} dimensions; 2 r = 4 are enough. "
                        "Which terms of the sum cancel?")  # fmt: skip
        if tuple(left.shape) == (6, 2):
            raise Wrong("Rank r is too little: the start of the path matters as well as its end.")
    tensor(left, (6, 4), "left")
    tensor(right, (4, 7), "right")


def _path_value(answer: Any, g: Any) -> None:
    As, Bs = _path(g)
    left, right = answer(As, Bs, 0.5, 3.0)
    products = [B @ A for A, B in zip(As, Bs, strict=True)]
    moved = torch.zeros(6, 7).double()
    for before, after in pairwise(products):  # Algorithm 1, step by step
        moved = moved + 3.0 * 0.5 * (after - before)
    own = 0.5 * products[-1]
    compare(
        left @ right,
        moved + own,
        [
            (moved, "That is how W moves; the update s B A itself is missing."),
            (own, "That is LoRA: W does not move at all."),
            (moved / 0.5 + own, "The increments of W have the scale s too."),
            (moved / 3 + own, "The ratio λ is missing."),
            (-moved + own, "W follows the update; yours goes the other way."),
            (moved + own + 1.5 * products[0], "The product at the start has to be taken away."),
            (1.5 * (products[-1] - products[-2]) + own, "All steps count, not only the last."),
        ],
        "left @ right should be the sum of the steps and the update.",
    )  # fmt: skip


def _dora_case(g: Any) -> tuple[Tensor, ...]:
    m = normal(g, 4).abs() + 0.5
    return normal(g, 4, 6), m, normal(g, 2, 6), normal(g, 4, 2)


def _dora_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_dora_case(g), 0.5), (4, 6), "The weight")


def _dora_start(answer: Any, g: Any) -> None:
    W, _, A, B = _dora_case(g)
    m = torch.stack([(row * row).sum().sqrt() for row in W])
    compare(
        answer(W, m, A, torch.zeros_like(B), 0.5),
        W,
        [
            (W * m[:, None], "Rows are multiplied by m and never brought to length 1 before."),
            (W / m[:, None], "Every row has length 1: where is m?"),
        ],
        "With B = 0, and m the lengths of W's rows, it should be W. Lengths of rows, not of "
        "columns or of the whole, and roots, not squares.",
    )


def _dora_value(answer: Any, g: Any) -> None:
    W, m, A, B = _dora_case(g)
    given = answer(W, m, A, B, 0.5)
    sum_ = W + 0.5 * B @ A
    if close(given, m[:, None] * sum_ / W.norm(dim=1, keepdim=True)):
        raise Wrong("The length is that of W + s B A, and changes with it; you took W's.")
    lengths = given.norm(dim=1)
    if not close(lengths, m):
        raise Wrong("The lengths of the rows should be m, whatever A and B are.")
    if close(given, m[:, None] * (W + B @ A) / (W + B @ A).norm(dim=1, keepdim=True)):
        raise Wrong("The scale s is missing in the direction.")
    if close(given, m[:, None] * W / W.norm(dim=1, keepdim=True)):
        raise Wrong("The rows still point where W's do: A and B have no effect.")
    if not close(given, m[:, None] * sum_ / sum_.norm(dim=1, keepdim=True)):
        raise Wrong("The lengths are right; the directions should be those of W + s B A.")


def _name(number: int) -> str:
    return f"low_rank.index.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Rank for the same count", "short", 10, 1,
        "LoHa's update is $(B_1 A_1) \\odot (B_2 A_2)$. For a 768 × 768 matrix: at which rank has "
        "it as many parameters as LoRA at rank 8, and up to which rank can its update then have?",
        "loha = (..., ...)\n",
        ("How many numbers are in $A_1, B_1, A_2, B_2$?",
         "The entrywise product of two outer products is an outer product."),
        (Stage("the rank", 1, _same_budget(0)), Stage("the rank in reach", 1, _same_budget(1))),
    ),
    Exercise(
        _name(2), "Four bits and a bit", "short", 10, 1,
        "QLoRA stores weights in 4 bits, in blocks of 64 with a constant of 32 bits each. With "
        "double quantisation the constants are in 8 bits, in blocks of 256 with one constant of "
        "32 bits. How many bits does a weight take, (i) plain, (ii) double?",
        "bits = (..., ...)\n",
        ("How many weights share a constant?", "And how many share a constant of constants?"),
        (Stage("plain", 1, _bits(0)), Stage("double", 1, _bits(1))),
    ),
    Exercise(
        _name(3), "What fits on the card", "code", 20, 2,
        "A card has `card` bytes. The frozen model has `parameters` of `bits` bits each, `spare` "
        "bytes are kept for activations, and LoRA adapts matrices of the `shapes` (d_out, d_in) in "
        "32 bits with Adam. Return the largest rank that fits, at most the smallest side, and 0 "
        "if none fits. (Then try 24e9, 6.7e9 and 4.127 on the 64 query and value matrices of a "
        "model of width 4096.)",
        "def largest_rank(card, parameters, bits, spare, shapes):\n    raise NotImplementedError\n",
        ("How many bytes does one more rank cost?", "Whole division, then both limits."),
        (
            Stage("too small a card", 1, _budget_none),
            Stage("the last rank that fits", 2, _budget_value),
            Stage("a card with room to spare", 1, _budget_cap),
        ),
    ),
    Exercise(
        _name(4), "How far Delta-LoRA gets", "code", 25, 3,
        "Delta-LoRA moves the frozen weight in each step by $\\rho s (B_{t+1} A_{t+1} - B_t "
        "A_t)$ with a fixed `ratio` $\\rho$, and still adds $s B A$. You have the paths, "
        "lists of `A` (r, d_in) and `B` (d_out, r). Show that the whole change has rank at most "
        "$2r$: return two matrices, (d_out, 2 r) and (2 r, d_in), whose product it is.",
        "def change(As, Bs, s, ratio):\n    raise NotImplementedError\n",
        ("Write the sum of the first three steps and look for what cancels.",
         "A sum of two products is one product of stacked matrices."),
        (
            Stage("the shapes are right", 1, _path_shapes),
            Stage("the product is the change", 3, _path_value),
        ),
    ),
    Exercise(
        _name(5), "Length and direction", "code", 15, 2,
        "DoRA trains the length `m` (d_out,) of each row of the weight apart from its direction, "
        "which is that of `W` + s `B` `A`. Return the weight.",
        "def dora_weight(W, m, A, B, s):\n    raise NotImplementedError\n",
        ("What makes a row one of length 1?", "`torch.linalg.vector_norm(…, dim=1, keepdim=True)`"),
        (
            Stage("the shape is right", 1, _dora_shape),
            Stage("it starts at W", 1, _dora_start),
            Stage("lengths m, directions W + s B A", 2, _dora_value),
        ),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "rsLoRA divides by √r and not by r, so that",
        (
            Option("a high rank has fewer parameters", "The scale has no parameters."),
            Option("the update does not fade as the rank grows",
                   "With α / r the steps get smaller and smaller at high ranks.", right=True),
            Option("the update can be merged", "LoRA's can be merged as well."),
        ),
    ),
    Question(
        "QLoRA saves memory because",
        (
            Option("A and B are in 4 bits", "They are trained, in 16 or 32 bits."),
            Option("the frozen weights are in 4 bits",
                   "They are the largest part once nothing else of them is kept.", right=True),
            Option("the matrix products are done in 4 bits",
                   "Each weight is brought back to 16 bits before it is used."),
        ),
    ),
    Question(
        "PiSSA and LoRA have the same shapes. They differ in",
        (
            Option("the rank of the trained product",
                   "It is r for both. The change of W is another matter: PiSSA takes r directions "
                   "out of W as well, so that its change can have rank 2 r."),
            Option("where A and B start, and so what is frozen",
                   "The largest singular values are trained, the rest is frozen.", right=True),
            Option("whether the model computes at first what its base computes",
                   "Both start exactly there."),
        ),
    ),
    Question(
        "VeRA trains two vectors for each matrix. A and B are then",
        (
            Option("trained as well, but more slowly", "They are not trained at all."),
            Option("random, frozen, and shared",
                   "A seed makes them again, so they need not be stored.", right=True),
            Option("zero", "Nothing could be scaled then."),
        ),
    ),
    Question(
        "LoRA+ gives B a larger learning rate than A. Its reason:",
        (
            Option("B starts at zero, and so has a longer way to go than A",
                   "The argument is about the width of the model. It needs no particular start."),
            Option("in wide models the two need steps of different size",
                   "With one rate for both, features are learned too slowly as the width grows.",
                   right=True),
            Option("A is frozen", "That is LoRA-FA."),
        ),
    ),
)  # fmt: skip
