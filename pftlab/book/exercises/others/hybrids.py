"""Exercises of the chapter book/others/hybrids.ipynb. States (..., d), prefixes (p, d_head)."""

import math
from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _count(which: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = numbers(answer, ("MAM", "gates"))[which]
        if which == 0:
            prefix = torch.empty(2, 20, 1024, device="meta").numel()
            adapter = torch.empty(2, 256, 1024, device="meta").numel()
            measure(given, 24 * (prefix + adapter), [
                (prefix + adapter, "MAM: that is one layer."),
                (24 * (prefix // 2 + adapter), "MAM: a prefix has keys and values."),
                (24 * (prefix + adapter // 2), "MAM: an adapter leads down and up again."),
                (24 * (prefix + 2 * adapter), "MAM: the adapter stands beside the feed-forward "
                 "network alone."),
                (24 * (prefix + adapter + 256 + 1024), "MAM: the question leaves the biases out, "
                 "as the paper does."),
            ], "MAM: in each layer the prefix and the adapter, and nothing for the network that "
               "is thrown away.")  # fmt: skip
        else:
            gate = torch.empty(1024 + 1, device="meta").numel()
            measure(given, 24 * 4 * gate, [
                (4 * gate, "Gates: that is one layer."),
                (24 * 3 * gate, "Gates: query and value have one each."),
                (24 * 4 * (gate - 1), "Gates: each has a bias, too."),
                (24 * 4, "Gates: a gate reads the whole state, with a weight for each channel."),
            ], "Gates: in each layer adapter, prefix, query and value have one.")  # fmt: skip

    return test


def _prefix(g: Any) -> tuple[Tensor, ...]:
    return normal(g, 4, 6), normal(g, 3, 4), normal(g, 3, 4)  # W_q, P_K, P_V


def _pair(answer: Any, drawn: tuple[Tensor, ...]) -> tuple[Any, ...]:
    given = answer(*drawn)
    if not isinstance(given, tuple) or len(given) != 2:
        raise Wrong("Return two tensors: W_down, W_up.")
    tensor(given[0], (3, 6), "W_down")
    tensor(given[1], (4, 3), "W_up")
    return given


def _down(answer: Any, g: Any) -> None:
    W_q, P_K, P_V = drawn = _prefix(g)
    compare(_pair(answer, drawn)[0], P_K @ W_q / 2, [
        (P_K @ W_q, "W_down: attention divides its scores by a root."),
        (P_K @ W_q / math.sqrt(6), "W_down: the root is that of the width of a head, not of the "
         "model."),
        (P_V @ W_q / 2, "W_down: scores are of queries and *keys*."),
        (P_K @ W_q / 4, "W_down: take the root of the width."),
    ], "W_down: the scores of a query W_q x with the keys of the prefix, written as one matrix "
       "times x.")  # fmt: skip


def _up(answer: Any, g: Any) -> None:
    _, P_K, P_V = drawn = _prefix(g)
    compare(_pair(answer, drawn)[1], P_V.T, [
        (P_K.T, "W_up: what is mixed are the values."),
        (P_V.T / 2, "W_up: the root belongs to the scores."),
        (P_V.T / 3, "W_up: the softmax is the mean already."),
    ], "W_up: weights times values, written as one matrix times weights.")  # fmt: skip


def _batch(g: Any) -> tuple[Tensor, ...]:
    real = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    return normal(g, 3, 4, 5), real, normal(g, 5), normal(g, 1)[0]


def _gate_shape(answer: Any, g: Any) -> None:
    tensor(answer(*_batch(g)), (3,), "The gates")


def _gate_value(answer: Any, g: Any) -> None:
    z, real, w, b = _batch(g)
    each = torch.sigmoid(z @ w + b)
    count = real.sum(1)
    compare(answer(z, real, w, b), (each * real).sum(1) / count, [
        (each.mean(1), "Padding has a say in yours, so that a text's gate depends on how long the "
         "others of the batch are."),
        ((each * real).mean(1), "The sum goes over the words, and yours is divided by the length "
         "of the batch."),
        ((each * real).sum(1), "Take the mean over the words."),
        (torch.sigmoid(((z @ w + b) * real).sum(1) / count), "First the sigmoid of each word, then "
         "the mean: the other order is another number."),
        ((torch.sigmoid(z @ w) * real).sum(1) / count, "The bias is missing."),
        (((z @ w + b) * real).sum(1) / count, "A gate lies between 0 and 1."),
    ], "The mean over the words of a text of σ(w · z + b).")  # fmt: skip


def _scores(g: Any) -> tuple[Tensor, Tensor, float]:
    return 80 + normal(g, 5), 79 + normal(g, 3, 5), 2.776


def _both(answer: Any, drawn: Any) -> tuple[Any, ...]:
    given = answer(*drawn)
    if not isinstance(given, tuple) or len(given) != 2:
        raise Wrong("Return two tensors: the means and the half-widths.")
    for part, name in zip(given, ("The means", "The half-widths"), strict=True):
        tensor(part, (3,), name)
    return given


def _means(answer: Any, g: Any) -> None:
    whole, without, _ = drawn = _scores(g)
    apart = whole - without
    compare(_both(answer, drawn)[0], apart.mean(1), [
        (-apart.mean(1), "Means: the whole less what lacks a part."),
        (apart.sum(1), "Means: divide by the number of seeds."),
        (without.mean(1), "Means: of the differences, not of the scores."),
        (apart.median(1).values, "Means: you took the median."),
    ], "Means: over the seeds, a row for each part.")  # fmt: skip


def _halves(answer: Any, g: Any) -> None:
    whole, without, t = drawn = _scores(g)
    apart = whole - without
    error = apart.std(1) / math.sqrt(5)
    unpaired = ((whole.var() + without.var(1)) / 5).sqrt()
    compare(_both(answer, drawn)[1], t * error, [
        (error, "Half-widths: that is the standard error; times t."),
        (t * apart.std(1), "Half-widths: of the *mean*, so the root of the number of seeds."),
        (t * apart.std(1, correction=0) / math.sqrt(5), "Half-widths: divide by one seed less."),
        (t * unpaired, "Half-widths: these are of two means by themselves. A seed's two runs "
         "belong together."),
        (t * without.std(1) / math.sqrt(5), "Half-widths: of the differences."),
    ], "Half-widths: t times the deviation of the paired differences over the root of their "
       "number.")  # fmt: skip


_causes = causes((4, 3, 1, 2), (
    "(a) Who sends all attention of a layer to one place?",
    "(b) What changes when a text is read beside longer ones?",
    "(c) Which part still acts when its gate is 0?",
    "(d) Which line makes the whole larger than each of its parts, whatever they are?",
), of="case")  # fmt: skip

_printed = sentences((0, 1, 0, 1), (
    "(i) Which row compares the whole with its best part?",
    "(ii) Does the interval of the second row hold zero?",
    "(iii) The interval that holds zero holds other numbers, too.",
    "(iv) What does the third row say of gates, and on how many tasks?",
))  # fmt: skip


def _name(number: int) -> str:
    return f"others.hybrids.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Count the hybrids", "short", 10, 1,
        "An encoder of 24 layers and width 1,024. How many numbers has (i) a MAM adapter with a "
        "prefix of 20 and a bottleneck of 256, without biases and without the network behind the "
        "prefix, (ii) UniPELT's gates alone, with all three pieces?",
        "counts = (..., ...)\n",
        ("A prefix has keys and values as wide as the model, over all heads.",
         "LoRA acts on two matrices."),
        (Stage("MAM", 1, _count(0)), Stage("gates", 1, _count(1))),
    ),
    Exercise(
        _name(2), "A prefix as a bottleneck", "code", 15, 2,
        "One head, without biases: queries are $W_q x$, `W_q` (d_head, d), and the prefix has "
        "`P_K` and `P_V` (p, d_head). Return the two matrices with which Δh is "
        "W_up softmax(W_down x).",
        "def bottleneck(W_q, P_K, P_V):\n    raise NotImplementedError  # return W_down, W_up\n",
        ("W_down has p rows, W_up has p columns.",
         "Write one score of a query and a key out, with x in it."),
        (Stage("down", 2, _down), Stage("up", 1, _up)),
    ),
    Exercise(
        _name(3), "A gate that sees no padding", "code", 15, 2,
        "Return UniPELT's gate of each text, (B,): `z` (B, n, d), `real` (B, n) is 1 for words and "
        "0 for padding, `w` (d,), `b` a number.",
        "def gate(z, real, w, b):\n    raise NotImplementedError\n",
        ("The mean over the words, not over the places.", "`torch.sigmoid`, and then the mean."),
        (Stage("the shape is right", 1, _gate_shape), Stage("the gates", 3, _gate_value)),
    ),
    Exercise(
        _name(4), "Minus one part", "code", 15, 2,
        "`whole` (S,) holds the scores of a hybrid with S seeds, `without` (k, S) those of the "
        "hybrid without each of its k parts, with the same seeds; `t` is Student's. Return the "
        "mean differences, whole less without, (k,), and the half-widths of their paired "
        "intervals, (k,).",
        "def minus_one(whole, without, t):\n"
        "    raise NotImplementedError  # return means, halves\n",
        ("First the differences, seed by seed.", "`std` divides by one less by itself."),
        (Stage("the means", 1, _means), Stage("the half-widths", 3, _halves)),
    ),
    Exercise(
        _name(5), "Diagnose", "short", 15, 2,
        "Four reports on hybrids. (a) At ten times the rate the hybrid guesses, and its adapter "
        "alone does not. (b) A text gets another answer alone than in a batch of long texts. (c) "
        "All gates are set to 0, and the model still is not the base. (d) The hybrid is ahead of "
        "every part of it, by ten points, and at equal counts by none. Causes: (1) there is a "
        "prefix among the pieces; (2) nobody counted the parameters; (3) the gate averages over "
        "padding; (4) one rate for all, and the network behind the prefix cannot stand it. Give "
        "the causes of a, b, c, d.",
        "causes = (..., ..., ..., ...)\n",
        ("Look at the part of this page on what goes wrong.",),
        (Stage("the causes", 4, _causes),),
    ),
    Exercise(
        _name(6), "Read a table", "short", 10, 2,
        "Paired differences in points, one base, one task, five seeds, 95 % intervals: hybrid less "
        "its best part +0.6 [−0.9, 2.1]; hybrid less its weakest part +3.1 [1.2, 5.0]; with gates "
        "less without +1.4 [0.2, 2.6]. Which may be printed? (i) The sum is more than each of its "
        "parts. (ii) Here the hybrid was better than its weakest part. (iii) The hybrid is as good "
        "as its best part. (iv) On this base and task, gates helped. Give 1 or 0 for each.",
        "printed = (..., ..., ..., ...)\n",
        ("Does the interval hold zero?",),
        (Stage("the sentences", 4, _printed),),
    ),
    Exercise(
        _name(7), "A fourth composition", "open", 40, 3,
        "Build He et al.'s other mixture, a prefix with LoRA in the feed-forward network, from "
        "`PrefixTuning` and `LoRA(at=(\"ffn.up\", \"ffn.down\"))`, attached one after the other. "
        "Choose the rank so that it has as many numbers as MAM, and train both with five paired "
        "seeds on 1,000 texts. Which interval do you get, and what would you have to run to say "
        "more?",
        "", ("What `begin` of `fine_tune_many` gets is the model with the first method.",), (),
    ),
    Exercise(
        _name(8), "Gates that cannot move", "open", 40, 3,
        "Freeze UniPELT's gates where they start (`requires_grad_(False)` on their parameters), "
        "and train it with the six seeds of this page. Is it told apart from UniPELT with trained "
        "gates? And from the one without gates?",
        "", ("The stored runs have the seeds and the rate.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "In the unified view a prefix of p is a bottleneck. What stands in the middle of it?",
        (
            Option("a softmax over p numbers", "And its width is p.", right=True),
            Option("a ReLU of p numbers, with trained biases", "That is the adapter's."),
            Option("nothing, the map is linear", "That is LoRA's form."),
        ),
    ),
    Question(
        "What does a prefix do to a head that no added Δh can do?",
        (
            Option("it makes the output as large as it likes",
                   "What it adds is a mean of p values, and stays among them."),
            Option("it takes away a share of what the head computed from the words",
                   "The factor 1 − λ.", right=True),
            Option("it reads the input of the layer", "A parallel adapter does so, too."),
        ),
    ),
    Question(
        "All gates of UniPELT are 0. What is left of its pieces?",
        (
            Option("nothing at all, and the model computes what the base computes",
                   "True without a prefix."),
            Option("the adapter's bias", "It is part of what the gate multiplies."),
            Option("keys and values of zero, which still get attention",
                   "A score of 0 is not a weight of 0.", right=True),
        ),
    ),
    Question(
        "A hybrid is ahead of each of its parts. What must one know before it is called more than "
        "their sum?",
        (
            Option("how many parameters the parts have, and at which rates they ran",
                   "A larger part at its own rate may be as good.", right=True),
            Option("whether its gates were open", "That says how, not whether."),
            Option("the number of layers", "It is the same for all of them."),
        ),
    ),
    Question(
        "A gate ends at 0.6, another at 0.4. Which piece does the task need more?",
        (
            Option("the first, since it is let in further", "What is let in may be of any size."),
            Option("this cannot be said from the gates", "Where did they start, and what do they "
                   "multiply? Taking the piece away would tell.", right=True),
            Option("the second, since its gate had to fall", "It may have started there."),
        ),
    ),
)  # fmt: skip
