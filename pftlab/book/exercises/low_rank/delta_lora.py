"""Exercises of the chapter book/low_rank/delta_lora.ipynb. Shapes: A (r, d_in), B (d_out, r)."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..compare import compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong

S, RATIO = 0.5, 3.0


def _ranks(which: int) -> Any:
    mistakes: tuple[tuple[tuple[float, str], ...], ...] = (
        (
            (4, "One step: the increment is a difference of two products, and both have rank 4."),
            (64, "One step: two products of rank 4 cannot fill 64 directions."),
        ),
        (
            (64, "The sum: if the increments had nothing to do with one another. Write out three."),
            (400, "The sum: no 64 × 64 matrix has so high a rank. What cancels?"),
        ),
        ((8, "From the first step: what is B A before it, when B is zero?"),),
    )
    right = (8, 8, 4)[which]
    others = ("One step: ranks add up.", "The sum: two products are left.", "One product is left.")

    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("one step", "100 steps", "from the first step"))[which]
        measure(given, right, mistakes[which], others[which])

    return test


def _points(g: Any) -> tuple[Tensor, ...]:
    return normal(g, 6, 7), normal(g, 2, 7), normal(g, 6, 2), normal(g, 2, 7), normal(g, 6, 2)


def _step_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_points(g), S, RATIO), (6, 7), "W")


def _step_value(answer: Any, g: Any) -> None:
    W, A, B, A_new, B_new = _points(g)
    before, after = B @ A, B_new @ A_new
    step = RATIO * S * (after - before)
    compare(
        answer(W, A, B, A_new, B_new, S, RATIO),
        W + step,
        [
            (step, "Return the new weight, not its increment."),
            (W - step, "W follows the product; yours goes the other way."),
            (W + step / S, "The increment has the scale s of the update."),
            (W + step / RATIO, "Where is the ratio?"),
            (W + RATIO * S * after, "Add what the product has changed by, not the product."),
            (W + RATIO * S * (B_new - B) @ (A_new - A),
             "The change of a product is not the product of the changes."),
        ],
        "Take both products first, then their difference.",
    )  # fmt: skip


def _state(g: Any) -> tuple[Tensor, ...]:
    return normal(g, 3, 5, 7), normal(g, 3, 5, 6), *_points(g)[1:]


def _output_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_state(g), S, RATIO), (3, 5, 6), "The output")


def _output_value(answer: Any, g: Any) -> None:
    x, h, A, B, A_0, B_0 = _state(g)
    now, then = x @ (B @ A).T, x @ (B_0 @ A_0).T
    moved = RATIO * S * (now - then)
    compare(
        answer(x, h, A, B, A_0, B_0, S, RATIO),
        h + S * now + moved,
        [
            (h + S * now, "That is LoRA. How far has W moved?"),
            (h + moved, "W has moved, but the update s B A x is still added as well."),
            (S * now + moved, "The frozen map's output h is missing."),
            (h + (1 + RATIO) * S * now, "W began to move at A_0 and B_0, not at zero."),
            (h + S * now - moved, "The signs of the two products are exchanged."),
        ],
        "Three terms: h, s B A x, and what the moved part of W does to x.",
    )


def _path(g: Any) -> tuple[list[Tensor], list[Tensor], list[float]]:
    As, Bs = [normal(g, 2, 9) for _ in range(5)], [normal(g, 8, 2) for _ in range(5)]
    return As, Bs, [4.0, 3.0, 2.0, 1.0]


def _falling_shape(answer: Any, g: Any) -> None:
    As, Bs, ratios = _path(g)
    tensor(answer(As, Bs, S, ratios), (8, 9), "The change")


def _falling_value(answer: Any, g: Any) -> None:
    As, Bs, ratios = _path(g)
    products = [S * B @ A for A, B in zip(As, Bs, strict=True)]
    steps = [after - before for before, after in pairwise(products)]
    moved = torch.stack([r * step for r, step in zip(ratios, steps, strict=True)]).sum(0)
    compare(
        answer(As, Bs, S, ratios),
        moved,
        [
            (ratios[0] * (products[-1] - products[0]),
             "That is the change with the first ratio in all steps."),
            (ratios[-1] * (products[-1] - products[0]),
             "That is the change with the last ratio in all steps."),
            (sum(ratios) / 4 * (products[-1] - products[0]),
             "A mean ratio would do only if all increments were alike."),
            (moved / S, "Each increment carries the scale s."),
            (ratios[-1] * steps[-1], "That is the last increment alone."),
        ],
        "Multiply each increment by the ratio of its own step, then add them.",
    )  # fmt: skip


def _cause(which: int, right: int, hint: str) -> Stage:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("run A", "run B", "run C", "run D"))[which]
        if given not in (1, 2, 3, 4):
            raise Wrong(f"Run {'ABCD'[which]}: give the number of a cause, 1 to 4.")
        if given != right:
            raise Wrong(f"Run {'ABCD'[which]}: {hint}")

    return Stage(f"run {'ABCD'[which]}", 1, test)


def _print(which: int, right: int, hint: str) -> Stage:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("first", "second", "third", "fourth"))[which]
        if given not in (0, 1):
            raise Wrong("Give 1 for a sentence that may be printed and 0 for one that may not.")
        if given != right:
            raise Wrong(hint)

    return Stage(f"sentence {which + 1}", 1, test)


def _name(number: int) -> str:
    return f"low_rank.delta_lora.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count the rank", "short", 10, 1,
        "A 64 × 64 matrix has an update of rank $r = 4$. What is the highest possible rank of (i) "
        "one increment of $W$, (ii) the sum of 100 increments with one ratio, (iii) the same sum "
        "when $W$ follows from the very first step?",
        "ranks = (..., ..., ...)\n",
        ("An increment is a difference of two products.", "Where does the path of (iii) begin?"),
        (
            Stage("one increment", 1, _ranks(0)),
            Stage("100 increments", 1, _ranks(1)),
            Stage("from the first step", 1, _ranks(2)),
        ),
    ),
    Exercise(
        _name(2), "One step", "code", 10, 1,
        "Return the weight after one step of Equation 1. `A`, `B` are those before the step of the "
        "optimiser, `A_new`, `B_new` those after it. `W` must stay as it is.",
        "def follow(W, A, B, A_new, B_new, s, ratio):\n    raise NotImplementedError\n",
        ("Which two products does the increment compare?",),
        (Stage("the shape is right", 1, _step_shape), Stage("W follows", 2, _step_value)),
    ),
    Exercise(
        _name(3), "Without rewriting", "code", 15, 2,
        "Write the output of a site with a frozen weight: `x` (..., d_in), `h` (..., d_out) the "
        "frozen map's output, `A`, `B` of now and `A_0`, `B_0` of the step at which $W$ began to "
        "move.",
        "def output(x, h, A, B, A_0, B_0, s, ratio):\n    raise NotImplementedError\n",
        ("Equation 3 says what has been added to $W$.", "`x @ A.T @ B.T` is $BAx$ for all tokens."),
        (Stage("the shape is right", 1, _output_shape), Stage("the output", 3, _output_value)),
    ),
    Exercise(
        _name(4), "A ratio that falls", "code", 15, 2,
        "Let the ratio differ from step to step. `As` and `Bs` are lists of the matrices before "
        "the first step and after each, `ratios` has a number for each step. Return how far $W$ "
        "moves. (Then look at the rank of what you return.)",
        "def moved(As, Bs, s, ratios):\n    raise NotImplementedError\n",
        ("Nothing cancels any more: add up step by step.",),
        (Stage("the shape is right", 1, _falling_shape), Stage("the change", 2, _falling_value)),
    ),
    Exercise(
        _name(5), "Diagnose four runs", "short", 15, 2,
        "Four runs with $r = 4$, ratio 2, on 64 × 64 matrices. The whole change, "
        "merged weight minus pretrained weight, has rank 64 in run A, 4 in run B, 0 in run C and 8 "
        "in run D. Causes: (1) $W$ follows from the first step; (2) nothing is wrong; (3) the "
        "ratio falls with the learning rate; (4) the optimiser was made before attaching. "
        "Give the cause of A, B, C and D.",
        "causes = (..., ..., ..., ...)\n",
        ("What does an optimiser know that was made before A and B were there?",
         "Which of the causes stops the sum from telescoping?"),
        (
            _cause(0, 3, "which cause lets every step leave something of its own?"),
            _cause(1, 1, "one product is left of the sum. Which was zero?"),
            _cause(2, 4, "nothing has moved at all. Who moves A and B?"),
            _cause(3, 2, "2 r is what Equation 4 allows."),
        ),
    ),
    Exercise(
        _name(6), "Read a table", "short", 10, 2,
        "Paired differences to LoRA in points, five seeds, 95 % intervals, one base, one task: "
        "method P +1.2 [−0.4, 2.8], method Q +2.1 [0.3, 3.9]. Which of these may be printed? (i) Q "
        "was better than LoRA on this task and base. (ii) P is as good as LoRA. "
        "(iii) Q is better than P. (iv) Whether P differs from LoRA we cannot tell. "
        "Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("Does the interval hold zero?", "Which two methods does a row compare?"),
        (
            _print(0, 1, "Sentence (i): the interval of Q lies above zero, and the base is named."),
            _print(1, 0, "Sentence (ii): an interval that holds zero is no proof of equality."),
            _print(2, 0, "Sentence (iii): the table has no difference between Q and P."),
            _print(3, 1, "Sentence (iv): the interval of P holds zero."),
        ),
    ),
    Exercise(
        _name(7), "Reach full rank", "open", 40, 3,
        "Extend the method: after every 20 steps add $s B A$ to $W$, draw $A$ anew, set $B$ to "
        "zero and begin the optimiser afresh. What bounds the rank of the whole change now? "
        "Measure it, and compare the score with LoRA of the same rank over five paired seeds.",
        "", ("Take the function of this chapter that rewrites $W$.",), (),
    ),
    Exercise(
        _name(8), "Each at its own rate", "open", 30, 2,
        "The table of the knob gives all settings one learning rate. Search the rate of each over "
        "one common grid on the validation split, then score again with new seeds. Which "
        "differences stay?",
        "", ("Five rates from 3e-4 to 3e-2; none of the best at an edge.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "After 1,000 steps at rank 4 with a constant ratio, the whole change of a matrix has rank",
        (
            Option("at most 8", "The start and the end of the path are left.", right=True),
            Option("up to the full width, if the increments point in different directions",
                   "They do point in different directions, and their sum telescopes all the same."),
            Option("exactly 4, as in LoRA",
                   "Only when the path begins at B = 0 does the second product vanish."),
        ),
    ),
    Question(
        "Which change makes the sum of the increments reach a high rank?",
        (
            Option("more steps with the same constant ratio",
                   "The middle of the path cancels, however long it is."),
            Option("a larger ratio", "It stretches the change and adds no direction."),
            Option("a ratio that changes over the steps", "Then the middle no longer cancels.",
                   right=True),
        ),
    ),
    Question(
        "When W follows from the first step and Adam trains A and B, Delta-LoRA is nearly",
        (
            Option("full fine-tuning, since every entry of W changes",
                   "Every entry changes in LoRA too; the rank says which changes are in reach."),
            Option("LoRA with a larger α",
                   "(1 + ρ) times larger; Adam does not see the factor in the gradient.",
                   right=True),
            Option("LoRA with twice the rank", "The second product is zero then."),
        ),
    ),
    Question(
        "In the figure of singular values over the steps, the ninth value at rank 4",
        (
            Option("lies at the level of rounding from beginning to end",
                   "2 r = 8 values stand clear of it.", right=True),
            Option("grows more slowly than the eighth but reaches it before training ends",
                   "Look at the lowest line: it does not leave the floor."),
            Option("is as large as the first", "The first four are the largest."),
        ),
    ),
    Question(
        "What must a file of a Delta-LoRA adapter hold, if W began to follow after step 50?",
        (
            Option("A and B", "Then the reader cannot tell how far W has moved."),
            Option("all of W, since it is no longer the pretrained one",
                   "How far it moved follows from four thin matrices."),
            Option("A and B of now and of step 50", "Equation 3 needs both ends.", right=True),
        ),
    ),
)  # fmt: skip
