"""Exercises of the chapter book/others/loreft.ipynb. States h (..., d), rows R and W (r, d)."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("decoder", "encoder"))[which]
        if which == 0:
            unit = 2 * 4 * 2048 + 4
            measure(given, 24 * 2 * unit, [
                (24 * unit, "Decoder: the first and the last words have edits of their own."),
                (2 * unit, "Decoder: that is one layer."),
                (unit, "Decoder: that is one edit of one layer."),
                (24 * 2 * (unit - 4), "Decoder: b is missing."),
                (24 * 2 * (4 * 2048 + 4), "Decoder: R and W both have d columns."),
                (24 * 12 * unit, "Decoder: the words of one side share their edit."),
            ], "Decoder: an edit has R, W and b.")  # fmt: skip
        else:
            unit = 8 * 1024 + 8
            measure(given, 12 * unit, [
                (12 * (2 * 8 * 1024 + 8), "Encoder: nothing reads h there, so W is not there."),
                (unit, "Encoder: that is one layer."),
                (12 * (unit - 8), "Encoder: b is missing."),
                (5 * 12 * unit, "Encoder: all five words share the edit."),
            ], "Encoder: what is left of R, W and b in that form?")  # fmt: skip

    return test


def _rows(g: Any) -> Tensor:
    """Two orthonormal rows (2, 5)."""
    columns: Tensor = torch.linalg.qr(normal(g, 5, 2))[0]
    return columns.T


def _edit(g: Any) -> tuple[Tensor, ...]:
    return normal(g, 6, 5), _rows(g), normal(g, 2, 5), normal(g, 2)


def _edited_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_edit(g)), (6, 5), "The states")


def _edited_value(answer: Any, g: Any) -> None:
    h, R, W, b = _edit(g)
    inside, said = h @ R.T, h @ W.T
    compare(
        answer(h, R, W, b),
        h + (said + b - inside) @ R,
        [
            ((said + b - inside) @ R, "That is the change alone: add it to h."),
            (h + (said + b) @ R, "What was in the subspace is still there: that is DiReFT."),
            (h + (said - inside) @ R, "b is missing."),
            (h + (said + b + inside) @ R, "Take away what was there, do not add it."),
            (h + (said + b - inside) @ W, "Back into the width by R, not by W."),
            (h + (b - inside) @ R, "W h is missing."),
        ],
        "Inside the rows of R, h becomes W h + b; outside it stays.",
    )


def _places(n: int, p: int, s: int) -> list[int]:
    p, s = (min(p, n // 2), min(s, n - n // 2)) if n < p + s else (p, s)
    return [*range(p), *range(n - s, n)]


def _places_test(cases: tuple[tuple[int, int, int], ...]) -> Any:
    def test(answer: Any, g: Any) -> None:
        for n, p, s in cases:
            given = answer(n, p, s)
            if not isinstance(given, list):
                raise Wrong("Return a list of places.")
            right = _places(n, p, s)
            if given == right:
                continue
            asked = f"n = {n}, p = {p}, s = {s}: "
            if any(not 0 <= place < n for place in given):
                raise Wrong(asked + "a place lies outside the text.")
            if len(set(given)) < len(given):
                raise Wrong(asked + "a place is listed twice.")
            if given == [place + 1 for place in right]:
                raise Wrong(asked + "places are counted from 0.")
            if sorted(given) == right:
                raise Wrong(asked + "list the places in the order of the text.")
            if n < p + s:
                raise Wrong(asked + "a text shorter than p + s gives each side its half.")
            raise Wrong(asked + "the first p and the last s places.")

    return test


def _erasing(g: Any) -> tuple[Tensor, float]:
    return 3 * normal(g, 5), 0.25


def _erased(answer: Any, a: Tensor, c: float) -> tuple[Tensor, Tensor, Tensor]:
    given = answer(a, c)
    if not isinstance(given, tuple) or len(given) != 3:
        raise Wrong("Return three tensors: R, W, b.")
    shapes = ((1, 5), (1, 5), (1,))
    for value, shape, name in zip(given, shapes, ("R", "W", "b"), strict=True):
        tensor(value, shape, name)
    return given


def _erase_rows(answer: Any, g: Any) -> None:
    a, c = _erasing(g)
    R, _, _ = _erased(answer, a, c)
    row = a / a.norm()
    compare(R.abs(), row.abs().unsqueeze(0), [
        (a.abs().unsqueeze(0), "R: its row must have length 1."),
        ((a / a.square().sum()).abs().unsqueeze(0), "R: divide by the length, not its square."),
    ], "R: one row, in the direction of a.")  # fmt: skip


def _erase_value(answer: Any, g: Any) -> None:
    a, c = _erasing(g)
    R, W, b = _erased(answer, a, c)
    h = normal(g, 7, 5)
    along = (h @ a / a.square().sum()).unsqueeze(1) * a
    compare(h + (h @ W.T + b - h @ R.T) @ R, h - c * along, [
        (h - along, "That takes the whole part away. The share is c."),
        (h - (1 - c) * along, "A share of 1 - c is taken away. W says what *stays*."),
        (h + c * along, "The part grows. W says what stays."),
        (h, "Nothing changes: W = R leaves h as it is."),
    ], "Inside the direction, h becomes W h + b. What should it become?")  # fmt: skip


def _states(g: Any) -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    return normal(g, 5, 4, 3), mask, torch.tensor([1, 0, 1, 0, 0])


def _vector_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_states(g)), (3,), "The vector")


def _vector_value(answer: Any, g: Any) -> None:
    states, mask, labels = _states(g)
    last = states[torch.arange(5), mask.sum(1) - 1]

    def apart(each: Tensor) -> Tensor:
        return each[labels == 1].mean(0) - each[labels == 0].mean(0)

    real = mask.unsqueeze(2)
    compare(answer(states, mask, labels), apart(last), [
        (-apart(last), "It points the other way: label 1 less label 0."),
        (apart(states[:, -1]), "The last place of the tensor is padding in three of the texts."),
        (apart(states[:, 0]), "That is the first token of each text."),
        (apart((states * real).sum(1) / real.sum(1)), "That is a mean over all tokens. Take the "
         "last one."),
        (last[labels == 1].sum(0) - last[labels == 0].sum(0), "Means, not sums."),
        (last[labels == 1].mean(0) + last[labels == 0].mean(0), "The difference of the means."),
    ], "The state of each text's last real token; then one mean less the other.")  # fmt: skip


_causes = causes((4, 1, 3, 2), (
    "(a) The edit has no gradient at all. Who reads what it writes?",
    "(b) With rows that are orthonormal, R R^T is the identity. What else could R have been?",
    "(c) The text is the same, and only the tensor is longer. How were places counted?",
    "(d) The edit has a gradient, and its numbers stand still. Who should have moved them?",
), of="run")  # fmt: skip

_printed = sentences((1, 0, 0, 1), (
    "(i) Does that interval hold zero?",
    "(ii) An interval that holds zero is no proof of equality.",
    "(iii) Two means alone do not decide. What does the paired interval say?",
    "(iv) Which side of zero is the last interval on, and of which base does the sentence speak?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"others.loreft.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count the edits", "short", 10, 1,
        "How many numbers are trained? (i) LoReFT of rank 4 in all 24 layers of a decoder of "
        "width 2,048, at the first 6 and the last 6 words, each side with an edit of its own. (ii) "
        "The form $h + R^\\top b$ of rank 8 in 12 layers of an encoder of width 1,024, at the "
        "first 5 words.",
        "counts = (..., ...)\n",
        ("How many words are edited does not matter.", "Which of the three parts read h?"),
        (Stage("decoder", 1, _count(0)), Stage("encoder", 1, _count(1))),
    ),
    Exercise(
        _name(2), "One edit", "code", 15, 2,
        "Write Equation 1 for the states `h` (n, d) of n words: `R` (r, d) has orthonormal rows, "
        "`W` is (r, d), `b` is (r,). Return the new states.",
        "def edit(h, R, W, b):\n    raise NotImplementedError\n",
        ("States are rows in code: `h @ R.T` is what lies in the subspace.",
         "A vector of the subspace goes back by `@ R`."),
        (Stage("the shape is right", 1, _edited_shape), Stage("the states", 2, _edited_value)),
    ),
    Exercise(
        _name(3), "Which words?", "code", 15, 2,
        "A text has n words; the first p and the last s are edited. Return the list of their "
        "places, from 0, in order. Where n is smaller than p + s, the paper gives each side its "
        "half: p becomes the smaller of p and n / 2, rounded down, and s the smaller of s and "
        "n / 2, rounded up.",
        "def places(n, p, s):\n    raise NotImplementedError\n",
        ("`n - n // 2` rounds up.", "With s = 0 a slice from the end takes everything."),
        (Stage("long texts", 1, _places_test(((9, 2, 3), (6, 3, 3), (5, 2, 0), (4, 0, 1)))),
         Stage("short texts", 2, _places_test(((3, 2, 2), (5, 4, 4), (1, 3, 3), (4, 1, 9))))),
    ),
    Exercise(
        _name(4), "Take a direction away", "code", 20, 2,
        "Take the share c of what h has along a direction `a` (d,) away: "
        "$h - c\\, \\frac{a^\\top h}{a^\\top a}\\, a$. Which `R` (1, d), `W` (1, d) and `b` (1,) "
        "of LoReFT do it?",
        "def erase(a, c):\n    raise NotImplementedError  # return R, W, b\n",
        ("The rows of R have length 1.", "What should R h become?"),
        (Stage("the direction", 1, _erase_rows), Stage("the states", 3, _erase_value)),
    ),
    Exercise(
        _name(5), "A vector from last words", "code", 15, 2,
        "Make a steering vector: `states` (texts, n, d) behind a block, `mask` (texts, n) with 1 "
        "at real tokens and padding behind them, `labels` (texts,) of 0 and 1. Take the state of "
        "each text's last real token, and return the mean of label 1 less that of label 0.",
        "def steering_vector(states, mask, labels):\n    raise NotImplementedError\n",
        ("`mask.sum(1)` is the length of each text.",),
        (Stage("the shape is right", 1, _vector_shape), Stage("the vector", 2, _vector_value)),
    ),
    Exercise(
        _name(6), "Diagnose four runs", "short", 15, 2,
        "Four runs of LoReFT. (a) A decoder that classifies guesses, and no number of the edit "
        "gets a gradient. (b) After training, $R R^\\top$ is far from the identity. (c) The same "
        "text gets another answer in a batch with a longer one. (d) The edit has gradients, and "
        "after training its numbers are those of the start. Causes: (1) R was trained as a plain "
        "matrix; (2) the optimiser was made before attaching; (3) places are counted from the "
        "left of the tensor, with padding on that side; (4) the first words are edited behind the "
        "uppermost block. Give the causes of a, b, c, d.",
        "causes = (..., ..., ..., ...)\n",
        ("Which word does a decoder classify by?",),
        (Stage("the causes", 4, _causes),),
    ),
    Exercise(
        _name(7), "Read a table", "short", 10, 2,
        "Paired differences in points, one encoder and task, five seeds, 95 % intervals: "
        "first 5 less first 1 +2.0 [0.5, 3.5]; rank 8 less rank 2 +0.4 [−1.6, 2.4]; tied less "
        "untied −0.9 [−2.1, 0.3], means 84.1 and 85.0; LoReFT less LoRA −3.0 [−4.0, −2.0]. "
        "Which may be printed? (i) Here five words were better than one. (ii) The rank makes no "
        "difference. (iii) Untied edits are better: 85.0 against 84.1. (iv) On this encoder and "
        "task LoRA was ahead of LoReFT. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("Does the interval hold zero?",),
        (Stage("the sentences", 4, _printed),),
    ),
    Exercise(
        _name(8), "First words or last words", "open", 40, 3,
        "The runs of this chapter edit an encoder, which reads all words at once. Train LoReFT of "
        "rank 4 on `tiny-decoder` with a new head: the first 3 words, the last 3, and both, tied "
        "and untied. Search each one's rate by two seeds on validation texts, then run five paired "
        "seeds. Which intervals do not hold zero, and what has the last word to do with it?",
        "", ("`pft.LoReFT(first=0, last=3)` edits the last words alone.",), (),
    ),
    Exercise(
        _name(9), "Start from a steering vector", "open", 40, 3,
        "Set R of a rank-1 edit to the direction of a difference of means, and W and b so that the "
        "edit begins as nothing. Train it, against the usual start, over five paired seeds. Does "
        "the better start end better?",
        "", ("W = R and b = 0 leave the states alone.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "An edit of rank r with W = 0 and b = 0 is trained no further. It",
        (
            Option("leaves the states as they were", "That is W = R and b = 0."),
            Option("erases what the states had in r directions",
                   "Inside the subspace everything becomes 0.", right=True),
            Option("adds a constant vector to every state that it meets",
                   "With b = 0 there is no constant to add."),
        ),
    ),
    Question(
        "What does the orthonormality of R rule out?",
        (
            Option("edits that DiReFT could make with the same rank",
                   "The two forms make the same edits."),
            Option("a change of the state outside the r directions of its rows",
                   "Any low-rank form keeps to r directions, too."),
            Option("a subspace that is stretched: the change is as long as W h + b − R h",
                   "R^T keeps lengths; with free rows the way back may stretch.", right=True),
        ),
    ),
    Question(
        "Why can LoReFT at the first three words not be merged?",
        (
            Option("a weight matrix treats all words alike",
                   "And even at all words the skip connection has no matrix.", right=True),
            Option("QR is not differentiable", "It is, and training uses that."),
            Option("the edit has a higher rank than the weights of the block that it follows",
                   "Its rank is r, far below theirs."),
        ),
    ),
    Question(
        "A vector is added to the states of all tokens behind one block. Where could it be stored?",
        (
            Option("in the block's query and key biases", "They are inside attention."),
            Option("nowhere, it has to be added by a hook", "The page puts it into the weights."),
            Option("in the bias of the map that writes the block's last sum",
                   "The page does so, with equal answers.", right=True),
        ),
    ),
    Question(
        "In the left figure of steering, what does the random direction show?",
        (
            Option("what a push of this length does without any meaning",
                   "It is the control; the two lines part.", right=True),
            Option("how far the texts differ", "It is one vector for all texts."),
            Option("the loss of the model when nothing at all is added to its states",
                   "That is at strength 0, in the right figure."),
        ),
    ),
    Question(
        "Steering by a constant vector makes a classifier better when",
        (
            Option("the vector is long enough", "Long vectors end in one answer for all texts."),
            Option("all its answers were shifted to one side, and the vector shifts them back",
                   "It moves all texts alike: a threshold.", right=True),
            Option("the texts are hard", "It does not read the text."),
        ),
    ),
)  # fmt: skip
