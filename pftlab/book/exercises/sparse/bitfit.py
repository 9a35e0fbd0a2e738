"""Exercises of the chapter book/sparse/bitfit.ipynb."""

from typing import Any

import torch

from ..choices import causes, sentences
from ..compare import close, compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("trained", "with a gradient"))[which]
        d, small, layers = 896, 128, 24
        every, useful = layers * (d + 2 * small), layers * (d + small)
        if which == 0:
            measure(given, every, [
                (d + 2 * small, "Trained: that is one layer; there are 24."),
                (layers * 3 * d, "Trained: keys and values are narrower than the queries."),
                (layers * (d + small), "Trained: query, key and value are three maps."),
                (layers * d, "Trained: keys and values have biases as well."),
            ], "Trained: a bias is as long as what its map returns.")  # fmt: skip
        else:
            measure(given, useful, [
                (every, "With a gradient: one of the three never gets any."),
                (layers * d, "With a gradient: the values' biases do get one."),
                (layers * 2 * small, "With a gradient: it is the keys' that get none."),
                (d + small, "With a gradient: that is one layer."),
            ], "With a gradient: see the maths for the bias that the softmax cancels.")  # fmt: skip

    return test


def _unit(answer: Any, g: Any) -> None:
    w, x = normal(g, 5), normal(g, 5)
    given = answer(w, x)
    right = -(w @ x)
    if not isinstance(given, torch.Tensor):
        given = torch.tensor(float(given), dtype=torch.float64)
    compare(
        given.reshape(()),
        right,
        [
            (-right, "The sign: the unit's input at this point is then twice w·x, and not zero."),
            (right / w.norm(), "No division: the input of the unit is w·x + b itself."),
            (right / x.norm(), "No division: the input of the unit is w·x + b itself."),
        ],
        "The bias is right when w·x + b is zero at the given point.",
    )


def _attention_case(g: Any) -> tuple[Any, ...]:
    return normal(g, 4, 6), normal(g, 5, 6), normal(g, 6), normal(g, 6)


def _attention_shape(answer: Any, g: Any) -> None:
    q, k, u, v = _attention_case(g)
    given = answer(q, k, u, v)
    if isinstance(given, torch.Tensor) and tuple(given.shape) == (5, 4):
        raise Wrong("That is transposed: a row for each query, a column for each key.")
    tensor(given, (4, 5), "The attention")


def _attention_value(answer: Any, g: Any) -> None:
    q, k, u, v = _attention_case(g)

    def weights(q: Any, k: Any, scale: float = 6**-0.5) -> Any:
        return (scale * q @ k.T).softmax(-1)

    compare(
        answer(q, k, u, v),
        weights(q + u, k + v),
        [
            (weights(q, k), "Neither shift has changed anything. Where does the query's go?"),
            (weights(q + v, k + u), "The shifts are swapped."),
            (weights(q + u, k + v, 1.0), "The scores are divided by the root of the width."),
            ((6**-0.5 * (q + u) @ (k + v).T).softmax(0), "Each query's weights add up to 1."),
            (6**-0.5 * (q + u) @ (k + v).T, "Those are the scores. The softmax is missing."),
        ],
        "Shift, multiply, divide by the root of the width, and take the softmax over the keys.",
    )


def _fold_case(g: Any) -> tuple[Any, ...]:
    return normal(g, 4, 6), normal(g, 4), normal(g, 6)


def _fold_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_fold_case(g)), (4,), "The bias")


def _fold_value(answer: Any, g: Any) -> None:
    W, b, shift = _fold_case(g)
    attention = normal(g, 3, 3).softmax(-1)
    values = normal(g, 3, 6)
    given = answer(W, b, shift)
    if close(attention @ values @ W.T + given, attention @ (values + shift) @ W.T + b):
        return
    compare(
        given,
        b + W @ shift,
        [
            (b, "Nothing of the values' shift has arrived."),
            (W @ shift, "The output's own bias is lost."),
            (b - W @ shift, "The sign: the shift is added."),
        ],
        "Equation 3: the weights of a query add up to 1, so the shift arrives whole, through W.",
    )


_causes = causes((2, 4, 1, 3), (
    "(a) Nothing of the base moves, and nothing is refused. What did the filter find?",
    "(b) Which rates were made for other parameters?",
    "(c) The loss is fine in training. What is lost between there and the file?",
    "(d) Which of the causes is left? What did the optimiser know when it was made?",
))  # fmt: skip

_printed = sentences((0, 1, 0, 0), (
    "(i) Does the interval at 20 texts hold zero?",
    "(ii) Is zero inside the interval at 5,000 texts?",
    "(iii) A crossing needs a sign at both ends.",
    "(iv) Was anything else than the amount of data changed?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"sparse.bitfit.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Biases of another decoder", "short", 10, 1,
        "A decoder of 24 layers has biases at its query, key and value maps and nowhere else. "
        "Queries are 896 wide, keys and values 128 each. Positions are added to the input, as in "
        "GPT-2. How many numbers does BitFit train, and how many of these ever get a gradient?",
        "biases = (..., ...)\n",
        ("A bias is as long as the output of its map.", "One of the three is cancelled."),
        (Stage("trained", 1, _count(0)), Stage("with a gradient", 1, _count(1))),
    ),
    Exercise(
        _name(2), "Move a threshold", "code", 5, 1,
        "A hidden unit computes max(0, w·x + b). Return the bias that puts its threshold, where "
        "it begins to answer, on the point `x`.",
        "def bias_at(w, x):\n    raise NotImplementedError\n",
        ("What is the input of the unit at its threshold?",),
        (Stage("the bias", 2, _unit),),
    ),
    Exercise(
        _name(3), "What a query's bias does", "code", 15, 2,
        "`q` (m, width) and `k` (n, width) are queries and keys of one head, `u` and `v` (width,) "
        "the changes of their biases. Return the weights of attention, (m, n). Then try `u = 0`.",
        "def attention(q, k, u, v):\n    raise NotImplementedError\n",
        ("The changes are added to every row.", "Scores are divided by the root of the width."),
        (Stage("the shape", 1, _attention_shape), Stage("the weights", 2, _attention_value)),
    ),
    Exercise(
        _name(4), "Two biases, one effect", "code", 15, 2,
        "The values' bias changes by `shift` (d,). The output projection has the weight `W` "
        "(d_out, d) and the bias `b` (d_out,). Return a bias for the output projection that does "
        "the same with the values' bias left as it was.",
        "def fold(W, b, shift):\n    raise NotImplementedError\n",
        ("What do the weights of attention of a query add up to?", "Equation 3."),
        (Stage("the shape", 1, _fold_shape), Stage("the bias", 2, _fold_value)),
    ),
    Exercise(
        _name(5), "Diagnose four runs", "short", 15, 2,
        "Four runs with BitFit went wrong. (a) On a new decoder the head learns, and no parameter "
        "of the base has changed; no error was shown. (b) On BERT the loss falls so slowly that it "
        "looks flat. (c) The validation score is good, and a reloaded model scores like the base "
        "with a trained head. (d) All trained parameters are exactly as they were at the start. "
        "Causes: 1 the file holds the head alone; 2 the model has no biases, and a filter by name "
        "found none; 3 the optimiser was made of the parameters of another copy of the model; "
        "4 the rate was that of full fine-tuning. Give the cause of each.",
        "cause = (..., ..., ..., ...)\n",
        ("Each cause explains one run.",),
        (Stage("the causes", 2, _causes),),
    ),
    Exercise(
        _name(6), "Read the differences", "short", 10, 2,
        "Somebody trains BitFit and all weights, five paired seeds, each at its own rate. BitFit "
        "minus full: with 20 texts +2.1 ± 3.0 points; with 5,000 texts −4.0 ± 1.5. May one print: "
        "(i) BitFit is better with few texts; (ii) with 5,000 texts full fine-tuning is ahead on "
        "this task; (iii) the two lines cross; (iv) BitFit stops because it has too few "
        "parameters? Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("An interval that holds zero has no sign.",),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(7), "Extend: give a Llama biases", "open", 60, 3,
        "Plant a trained vector, zero at first, behind every linear map of a model that has no "
        "biases: a delta of one line, $h + b$. Does it merge? Compare it with (IA)³ and LayerNorm "
        "tuning on the base of your choice, each at its own rate, over five paired seeds.",
        "", ("Add a method: CONTRIBUTING.md says how.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "What does a changed bias add to the output of its map?",
        (
            Option("a vector that depends on the text and is large for rare words",
                   "A bias is a trained number that does not look at the text."),
            Option("the same vector for every token, whichever it is and wherever it stands",
                   "It is added behind the map, and nothing of the text is in it.",
                   right=True),
            Option("a scaled copy of what the map returned before",
                   "That would be a rescaling, as of (IA)³."),
        ),
    ),
    Question(
        "In the toy, 128 hidden units could be turned to the new task by biases because",
        (
            Option("the frozen units look in many directions", "Biases choose among what is there.",
                   right=True),
            Option("128 biases are as many numbers as a network of that size would need anyway",
                   "Its weights are many more; and one unit has one bias."),
            Option("the output weights were trained together with the biases of the units",
                   "They were frozen."),
        ),
    ),
    Question(
        "Which two biases of a layer can do the same thing?",
        (
            Option("those of the query and of the key, since both enter the scores",
                   "The softmax cancels the key's, not the query's."),
            Option("those of the two maps of the feed-forward network",
                   "Between these two stands the non-linearity."),
            Option("those of the value and of the output projection",
                   "Attention weights add up to 1, so the value's bias passes them unchanged.",
                   right=True),
        ),
    ),
    Question(
        "BitFit is attached to a Llama. What happens in this book's package?",
        (
            Option("it is refused", "There is nothing that it could train.", right=True),
            Option("the layer norms are trained in place of the biases that it lacks",
                   "Those are another method, and you have to ask for it."),
            Option("the head is trained alone, and a count of the parameters shows it",
                   "That is what a filter by name does, without a word."),
        ),
    ),
    Question(
        "The paper's two lines over the number of examples cross. What does a crossing need, to be "
        "claimed?",
        (
            Option("means that change their order from the left end to the right",
                   "Means always have some order."),
            Option("intervals of the two methods that overlap at one end and not at the other",
                   "Overlap is no test: take the paired difference."),
            Option("a paired difference at each end whose interval leaves zero out, with "
                   "another sign",
                   "Then each end is settled, and the two differ in their winner.",
                   right=True),
        ),
    ),
)  # fmt: skip
