"""Exercises of the chapter book/adapter/placement.ipynb."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from ..choices import causes, sentences
from ..compare import compare, measure, normal, number, numbers, pair, tensor
from ..model import Exercise, Option, Question, Stage, Wrong

LAYERS, WIDTH, MIDDLE = 24, 1024, 64


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("Pfeiffer", "more in Adapter+"))[which]
        down = torch.nn.Linear(WIDTH, MIDDLE, device="meta")
        up = torch.nn.Linear(MIDDLE, WIDTH, device="meta")
        one = sum(p.numel() for layer in (down, up) for p in layer.parameters())
        scale = torch.empty(WIDTH, device="meta").numel()
        if which == 0:
            measure(
                given,
                LAYERS * one,
                [
                    (2 * LAYERS * one, "Pfeiffer: those are Houlsby's, two in each layer."),
                    (one, "Pfeiffer: that is one layer."),
                    (LAYERS * 2 * down.weight.numel(), "Pfeiffer: the two biases are missing."),
                    (LAYERS * down.weight.numel(), "Pfeiffer: there is a way up, too."),
                ],
                "Pfeiffer: count one adapter, weights and biases, and then the layers.",
            )
        else:
            measure(
                given,
                LAYERS * scale,
                [
                    (scale, "More: that is one layer."),
                    (2 * LAYERS * scale, "More: that is a layer norm's; a scale has one vector."),
                    (LAYERS, "More: each channel has a scale of its own, not each layer."),
                ],
                "More: what does Adapter+ have that Pfeiffer's has not?",
            )

    return test


PLACES = ("behind", "beside", "before the norm", "behind the block")


def _placed(place: str, answer: Any, g: Any) -> None:
    x, W, D, U = normal(g, 3, 6), normal(g, 6, 6), normal(g, 2, 6), normal(g, 6, 2)

    def norm(z: Tensor) -> Tensor:
        return layer_norm(z, (6,))

    def a(z: Tensor) -> Tensor:
        return torch.relu(z @ D.T) @ U.T

    fx = torch.tanh(x @ W.T)
    v = x + fx
    h = norm(v)
    outputs = {
        PLACES[0]: norm(v + a(fx)),
        PLACES[1]: norm(v + a(x)),
        PLACES[2]: norm(v + a(h)),
        PLACES[3]: h + a(h),
    }
    known = [(out, f"{place}: that is the place {name!r}.") for name, out in outputs.items()]
    known += [
        (h, f"{place}: that is the layer without an adapter."),
        (norm(a(fx) + fx), f"{place}: the residual connection around f is missing."),
        (v + a(h), f"{place}: the layer norm is missing."),
        (norm(v + a(v)), f"{place}: the adapter reads the sum behind its norm, LN(v)."),
        (h + a(v), f"{place}: the adapter reads what the block returns."),
    ]
    found = tensor(answer(place, x, W, D, U), (3, 6), f"{place}: the output")
    compare(found, outputs[place], known, f"{place}: look at its row of the table of places.")


def _place(index: int) -> Any:
    return lambda answer, g: _placed(PLACES[index], answer, g)


def _folded(channels: bool) -> Any:
    def test(answer: Any, g: Any) -> None:
        U, u, z = normal(g, 5, 2), normal(g, 5), normal(g, 7, 2)
        s: Any = normal(g, 5) if channels else 3.0
        weight, bias = pair(answer(U, u, s), "the new W_up and the new b_up")
        weight = tensor(weight, (5, 2), "The new W_up")
        bias = tensor(bias, (5,), "The new b_up")
        right = s * (z @ U.T + u)
        compare(
            z @ weight.T + bias,
            right,
            [
                (s * (z @ U.T) + u, "The bias is part of what is scaled."),
                (z @ U.T + s * u, "The matrix is part of what is scaled."),
                (z @ U.T + u, "Nothing has changed: s is missing."),
                (s * s * (z @ U.T + u), "The scale is there twice."),
                ((z @ U.T + u) / s, "You divided by s."),
            ],
            "The new matrix and bias should give s times what the old ones gave, for each channel.",
        )

    return test


def _columns(answer: Any, g: Any) -> None:
    U, u, s = normal(g, 4, 4), normal(g, 4), normal(g, 4)
    weight, _ = pair(answer(U, u, s), "the new W_up and the new b_up")
    if torch.allclose(weight, U * s):
        raise Wrong("You scaled the columns: a channel of the output is a row of W_up.")


def _found(answer: Any, g: Any) -> None:
    z = normal(g, 40, 3)
    given = number(answer(z, z @ normal(g, 3) + 2.0), "The share")
    if abs(given - 1) < 1e-6:
        raise Wrong("Here everything is found: 0. Asked is what is missing, not what is found.")
    if abs(given) > 1e-6:
        raise Wrong("Here the target is linear in z, plus a constant: nothing is missing.")


def _some(answer: Any, g: Any) -> None:
    z = normal(g, 40, 3)
    target = z @ normal(g, 3) + normal(g, 40) + 1.0
    ones = torch.cat([z, torch.ones(40, 1).double()], dim=1)
    left = target - ones @ torch.linalg.lstsq(ones, target[:, None]).solution[:, 0]
    spread = (target - target.mean()).square().mean()
    measure(
        answer(z, target),
        (left.square().mean() / spread).item(),
        [
            (left.square().mean().item(), "Divide by the variance of the target."),
            ((left.square().mean() / spread).sqrt().item(), "Squares, not lengths."),
            (
                (left.square().mean() / target.square().mean()).item(),
                "The variance is around the mean of the target.",
            ),
        ],
        "The mean square of what is left, divided by the variance of the target.",
    )


_causes = causes((2, 4, 3, 1), (
    "a: shapes fit, and a good accuracy is gone after loading. What do shapes not tell?",
    "b: look at the two counts before you look at the two accuracies.",
    "c: before the first step nothing has been learned. What can differ then?",
    "d: the adapters did not move at all, and the head did. Who was told of them?",
))  # fmt: skip

_printed = sentences((0, 1, 0, 0), (
    "i: a sentence without a base is about all bases.",
    "ii: here the interval lies on one side of zero, and base and rate are named.",
    "iii: an interval that holds zero does not say that two things are equal.",
    "iv: both ran at one rate. What would you have to know for this sentence?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"adapter.placement.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count before you compare", "short", 5, 1,
        "A model has 24 layers of width 1024. Pfeiffer's adapters and Adapter+ both have 64 "
        "numbers in the middle. (i) How many parameters do Pfeiffer's have? (ii) How many more has "
        "Adapter+?",
        "counts = (..., ...)\n",
        ("One adapter: down, up, two biases.", "One adapter a layer, in both."),
        (Stage("Pfeiffer", 1, _count(0)), Stage("more in Adapter+", 1, _count(1))),
    ),
    Exercise(
        _name(2), "Four places", "code", 15, 2,
        "Return what a layer with the norm behind the residual sum returns, with an adapter at "
        '`place`: "behind", "beside", "before the norm" (Pfeiffer\'s) or "behind the block". The '
        "cell has the frozen sub-layer `f`, the layer norm, and `a`, what the adapter adds; use "
        "them. `x` (tokens, d), `W` (d, d), `D` (m, d), `U` (d, m). All scales are 1.",
        "def layer(place, x, W, D, U):\n"
        "    def f(z):\n        return torch.tanh(z @ W.T)\n\n"
        "    def norm(z):\n        return torch.nn.functional.layer_norm(z, z.shape[-1:])\n\n"
        "    def a(z):\n        return torch.relu(z @ D.T) @ U.T\n\n"
        "    raise NotImplementedError\n",
        ("Equation 1, and the table below it.", "Compute f(x), v and LN(v) once, then choose."),
        tuple(Stage(place, 1, _place(index)) for index, place in enumerate(PLACES)),
    ),
    Exercise(
        _name(3), "Fold the scale", "code", 10, 2,
        "After training, the scale need not be computed. Given `U` (d, m), `u` (d,) and `s`, a "
        "number or one for each channel (d,), return the matrix and the bias of an adapter without "
        "a scale that adds the same.",
        "def fold(U, u, s):\n    raise NotImplementedError\n",
        ("Which dimension of U belongs to the channels?", "A vector scales rows as s[:, None]."),
        (
            Stage("a number", 1, _folded(False)),
            Stage("rows, not columns", 1, _columns),
            Stage("a scale for each channel", 1, _folded(True)),
        ),
    ),
    Exercise(
        _name(4), "What an input lacks", "code", 15, 2,
        "`z` (n, d) is what an adapter reads and `target` (n,) what should be added. Return the "
        "share of the target's variance that the best *linear* function of z, with a constant, "
        "leaves: 0 if it finds all, 1 if it finds nothing.",
        "def missing(z, target):\n    raise NotImplementedError\n",
        ("`torch.linalg.lstsq`, with a column of ones.", "The mean square of what is left, over "
         "that of the target around its mean."),
        (Stage("all of it is there", 1, _found), Stage("some of it is there", 2, _some)),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 10, 2,
        "Four runs went wrong. (a) Adapters that reached 80 % give guesses after loading; every "
        "shape fitted. (b) One place beats another by ten points; their counts are 52,000 and "
        "9,000. (c) Before the first step the loss is twice the base's. (d) After training, the "
        "head has moved and no adapter has. Causes: (1) the optimiser was made before the method "
        "was attached; (2) the tensors stand at another place than in training; (3) the initial "
        "weights are large; (4) the widths were left at their defaults. Give the cause of each "
        "run, a to d.",
        "causes = (..., ..., ..., ...)\n",
        ("What does each cause change before the first step?",),
        (Stage("each run has its cause", 2, _causes),),
    ),
    Exercise(
        _name(6), "Read", "short", 10, 2,
        "Beside minus behind, five paired seeds, both at one rate: base A +1.4 ± 3.0, base B "
        "+4.2 ± 1.6. Which may be printed? (i) Beside is better than behind. (ii) On base B, at "
        "this rate, beside was ahead. (iii) On base A the two places are equal. (iv) On base B, "
        "beside is ahead at the best rate of each. Give 1 or 0 for i to iv.",
        "printed = (..., ..., ..., ...)\n",
        ("Does the interval hold zero? What does the sentence say that was not run?",),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(7), "Extend", "open", 30, 3,
        "One adapter in each layer is a habit too. Spend the parameters of this page's adapters "
        "on the upper half of the layers alone, with twice the width (`layers=`). Is it told apart "
        "from the even spread, over five paired seeds? Then try the lower half.",
        "", ("Keep the counts equal, and print them.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "Norm behind the sum: adapters behind f, beside f and at Pfeiffer's place differ in",
        (
            Option("what they read", "They all add to the same sum.", right=True),
            Option("where in the layer their change is added to the stream",
                   "All three add to the sum before its norm."),
            Option("how many parameters they have at one width", "The network is the same."),
        ),
    ),
    Question(
        "In GPT-2, Pfeiffer's adapter and one behind the block (no extras) are",
        (
            Option("two places, as in BERT", "There the norm stands between; here none does."),
            Option("the same", "The block returns the residual sum as it is.", right=True),
            Option("impossible, for there is no norm to plant the adapter at",
                   "It then reads the stream itself."),
        ),
    ),
    Question(
        "A direction of x that f ignores can be used by an adapter",
        (
            Option("behind f, if it is wide enough", "It is not in f(x), at any width."),
            Option("at any of the places, after enough steps of training",
                   "No training brings back what the input does not hold."),
            Option("beside f", "It reads x itself.", right=True),
        ),
    ),
    Question(
        "In the figure, a thin line joins",
        (
            Option("the runs of one seed", "Head and order of the data are the same along it.",
                   right=True),
            Option("the runs of one place, from the first seed to the last",
                   "A place is a row; a line goes through all rows."),
            Option("the means of the places", "Those are the large marks."),
        ),
    ),
    Question(
        "Adapters trained beside a sub-layer are loaded behind it. What happens?",
        (
            Option("An error: the shapes of the two places differ", "They are the same."),
            Option("No error, another function", "Only the settings know the place.", right=True),
            Option("The same outputs, because both add to the same sum",
                   "They add to it what they make of another input."),
        ),
    ),
)  # fmt: skip
