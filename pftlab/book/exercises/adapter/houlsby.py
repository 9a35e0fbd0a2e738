"""Exercises of the chapter book/adapter/houlsby.ipynb. Shapes: W_down (m, d), W_up (d, m)."""

import math
from typing import Any

import torch
from torch.nn.functional import gelu

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _fits(layers: int, d: int, width: int, spare: int) -> Any:
    """A budget that `width` fits into, with `spare` numbers left over."""

    def test(answer: Any, g: Any) -> None:
        budget = 2 * layers * (2 * d * width + width + d) + spare
        given = answer(layers, d, budget)
        if given != int(given):
            raise Wrong("A width is a whole number.")
        measure(
            given,
            width,
            [
                ((budget // layers - d) // (2 * d + 1), "There are two adapters in a layer."),
                ((budget // 2 - d) // (2 * d + 1), "The budget is for all layers."),
                (width + 1, "That is more than the budget: round down."),
                (width - 1, "One more would still fit."),
            ],
            "Solve 2 L (2 d m + m + d) ≤ budget for m.",
        )  # fmt: skip

    return test


def _case(g: Any) -> tuple[torch.Tensor, ...]:
    return (
        normal(g, 3, 5, 6), normal(g, 2, 6), normal(g, 2), normal(g, 6, 2), normal(g, 6),
    )  # fmt: skip


def _shape(answer: Any, g: Any) -> None:
    tensor(answer(*_case(g)), (3, 5, 6), "The new hidden state")


def _forward(answer: Any, g: Any) -> None:
    h, down, a, up, b = _case(g)
    middle = h @ down.T + a
    compare(
        answer(h, down, a, up, b),
        h + gelu(middle) @ up.T + b,
        [
            (gelu(middle) @ up.T + b, "The skip connection is missing: h goes on unchanged."),
            (h + middle @ up.T + b, "The non-linearity is missing."),
            (h + gelu(middle) @ up.T, "The bias of the way up is missing."),
            (h + gelu(h @ down.T) @ up.T + b, "The bias of the way down is missing."),
            (h + gelu(middle @ up.T + b), "The non-linearity stands in the middle, not behind."),
            (gelu(h) + gelu(middle) @ up.T + b, "h itself passes no non-linearity."),
        ],
        "Equation 1.",
    )


def _deviation(answer: Any, g: Any) -> None:
    d, m, size = 768, 64, 1e-3
    root = math.sqrt(d * m)
    right = math.sqrt(2 * size / (0.774 * root))
    measure(
        answer(d, m, size),
        right,
        [
            (2 * size / (0.774 * root), "That is the variance; asked is the deviation."),
            (math.sqrt(size / (0.774 * root)), "GELU halves small numbers."),
            (math.sqrt(2 * size / root), "The normal is cut off, which leaves 0.774 of σ²."),
            (math.sqrt(2 * size / (0.774 * d * m)), "The root of d times d_mid is missing."),
        ],
        "Solve Equation 2 for σ.",
        within=1e-3,
    )


def _moves(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("first step", "second step"))[which]
        if which == 0:
            measure(given, 2, [
                (1, "That is so if both matrices are zero. Here the middle is not."),
                (4, "What comes back to the middle has to pass W_up, and that is zero."),
                (3, "Both numbers of the way down wait, or neither."),
            ], "Which gradients have W_up as a factor?")  # fmt: skip
        else:
            measure(given, 4, [
                (2, "By now W_up has moved, and something comes back through it."),
                (1, "What moved in the first step goes on."),
                (3, "The bias and the matrix of the way down open together."),
            ], "After the first step nothing stands in the way.")  # fmt: skip

    return test


def _name(number: int) -> str:
    return f"adapter.houlsby.{number}"


EXERCISES = (
    Exercise(
        _name(1), "The widest that fits", "code", 10, 1,
        "A model has `layers` layers of width `d`, with two adapters in each, biases included and "
        "norms not. Return the largest bottleneck with which all adapters together have at most "
        "`budget` parameters.",
        "def widest(layers, d, budget):\n    raise NotImplementedError\n",
        ("Write down what one adapter has.", "Divide, and round down."),
        (Stage("a budget that is used up", 1, _fits(12, 768, 64, 0)),
         Stage("a budget with a rest", 1, _fits(4, 128, 8, 500))),
    ),
    Exercise(
        _name(2), "An adapter on rows", "code", 10, 1,
        "`h` is (…, d), `down` (m, d), `up` (d, m); `a` (m,) and `b` (d,) are the biases of the "
        "ways down and up. Return what the adapter makes of `h`, with GELU.",
        "def adapter(h, down, a, up, b):\n    raise NotImplementedError\n",
        ("Tokens are rows here.", "`torch.nn.functional.gelu`"),
        (Stage("the shape", 1, _shape), Stage("the values", 2, _forward)),
    ),
    Exercise(
        _name(3), "The same start for every width", "code", 10, 2,
        "At a fixed $\\sigma$ a wider adapter begins further from the identity. Return the "
        "$\\sigma$ at which an adapter of width `m` in a model of width `d` changes its input by "
        "the share `size`, by Equation 2 with $\\kappa = 0.774$.",
        "def deviation(d, m, size):\n    raise NotImplementedError\n",
        ("Equation 2, the other way round.",),
        (Stage("the deviation", 2, _deviation),),
    ),
    Exercise(
        _name(4), "Zero above, random below", "short", 10, 2,
        "An adapter begins with $W_\\text{up} = 0$, both biases zero and a random "
        "$W_\\text{down}$. It has four tensors. How many of them does plain gradient descent move "
        "in the first step, and how many in the second?",
        "moved = (..., ...)\n",
        ("Write down the gradient of each.", "Which have $W_\\text{up}$ as a factor?"),
        (Stage("first step", 1, _moves(0)), Stage("second step", 1, _moves(1))),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 15, 2,
        "Four runs went wrong. (a) The first loss is many times that of guessing. (b) The first "
        "loss is that of the frozen base, and within a few steps the validation accuracy falls "
        "below the base's. (c) Of each adapter one bias has moved, and nothing else. (d) The "
        "training loss falls, and no adapter has moved. The causes: 1, both matrices began at "
        "zero; 2, the deviation of the first weights is 1 in place of 0.01; 3, the optimiser was "
        "made before the adapters were attached; 4, the rate is ten times too high. Give the cause "
        "of each run.",
        "causes = (..., ..., ..., ...)\n",
        ("What does each cause do to step 0, and what to step 1?",),
        (Stage("the causes", 3, causes(
            (2, 4, 1, 3),
            ("Run a: which cause can be seen before any step is made?",
             "Run b: the start was right, and the way was not.",
             "Run c: for which start are three of four gradients zero?",
             "Run d: who tells the optimiser what there is to train?"))),),
    ),
    Exercise(
        _name(6), "Read", "short", 10, 2,
        "Five paired seeds: the test accuracy at width 64 less that at width 1 is +1.8 ± 2.6. "
        "With 2,000 more steps it is +3.1 ± 1.4. Which sentences may be printed? (i) Width does "
        "not matter in the short runs. (ii) In the short runs the two widths cannot be told apart. "
        "(iii) In the long runs width 64 was ahead on average. (iv) Width 64 needs more steps "
        "because it has more parameters. Give 1 for yes and 0 for no.",
        "printed = (..., ..., ..., ...)\n",
        ("Which intervals hold zero?", "What would show a cause?"),
        (Stage("the sentences", 2, sentences(
            (0, 1, 1, 0),
            ("(i) An interval that holds zero does not prove equality.",
             "(ii) It holds zero, and the sentence says no more than that.",
             "(iii) That interval lies above zero.",
             "(iv) A cause needs an intervention, and nobody has made one."))),),
    ),
    Exercise(
        _name(7), "A fallback", "open", 30, 3,
        "Make the promise of an identity at worst true. Train an adapter and, on the same texts, "
        "the head alone; keep what is better on validation texts that neither has seen. Over five "
        "seeds on `reviews`, how often does the choice fall on the frozen base? How often is what "
        "you keep still below it in the test, and why can that be?",
        "", ("The stored runs of this page show what validation may miss.",), (),
    ),
    Exercise(
        _name(8), "Less of an adapter", "open", 30, 3,
        "Which half of the adapters does the work? Train width 16 behind attention alone and "
        "behind the feed-forward network alone (`at=`), and at twice the width to keep the count. "
        "Five paired seeds, one interval for each difference.",
        "", (), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "What does the skip connection of an adapter guarantee?",
        (
            Option("that some setting of its weights is the identity", "All zeros, for one.",
                   right=True),
            Option("that training never ends below the frozen base",
                   "Nothing holds the weights near the setting that is the identity."),
            Option("that its gradient is small at first", "A small start sees to that."),
        ),
    ),
    Question(
        "All weights of an adapter begin at exactly zero. What can it learn?",
        (
            Option("everything, only more slowly than from a small start",
                   "Zero gradients stay zero."),
            Option("one shift, equal for every token", "The last bias alone gets a gradient.",
                   right=True),
            Option("nothing at all", "One of its four tensors gets a gradient."),
        ),
    ),
    Question(
        "Ten times the deviation at the start. The adapter's first change of its input grows",
        (
            Option("about ten times", "There are two matrices, one behind the other."),
            Option("by the square root of its width", "That is what a larger width does."),
            Option("about a hundred times", "While GELU is nearly linear.", right=True),
        ),
    ),
    Question(
        "Look at the counts of the live runs. At width 1 what is trained lies",
        (
            Option("three fifths in the adapters", "3,080 of 5,384; the norms have the others.",
                   right=True),
            Option("nearly all in the norms, since one number is next to nothing",
                   "An adapter still has two rows of d numbers, and a bias."),
            Option("nearly all in the adapters, of which there are eight",
                   "So there are, and each is small."),
        ),
    ),
    Question(
        "A trained adapter has good validation accuracy. Its test accuracy is below that of the "
        "frozen base. That",
        (
            Option("cannot be, if the adapter began as an identity",
                   "It can: the page has a case."),
            Option("shows that the rate was too high", "Nobody has tried another here."),
            Option("can be, if the test differs from the validation texts",
                   "The adapter has learned what the test does not ask.", right=True),
        ),
    ),
)  # fmt: skip
