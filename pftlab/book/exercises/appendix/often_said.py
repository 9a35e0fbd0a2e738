"""Exercises of the page book/appendix/often_said.ipynb."""

from typing import Any

import torch
from torch import Tensor

from ..choices import causes, sentences
from ..compare import compare, measure, normal, number, numbers, tensor
from ..model import Exercise, Option, Question, Stage, Wrong


def _units(answer: Any, g: Any) -> None:
    first, second = numbers(answer, ("of 10^6", "of 2^20"))
    measure(first, 18.874368, [
        (18.0, "Those are units of 2^20."),
        (18_874_368, "That is the count; divide it by a million."),
    ], "The number of parameters, divided by a million.", within=1e-3, what="First")  # fmt: skip
    measure(second, 18.0, [
        (18.874368, "Those are units of 10^6."),
    ], "The number of parameters, divided by 2^20.", within=1e-3, what="Second")  # fmt: skip


def _frozen(answer: Any, g: Any) -> None:
    share, _ = numbers(answer, ("share", "ratio"))
    measure(share, 2 / 3, [
        (1 / 3, "share: that is what is saved; asked is what is left."),
        (1 / 2, "share: two of the three products are left, not one of two."),
    ], "share: forward, gradient of x, gradient of W: which one goes?", within=1e-2)  # fmt: skip


def _eaten(answer: Any, g: Any) -> None:
    _, ratio = numbers(answer, ("share", "ratio"))
    measure(ratio, 1 / 6, [
        (1 / 2, "ratio: A and B have forward and backward passes: three products each."),
        (1 / 3, "ratio: there are two matrices, A and B."),
    ], "ratio: LoRA adds 6 r d operations to 2 d²; when is the sum 3 d²?", within=1e-2)  # fmt: skip


def _drop(tasks: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        given = number(answer(tasks, 5, 12), "The share")
        right = 1 - (5 + 7 * tasks) / (12 * tasks)
        if tasks == 1:
            if abs(given) > 1e-9:
                raise Wrong("With one task nothing is shared, so nothing is saved.")
            return
        measure(given, right, [
            (1 - right, "That is what is left; asked is what is saved."),
            (5 / 12, "That is the limit of very many tasks."),
            (100 * right, "A share, not a percentage."),
        ], "Layers with sharing: n + T (L − n); without: T L.")  # fmt: skip

    return test


def _merge(answer: Any, g: Any) -> None:
    W, scale, x = normal(g, 5, 4), normal(g, 4), normal(g, 4)
    given = tensor(answer(W, scale), (5, 4), "The merged weight")
    compare(given, W * scale, [
        (W, "The vector is nowhere."),
        (W + scale, "It multiplies; it is not added."),
        (W / scale, "It multiplies; it does not divide."),
    ], "The merged weight on x must give what W gives on scale · x.")  # fmt: skip
    compare(given @ x, W @ (scale * x), (), "The outputs differ.")


def _lengthened(given: Any, labels: Tensor, length: int) -> None:
    rows, columns = labels.shape
    tensor(given, (rows, length + columns), "The labels")
    if torch.equal(given[:, :columns], labels) and length:
        raise Wrong("The prompt stands in front of the text, not behind it.")
    if not torch.equal(given[:, length:], labels):
        raise Wrong("The labels of the text have changed.")
    if not (given[:, :length] == -100).all():
        raise Wrong("The places of the prompt have no loss: −100.")


def _lengthen(length: int) -> Any:
    def test(answer: Any, g: Any) -> None:
        labels = torch.arange(6).view(2, 3) + 7
        _lengthened(answer(labels, length), labels, length)

    return test


_causes = causes((3, 4, 1, 2), (
    "(a) 24 predictions and 16 labels: by what do the two differ?",
    "(b) Which model has none of what the method trains?",
    "(c) The rank is the default. Which name does the setting have?",
    "(d) What costs something only while the adapter is apart?",
))  # fmt: skip

_printed = sentences((0, 1, 0), (
    "(i) One task and one model: does 'always' follow?",
    "(ii) Which way does the interval lie from zero?",
    "(iii) An interval around zero also holds a loss.",
))  # fmt: skip


def _name(number: int) -> str:
    return f"appendix.often_said.{number}"


EXERCISES = (
    Exercise(
        _name(1), "Two units", "short", 5, 1,
        "LoRA on GPT-3, as in one of its paper's tables: 96 layers of width 12,288, rank 8 on one "
        "square matrix of each layer. How many parameters are that, in units of $10^6$ and in "
        "units of $2^{20}$?",
        "counts = (..., ...)\n",
        ("2 r d for each matrix.", "2**20 is 1,048,576."),
        (Stage("both units", 2, _units),),
    ),
    Exercise(
        _name(2), "A step of one matrix", "short", 10, 2,
        "A linear map of $d \\times d$ needs one product of $d^2$ operations a token in the "
        "forward pass and two in the backward pass. Which share of the three is left when $W$ is "
        "frozen? And at which ratio $r/d$ do LoRA's own products, forward and backward, bring a "
        "step back to what full fine-tuning takes?",
        "answer = (..., ...)\n",
        ("The gradient of x is still needed.", "A and B have $r d$ entries each."),
        (Stage("frozen", 1, _frozen), Stage("eaten up", 2, _eaten)),
    ),
    Exercise(
        _name(3), "What AdapterDrop saves", "code", 10, 1,
        "`tasks` tasks are answered at once; the lowest `shared` of `layers` layers are computed "
        "once for all. Return the share of the layers' work that is saved.",
        "def saved(tasks, shared, layers):\n    raise NotImplementedError\n",
        ("Without sharing every task runs through every layer.",),
        (Stage("eight tasks", 2, _drop(8)), Stage("one task", 1, _drop(1))),
    ),
    Exercise(
        _name(4), "Diagnose four snippets", "short", 10, 2,
        "(a) Training stops with: 24 predictions, 16 labels. (b) Attaching fails: nothing to "
        "train. (c) The rank is 12 although 4 was asked for. (d) In production each request takes "
        "longer than with the base. Causes: 1 `r` was given to AdaLoRA in PEFT; 2 LoRA was never "
        "merged; 3 a prompt with `SEQ_CLS` on a language model; 4 BitFit on a model of the Llama "
        "kind. Give the cause of (a), (b), (c) and (d).",
        "causes = (..., ..., ..., ...)\n",
        ("Each cause is on this page.", "Use each cause once."),
        (Stage("each snippet has its cause", 2, _causes),),
    ),
    Exercise(
        _name(5), "Read the intervals", "short", 10, 2,
        "LoRA minus full fine-tuning, paired by seed, with 95 % intervals: accuracy on one task "
        "−0.2 ± 0.5; rise of the loss on other texts +0.09 ± 0.06. May one print: (i) LoRA always "
        "forgets more than full fine-tuning; (ii) in these runs LoRA forgot more; (iii) LoRA "
        "costs no accuracy? Give 1 or 0 for each.",
        "printed = (..., ..., ...)\n",
        ("Which interval holds zero?", "Which sentence speaks of more than these runs?"),
        (Stage("what may be printed", 2, _printed),),
    ),
    Exercise(
        _name(6), "Merge a vector", "code", 10, 2,
        "A vector `scale` (d_in,) multiplies the input of a matrix `W` (d_out, d_in), as that of "
        "(IA)³ does in the feed-forward network. Return the matrix that does the same alone.",
        "def merged(W, scale):\n    raise NotImplementedError\n",
        ("Write out one entry of W (scale · x).", "Which index do W's columns have?"),
        (Stage("the matrix", 2, _merge),),
    ),
    Exercise(
        _name(7), "Repair a snippet", "code", 10, 1,
        "A prompt of `length` vectors is put in front of texts whose `labels` are (b, n). Return "
        "labels that fit, with no loss on the prompt.",
        "def lengthened(labels, length):\n    raise NotImplementedError\n",
        ("Where does the prompt stand?", "labels.new_full and torch.cat"),
        (Stage("a prompt of four", 2, _lengthen(4)), Stage("no prompt", 1, _lengthen(0))),
    ),
    Exercise(
        _name(8), "Extend: the next one", "open", 40, 3,
        "Find another sentence that is often said about these methods, in a post, a talk or a "
        "paper. Write down under which condition it would be true, and a cell of at most ten "
        "lines that decides it. What would have had to come out for you to believe the opposite?",
        "", ("Begin with a count: counts are cheap and exact.",), (),
    ),
)  # fmt: skip

QUIZ = (
    Question(
        "A method trains a thousandth of the parameters. What follows?",
        (
            Option("Its training needs about a thousandth of the memory, too",
                   "Weights and what is kept for the backward pass stay."),
            Option("Its file is small", "That is what is certain.", right=True),
            Option("It changes only a thousandth of the weights when it is merged",
                   "SAID changes all of them with a hundred numbers."),
        ),
    ),
    Question(
        "Which of these names says what the method does?",
        (
            Option("LoRA", "Its change of a weight has low rank, as the name says.", right=True),
            Option("P-tuning v2, the second version of P-tuning",
                   "It is prefix tuning for understanding tasks."),
            Option("Intrinsic SAID, as the S stands for sparse",
                   "It stands for structure, and every weight changes."),
        ),
    ),
    Question(
        "AdapterDrop saves time for one task by sharing its lowest five layers:",
        (
            Option("about 39 %, the number that the paper prints",
                   "That is for eight tasks at once."),
            Option("about 21 %, the number of two tasks, since one is half of two",
                   "Sharing needs somebody to share with."),
            Option("nothing", "There is nobody to share with.", right=True),
        ),
    ),
    Question(
        "While an adapter is switched on, can the model forget?",
        (
            Option("No: the weights of the base are frozen, bit for bit",
                   "They are, and the outputs change."),
            Option("Yes", "The stored runs show it for all but the probe.", right=True),
            Option("Only if more than one percent of the parameters are trained",
                   "The norms' scales are a fraction of that, and forgot more than LoRA."),
        ),
    ),
    Question(
        "A published count does not follow from the published settings. First look at",
        (
            Option("the unit and what is counted", "10^6 or 2^20, with or without a head.",
                   right=True),
            Option("the learning rate and the number of training steps",
                   "They change no count."),
            Option("the seed, since random matrices may have other sizes",
                   "Sizes do not depend on a seed."),
        ),
    ),
)  # fmt: skip
