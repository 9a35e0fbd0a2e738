"""Exercises of the chapter book/low_rank/adalora.ipynb. P (d_out, r), Lambda (r,), Q (r, d_in)."""

from typing import Any

import torch

from ..compare import compare, measure, normal, number, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _trained(answer: Any, g: Any) -> None:
    measure(
        answer,
        24 * 12 * (128 + 128 + 1),
        [
            (24 * 12 * (128 + 128), "Each triplet has a singular value, too."),
            (24 * 4 * (128 + 128 + 1), "That is what is left in the end; training starts at 12."),
            (12 * (128 + 128 + 1), "That is one matrix; there are 24."),
            (24 * 128 * 128, "Those are the frozen matrices."),
            (24 * (12 * (128 + 128) + 12**2), "Λ is diagonal: r numbers, not r²."),
        ],
        "Matrices × rank at the start × (d_out + 1 + d_in).",
    )


def _half(answer: Any, g: Any) -> None:
    measure(
        answer,
        96 + int((288 - 96) * 0.5**3),
        [
            (192, "Half way on a straight line. The fall is cubic."),
            (24, "What is above the end's budget; add the end's 96."),
            (144, "Squared, not cubed."),
            (96, "That is the end's budget; half way some more are left."),
            (264, "Turned round: the budget falls fast at first."),
        ],
        "96 + (288 − 96) · (1/2)³.",
    )


def _parts(g: Any) -> tuple[Any, ...]:
    return tuple(normal(g, *shape).abs() for shape in ((4, 3), (3,), (3, 5)))


def _score_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_parts(g)), (3,), "The scores")


def _score(answer: Any, g: Any) -> None:
    P, Lambda, Q = _parts(g)
    columns, rows = P.mean(0), Q.mean(1)
    compare(
        answer(P, Lambda, Q),
        Lambda + columns + rows,
        [
            (Lambda + P.sum(0) + Q.sum(1), "Means over the entries of a vector, not sums."),
            (columns + rows, "The singular value's own score is missing."),
            (Lambda * columns * rows, "The three parts are added."),
            ((Lambda + columns + rows) / 3, "A sum of three, not a mean of three."),
            (Lambda, "The two vectors count as well."),
        ],
        "Equation 4: the score of λ, and the means of its column of P and of its row of Q.",
    )


def _budget(answer: Any, g: Any) -> None:
    measure(
        answer(25, 160, 48, 100, 10, 40),
        86,
        [
            (126, "A straight line; the fall is cubic."),
            (38, "Add the end's budget."),
            (51, "Turned round: what is left of the way, not what is behind."),
            (112, "The way ends at total − final, not at total."),
            (86.416, "Round down: a budget is a whole number."),
        ],
        "Equation 5, rounded down.",
        what="The budget",
    )


def _budget_ends(answer: Any, g: Any) -> None:
    if number(answer(4, 160, 48, 100, 10, 40), "The budget") != 160:
        raise Wrong("During the warm-up nothing is pruned: the budget is that of the start.")
    if number(answer(90, 160, 48, 100, 10, 40), "The budget") != 48:
        raise Wrong("In the final phase the budget is that of the end.")


def _keep_count(answer: Any, g: Any) -> None:
    masks = answer([normal(g, 4), normal(g, 4)], 3)
    if not isinstance(masks, list) or len(masks) != 2:
        raise Wrong("Return a list with a mask for each matrix.")
    if sum(int(mask.sum()) for mask in masks) != 3:
        raise Wrong("As many triplets as the budget says stay, in all matrices together.")


def _keep(answer: Any, g: Any) -> None:
    scores = [torch.tensor([5.0, 4.0, 3.0, 0.1]), torch.tensor([0.2, 0.3, 2.0, 0.0])]
    masks = [mask.bool().tolist() for mask in answer(scores, 4)]
    right = [[True, True, True, False], [False, False, True, False]]
    if masks == right:
        return
    if masks == [[True, True, False, False], [False, True, True, False]]:
        raise Wrong("That is two for each matrix. The budget is one for all of them.")
    if masks == [[not kept for kept in row] for row in right]:
        raise Wrong("Those are the triplets that go.")
    raise Wrong("Join the scores of all matrices, take the highest, and part them again.")


def _name(number: int) -> str:
    return f"low_rank.adalora.{number}"


EXERCISES = (
    Exercise(
        _name(1), "What is trained at first", "short", 5, 1,
        "AdaLoRA adapts 24 square matrices of width 128, with rank 12 at the start and 4 in the "
        "end. How many numbers does it train in the first step?",
        "trained = ...\n",
        ("What belongs to a triplet?",),
        (Stage("the count", 2, _trained),),
    ),
    Exercise(
        _name(2), "Half way", "short", 5, 1,
        "The budget falls from 288 triplets to 96. How many are left when half of the steps "
        "between the warm-up and the final phase are done?",
        "left = ...\n",
        ("Equation 5 with one half in the bracket.",),
        (Stage("the budget", 2, _half),),
    ),
    Exercise(
        _name(3), "The importance of a triplet", "code", 10, 2,
        "`P` (d_out, r), `Lambda` (r,) and `Q` (r, d_in) hold the scores of all entries. Return "
        "the importance of the r triplets.",
        "def importance(P, Lambda, Q):\n    raise NotImplementedError\n",
        ("Which entries belong to triplet i?", "Equation 4."),
        (Stage("the shape", 1, _score_shape), Stage("the scores", 2, _score)),
    ),
    Exercise(
        _name(4), "The schedule", "code", 15, 2,
        "Return the budget after `step` of `total` steps, from `start` to `end`, with `warmup` "
        "steps before the first pruning and `final` steps after the last, as a whole number that "
        "is rounded down.",
        "def budget(step, start, end, total, warmup, final):\n    raise NotImplementedError\n",
        ("Three cases.", "Equation 5 in the middle one."),
        (Stage("before and after", 1, _budget_ends), Stage("between", 2, _budget)),
    ),
    Exercise(
        _name(5), "One budget for all", "code", 15, 2,
        "`scores` is a list with the scores (r,) of each matrix. Return a list of masks that "
        "keep the `budget` highest of all.",
        "def keep(scores, budget):\n    raise NotImplementedError\n",
        ("`torch.cat`, `topk`, `split`",),
        (Stage("the number", 1, _keep_count), Stage("the masks", 2, _keep)),
    ),
    Exercise(
        _name(6), "Diagnose", "open", 20, 2,
        "Four runs of AdaLoRA in PEFT: (a) every matrix ends at `init_r`; (b) 110 triplets are "
        "left of a wanted 96; (c) the loss in evaluation is 1.7 above that of the same file "
        "elsewhere; (d) ranks are uneven, and alike for every task. What do you look at?",
        "", ("The table of what goes wrong has three of them.",), (),
    ),
    Exercise(
        _name(7), "Read", "open", 10, 2,
        "Take the printed differences between kinds of maps. Which of these may be printed? (a) "
        "Feed-forward maps need more rank than attention. (b) On tagging, with `tiny-encoder`, "
        "AdaLoRA left more rank in feed-forward maps, five seeds. (c) The random control shows "
        "that the difference is no accident of the schedule. (d) Reviews need no feed-forward map.",
        "", ("What does a low final rank say about the frozen matrix?",), (),
    ),
    Exercise(
        _name(8), "Spend it by hand", "open", 45, 3,
        "Give a LoRA the mean ranks that AdaLoRA left on tagging: a rank for each kind of map, the "
        "same budget in all. Train it over five paired seeds against a uniform LoRA and against "
        "AdaLoRA. How much of the gain is the allocation, and how much the search for it?",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Why is the update written as P Λ Q and not as B A?",
        (
            Option("it has fewer numbers than a product of two matrices at the same rank",
                   "It has r more for each matrix."),
            Option("its parts can be cut one by one, and come back",
                   "Only λ is set to zero; the vectors stay.", right=True),
            Option("its singular values are computed exactly, in every step of the training",
                   "Nothing is decomposed; the form is only encouraged, by the penalty."),
        ),
    ),
    Question(
        "In the two tables of ranks, what decides which kind of map keeps more?",
        (
            Option("the task", "Tagging and reviews give opposite pictures.", right=True),
            Option("the seed of the run", "The intervals over seeds are far from zero."),
            Option("the method, as its paper says", "The paper's direction is seen on one of two."),
        ),
    ),
    Question(
        "What is the random order a control for?",
        (
            Option("for the number of parameters that are trained in the first step",
                   "That is the same in both."),
            Option("for the learning rate, which was found with the importance in use",
                   "Both use one rate; the control does not test it."),
            Option("for what a falling budget does by itself",
                   "All else is alike but the choice.", right=True),
        ),
    ),
    Question(
        "PEFT's total_step is set to four times the steps that are run. Then",
        (
            Option("too many triplets are left", "The schedule is cut off on its way.", right=True),
            Option("an error says so when the training ends before the schedule",
                   "None does. Print the ranks."),
            Option("the last phase is four times as long, and the ranks are as they should be",
                   "The last phase is never reached."),
        ),
    ),
    Question(
        "AdaLoRA's 1.27M against LoRA's 1.33M in the paper's table says that",
        (
            Option("pruned triplets are not counted, and so it is smaller",
                   "Both have rank 8 on average; pruned ones are left out already."),
            Option("two units were used", "In one unit, AdaLoRA has 576 more.", right=True),
            Option("AdaLoRA leaves some of the matrices without any triplet at all",
                   "It may, but the budget is the same."),
        ),
    ),
)  # fmt: skip
