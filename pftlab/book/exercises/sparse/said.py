"""Exercises of the chapter book/sparse/said.ipynb."""

from math import log10
from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, number, numbers, pair, tensor
from ..model import Exercise, Option, Question, Stage, Wrong

WEIGHTS, DIRECTIONS, LENGTH = 3_000_000, 500, 2**22


def _dense(answer: Any, g: Any) -> None:
    given, _ = numbers(answer, ("dense", "three vectors"))
    right = 4 * WEIGHTS * DIRECTIONS / 1e6
    measure(
        given,
        right,
        [
            (right / 4, "Dense: four bytes for each entry."),
            (right * 1e6, "Dense: that is in bytes."),
            (4 * LENGTH * DIRECTIONS / 1e6, "Dense: this matrix has no need of a power of two."),
        ],
        "Dense: a row for each weight and a column for each direction.",
    )


def _vectors(answer: Any, g: Any) -> None:
    _, given = numbers(answer, ("dense", "three vectors"))
    right = 3 * 4 * LENGTH / 1e6
    measure(
        given,
        right,
        [
            (3 * 4 * WEIGHTS / 1e6, "Three vectors: as long as the next power of two."),
            (right / 3, "Three vectors: signs, order and normal numbers."),
            (right / 2, "Three vectors: that power of two lies below the number of weights."),
            (right * 1e6, "Three vectors: that is in bytes."),
        ],
        "Three vectors: three times the next power of two, four bytes each.",
    )


LAYERED, BY_TENSOR = 300 - 12, 300 - (12 * 16 + 5)


def _layered(answer: Any, g: Any) -> None:
    given, _ = numbers(answer, ("by layer", "by tensor"))
    measure(
        given,
        LAYERED,
        [
            (300, "By layer: the scales are among the 300."),
            (300 - 13, "By layer: what lies outside the layers has no scale here."),
            (12, "By layer: those are the scales; what is left for $z$?"),
        ],
        "By layer: 300 numbers, less a scale for each layer.",
    )


def _by_tensor(answer: Any, g: Any) -> None:
    _, given = numbers(answer, ("by layer", "by tensor"))
    measure(
        given,
        BY_TENSOR,
        [
            (300 - 12 * 16, "By tensor: five tensors lie outside the layers."),
            (12 * 16 + 5, "By tensor: those are the scales; what is left for $z$?"),
            (300 - 16 - 5, "By tensor: every layer has 16."),
        ],
        "By tensor: 300 numbers, less a scale for each tensor of the model.",
    )


DIMENSIONS = [10, 30, 100, 300, 1000]


def _between(answer: Any, g: Any) -> None:
    scores, full = [0.50, 0.58, 0.66, 0.78, 0.80], 0.80
    given = answer(DIMENSIONS, scores, full)
    if given is None:
        raise Wrong("Two of these dimensions reach nine tenths of 0.80.")
    right = 10 ** (2 + (0.72 - 0.66) / (0.78 - 0.66) * (log10(300) - 2))
    measure(
        given,
        right,
        [
            (300, "That is the first dimension that was tried and reaches it; go between the two."),
            (100, "That is the last dimension that was tried and does not reach it."),
            (200, "Linear in $\\log_{10} d$, not in $d$."),
            (log10(right), "Return the dimension, not its logarithm."),
        ],
        "Find the two dimensions between which 0.9 · full lies, and go between their logarithms.",
        within=1e-4,
        what="The dimension",
    )


def _edges(answer: Any, g: Any) -> None:
    first = answer(DIMENSIONS, [0.75, 0.76, 0.77, 0.78, 0.79], 0.80)
    if first is None or number(first, "The dimension") != DIMENSIONS[0]:
        raise Wrong("If the smallest dimension reaches it, return that one.")
    none = answer(DIMENSIONS, [0.50, 0.51, 0.52, 0.53, 0.54], 0.80)
    if none is not None:
        raise Wrong("If no dimension reaches it, there is no number to return.")
    low = answer(DIMENSIONS, [0.50, 0.74, 0.60, 0.68, 0.70], 0.80)
    if low is None or not 10 < number(low, "The dimension") < 30:
        raise Wrong("The first dimension that reaches it counts, though a later one may fall back.")


def _descend(answer: Any, g: Any) -> None:
    start, directions = normal(g, 6), normal(g, 6, 2)
    X, y = normal(g, 9, 6), normal(g, 9)

    def gradient(theta: Tensor) -> Tensor:
        return X.T @ (X @ theta - y)

    def run(steps: int = 3, fresh: bool = True, sign: float = 1.0) -> Tensor:
        z = torch.zeros(2, dtype=torch.float64)
        for _ in range(steps):
            slope = gradient(start + directions @ z if fresh else start)
            z = z - 0.01 * sign * (directions.T @ slope)
        return start + directions @ z

    given = answer(start.clone(), directions.clone(), X.clone(), y.clone(), 3, 0.01)
    if isinstance(given, Tensor) and tuple(given.shape) == (2,):
        raise Wrong("Return the weights, not the few numbers.")
    free = start.clone()
    for _ in range(3):
        free = free - 0.01 * gradient(free)
    compare(
        tensor(given, (6,), "The weights"),
        run(),
        [
            (free, "That moves all weights freely; they may leave the subspace."),
            (run() - start, "That is the change alone; it starts from `start`."),
            (run(fresh=False), "The gradient belongs to the weights of the step at hand."),
            (run(steps=1), "All the steps, and not the first alone."),
            (run(sign=-1.0), "Against the gradient, not along it."),
        ],
        "In each step: the weights, their gradient, from it the gradient of z, a step of z.",
    )


def _inside(answer: Any, g: Any) -> None:
    start, directions = normal(g, 8), normal(g, 8, 3)
    inputs = directions.clone(), normal(g, 9, 8), normal(g, 9)
    moved = answer(start.clone(), *inputs, 4, 0.005) - start
    basis, _ = torch.linalg.qr(directions)
    if float((moved - basis @ (basis.T @ moved)).norm()) > 1e-8:
        raise Wrong("The change has left the span of the directions.")


def _tensors(g: Any) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    sizes = (5, 3, 4)
    slopes = [normal(g, size) for size in sizes]
    return slopes, [normal(g, size, 2) for size in sizes], normal(g, 2), normal(g, 3)


def _slope_of_numbers(answer: Any, g: Any) -> None:
    slopes, projections, z, scales = _tensors(g)
    given, _ = pair(answer(slopes, projections, z.clone(), scales.clone()), "of z, of the scales")
    each = [p.T @ slope for p, slope in zip(projections, slopes, strict=True)]
    plain, scaled = torch.stack(each), torch.stack(each) * scales[:, None]
    compare(
        tensor(given, (2,), "The gradient of z"),
        scaled.sum(0),
        [
            (plain.sum(0), "Of z: each tensor's part has its scale as a factor."),
            (scaled.mean(0), "Of z: the parts of the tensors are summed, not averaged."),
            (scaled[0], "Of z: all tensors share it, so that all have a part."),
        ],
        "Of z: the sum over the tensors of the scale times the transposed projection of the slope.",
    )


def _slope_of_scales(answer: Any, g: Any) -> None:
    slopes, projections, z, scales = _tensors(g)
    _, given = pair(answer(slopes, projections, z.clone(), scales.clone()), "of z, of the scales")
    right = torch.stack([
        (p @ z) @ slope for p, slope in zip(projections, slopes, strict=True)
    ])  # fmt: skip
    compare(
        tensor(given, (3,), "The gradient of the scales"),
        right,
        [
            (right * scales, "Of a scale: it is a factor itself, and falls out."),
            (right.sum().expand(3), "Of a scale: each tensor's own sum, not that of all."),
        ],
        "Of a scale: the product of its tensor's slope with what the projection made of z.",
    )


_causes = causes((3, 2, 4, 1), (
    "(a): what must a file hold besides the d numbers?",
    "(b): what is the gradient of a product of which both factors are zero?",
    "(c): how many seeds had the search, and where in its grid does the rate lie?",
    "(d): what is as large as the number of weights times d?",
))  # fmt: skip
_printed = sentences((1, 1, 0, 0), (
    "(i): nine tenths of 80 lie between the two scores of base A.",
    "(ii): nine tenths of 90, and what base B reaches at the smaller dimension.",
    "(iii): does the interval of the paired difference leave zero out?",
    "(iv): of which subspaces does the intrinsic dimension tell?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"sparse.said.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Two ways to hold a projection", "short", 5, 1,
        "A weight matrix has 3,000,000 entries, and a random projection brings 500 numbers there. "
        "All of it is in four bytes. How many MB ($10^6$ bytes) is the projection as a dense "
        "matrix, and how many are Fastfood's three vectors (signs, order, normal numbers)?",
        "held = (..., ...)\n",
        ("A column for each direction.", "What length does a Hadamard matrix need?"),
        (Stage("the dense matrix", 1, _dense), Stage("the vectors", 1, _vectors)),
    ),
    Exercise(
        _name(2), "What the scales leave", "short", 5, 1,
        "An encoder has 12 layers of 16 parameter tensors each, and five tensors outside the "
        "layers. SAID gets $d = 300$ numbers in all. How many are left for $z$ if each layer has "
        "one scale, and how many if each tensor has one?",
        "left = (..., ...)\n",
        ("The scales are counted among the $d$ numbers.",),
        (Stage("by layer", 1, _layered), Stage("by tensor", 1, _by_tensor)),
    ),
    Exercise(
        _name(3), "Between two dimensions", "code", 15, 2,
        "`dimensions` is an ascending list, `scores` has the score of each, and `full` is that of "
        "full fine-tuning. Return the dimension at which nine tenths of `full` are first reached, "
        "by a straight line over $\\log_{10} d$ between the first dimension that reaches it and "
        "the one before. The smallest if that reaches it already; None if none does.",
        "def d90(dimensions, scores, full):\n    raise NotImplementedError\n",
        ("Which two dimensions have the threshold between their scores?",
         "The same share of the way between the logarithms as between the scores."),
        (Stage("between two", 2, _between), Stage("the edges", 2, _edges)),
    ),
    Exercise(
        _name(4), "Descend in a subspace", "code", 20, 2,
        "A linear model has the loss $\\tfrac12 \\lVert X\\theta - y \\rVert^2$; `X` is (n, P) "
        "and `y` (n,). `start` (P,) holds its weights and `directions` (P, d) a fixed projection. "
        "Train the d numbers, zero at first, by plain gradient descent with the rate `lr` for so "
        "many `steps`. Return the weights in the end. No automatic differentiation is needed.",
        "def descend(start, directions, X, y, steps, lr):\n    raise NotImplementedError\n",
        ("What is the gradient of $z$? Equation 2.", "The weights are made anew in each step."),
        (Stage("the weights", 3, _descend), Stage("the subspace", 1, _inside)),
    ),
    Exercise(
        _name(5), "Two kinds of gradients", "code", 20, 2,
        "SAID's tensors are $\\theta_i = \\theta_{0,i} + \\lambda_i \\Pi_i z$. `slopes` is a list "
        "of the loss's gradients at the tensors, each (P_i,), `projections` one of matrices "
        "(P_i, k), `z` is (k,) and `scales` (m,), for m tensors. Return the gradient of `z` and "
        "that of `scales`.",
        "def gradients(slopes, projections, z, scales):\n    raise NotImplementedError\n",
        ("All tensors share z, and each has a scale of its own.",
         "The scale of a tensor stands before one vector. Which?"),
        (Stage("of z", 2, _slope_of_numbers), Stage("of the scales", 2, _slope_of_scales)),
    ),
    Exercise(
        _name(6), "Diagnose", "short", 15, 2,
        "Four runs in random subspaces, each broken in another way. (a) The file holds the right d "
        "numbers, and the model that loads them is worse than the base. (b) The head learns, and "
        "no weight of the base moves, at any rate. (c) Four seeds end well, and the fifth at "
        "chance. (d) There is no memory left before the first step, though $d$ is only 2,000. "
        "The causes: **1** the projection is formed as a matrix; **2** the scales are zero at "
        "first, and so is $z$; **3** the projection was drawn anew, with another seed; **4** the "
        "rate is the highest that one seed bore. Which cause has which run?",
        "causes = (..., ..., ..., ...)  # of a, b, c, d\n",
        ("Ask of each run what could leave this trace.",),
        (Stage("the causes", 4, _causes),),
    ),
    Exercise(
        _name(7), "Read", "short", 15, 2,
        "Two bases, one task, five paired seeds. Base A: 80 % with all weights, 71 % with 100 "
        "directions, 76 % with 1,000. Base B, ten times as large: 90 %, 82 % and 86 %. The share "
        "of full fine-tuning's score at 100 directions, B minus A: +2.4 ± 3.0 points. Which "
        "sentences may be printed? (i) Of the dimensions tried, 1,000 is the first with which A "
        "reaches nine tenths of its full score. (ii) For B it is 100. (iii) At 100 directions B "
        "is nearer to its full score than A. (iv) No method can adapt A to this task with fewer "
        "than 100 numbers. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)  # of i, ii, iii, iv\n",
        ("Each base is measured by its own full fine-tuning.",),
        (Stage("the sentences", 4, _printed),),
    ),
    Exercise(
        _name(8), "Extend: choose the directions", "open", 60, 3,
        "Take the small network's best directions to `tiny-encoder`: the gradients of 32 texts, as "
        "the columns of a dense projection of the attention's matrices alone. Train their 32 "
        "numbers, and next to them 32 random directions of the same matrices, each at its own "
        "rate, over five paired seeds. What is it worth to choose, and what does it cost?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "In the toy, ten sums must be right. Why do nine random directions not do it?",
        (
            Option("nine directions are too short to reach the target",
                   "Their coefficients may be as large as they like."),
            Option("nine numbers cannot meet ten independent conditions",
                   "Ten can, however many weights there are.", right=True),
            Option("nine directions leave some of the weights where they were",
                   "Every random direction moves every weight."),
        ),
    ),
    Question(
        "A model trains 200 numbers by SAID. How many of its weights change?",
        (
            Option("all of them", "Each number moves along a direction in all weights.",
                   right=True),
            Option("200, at random places", "That would be a random mask."),
            Option("those of the layers whose scale is not zero at the start of training",
                   "All scales are one at the start."),
        ),
    ),
    Question(
        "What does Fastfood save, against a dense random matrix?",
        (
            Option("the gradient of the weights", "It is computed whole, then projected."),
            Option("the memory of P · d numbers: three vectors take its place, from a seed",
                   "The vectors are as long as the weights, not d times as long.", right=True),
            Option("the d numbers that have to be stored for each task", "These stay."),
        ),
    ),
    Question(
        "Look at the figure of the small network. What did pretraining do?",
        (
            Option("it moved the curve up, most of all at the left", "A pretrained base has done "
                   "most of the task before a direction is trained.", right=True),
            Option("it raised the score of full fine-tuning", "That is the same, within noise."),
            Option("it made all dimensions alike, so that d no longer mattered",
                   "Both curves rise."),
        ),
    ),
    Question(
        "Directions taken from the gradients of examples do better than random ones. Then d₉₀",
        (
            Option("was measured wrongly and has to be measured again with these",
                   "It is defined with random directions."),
            Option("falls with every further example", "That was not tried."),
            Option("says how many random directions it takes, not how many numbers a task needs",
                   "Other families of directions need fewer or more.", right=True),
        ),
    ),
)  # fmt: skip
